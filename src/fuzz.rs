//! What is fuzzed: one function for each target, from bytes to nothing or a panic.
//!
//! The targets in `fuzz/` call these functions, and so does a test here, with all that is kept in
//! `fuzz/corpus` and `fuzz/crashes`. Nothing of this is in a build of the server.
//!
//! - [`decode`]: frames of every dialect.
//! - [`json_patch`]: patches, against RFC 6902 written down as plainly as can be.
//! - [`projection`]: the law of the bridge, over random histories of two replicas.
//! - [`converge`]: many replicas that are told of each other's changes late, twice, out of order.
//! - [`recover`]: a log on a disk that damages it.
//! - [`guard`]: foreign changes that are damaged and carry the checksum of what they became.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a check that fails panics, as tests do"
)]

mod converge;
mod decode;
mod guard;
mod json_patch;
mod projection;
mod recover;
mod script;

use std::panic;

pub use converge::converge;
pub use decode::decode;
pub use guard::guard;
pub use json_patch::json_patch;
pub use projection::projection;
pub use recover::recover;

/// A target: its name, and what it does with bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 6] = [
    ("decode", decode),
    ("json_patch", json_patch),
    ("projection", projection),
    ("converge", converge),
    ("recover", recover),
    ("guard", guard),
];

/// Lets panics unwind, because some are contained on purpose, and tells only of those in this
/// crate: what Automerge panics at is contained, or panics again where it is not.
pub fn prepare() {
    drop(panic::take_hook());
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let foreign = info.location().is_some_and(|at| at.file().contains("/registry/"));
        if !foreign {
            tell(info);
        }
    }));
}

#[cfg(test)]
mod tests;
