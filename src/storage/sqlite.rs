//! The embedded default: one SQLite file.
//!
//! SQLite keeps a transaction whole and puts it on stable storage; this module adds what SQLite
//! does not do for us:
//!
//! - Its pages have no checksum. Every row here carries one over all its fields and its key
//!   (`rows`), and every row is expected: a store's own row says which commits there must be, and
//!   names are a chain in which a missing link shows (`names`). What was damaged, lost or put in
//!   the wrong place reads as [`StorageError::Damaged`], never as other content or as nothing.
//! - It cuts its write-ahead log at the first damaged frame and goes on as if the rest had never
//!   been. `wal` looks first whether that would lose what was durable.
//! - It lets any number of processes write. A lock file of our own lets one (`folder`).
//! - After a failed commit, what was written of it may still be found by recovery. It is erased
//!   before the next write (`writer`).
//!
//! What is not noticed: decay in the last commits of the write-ahead log, which looks like a loss
//! of power, a write to `names` that the disk said it had done and had not, and the loss of a row
//! of `calls`.
//!
//! One connection writes and a few read; what is read is one consistent view and waits for no
//! writer.

pub mod backup;
mod calls;
pub mod compact;
pub mod doctor;
pub mod export;
mod fault;
mod folder;
mod identity;
pub mod import;
pub mod look;
mod migrate_1_2;
mod migrate_2_3;
mod names;
mod readers;
pub mod restore;
mod rows;
mod schema;
mod view;
mod wal;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use self::fault::Fault;
use self::folder::Folder;
use self::readers::Readers;
use self::writer::Writer;
use super::{
    AppendTo, Backlog, CallId, ChangeLog, GivenUpPage, Lane, Retried, Settled, StorageError,
    WaitingCall,
};
use crate::ids::{Seq, StoreName, WorkspaceId};
use crate::workspace::{Checkpoint, Commit, MessageId, Stored};

/// A [`ChangeLog`] in a folder of its own.
#[derive(Debug)]
pub struct SqliteLog {
    readers: Readers,
    writer: Mutex<Writer>,
    /// The lock on the folder; the last field, so that it goes after the connections.
    _folder: Folder,
}

impl SqliteLog {
    /// Opens the log in `folder`, or begins one there. The log has the folder to itself until it
    /// is dropped: a second one, here or in another process, is [`StorageError::InUse`].
    pub fn open(folder: &Path) -> Result<Self, StorageError> {
        let folder = Folder::take(folder)?;
        let database = folder.database();
        let begun = || -> Result<(Writer, Readers), Fault> {
            folder.settle()?;
            let writer = Writer::new(schema::open_writer(&database)?, folder.wal());
            Ok((writer, Readers::open(&database)?))
        };
        let (writer, readers) = begun()?;
        Ok(Self { readers, writer: Mutex::new(writer), _folder: folder })
    }

    /// Begins a store that the log does not have at a commit, in an epoch of its own, for which a
    /// checkpoint stands: it comes from elsewhere. It is durable when this returns.
    ///
    /// Refused as [`StorageError::Behind`] if the store is there, and as
    /// [`StorageError::Invalid`] if the commit is not the first of an epoch or the checkpoint is of
    /// another state.
    pub fn found(
        &self,
        workspace: &WorkspaceId,
        store: &StoreName,
        commit: &Commit,
        checkpoint: &Checkpoint,
    ) -> Result<(), StorageError> {
        self.write(|tx| writer::found(tx, workspace, store, commit, checkpoint))
    }

    /// Writes the file anew, without the pages that hold nothing. Until it is done, it takes up to
    /// twice its length on the disk.
    pub fn vacuum(&self) -> Result<(), StorageError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(writer.vacuum()?)
    }

    /// Runs one writing transaction. A panic in one cannot leave it open, because it is rolled back
    /// while unwinding; so a poisoned lock means nothing here.
    fn write<T>(
        &self,
        job: impl FnOnce(&mut rusqlite::Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<T, StorageError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(writer.transact(job)?)
    }
}

impl ChangeLog for SqliteLog {
    fn append(&self, batch: &[AppendTo]) -> Result<Vec<Result<(), StorageError>>, StorageError> {
        self.write(|tx| batch.iter().map(|entry| writer::append(tx, entry)).collect())
    }

    fn read(&self, workspace: &WorkspaceId, store: &StoreName) -> Result<Stored, StorageError> {
        self.readers.read(|view| view::stored(view, workspace, store))
    }

    fn stores(&self, workspace: &WorkspaceId) -> Result<Vec<(StoreName, Seq)>, StorageError> {
        self.readers.read(|view| view::stores(view, workspace))
    }

    fn held(&self, workspace: &WorkspaceId) -> Result<Vec<(StoreName, u64)>, StorageError> {
        self.readers.read(|view| view::held(view, workspace))
    }

    fn recall(
        &self,
        workspace: &WorkspaceId,
        store: &StoreName,
        id: &MessageId,
    ) -> Result<Option<Seq>, StorageError> {
        self.readers.read(|view| view::recall(view, workspace, store, id))
    }

    fn checkpoint(
        &self,
        workspace: &WorkspaceId,
        store: &StoreName,
        checkpoint: &Checkpoint,
        keep: Seq,
    ) -> Result<(), StorageError> {
        self.write(|tx| writer::checkpoint(tx, workspace, store, checkpoint, keep))
    }

    fn backlog(&self) -> Result<Vec<Backlog>, StorageError> {
        self.readers.read(calls::backlog)
    }

    fn given_up(
        &self,
        after: Option<CallId>,
        count_max: usize,
    ) -> Result<GivenUpPage, StorageError> {
        self.readers.read(|view| calls::given_up(view, after, count_max))
    }

    fn retry(&self, id: Option<CallId>, webhooks: &[Arc<str>]) -> Result<Retried, StorageError> {
        self.write(|tx| calls::retry(tx, id, webhooks))
    }

    fn opening(&self, workspace: &WorkspaceId) -> Result<u32, StorageError> {
        self.write(|tx| writer::opening(tx, workspace))
    }

    fn lanes(&self, after: Option<&Lane>, count_max: usize) -> Result<Vec<Lane>, StorageError> {
        self.readers.read(|view| calls::lanes(view, after, count_max))
    }

    fn calls(&self, lane: &Lane, count_max: usize) -> Result<Vec<WaitingCall>, StorageError> {
        self.readers.read(|view| calls::waiting(view, lane, count_max))
    }

    fn settle(&self, settled: &[(CallId, Settled)]) -> Result<(), StorageError> {
        self.write(|tx| calls::settle(tx, settled))
    }

    fn identity(&self) -> Result<[u8; 16], StorageError> {
        self.readers.read(identity::read)
    }
}
