//! The book of a world: all that is true of it, held against all that anybody is told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use automerge::{AutoCommit, Change};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

use super::machine::Clock;
use super::plain;
use crate::document::Strings;
use crate::ids::{Seq, StoreName};
use crate::json::Json;
use crate::workspace::{Commit, Dialect, StoreConfig};

/// Something that must not be: what, in words.
pub(super) type Checked<T = ()> = Result<T, String>;

/// Lines of what happened last that are kept for a report.
const LINES_MAX: usize = 200;

/// The book of a world.
#[derive(Debug)]
pub(super) struct Book {
    clock: Arc<Clock>,
    pages: Mutex<Pages>,
    failed: Notify,
}

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Edits that clients and server code made.
    pub edits: u64,
    /// Commits that became durable.
    pub commits: u64,
    /// Messages that clients said and heard.
    pub messages: u64,
    /// Things that went wrong: cuts, crashes, failures of the log, lies.
    pub faults: u64,
    /// Lives of the server.
    pub lives: u64,
    /// Edits that were acknowledged.
    pub acknowledged: u64,
    /// Calls of triggers' handlers.
    pub firings: u64,
}

impl Counts {
    /// Adds those of another world.
    pub fn add(&mut self, other: Self) {
        self.edits += other.edits;
        self.commits += other.commits;
        self.messages += other.messages;
        self.faults += other.faults;
        self.lives += other.lives;
        self.acknowledged += other.acknowledged;
        self.firings += other.firings;
    }
}

struct Pages {
    stores: BTreeMap<StoreName, Truth>,
    marks: BTreeSet<String>,
    acknowledged: BTreeSet<(StoreName, String)>,
    counts: Counts,
    trace: Sha256,
    lines: VecDeque<String>,
    violation: Option<String>,
    /// Whether the log has failed to save anything so far.
    has_failed: bool,
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pages").field("counts", &self.counts).finish_non_exhaustive()
    }
}

/// What is true of a store.
#[derive(Debug)]
struct Truth {
    persistent: bool,
    /// Whether a text that is in it was put there whole.
    keeps_texts: bool,
    /// All durable changes, as Automerge alone merges them.
    document: AutoCommit,
    /// The state at every seq that is durable, or of a transient store at every seq that was seen.
    states: BTreeMap<Seq, Json>,
    commits: BTreeMap<Seq, Dialect>,
    ids: BTreeMap<String, Seq>,
}

