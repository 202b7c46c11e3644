//! A document built up commit by commit, each held against what was noted of it.
//!
//! This is how a log is examined: where [`Document::load`](super::Document::load) says only whether
//! all of it is sound, a [`Replay`] says how far it is.

use std::collections::BTreeSet;

use automerge::{ActorId, Automerge, Change, ChangeHash};

use super::{DocumentError, author, guard, knows, projection, sorted};
use crate::json::Json;

/// What was noted of one commit.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// Its changes, encoded, in causal order.
    pub changes: &'a [Vec<u8>],
    /// The heads after it, sorted.
    pub heads: &'a [ChangeHash],
}

/// The step at which a replay stopped; the document is as it was before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Stopped {
    /// How many of the steps were taken.
    pub taken: usize,
    /// What is wrong with the one after them.
    pub why: StepError,
}

/// What is wrong with a step.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StepError {
    /// Automerge does not take its changes.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A change does not say who made it.
    #[error("a change has no author")]
    NoAuthor,
    /// Its changes lead to other heads than were noted.
    #[error("its changes do not lead to the heads that were noted")]
    OtherHeads,
}

/// A document that is being built up.
#[derive(Debug, Clone, Default)]
pub struct Replay {
    doc: Automerge,
}

impl Replay {
    /// Begins with nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins with a document as Automerge saves it.
    pub fn of_saved(bytes: &[u8]) -> Result<Self, DocumentError> {
        guard::contained(|| Ok(Self { doc: Automerge::load(bytes)? }))
    }

    /// The heads now, sorted.
    pub fn heads(&self) -> Vec<ChangeHash> {
        sorted(self.doc.get_heads())
    }

    /// All who have made a change in it, in order.
    pub fn actors(&self) -> Vec<ActorId> {
        let changes = self.doc.get_changes(&[]);
        let actors: BTreeSet<&ActorId> = changes.iter().map(Change::actor_id).collect();
        actors.into_iter().cloned().collect()
    }

    /// Whether all of these changes are in the document.
    pub fn knows(&self, heads: &[ChangeHash]) -> bool {
        knows(&self.doc, heads)
    }

