//! The log without a disk: for tests, and for embedding where nothing needs to outlive the process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    AppendTo, Backlog, CallId, ChangeLog, Lane, Settled, StorageError, WaitingCall, accept, time_of,
};
use crate::ids::{Seq, StoreName, WorkspaceId};
use crate::workspace::{Append, Call, Checkpoint, Commit, MessageId, Stored};

/// A [`ChangeLog`] that is gone when it is dropped.
#[derive(Debug)]
pub struct MemoryLog {
    identity: [u8; 16],
    shelves: Mutex<BTreeMap<WorkspaceId, Shelf>>,
    calls: Mutex<Calls>,
}

/// What webhooks are to be told.
#[derive(Debug, Default)]
struct Calls {
    newest: u64,
    waiting: BTreeMap<Lane, BTreeMap<CallId, Call>>,
}

/// What is kept of one workspace.
#[derive(Debug, Default)]
struct Shelf {
    stores: BTreeMap<StoreName, Kept>,
    openings: u32,
}

/// What is kept of one store. Invariant: `commits` is gapless and ends at `newest`.
#[derive(Debug, Default)]
struct Kept {
    newest: Seq,
    checkpoint: Option<Checkpoint>,
    commits: BTreeMap<Seq, Commit>,
    /// Whether a commit that is gone carried a message id.
    older_messages: bool,
    messages: BTreeMap<MessageId, Seq>,
}

impl Default for MemoryLog {
    fn default() -> Self {
        Self::with_identity(rand::random())
    }
}

impl MemoryLog {
    /// An empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty log of this [identity](ChangeLog::identity).
    pub fn with_identity(identity: [u8; 16]) -> Self {
        Self { identity, shelves: Mutex::default(), calls: Mutex::default() }
    }

    /// The shelves. No step below panics halfway through a change, so what a panic elsewhere has
    /// poisoned is still whole.
    fn shelves(&self) -> MutexGuard<'_, BTreeMap<WorkspaceId, Shelf>> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Calls {
    fn push(&mut self, workspace: &WorkspaceId, store: &StoreName, call: &Call) {
        let (workspace, store) = (workspace.clone(), store.clone());
        let lane = Lane { webhook: Arc::clone(&call.webhook), workspace, store };
        self.newest = self.newest.saturating_add(1);
        self.waiting.entry(lane).or_default().insert(CallId(self.newest), call.clone());
    }
}

impl ChangeLog for MemoryLog {
    fn append(&self, batch: &[AppendTo]) -> Result<Vec<Result<(), StorageError>>, StorageError> {
        let mut shelves = self.shelves();
        let mut append = |entry: &AppendTo| {
            accept::check(&entry.append)?;
            let nothing = Kept::default();
            let shelf = shelves.get(&entry.workspace);
            let kept = shelf.and_then(|shelf| shelf.stores.get(&entry.append.store));
            let new = kept.unwrap_or(&nothing).accept(&entry.append)?;
            if !new.is_empty() {
                let newest = kept.map_or(Seq::default(), |kept| kept.newest);
                let mut calls = self.waiting();
                for call in accept::calls(&entry.append, newest) {
                    calls.push(&entry.workspace, &entry.append.store, call);
                }
                drop(calls);
                let shelf = shelves.entry(entry.workspace.clone()).or_default();
                shelf.stores.entry(entry.append.store.clone()).or_default().extend(new);
            }
            Ok(())
        };
        Ok(batch.iter().map(&mut append).collect())
    }

    fn read(&self, workspace: &WorkspaceId, store: &StoreName) -> Result<Stored, StorageError> {
        let shelves = self.shelves();
        let kept = shelves.get(workspace).and_then(|shelf| shelf.stores.get(store));
        Ok(kept.map_or_else(Stored::default, Kept::stored))
    }

    fn stores(&self, workspace: &WorkspaceId) -> Result<Vec<(StoreName, Seq)>, StorageError> {
        let shelves = self.shelves();
        let stores = shelves.get(workspace).into_iter().flat_map(|shelf| &shelf.stores);
        Ok(stores.map(|(name, kept)| (name.clone(), kept.newest)).collect())
    }

    fn recall(
        &self,
        workspace: &WorkspaceId,
        store: &StoreName,
        id: &MessageId,
    ) -> Result<Option<Seq>, StorageError> {
        let shelves = self.shelves();
        let kept = shelves.get(workspace).and_then(|shelf| shelf.stores.get(store));
        Ok(kept.and_then(|kept| kept.messages.get(id)).copied())
    }

    fn checkpoint(
        &self,
        workspace: &WorkspaceId,
        store: &StoreName,
        checkpoint: &Checkpoint,
        keep: Seq,
    ) -> Result<(), StorageError> {
        let mut shelves = self.shelves();
        let kept = shelves.get_mut(workspace).and_then(|shelf| shelf.stores.get_mut(store));
        match kept {
            Some(kept) => kept.checkpoint(store, checkpoint, keep),
            None => accept::check_checkpoint(store, checkpoint, keep, Default::default()),
        }
    }