impl Book {
    pub(super) fn new(clock: Arc<Clock>, stores: &[StoreConfig]) -> Self {
        let truth = |store: &StoreConfig| {
            let mut states = BTreeMap::new();
            let mut marks = BTreeSet::new();
            texts(&store.initial, &mut |text| {
                marks.insert(text.to_owned());
            });
            if store.persistent {
                states.insert(Seq(0), store.initial.clone());
            }
            let keeps_texts =
                store.policy.text.is_empty() && store.policy.strings == Strings::Scalar;
            let truth = Truth {
                persistent: store.persistent,
                keeps_texts,
                document: AutoCommit::new(),
                states,
                commits: BTreeMap::new(),
                ids: BTreeMap::new(),
            };
            ((store.name.clone(), truth), marks)
        };
        let (stores, marks): (BTreeMap<_, _>, Vec<_>) = stores.iter().map(truth).unzip();
        let pages = Pages {
            stores,
            marks: marks.into_iter().flatten().collect(),
            acknowledged: BTreeSet::new(),
            counts: Counts::default(),
            trace: Sha256::new(),
            lines: VecDeque::new(),
            violation: None,
            has_failed: false,
        };
        Self { clock, pages: Mutex::new(pages), failed: Notify::new() }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that something happened: it becomes part of the trace, and of the report if the world
    /// fails.
    pub(super) fn note(&self, who: &str, what: &[u8]) {
        let at = self.clock.elapsed_ms();
        let mut pages = self.pages();
        pages.trace.update(at.to_be_bytes());
        pages.trace.update(who.as_bytes());
        pages.trace.update(what);
        let told: String = String::from_utf8_lossy(what).chars().take(600).collect();
        pages.lines.push_back(format!("{at:>8} ms  {who:<12} {told}"));
        if pages.lines.len() > LINES_MAX {
            pages.lines.pop_front();
        }
    }

    /// Counts.
    pub(super) fn count(&self, count: impl FnOnce(&mut Counts)) {
        count(&mut self.pages().counts);
    }

    /// Something is as it must not be. The first time counts.
    pub(super) fn violate(&self, what: String) {
        self.note("VIOLATION", what.as_bytes());
        self.pages().violation.get_or_insert(what);
        self.failed.notify_one();
    }

    /// As [`violate`](Self::violate), if it is an error.
    pub(super) fn hold(&self, who: &str, checked: Checked) {
        if let Err(what) = checked {
            self.violate(format!("{who}: {what}"));
        }
    }

    /// Waits until something is as it must not be.
    pub(super) async fn failed(&self) {
        self.failed.notified().await;
    }

    pub(super) fn violation(&self) -> Option<String> {
        self.pages().violation.clone()
    }

    pub(super) fn counts(&self) -> Counts {
        self.pages().counts
    }

    /// What names the whole course of the world, and its last events.
    pub(super) fn trace(&self) -> (u128, Vec<String>) {
        let pages = self.pages();
        let hash: [u8; 32] = pages.trace.clone().finalize().into();
        let first = hash.first_chunk().copied().unwrap_or_default();
        (u128::from_be_bytes(first), pages.lines.iter().cloned().collect())
    }

    /// A mark is about to be written.
    pub(super) fn mark(&self, mark: &str) {
        let mut pages = self.pages();
        pages.marks.insert(mark.to_owned());
        pages.counts.edits += 1;
    }

    /// A commit is durable.
    pub(super) fn commit(&self, store: &StoreName, commit: &Commit) -> Checked {
        let mut pages = self.pages();
        let Pages { stores, marks, counts, trace, .. } = &mut *pages;
        let truth =
            stores.get_mut(store).ok_or(format!("a commit of {store}, which nobody made"))?;
        counts.commits += 1;
        trace.update(commit.seq.0.to_be_bytes());
        for head in &commit.heads {
            trace.update(head.0);
        }
        truth.commit(commit)?;
        if truth.keeps_texts
            && let Some(state) = truth.states.get(&commit.seq)
        {
            let mut invented = None;
            texts(state, &mut |text| {
                if text.starts_with('#') && !marks.contains(text) {
                    invented.get_or_insert(text.to_owned());
                }
            });
            if let Some(text) = invented {
                return Err(format!("{text:?} in {store} was never written by anybody"));
            }
        }
        Ok(())
    }

    /// The newest durable seq of a store.
    pub(super) fn newest(&self, store: &StoreName) -> Seq {
        let pages = self.pages();
        let states = pages.stores.get(store).map(|truth| &truth.states);
        states.and_then(|states| states.keys().next_back()).copied().unwrap_or_default()
    }

    /// Whether a store is kept in the log.
    pub(super) fn is_persistent(&self, store: &StoreName) -> bool {
        self.pages().stores.get(store).is_some_and(|truth| truth.persistent)
    }

    /// The newest durable state of a store.
    pub(super) fn state(&self, store: &StoreName) -> Option<Json> {
        self.pages().stores.get(store)?.states.values().next_back().cloned()
    }

    /// The heads of all durable changes of a store, sorted.
    pub(super) fn heads(&self, store: &StoreName) -> Vec<automerge::ChangeHash> {
        let mut pages = self.pages();
        let mut heads = match pages.stores.get_mut(store) {
            Some(truth) => truth.document.get_heads(),
            None => Vec::new(),
        };
        heads.sort_unstable();
        heads
    }

    /// All durable changes of a store, as one document.
    pub(super) fn document(&self, store: &StoreName) -> Option<AutoCommit> {
        self.pages().stores.get(store).map(|truth| truth.document.clone())
    }

    /// Somebody was told that this is the state at that seq.
    pub(super) fn saw(&self, store: &str, seq: u64, state: &Json) -> Checked {
        let name: StoreName = store.parse().map_err(|_bad| format!("told of a store {store:?}"))?;
        let mut pages = self.pages();
        let truth =
            pages.stores.get_mut(&name).ok_or(format!("told of {store}, which nobody made"))?;
        let seq = Seq(seq);
        match truth.states.get(&seq) {
            Some(known) if known == state => Ok(()),
            Some(known) => {
                Err(format!("at seq {seq} of {store} is {known}, and somebody was told {state}"))
            }
            None if truth.persistent => {
                Err(format!("told of seq {seq} of {store}, which is not durable: {state}"))
            }
            None => {
                truth.states.insert(seq, state.clone());
                Ok(())
            }
        }
    }

    /// The log fails to save something.
    pub(super) fn fail_save(&self) {
        self.pages().has_failed = true;
    }

    /// A client was told that its edit could not be saved.
    pub(super) fn not_saved(&self, id: &str) -> Checked {
        let has_failed = self.pages().has_failed;
        if has_failed { Ok(()) } else { Err(format!("{id} was not saved, and the log is well")) }
    }

    /// A client's edit was acknowledged.
    pub(super) fn acknowledged(&self, store: &str, id: &str, seq: u64) -> Checked {
        let name: StoreName = store.parse().map_err(|_bad| format!("told of a store {store:?}"))?;
        let mut pages = self.pages();
        pages.counts.acknowledged += 1;
        let truth = pages.stores.get(&name).ok_or(format!("an ack of {store}"))?;
        if truth.persistent {
            match truth.ids.get(id) {
                // Later where the state right after it is not remembered any more.
                Some(at) if at.0 <= seq => {}
                at => return Err(format!("{id} was acknowledged at {seq}; in the log: {at:?}")),
            }
            pages.acknowledged.insert((name, id.to_owned()));
        }
        Ok(())
    }

    /// Whether what was acknowledged is there, once; the log itself says what is there.
    pub(super) fn check_acknowledged(
        &self,
        recall: impl Fn(&StoreName, &str) -> Option<Seq>,
    ) -> Checked {
        let pages = self.pages();
        for (store, id) in &pages.acknowledged {
            let noted = pages.stores.get(store).and_then(|truth| truth.ids.get(id)).copied();
            let kept = recall(store, id);
            if kept.is_none() || kept != noted {
                return Err(format!(
                    "{id} of {store} was acknowledged at {noted:?}, kept {kept:?}"
                ));
            }
        }
        Ok(())
    }

    /// The states of a store after this seq, each with the one before it and the dialect of the
    /// commit between them.
    pub(super) fn steps(&self, store: &StoreName, after: Seq) -> Vec<(Seq, Json, Json, Dialect)> {
        let pages = self.pages();
        let Some(truth) = pages.stores.get(store) else { return Vec::new() };
        let steps = truth.commits.range(after.next()..).filter_map(|(seq, dialect)| {
            let before = truth.states.get(&Seq(seq.0.saturating_sub(1)))?;
            Some((*seq, before.clone(), truth.states.get(seq)?.clone(), *dialect))
        });
        steps.collect()
    }
}

impl Truth {
    fn commit(&mut self, commit: &Commit) -> Checked {
        let newest = self.states.keys().next_back().copied().unwrap_or_default();
        if commit.seq != newest.next() {
            return Err(format!("seq {} was appended after {newest}", commit.seq));
        }
        let decode = |bytes: &Vec<u8>| Change::from_bytes(bytes.clone());
        let changes: Result<Vec<Change>, _> = commit.changes.iter().map(decode).collect();
        let changes = changes.map_err(|error| format!("a change in the log: {error}"))?;
        let applied = self.document.apply_changes(changes);
        applied.map_err(|error| format!("a change in the log cannot be applied: {error}"))?;
        let mut heads = self.document.get_heads();
        heads.sort_unstable();
        if heads != commit.heads {
            return Err(format!(
                "the heads at {} are {heads:?}, not {:?}",
                commit.seq, commit.heads
            ));
        }
        self.states.insert(commit.seq, plain::read(&self.document));
        self.commits.insert(commit.seq, commit.origin.dialect);
        if let Some(id) = &commit.origin.id
            && let Some(before) = self.ids.insert(id.as_str().to_owned(), commit.seq)
        {
            return Err(format!("{id:?} was applied at {before} and at {}", commit.seq));
        }
        Ok(())
    }
}

/// Every text in a value.
fn texts(json: &Json, found: &mut impl FnMut(&str)) {
    match json {
        Json::String(text) => found(text),
        Json::Array(array) => array.iter().for_each(|element| texts(element, found)),
        Json::Object(object) => object.iter().for_each(|(_, member)| texts(member, found)),
        _ => {}
    }
}