    /// Takes steps, in order, up to the first that is not sound.
    pub fn take(&mut self, steps: &[Step<'_>]) -> Result<(), Stopped> {
        // Together they cost far less. Which one is to blame is looked for only if one is.
        let before = self.doc.clone();
        if self.take_together(steps).is_ok() {
            return Ok(());
        }
        self.doc = before;
        for (taken, step) in steps.iter().enumerate() {
            let before = self.doc.clone();
            if let Err(why) = self.take_one(step) {
                self.doc = before;
                return Err(Stopped { taken, why });
            }
        }
        Ok(())
    }

    fn take_together(&mut self, steps: &[Step<'_>]) -> Result<(), StepError> {
        let mut heads: BTreeSet<ChangeHash> = self.doc.get_heads().into_iter().collect();
        let mut all = Vec::new();
        for step in steps {
            for change in decode(step.changes)? {
                heads.retain(|head| !change.deps().contains(head));
                heads.insert(change.hash());
                all.push(change);
            }
            if !heads.iter().eq(step.heads) {
                return Err(StepError::OtherHeads);
            }
        }
        self.apply(all)?;
        if heads.into_iter().eq(self.heads()) { Ok(()) } else { Err(StepError::OtherHeads) }
    }

    fn take_one(&mut self, step: &Step<'_>) -> Result<(), StepError> {
        self.apply(decode(step.changes)?)?;
        if self.heads() == step.heads { Ok(()) } else { Err(StepError::OtherHeads) }
    }

    fn apply(&mut self, changes: Vec<Change>) -> Result<(), DocumentError> {
        if changes.is_empty() {
            return Ok(());
        }
        guard::contained(|| Ok(self.doc.apply_changes(changes)?))
    }

    /// The JSON now.
    pub fn json(&self) -> Result<Json, DocumentError> {
        guard::contained(|| Ok(projection::strip_reserved(&projection::read(&self.doc)?)))
    }

    /// The document as Automerge saves it.
    pub fn bytes(&self) -> Vec<u8> {
        self.doc.save()
    }

    /// The document as Automerge saves it, loaded again and compared: Automerge can take in what
    /// it then saves in a form that does not load.
    pub fn save(&self) -> Result<Vec<u8>, DocumentError> {
        guard::contained(|| {
            let bytes = self.doc.save();
            let again = Automerge::load(&bytes)?;
            let alike = again.get_heads() == self.doc.get_heads()
                && projection::read(&again)? == projection::read(&self.doc)?;
            if alike { Ok(bytes) } else { Err(DocumentError::Diverged) }
        })
    }
}

fn decode(changes: &[Vec<u8>]) -> Result<Vec<Change>, StepError> {
    let decode = |bytes: &Vec<u8>| {
        if author(bytes).is_none() {
            return Err(StepError::NoAuthor);
        }
        let change = guard::contained(|| {
            let change = Change::from_bytes(bytes.clone());
            change.map_err(|error| DocumentError::Malformed(error.to_string()))
        });
        Ok(change?)
    };
    changes.iter().map(decode).collect()
}

#[cfg(test)]
mod tests {
    use automerge::transaction::Transactable as _;
    use automerge::{ROOT, ReadDoc as _};
    use proptest::prelude::*;

    use super::*;

    /// A history of two writers who now and then meet, as commits of one change each.
    fn history(writes: &[(bool, u8)]) -> Vec<(Vec<Vec<u8>>, Vec<ChangeHash>)> {
        let mut all = Automerge::new();
        let mut writers =
            [1, 2].map(|actor: u8| Automerge::new().with_actor(ActorId::from([actor; 16])));
        let mut commits = Vec::new();
        for (number, (second, value)) in (0_i64..).zip(writes) {
            let doc = &mut writers[usize::from(*second)];
            let mut tx = doc.transaction();
            tx.put(ROOT, format!("key {}", value % 3), number).unwrap();
            let hash = tx.commit().0.unwrap();
            let mut change = doc.get_change_by_hash(&hash).unwrap();
            all.apply_changes([change.clone()]).unwrap();
            commits.push((vec![change.bytes().into_owned()], sorted(all.get_heads())));
            if value % 4 == 0 {
                doc.merge(&mut all).unwrap();
            }
        }
        commits
    }

    fn steps(commits: &[(Vec<Vec<u8>>, Vec<ChangeHash>)]) -> Vec<Step<'_>> {
        commits.iter().map(|(changes, heads)| Step { changes, heads }).collect()
    }

    proptest! {
        #[test]
        fn a_sound_history_is_taken_however_it_is_cut(
            writes in prop::collection::vec(any::<(bool, u8)>(), 1..24),
            cut in any::<prop::sample::Index>(),
        ) {
            let commits = history(&writes);
            let all = steps(&commits);
            let mut whole = Replay::new();
            prop_assert_eq!(whole.take(&all), Ok(()));
            let (first, second) = all.split_at(cut.index(all.len()));
            let mut parts = Replay::new();
            prop_assert_eq!(parts.take(first), Ok(()));
            let mut parts = Replay::of_saved(&parts.save().unwrap()).unwrap();
            prop_assert_eq!(parts.take(second), Ok(()));
            prop_assert_eq!(parts.heads(), whole.heads());
            prop_assert_eq!(parts.json(), whole.json());
            prop_assert_eq!(&whole.heads(), &commits.last().unwrap().1);
        }

        /// Whatever is wrong with a commit, all before it are taken and nothing from it on.
        #[test]
        fn it_stops_at_the_first_step_that_is_not_sound(
            writes in prop::collection::vec(any::<(bool, u8)>(), 2..16),
            at in any::<prop::sample::Index>(),
            damage in 0..3_u8,
            byte in any::<prop::sample::Index>(),
        ) {
            let mut commits = history(&writes);
            let at = at.index(commits.len());
            let (changes, heads) = &mut commits[at];
            match damage {
                0 => {
                    // Not in the checksum before them: Automerge goes by the hash of the contents.
                    let place = 8 + byte.index(changes[0].len() - 8);
                    changes[0][place] ^= 0x55;
                }
                1 => changes.clear(),
                _ => heads[0].0[0] ^= 1,
            }
            let mut replay = Replay::new();
            let stopped = replay.take(&steps(&commits)).unwrap_err();
            prop_assert_eq!(stopped.taken, at, "{}", stopped.why);
            let before = at.checked_sub(1).map_or(Vec::new(), |last| commits[last].1.clone());
            prop_assert_eq!(replay.heads(), before);
        }
    }

    #[test]
    fn what_is_no_document_does_not_begin_one() {
        assert!(Replay::of_saved(b"no document").is_err());
        assert_eq!(Replay::new().json().unwrap().to_string(), "{}");
    }
}