    fn opening(&self, workspace: &WorkspaceId) -> Result<u32, StorageError> {
        let mut shelves = self.shelves();
        let openings = &mut shelves.entry(workspace.clone()).or_default().openings;
        let opening = *openings;
        *openings = opening
            .checked_add(1)
            .ok_or_else(|| StorageError::Failed("too many openings".to_owned()))?;
        Ok(opening)
    }

    fn lanes(&self, after: Option<&Lane>, count_max: usize) -> Result<Vec<Lane>, StorageError> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let calls = self.waiting();
        let lanes = calls.waiting.range::<Lane, _>((from, Unbounded));
        Ok(lanes.take(count_max).map(|(lane, _)| lane.clone()).collect())
    }

    fn calls(&self, lane: &Lane, count_max: usize) -> Result<Vec<WaitingCall>, StorageError> {
        let calls = self.waiting();
        let waiting = calls.waiting.get(lane).into_iter().flatten().take(count_max);
        Ok(waiting.map(|(id, call)| WaitingCall { id: *id, call: call.clone() }).collect())
    }

    /// Nobody can look at what was given up: it is forgotten.
    fn settle(&self, settled: &[(CallId, Settled)]) -> Result<(), StorageError> {
        let mut calls = self.waiting();
        for lane in calls.waiting.values_mut() {
            lane.retain(|id, _| settled.iter().all(|(gone, _)| gone != id));
        }
        calls.waiting.retain(|_, lane| !lane.is_empty());
        Ok(())
    }

    fn backlog(&self) -> Result<Vec<Backlog>, StorageError> {
        let mut backlogs: BTreeMap<Arc<str>, Backlog> = BTreeMap::new();
        for (lane, calls) in &self.waiting().waiting {
            let webhook = Arc::clone(&lane.webhook);
            let backlog = backlogs.entry(Arc::clone(&webhook)).or_insert_with(|| Backlog {
                webhook,
                waiting: 0,
                given_up: 0,
                oldest: None,
            });
            backlog.waiting = backlog.waiting.saturating_add(calls.len());
            let first = calls.first_key_value().and_then(|(_, call)| time_of(&call.told));
            backlog.oldest = backlog.oldest.into_iter().chain(first).min();
        }
        Ok(backlogs.into_values().collect())
    }

    fn identity(&self) -> Result<[u8; 16], StorageError> {
        Ok(self.identity)
    }
}

impl Kept {
    /// The commits of an append that are new, if all of it may be taken. Changes nothing.
    fn accept<'a>(&self, append: &'a Append) -> Result<&'a [Commit], StorageError> {
        let (known, new) = accept::split(append, self.newest)?;
        let covered = self.checkpoint_seq();
        for commit in known {
            if commit.seq <= covered || self.commits.get(&commit.seq) != Some(commit) {
                return Err(accept::behind(&append.store, self.newest));
            }
        }
        let mut ids = BTreeMap::new();
        for commit in new {
            let Some(id) = &commit.origin.id else { continue };
            let former = self.messages.get(id).copied().or(ids.insert(id, commit.seq));
            if let Some(former) = former {
                return Err(accept::repeated(commit.seq, former));
            }
        }
        Ok(new)
    }

    /// Takes commits that were accepted.
    fn extend(&mut self, commits: &[Commit]) {
        for commit in commits {
            if let Some(id) = &commit.origin.id {
                self.messages.insert(id.clone(), commit.seq);
            }
            self.newest = commit.seq;
            self.commits.insert(commit.seq, commit.clone());
        }
    }

    fn checkpoint(
        &mut self,
        store: &StoreName,
        checkpoint: &Checkpoint,
        keep: Seq,
    ) -> Result<(), StorageError> {
        let standing = self.checkpoint_seq();
        accept::check_checkpoint(store, checkpoint, keep, (self.newest, standing))?;
        let commit = self.commits.get(&checkpoint.seq).map(|commit| &commit.heads);
        let heads = commit.or(self.checkpoint.as_ref().map(|standing| &standing.heads));
        accept::check_heads(checkpoint, heads.map_or(&[], Vec::as_slice))?;

        let rest = self.commits.split_off(&keep.next());
        let gone = std::mem::replace(&mut self.commits, rest);
        self.older_messages |= gone.values().any(|commit| commit.origin.id.is_some());
        #[cfg(planted)]
        let checkpoint = &Checkpoint {
            seq: if crate::planted::is("checkpoint-too-far") {
                checkpoint.seq.next()
            } else {
                checkpoint.seq
            },
            ..checkpoint.clone()
        };
        for commit in self.commits.range_mut(..=checkpoint.seq) {
            commit.1.changes.clear();
        }
        self.checkpoint = Some(checkpoint.clone());
        Ok(())
    }

    fn checkpoint_seq(&self) -> Seq {
        self.checkpoint.as_ref().map_or(Seq::default(), |checkpoint| checkpoint.seq)
    }

    fn stored(&self) -> Stored {
        Stored {
            start: accept::start(self.newest),
            checkpoint: self.checkpoint.clone(),
            commits: self.commits.values().cloned().collect(),
            older_messages: self.older_messages,
        }
    }
}
