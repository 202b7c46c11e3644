//! The disk of a simulated server: it outlives the server, and fails in every way that the contract
//! of [`ChangeLog`] allows.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::book::Book;
use super::chance::Chance;
use super::plan::{Fault, Plan};
use crate::ids::{Seq, StoreName, WorkspaceId};
use crate::storage::memory::MemoryLog;
use crate::storage::{
    AppendTo, Backlog, CallId, ChangeLog, Lane, Settled, StorageError, WaitingCall,
};
use crate::workspace::{Checkpoint, MessageId, Stored};

/// What is left when the server is gone.
#[derive(Debug)]
pub(super) struct Disk {
    kept: MemoryLog,
    book: Arc<Book>,
    plan: Plan,
    chance: Mutex<Chance>,
    /// Whether nothing goes wrong any more.
    healed: AtomicBool,
}

/// One life of the server: from its start to its crash.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) number: u64,
    dead: AtomicBool,
    /// Rung when it dies by itself.
    died: Notify,
}

impl Life {
    pub(super) fn new(number: u64) -> Self {
        Self { number, dead: AtomicBool::new(false), died: Notify::new() }
    }

    /// From now on nothing that is left of it reaches the disk, or anybody.
    pub(super) fn die(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.died.notify_one();
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    pub(super) async fn died(&self) {
        self.died.notified().await;
    }
}

/// The disk as one life of the server sees it.
#[derive(Debug)]
pub(super) struct SimLog {
    pub(super) disk: Arc<Disk>,
    pub(super) life: Arc<Life>,
}

impl Disk {
    pub(super) fn new(book: Arc<Book>, plan: Plan) -> Self {
        let mut chance = Chance::new(plan.seed, "disk");
        Self {
            kept: MemoryLog::with_identity(chance.bytes()),
            book,
            plan,
            chance: Mutex::new(chance),
            healed: AtomicBool::new(false),
        }
    }

    /// From now on all goes well.
    pub(super) fn heal(&self) {
        self.healed.store(true, Ordering::Relaxed);
    }

    /// The log itself, to look at.
    pub(super) fn kept(&self) -> &MemoryLog {
        &self.kept
    }

    /// Whether this goes wrong now.
    fn strikes(&self, fault: Fault, once_in: u64) -> bool {
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        let strikes =
            chance.one_in(once_in) && self.plan.has(fault) && !self.healed.load(Ordering::Relaxed);
        drop(chance);
        if strikes {
            self.book.count(|counts| counts.faults += 1);
            self.book.note("disk", fault.as_str().as_bytes());
        }
        strikes
    }

    fn append(&self, entry: &AppendTo) -> Result<(), StorageError> {
        let mut appended = self.kept.append(std::slice::from_ref(entry))?;
        appended.pop().unwrap_or(Ok(()))?;
        let store = &entry.append.store;
        let newest = self.book.newest(store);
        for commit in entry.append.commits.iter().filter(|commit| commit.seq > newest) {
            self.book.hold("log", self.book.commit(store, commit));
        }
        Ok(())
    }
}

fn failed() -> StorageError {
    StorageError::Failed("the simulated disk failed".to_owned())
}

impl SimLog {
    /// What the life may still do.
    fn living(&self) -> Result<&Disk, StorageError> {
        if self.life.is_dead() { Err(failed()) } else { Ok(&self.disk) }
    }

    /// Whether the read fails, or the server dies of it.
    fn readable(&self) -> Result<&Disk, StorageError> {
        let disk = self.living()?;
        if disk.strikes(Fault::CrashInRecovery, 40) {
            self.life.die();
            return Err(failed());
        }
        if disk.strikes(Fault::FailedRead, 12) { Err(failed()) } else { Ok(disk) }
    }
}

impl ChangeLog for SimLog {
    fn append(&self, batch: &[AppendTo]) -> Result<Vec<Result<(), StorageError>>, StorageError> {
        let disk = self.living()?;
        if disk.strikes(Fault::CrashInAppend, 150) {
            self.life.die();
            return Err(failed());
        }
        if disk.strikes(Fault::FailedAppend, 30) {
            disk.book.fail_save();
            return Err(StorageError::Full);
        }
        if disk.strikes(Fault::FailedAppend, 20) {
            disk.book.fail_save();
            return Err(failed());
        }
        let append = |entry: &AppendTo| {
            if disk.strikes(Fault::ShortAppend, 30) {
                disk.book.fail_save();
                return Err(failed());
            }
            disk.append(entry)
        };
        let appended: Vec<_> = batch.iter().map(append).collect();
        if disk.strikes(Fault::CrashInAppend, 150) {
            self.life.die();
        }
        if disk.strikes(Fault::TornAppend, 8) {
            disk.book.fail_save();
            return Err(failed());
        }
        Ok(appended)
    }

    fn read(&self, workspace: &WorkspaceId, store: &StoreName) -> Result<Stored, StorageError> {
        self.readable()?.kept.read(workspace, store)
    }

    fn stores(&self, workspace: &WorkspaceId) -> Result<Vec<(StoreName, Seq)>, StorageError> {
        self.readable()?.kept.stores(workspace)
    }

    fn recall(
        &self,
        workspace: &WorkspaceId,
        store: &StoreName,
        id: &MessageId,
    ) -> Result<Option<Seq>, StorageError> {
        self.readable()?.kept.recall(workspace, store, id)
    }

    fn checkpoint(
        &self,
        workspace: &WorkspaceId,
        store: &StoreName,
        checkpoint: &Checkpoint,
        keep: Seq,
    ) -> Result<(), StorageError> {
        let disk = self.living()?;
        if disk.strikes(Fault::FailedCheckpoint, 4) {
            return Err(failed());
        }
        disk.kept.checkpoint(workspace, store, checkpoint, keep)?;
        // It stands, and nobody knows.
        if disk.strikes(Fault::FailedCheckpoint, 4) { Err(failed()) } else { Ok(()) }
    }

    fn backlog(&self) -> Result<Vec<Backlog>, StorageError> {
        self.readable()?.kept.backlog()
    }

    fn opening(&self, workspace: &WorkspaceId) -> Result<u32, StorageError> {
        self.readable()?.kept.opening(workspace)
    }

    fn lanes(&self, after: Option<&Lane>, count_max: usize) -> Result<Vec<Lane>, StorageError> {
        self.readable()?.kept.lanes(after, count_max)
    }

    fn calls(&self, lane: &Lane, count_max: usize) -> Result<Vec<WaitingCall>, StorageError> {
        self.readable()?.kept.calls(lane, count_max)
    }

    fn settle(&self, settled: &[(CallId, Settled)]) -> Result<(), StorageError> {
        self.living()?.kept.settle(settled)
    }

    fn identity(&self) -> Result<[u8; 16], StorageError> {
        self.living()?.kept.identity()
    }
}
