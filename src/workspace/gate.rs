//! The gate of a store: rules that its state has to keep, whoever edits it.
//!
//! An edit of JSON that would break a rule is refused. A change of an Automerge client cannot be:
//! its author has it already, and so may others. It is taken, and what it broke is
//! [mended](super::mend) by a commit of the server. A state that breaks a rule already locks
//! nobody out: what counts is that nothing new is broken.

mod schema;

use std::collections::BTreeSet;
use std::fmt::Debug;

pub use schema::{JsonSchema, SchemaError};

use super::rights::View;
use super::{Refusal, Workspace};
use crate::document::{Breach, DocumentError};
use crate::json::Json;

/// The rules of a store's state.
pub trait Gate: Debug + Send + Sync {
    /// All that is wrong with a state; nothing: it may be. It must not panic, and always say the
    /// same of the same state: it is asked again in a simulation, and at every replica.
    fn breaches(&self, state: &Json) -> Vec<Breach>;
}

/// What is wrong with a state that was not wrong with the one before.
pub(super) fn new_breaches(gate: &dyn Gate, before: &Json, after: &Json) -> Vec<Breach> {
    let mut found = gate.breaches(after);
    if found.is_empty() {
        return found;
    }
    let known = gate.breaches(before);
    let known: BTreeSet<_> = known.iter().map(Breach::sign).collect();
    found.retain(|breach| !known.contains(&breach.sign()));
    found.sort_by(|one, other| one.sign().cmp(&other.sign()));
    found
}

/// Whether a store may go from one state to another.
///
/// Errors: [`DocumentError::Unfit`], with the first rule that is newly broken.
pub(super) fn judge(gate: &dyn Gate, before: &Json, after: &Json) -> Result<(), DocumentError> {
    let first = new_breaches(gate, before, after).into_iter().next();
    first.map_or(Ok(()), |breach| Err(DocumentError::Unfit(Box::new(breach))))
}

impl Workspace {
    /// A refusal as it may be told to who sees only this much: a place that he may not see is not
    /// named.
    pub(super) fn veiled(refusal: Refusal, view: &View) -> Refusal {
        match refusal {
            Refusal::Document(DocumentError::Unfit(breach))
                if !view.covers_place(&breach.part()) =>
            {
                Refusal::Document(DocumentError::Unfit(Box::new(Breach::elsewhere())))
            }
            refusal => refusal,
        }
    }
}
