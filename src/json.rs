//! Plain JSON: the values that JSON clients see, and the patches that they send.
//!
//! - [`tree`] is a JSON value that is shared and persistent: cloning it costs nothing, and an edit
//!   copies only the way from the root to what it changes. The current state of a store, the older
//!   states that stale clients speak from and the old values that triggers are given are therefore
//!   one structure in memory, and what two of them share is compared by its address.
//! - [`mod@pointer`] names a place in a value (RFC 6901).
//! - [`patch`] changes a value (RFC 6902): exact, all or nothing, and within a budget.
//! - [`diff`] says how two values differ, element by element, in terms that a merge can use.
//!
//! Nothing here knows of Automerge, of stores or of clients.

#[cfg(test)]
pub(crate) mod arbitrary;
pub mod diff;
#[cfg(any(test, fuzzing))]
pub(crate) mod edits;
pub mod merge;
pub mod patch;
pub mod pointer;
pub mod tree;

pub use diff::{Difference, Entry, Identity, Step, between, difference, patch_of};
pub use patch::{Applied, Explicit, JsonOp, JsonPatch, PatchError, PatchErrorKind};
pub use pointer::{Pointer, PointerError};
pub use tree::{Array, Json, JsonError, JsonLimits, Key, Object};
