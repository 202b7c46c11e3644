//! Who has seen everything: what clients were told, held against the log and each other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use automerge::{Change, ChangeHash};
use serde_json::Value;
use statehouse::ids::{StoreName, WorkspaceId};
use statehouse::storage::ChangeLog as _;
use statehouse::storage::memory::MemoryLog;
use statehouse::workspace::MessageId;

/// What everybody edits.
pub(crate) const WORKSPACE: &str = "w";
pub(crate) const STORE: &str = "board";

/// How far a world is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Clients edit, and all goes wrong.
    Busy,
    /// Nothing goes wrong any more, and nobody begins anything.
    Quiet,
    /// The server is about to stop, and says so.
    Stopping,
}

/// How a client stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Standing {
    /// Whether it waits for nothing.
    pub(crate) at_rest: bool,
    pub(crate) seq: Option<u64>,
    pub(crate) heads: Option<Vec<ChangeHash>>,
    pub(crate) state: Value,
}

#[derive(Debug)]
struct Seen {
    stage: Stage,
    states: BTreeMap<u64, (String, Value)>,
    standings: BTreeMap<String, Standing>,
    acked: Vec<String>,
    /// Who heard that the server stops, once it was to.
    told_of_stop: Vec<String>,
    trace: u64,
}

/// Shared by all clients of a world.
#[derive(Debug, Clone)]
pub(crate) struct Witness {
    log: Arc<MemoryLog>,
    seen: Arc<Mutex<Seen>>,
}

impl Witness {
    pub(crate) fn new(log: Arc<MemoryLog>) -> Self {
        let seen = Seen {
            stage: Stage::Busy,
            states: BTreeMap::new(),
            standings: BTreeMap::new(),
            acked: Vec::new(),
            told_of_stop: Vec::new(),
            trace: 0xCBF2_9CE4_8422_2325,
        };
        Self { log, seen: Arc::new(Mutex::new(seen)) }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    pub(crate) fn stage(&self) -> Stage {
        self.seen().stage
    }

    pub(crate) fn enter(&self, stage: Stage) {
        self.seen().stage = stage;
    }

    /// Adds a line to the trace (FNV-1a over all of them).
    pub(crate) fn note(&self, who: &str, what: &str) {
        let millis = turmoil::sim_elapsed().unwrap_or_default().as_millis();
        let line = format!("{millis:>6} {who:<8} {what}");
        tracing::info!(target: "world", "{line}");
        let mut seen = self.seen();
        for byte in line.bytes() {
            seen.trace = (seen.trace ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    pub(crate) fn trace(&self) -> u64 {
        self.seen().trace
    }

    fn place() -> (WorkspaceId, StoreName) {
        (WORKSPACE.parse().unwrap(), STORE.parse().unwrap())
    }

    /// The newest seq that is saved.
    pub(crate) fn newest(&self) -> u64 {
        let (workspace, store) = Self::place();
        let stores = self.log.stores(&workspace).unwrap();
        stores.iter().find(|(name, _)| *name == store).map_or(0, |(_, seq)| seq.0)
    }

    /// The heads of what is saved.
    pub(crate) fn newest_heads(&self) -> Option<Vec<ChangeHash>> {
        let (workspace, store) = Self::place();
        self.log.read(&workspace, &store).unwrap().commits.pop().map(|commit| commit.heads)
    }

    /// A client was shown the state at a seq: it is saved, and the same for everybody.
    pub(crate) fn shown(&self, who: &str, seq: u64, state: &Value) {
        assert!(seq <= self.newest(), "{who} was shown seq {seq}, which is not saved");
        let mut seen = self.seen();
        let (first, known) =
            seen.states.entry(seq).or_insert_with(|| (who.to_owned(), state.clone()));
        assert_eq!(known, state, "seq {seq} is one state to {first} and another to {who}");
    }

    /// A client was told that its edit is saved.
    pub(crate) fn acked(&self, who: &str, id: &str, seq: u64) {
        let (workspace, store) = Self::place();
        let id_in_log = MessageId::new(id).unwrap();
        let saved = self.log.recall(&workspace, &store, &id_in_log).unwrap();
        let saved = saved.map(|seq| seq.0);
        assert_eq!(saved, Some(seq), "{who} was told that {id} is saved as seq {seq}");
        let mut seen = self.seen();
        assert!(!seen.acked.iter().any(|acked| acked == id), "{id} was acknowledged before");
        seen.acked.push(id.to_owned());
    }

    /// A client was told of heads: a state that is saved, or the one before the first commit.
    pub(crate) fn told_heads(&self, who: &str, heads: &[ChangeHash]) {
        let (workspace, store) = Self::place();
        let mut heads = heads.to_vec();
        heads.sort_unstable();
        let commits = self.log.read(&workspace, &store).unwrap().commits;
        let genesis = commits.first().and_then(|commit| commit.changes.first());
        let genesis = genesis.map(|bytes| Change::from_bytes(bytes.clone()).unwrap().hash());
        let is_genesis = match genesis {
            Some(genesis) => heads == [genesis],
            None => heads.len() <= 1,
        };
        let is_saved = is_genesis || commits.iter().any(|commit| commit.heads == heads);
        assert!(is_saved, "{who} was told of {heads:?}, which are not saved");
    }

    pub(crate) fn stands(&self, who: &str, standing: Standing) {
        self.seen().standings.insert(who.to_owned(), standing);
    }

    pub(crate) fn told_of_stop(&self, who: &str) {
        self.seen().told_of_stop.push(who.to_owned());
    }

    pub(crate) fn who_was_told_of_stop(&self) -> Vec<String> {
        let mut told = self.seen().told_of_stop.clone();
        told.sort_unstable();
        told
    }

    /// The state that all clients have come to; otherwise what is not settled.
    pub(crate) fn agreed(&self, clients: &[String]) -> Result<Value, String> {
        let (newest, heads) = (self.newest(), self.newest_heads());
        let seen = self.seen();
        let mut agreed: Option<(&String, &Value)> = None;
        for who in clients {
            let standing = seen.standings.get(who).ok_or_else(|| format!("{who} never came"))?;
            if !standing.at_rest {
                return Err(format!("{who} waits for something: {standing:?}"));
            }
            if standing.seq.is_some_and(|seq| seq != newest) {
                return Err(format!("{who} is not at seq {newest}: {standing:?}"));
            }
            if heads.is_some() && standing.heads.is_some() && standing.heads != heads {
                return Err(format!("{who} is not at {heads:?}: {standing:?}"));
            }
            let (first, state) = *agreed.get_or_insert((who, &standing.state));
            if *state != standing.state {
                return Err(format!("{first}: {state}\n{who}: {}", standing.state));
            }
        }
        agreed.map(|(_, state)| state.clone()).ok_or_else(|| "there is nobody".to_owned())
    }

    /// Every acknowledged edit is in the state, and none is in it twice.
    pub(crate) fn judge(&self, state: &Value) {
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for entry in state["log"].as_array().unwrap() {
            *counts.entry(entry.as_str().unwrap()).or_default() += 1;
        }
        let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
        assert!(twice.is_empty(), "edits that were done twice: {twice:?}");
        let seen = self.seen();
        let lost: Vec<_> =
            seen.acked.iter().filter(|id| !counts.contains_key(id.as_str())).collect();
        assert!(lost.is_empty(), "acknowledged edits that are lost: {lost:?}");
    }
}
