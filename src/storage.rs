//! What "saved" means: a durable log of commits and checkpoints.
//!
//! A [`ChangeLog`] keeps, for every store of every workspace, its commits in the order of their
//! seqs and at most one checkpoint that stands for the oldest of them. All calls block; the hub
//! makes them on threads of its own. Absence and failure are different values: a store that was
//! never saved reads as nothing ([`Stored::default`]), a store that cannot be read is an error.
//!
//! - [`sqlite`] is the embedded default: one file, every row with a checksum.
//! - [`memory`] is the same log without a disk, for tests and for embedding.
//! - [`container`] is something else: the user's own place for plain JSON, kept in step with the
//!   stores. It is not a log and nothing is durable because of it.
//!
//! What every engine must refuse is decided once, in `accept`.

mod accept;
mod actors;
mod calls;
pub mod container;
pub mod memory;
pub mod sqlite;

use std::fmt;

pub use calls::{
    Backlog, CallId, GivenUpCall, GivenUpPage, Lane, Retried, Settled, WaitingCall, time_of,
};

use std::sync::Arc;

use crate::ids::{Seq, StoreName, WorkspaceId};
use crate::workspace::{Append, Checkpoint, MessageId, Stored};

/// Why the log could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The log is not where the writer thought: another writer was there.
    #[error("the log of store {store} stands at {newest}, not where the writer expected")]
    Behind {
        /// The store.
        store: StoreName,
        /// The newest seq in the log.
        newest: Seq,
    },
    /// What was asked for can never be done, however often it is tried: seqs with gaps, a message
    /// id that the store has seen, a checkpoint that would lose commits.
    #[error("the log refuses: {0}")]
    Invalid(String),
    /// No space is left on the device. Reads go on; writes work again when there is space.
    #[error("no space is left for the log")]
    Full,
    /// A row does not match its checksum, or cannot be what was written.
    #[error("the log is damaged: {0}")]
    Damaged(String),
    /// Someone else, here or in another process, has the data folder open.
    #[error("the data folder is in use")]
    InUse,
    /// Anything else that went wrong below.
    #[error("the log failed: {0}")]
    Failed(String),
}

/// Commits of one workspace that are to become durable.
#[derive(Debug, Clone)]
pub struct AppendTo {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The commits of one of its stores.
    pub append: Append,
}

/// A durable log of commits and checkpoints.
///
/// One contract test, `tests/changelog`, runs over every implementation.
pub trait ChangeLog: fmt::Debug + Send + Sync + 'static {
    /// Makes commits durable, in one transaction over all stores. When it returns, what it says
    /// was appended survives the loss of power; what it refuses has changed nothing. The entries
    /// are taken in order, so a later one may continue an earlier one of the same store.
    ///
    /// The outer error means that nothing of the batch was appended. An inner one is about its
    /// entry alone. Appending commits again that are already there, byte for byte, is a success;
    /// once a checkpoint has dropped their changes they cannot be compared any more, and appending
    /// them again is [`StorageError::Behind`].
    fn append(&self, batch: &[AppendTo]) -> Result<Vec<Result<(), StorageError>>, StorageError>;

    /// Reads one store. A store that was never appended to is `Stored::default()`; in a place that
    /// was restored from a backup it has the start of a later epoch.
    fn read(&self, workspace: &WorkspaceId, store: &StoreName) -> Result<Stored, StorageError>;

    /// The stores of a workspace that hold commits, by name, each with its newest seq.
    fn stores(&self, workspace: &WorkspaceId) -> Result<Vec<(StoreName, Seq)>, StorageError>;

    /// What the stores of a workspace take in the log: their checkpoints, and the changes after
    /// them, in bytes, with what is written around them.
    fn held(&self, workspace: &WorkspaceId) -> Result<Vec<(StoreName, u64)>, StorageError> {
        let held = |(name, _): (StoreName, Seq)| {
            let stored = self.read(workspace, &name)?;
            let changes = stored.commits.iter().flat_map(|commit| &commit.changes);
            let checkpoint = stored.checkpoint.iter().map(|checkpoint| checkpoint.bytes.len());
            let bytes = changes.map(Vec::len).chain(checkpoint).sum::<usize>();
            Ok((name, u64::try_from(bytes).unwrap_or(u64::MAX)))
        };
        self.stores(workspace)?.into_iter().map(held).collect()
    }

    /// The commit of a store that carried this message id, at any time.
    fn recall(
        &self,
        workspace: &WorkspaceId,
        store: &StoreName,
        id: &MessageId,
    ) -> Result<Option<Seq>, StorageError>;

    /// Lets a checkpoint stand for the commits up to its seq. Their changes are dropped; those
    /// after `keep` keep their heads and origin.
    ///
    /// Refused as [`StorageError::Behind`] if the log does not reach the checkpoint's seq or a
    /// newer checkpoint stands, and as [`StorageError::Invalid`] if it would lose something: if
    /// `keep` is beyond its seq, or its heads are not those of the commit at its seq.
    fn checkpoint(
        &self,
        workspace: &WorkspaceId,
        store: &StoreName,
        checkpoint: &Checkpoint,
        keep: Seq,
    ) -> Result<(), StorageError>;

    /// Lanes with calls that wait, at most so many, in their order, from behind `after`.
    fn lanes(&self, after: Option<&Lane>, count_max: usize) -> Result<Vec<Lane>, StorageError>;

    /// The oldest calls that wait in a lane, at most so many, in the order of their ids; one that
    /// is damaged is passed over, and stays where it is, so that the others are made. Calls come
    /// with the commits of an [`append`](Self::append) that they tell of, at the same moment.
    fn calls(&self, lane: &Lane, count_max: usize) -> Result<Vec<WaitingCall>, StorageError>;

    /// Notes durably what became of calls: they wait no more. One that is not there any more is
    /// passed over.
    fn settle(&self, settled: &[(CallId, Settled)]) -> Result<(), StorageError>;

    /// What is kept of each webhook, by name; of one of which nothing is kept, nothing is said.
    fn backlog(&self) -> Result<Vec<Backlog>, StorageError>;

    /// The calls that were given up and are kept, at most so many, in the order of their ids, from
    /// behind `after`; those that are damaged are passed over, and count. A log may forget them at
    /// once, as this one does.
    fn given_up(
        &self,
        _after: Option<CallId>,
        _count_max: usize,
    ) -> Result<GivenUpPage, StorageError> {
        Ok(GivenUpPage::default())
    }

    /// Lets a call that was given up wait again, or all of them, as far as they are for these
    /// webhooks; the others stay as they are, since nobody would ever make them.
    fn retry(&self, _id: Option<CallId>, _webhooks: &[Arc<str>]) -> Result<Retried, StorageError> {
        Ok(Retried::default())
    }

    /// Counts the openings of a workspace, durably: 0 for the first, then 1, and so on. Transient
    /// stores take it as their epoch, so that a seq of a former life is never mistaken.
    fn opening(&self, workspace: &WorkspaceId) -> Result<u32, StorageError>;

    /// 16 random bytes that were drawn when the log was made, the same for ever: they name this
    /// place among all that keep the same documents. A copy of the log has the same.
    fn identity(&self) -> Result<[u8; 16], StorageError>;
}
