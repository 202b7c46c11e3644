//! The gate of a store: rules that its state has to keep, whoever edits it.
//!
//! An edit of JSON that would break a rule is refused. A change of an Automerge client cannot be:
//! its author has it already, and so may others. It is taken, and what it broke is mended by a
//! commit of the server. A state that breaks a rule already locks nobody out: what counts is that
//! nothing new is broken.

mod schema;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

pub use schema::{JsonSchema, SchemaError};

use super::rights::View;
use super::{Refusal, Workspace};
use crate::document::{Breach, DocumentError};
use crate::json::{Json, Key};

/// The rules of a store's state.
pub trait Gate: Debug + Send + Sync {
    /// All that is wrong with a state; nothing: it may be. It must not panic, and always say the
    /// same of the same state: it is asked again in a simulation, and at every replica.
    fn breaches(&self, state: &Json) -> Vec<Breach>;
}

/// What is wrong with a state that was not wrong with the one before.
///
/// Elements of an array have no names, and an edit in front of them moves them on: in an array a
/// rule is newly broken only if it is broken more often. Then all are meant that were not broken
/// at just this place.
pub(super) fn new_breaches(gate: &dyn Gate, before: &Json, after: &Json) -> Vec<Breach> {
    let found = gate.breaches(after);
    if found.is_empty() {
        return found;
    }
    let known = gate.breaches(before);
    let signs: BTreeSet<_> = known.iter().map(Breach::sign).collect();
    let (known, often) = (counted(&known, before), counted(&found, after));
    let is_new = |breach: &&Breach| {
        let kind = kind(breach, after);
        often.get(&kind) > known.get(&kind) && !signs.contains(&breach.sign())
    };
    let mut new: Vec<Breach> = found.iter().filter(is_new).cloned().collect();
    new.sort_by(|one, other| one.sign().cmp(&other.sign()));
    new
}

/// A breach, wherever in an array it is.
type Kind<'a> = (Vec<Option<&'a Key>>, Option<&'a Key>, &'a str);

fn counted<'a>(breaches: &'a [Breach], state: &Json) -> BTreeMap<Kind<'a>, usize> {
    let mut counts = BTreeMap::new();
    for breach in breaches {
        let count: &mut usize = counts.entry(kind(breach, state)).or_default();
        *count = count.saturating_add(1);
    }
    counts
}

fn kind<'a>(breach: &'a Breach, state: &Json) -> Kind<'a> {
    let mut node = Some(state);
    let step = |key: &'a Key| {
        let (inside, named) = match node {
            Some(Json::Array(array)) => {
                (key.parse().ok().and_then(|index: usize| array.get(index)), None)
            }
            Some(Json::Object(object)) => (object.get(key), Some(key)),
            _ => (None, Some(key)),
        };
        node = inside;
        named
    };
    let place = breach.place.segments().iter().map(step).collect();
    (place, breach.member.as_ref(), &breach.rule)
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
