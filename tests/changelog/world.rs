//! A log under test, and what is written to it.

use std::path::Path;

use automerge::ChangeHash;
use statehouse::ids::{Millis, Seq, SessionId, StoreName, WorkspaceId};
use statehouse::storage::memory::MemoryLog;
use statehouse::storage::sqlite::SqliteLog;
use statehouse::storage::{AppendTo, CallId, ChangeLog, Lane, StorageError};
use statehouse::workspace::actors::{Actors, Owner};
use statehouse::workspace::{Append, Call, Checkpoint, Commit, Dialect, MessageId, Origin, Stored};
use tempfile::TempDir;

/// One engine with one log. `log` is `None` only while it is being reopened.
pub(crate) struct World {
    log: Option<Box<dyn ChangeLog>>,
    folder: Option<TempDir>,
}

impl World {
    pub(crate) fn memory() -> Self {
        Self { log: Some(Box::new(MemoryLog::new())), folder: None }
    }

    pub(crate) fn sqlite() -> Self {
        let folder = folder();
        let log = SqliteLog::open(folder.path()).unwrap();
        Self { log: Some(Box::new(log)), folder: Some(folder) }
    }

    pub(crate) fn log(&self) -> &dyn ChangeLog {
        self.log.as_deref().unwrap()
    }

    /// Closes the log and opens it again; a log in memory just goes on.
    pub(crate) fn reopen(&mut self) {
        if let Some(folder) = &self.folder {
            self.log = None;
            self.log = Some(Box::new(SqliteLog::open(folder.path()).unwrap()));
        }
    }

    /// Appends commits to one store of the workspace "w".
    pub(crate) fn append(&self, store: &str, after: u64, commits: Vec<Commit>) -> Outcome {
        let [outcome] = self.batch(&[entry("w", store, after, commits)]).try_into().unwrap();
        outcome
    }

    pub(crate) fn batch(&self, batch: &[AppendTo]) -> Vec<Outcome> {
        self.log().append(batch).unwrap().into_iter().map(Outcome::from).collect()
    }

    pub(crate) fn read(&self, store: &str) -> Stored {
        self.log().read(&workspace("w"), &name(store)).unwrap()
    }

    /// Appends commits and what they tell webhooks.
    pub(crate) fn append_calls(
        &self,
        store: &str,
        commits: Vec<Commit>,
        calls: &[Call],
    ) -> Outcome {
        let after = commits[0].seq.0 - 1;
        let mut entry = entry("w", store, after, commits);
        entry.append.calls = calls.to_vec();
        let [outcome] = self.batch(&[entry]).try_into().unwrap();
        outcome
    }

    /// The ids of the calls that wait in a lane of the workspace "w", which must be these.
    pub(crate) fn waiting(&self, webhook: &str, store: &str, calls: &[Call]) -> Vec<CallId> {
        let (workspace, store) = (workspace("w"), name(store));
        let lane = Lane { webhook: webhook.into(), workspace, store };
        let waiting = self.log().calls(&lane, usize::MAX).unwrap();
        let told: Vec<Call> = waiting.iter().map(|waiting| waiting.call.clone()).collect();
        assert_eq!(told, calls);
        let first = self.log().calls(&lane, 1).unwrap();
        assert_eq!(first.first(), waiting.first(), "the oldest of them");
        waiting.into_iter().map(|waiting| waiting.id).collect()
    }

    /// The lanes in which calls wait, as webhook and store.
    pub(crate) fn lanes(&self) -> Vec<(String, String)> {
        let lanes = self.log().lanes(None, usize::MAX).unwrap();
        assert!(lanes.is_sorted());
        let mut one_by_one = Vec::new();
        while let [next] = &*self.log().lanes(one_by_one.last(), 1).unwrap() {
            one_by_one.push(next.clone());
        }
        assert_eq!(one_by_one, lanes);
        lanes.iter().map(|lane| (lane.webhook.to_string(), lane.store.to_string())).collect()
    }

    /// The seqs that `read` gives.
    pub(crate) fn seqs(&self, store: &str) -> Vec<u64> {
        self.read(store).commits.iter().map(|commit| commit.seq.0).collect()
    }

    pub(crate) fn recall(&self, store: &str, id: &str) -> Option<u64> {
        let id = MessageId::new(id).unwrap();
        self.log().recall(&workspace("w"), &name(store), &id).unwrap().map(|seq| seq.0)
    }

