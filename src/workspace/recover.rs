//! A store as it comes back from the log.

use std::sync::Arc;

use automerge::ChangeHash;

use super::actors::Actors;
use super::commit::Commit;
use super::config::{Past, StoreConfig};
use super::store::Store;
use crate::ids::{Millis, Seq};

/// A store that cannot be loaded; it is not blank, and nothing is saved over it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// What the log holds of one store, as one consistent view.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stored {
    /// The start of the store's epoch ([`Seq::start_of`]); 0 unless it was restored.
    pub start: Seq,
    /// The newest checkpoint.
    pub checkpoint: Option<Checkpoint>,
    /// Commits in order of their seqs, gapless up to the newest. Those that the checkpoint covers
    /// are there for their heads only and carry no changes.
    pub commits: Vec<Commit>,
    /// Whether messages older than the oldest of these commits carried ids.
    pub older_messages: bool,
}

impl Stored {
    /// The seq after which commits keep their heads under a checkpoint: the history that stale
    /// clients are answered from.
    pub fn kept_after(&self, past: &Past, now: Millis) -> Seq {
        let commits = &self.commits;
        let is_young = |commit: &&Commit| now.0.saturating_sub(commit.time.0) <= past.age_ms_min;
        let young = commits.iter().rev().take_while(is_young).count();
        let kept = young.max(past.commits_min).min(past.commits_max);
        let dropped = commits.len().saturating_sub(kept);
        match dropped.checked_sub(1).and_then(|last| commits.get(last)) {
            Some(last) => last.seq,
            None => commits.first().map_or(self.start, |first| Seq(first.seq.0.saturating_sub(1))),
        }
    }
}

/// A saved document that stands for all commits up to `seq`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The newest commit in it.
    pub seq: Seq,
    /// The heads of the document, sorted.
    pub heads: Vec<ChangeHash>,
    /// The document, as Automerge saves it.
    pub bytes: Vec<u8>,
    /// The owners of the actors in it.
    pub actors: Actors,
}

/// The document and history of a store, rebuilt from the log. It is heavy to make, so it is made
/// off the workspace's task and handed in as an input.
#[derive(Debug)]
pub struct Recovered(pub(super) Store);

impl Recovered {
    /// Rebuilds a store. One that was never saved starts from its genesis.
    pub fn build(config: Arc<StoreConfig>, stored: Stored) -> Result<Self, Unavailable> {
        Store::rebuild(config, stored).map(Self)
    }

    /// A checkpoint of all commits, loaded back and compared with what it was made from.
    pub fn checkpoint(&self) -> Result<Checkpoint, Unavailable> {
        self.0.checkpoint()
    }
}