    /// What they are said to hold is about what is read of them.
    pub(crate) fn stores(&self, of: &str) -> Vec<(String, u64)> {
        let stores = self.log().stores(&workspace(of)).unwrap();
        let held = self.log().held(&workspace(of)).unwrap();
        assert!(held.iter().map(|(name, _)| name).eq(stores.iter().map(|(name, _)| name)));
        for (name, bytes) in held {
            let stored = self.log().read(&workspace(of), &name).unwrap();
            let changes = stored.commits.iter().flat_map(|commit| &commit.changes).map(Vec::len);
            let checkpoint = stored.checkpoint.iter().map(|checkpoint| checkpoint.bytes.len());
            let bare = changes.chain(checkpoint).sum::<usize>() as u64;
            // A log may write some bytes around each commit.
            let around = 64 * stored.commits.len() as u64;
            assert!((bare..=bare + around).contains(&bytes), "{name}: {bytes}, {bare}");
        }
        stores.into_iter().map(|(name, seq)| (name.to_string(), seq.0)).collect()
    }

    pub(crate) fn opening(&self, of: &str) -> u32 {
        self.log().opening(&workspace(of)).unwrap()
    }

    pub(crate) fn identity(&self) -> [u8; 16] {
        self.log().identity().unwrap()
    }

    /// Puts a checkpoint with the heads that [`commit`] gives the commit at its seq.
    pub(crate) fn checkpoint(&self, store: &str, seq: u64, keep: u64) -> Outcome {
        let checkpoint = checkpoint(seq);
        let (workspace, store) = (workspace("w"), name(store));
        self.log().checkpoint(&workspace, &store, &checkpoint, Seq(keep)).into()
    }
}

/// How a write ended, in a form that can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Behind(u64),
    Invalid,
    Damaged,
}

impl From<Result<(), StorageError>> for Outcome {
    fn from(result: Result<(), StorageError>) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(StorageError::Behind { newest, .. }) => Self::Behind(newest.0),
            Err(StorageError::Invalid(_)) => Self::Invalid,
            Err(StorageError::Damaged(_)) => Self::Damaged,
            Err(other) => panic!("{other}"),
        }
    }
}

/// A folder that is gone after the test; in memory where that can be had, because most tests are
/// about what is written and not about the disk.
pub(crate) fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.unwrap()
}

pub(crate) fn workspace(name: &str) -> WorkspaceId {
    name.parse().unwrap()
}

pub(crate) fn name(name: &str) -> StoreName {
    name.parse().unwrap()
}

/// A commit that is told apart from every other by its seq, with all that a commit can have.
pub(crate) fn commit(seq: u64) -> Commit {
    let byte = seq.to_le_bytes()[0];
    Commit {
        seq: Seq(seq),
        changes: vec![vec![byte; 3], Vec::new(), format!("change {seq}").into_bytes()],
        heads: heads(seq),
        time: Millis(u64::MAX - seq),
        origin: Origin {
            user: format!("Ådne \0 of {seq}"),
            session: Some(SessionId(u64::MAX - seq)),
            dialect: Dialect::Json,
            id: None,
        },
    }
}

/// What a commit tells a webhook.
pub(crate) fn call(webhook: &str, seq: u64) -> Call {
    Call {
        webhook: webhook.into(),
        seq: Seq(seq),
        path: format!("/s/{seq}").into(),
        told: format!(r#"{{"new":"{seq} of Ådne"}}"#).into(),
    }
}

/// The same with a message id.
pub(crate) fn message(seq: u64, id: &str) -> Commit {
    let mut commit = commit(seq);
    commit.origin.id = Some(MessageId::new(id).unwrap());
    commit
}

pub(crate) fn commits(seqs: std::ops::RangeInclusive<u64>) -> Vec<Commit> {
    seqs.map(commit).collect()
}

pub(crate) fn heads(seq: u64) -> Vec<ChangeHash> {
    let byte = seq.to_le_bytes()[0];
    vec![ChangeHash([byte; 32]), ChangeHash([byte.wrapping_add(1); 32])]
}

/// Some actors, of the server and of two users.
fn actors(seq: u64) -> Actors {
    let owners = [Owner::SERVER, Owner(seq), Owner::user("Ådne").unwrap()];
    let owned = (1..=seq.min(7)).zip(owners.into_iter().cycle());
    owned.map(|(number, owner)| (u128::from(number * seq).to_le_bytes(), owner)).collect()
}

pub(crate) fn checkpoint(seq: u64) -> Checkpoint {
    let bytes = format!("document {seq}").into_bytes();
    Checkpoint { seq: Seq(seq), heads: heads(seq), bytes, actors: actors(seq) }
}

pub(crate) fn entry(of: &str, store: &str, after: u64, commits: Vec<Commit>) -> AppendTo {
    let append = Append { store: name(store), after: Seq(after), commits, calls: Vec::new() };
    AppendTo { workspace: workspace(of), append }
}
