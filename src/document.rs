//! The Automerge document behind a store, and the JSON it stands for.
//!
//! A [`Document`] keeps both, and keeps them in step: a JSON client's edit is written into the
//! document at the heads of the state it was made on, and what any change did to the document is
//! carried over to the JSON tree. Both are persistent structures, so a state that a stale client
//! speaks from costs what has changed since.

mod author;
mod breach;
mod frozen;
mod genesis;
mod guard;
mod intake;
mod policy;
#[cfg(any(test, fuzzing))]
pub(crate) mod probe;
mod projection;
mod reenact;
mod replay;
mod shield;
mod sync;
mod undisturbed;

use std::sync::Arc;

use automerge::transaction::CommitOptions;
use automerge::{ActorId, Automerge, AutomergeError, Change, ChangeHash, PatchLog, ReadDoc as _};

pub use author::author;
pub use breach::Breach;
pub use frozen::Frozen;
pub use genesis::{begin, genesis, genesis_heads};
pub use intake::Foreign;
pub use policy::{PathPattern, Policy, Strings};
pub use projection::RESERVED_ROOT;
pub use replay::{Replay, Step, StepError, Stopped};
#[cfg(test)]
pub(crate) use sync::stock::StockSession;
pub use sync::{Incoming, Received, SyncMessage, SyncSession};

use crate::ids::Millis;
use crate::json::{Entry, Explicit, Identity, Json, JsonError, JsonLimits, Key, between};
use crate::limits;
use reenact::{Reenacted, is_next, reenact};
use shield::Shield;
use undisturbed::{has_landed, is_undisturbed, laid_over};

/// Why a document refused. It is as it was, unless the error [poisons](Self::poisons) it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DocumentError {
    /// The bytes are not what Automerge writes.
    #[error("not a valid Automerge message: {0}")]
    Malformed(String),
    /// A message claims more of something than the limits allow.
    #[error("more {0} than allowed")]
    TooMany(&'static str),
    /// The change nests deeper than [`JsonLimits::depth_max`].
    #[error("the change nests too deep")]
    TooDeep,
    /// With the change the JSON would be larger than [`JsonLimits::document_bytes_max`].
    #[error("the document would be too large")]
    TooLarge,
    /// A key in the change may not be used.
    #[error("{0}")]
    Json(#[from] JsonError),
    /// An object at the root may not use the key that roots other than objects are kept under.
    #[error("the key '{RESERVED_ROOT}' is reserved at the root")]
    ReservedKey,
    /// The heads name changes that are not in the document.
    #[error("the heads are not known")]
    UnknownHeads,
    /// A sync dialogue brings neither side anything new.
    #[error("the sync dialogue makes no progress")]
    NoProgress,
    /// Automerge refused or panicked on what it was given by a client.
    #[error("Automerge refused the change: {0}")]
    Refused(String),
    /// The workspace holds as much as it may, and this makes nothing smaller.
    #[error("the workspace is full: only what makes the state smaller is taken")]
    Full,
    /// The state that would come of it is not one that the store may have.
    #[error("{0}")]
    Unfit(Box<Breach>),
    /// The document and the JSON tree beside it do not fit together any more.
    #[error("the document and its JSON do not fit together")]
    Diverged,
}

impl DocumentError {
    /// Whether the document may be damaged and must be read anew from its log.
    pub fn poisons(&self) -> bool {
        matches!(self, Self::Diverged)
    }
}

impl From<AutomergeError> for DocumentError {
    fn from(error: AutomergeError) -> Self {
        Self::Refused(error.to_string())
    }
}

/// A state of a document, at which it can be written to.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    heads: Vec<ChangeHash>,
    root: Json,
}

impl State {
    /// The heads, sorted.
    pub fn heads(&self) -> &[ChangeHash] {
        &self.heads
    }

    /// The JSON.
    pub fn json(&self) -> Json {
        projection::strip_reserved(&self.root)
    }
}

/// What is noted in a change beside its operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note<'a> {
    /// When it was made.
    pub time: Millis,
    /// A word on it.
    pub message: Option<&'a str>,
}

/// Says whether a document may go from one state to another; `Err`: why not.
pub type Judge<'a> = &'a dyn Fn(&Json, &Json) -> Result<(), DocumentError>;

/// Lets everything pass.
const LENIENT: Judge<'static> = &|_before, _after| Ok(());

impl Note<'_> {
    fn options(self) -> CommitOptions {
        // Automerge keeps time in seconds since 1970.
        let seconds = i64::try_from(self.time.0 / 1_000).unwrap_or(i64::MAX);
        let mut options = CommitOptions::default().with_time(seconds);
        if let Some(message) = self.message {
            options.set_message(message);
        }
        options
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// The change: its name and its bytes; none if nothing differed.
    pub change: Option<(ChangeHash, Vec<u8>)>,
    /// The base with the edit on top, as the writer sees it.
    pub state: State,
}

/// An Automerge document and the JSON it stands for.
#[derive(Debug)]
pub struct Document {
    doc: Automerge,
    /// The root map of the document: the JSON, or the JSON under the reserved key.
    root: Json,
    policy: Arc<Policy>,
    /// What the document is put back to if a foreign change goes wrong in it.
    shield: Option<Shield>,
    saved: Option<Saved>,
    /// What changes from outside may make of the JSON.
    limits: JsonLimits,
    /// Changes that are received before the next is made again.
    pause: u32,
    /// Whether only what makes the JSON smaller is taken.
    full: bool,
}

/// The whole document as it was saved some changes ago: most of what a new client is sent.
#[derive(Debug)]
struct Saved {
    bytes: Arc<[u8]>,
    heads: Vec<ChangeHash>,
    /// Changes since.
    later: usize,
}

impl Document {
    /// A document from its genesis, if it has one, or from what was saved of it.
    ///
    /// `checkpoint` is a saved document, `changes` encoded changes in causal order. They are held
    /// against no limit: what was let in once stays.
    pub fn load(
        policy: Arc<Policy>,
        checkpoint: Option<&[u8]>,
        changes: &[&[u8]],
    ) -> Result<Self, DocumentError> {
        guard::contained(|| {
            let mut doc = checkpoint.map_or_else(|| Ok(Automerge::new()), Automerge::load)?;
            // What was saved is what the next client is sent that has nothing.
            let saved = checkpoint.map(|bytes| Saved {
                bytes: bytes.into(),
                heads: sorted(doc.get_heads()),
                later: changes.len(),
            });
            let changes: Result<Vec<Change>, _> =
                changes.iter().map(|bytes| Change::from_bytes(bytes.to_vec())).collect();
            let changes = changes.map_err(|error| DocumentError::Malformed(error.to_string()))?;
            if !changes.is_empty() {
                doc.apply_changes(changes)?;
            }
            let root = projection::read(&doc)?;
            let limits = JsonLimits::default();
            Ok(Self { doc, root, policy, shield: None, saved, limits, pause: 0, full: false })
        })
    }

    /// Signs what is written from now on. An actor must be fresh for each opening of a document: a
    /// second change with the same actor and number would split replicas for ever.
    pub fn sign_as(&mut self, actor: &[u8]) {
        self.doc.set_actor(ActorId::from(actor));
        self.shield = None;
    }

    /// Holds what comes in from now on against these limits. What is there already may stay, and
    /// shrink.
    pub fn hold_to(&mut self, limits: &JsonLimits) {
        self.limits = limits.clone();
    }

    /// Whether from now on nothing is taken but what makes the JSON smaller.
    pub fn fill(&mut self, full: bool) {
        self.full = full;
    }

    /// The JSON now.
    pub fn json(&self) -> Json {
        projection::strip_reserved(&self.root)
    }

    /// The heads now, sorted.
    pub fn heads(&self) -> Vec<ChangeHash> {
        sorted(self.doc.get_heads())
    }

    /// The state now.
    pub fn state(&self) -> State {
        State { heads: self.heads(), root: self.root.clone() }
    }

    /// Whether all of these changes are in the document.
    pub fn knows(&self, heads: &[ChangeHash]) -> bool {
        knows(&self.doc, heads)
    }

    /// The state at some heads. It walks the document: keep what it returns.
    pub fn state_at(&self, heads: &[ChangeHash]) -> Result<State, DocumentError> {
        if !self.knows(heads) {
            return Err(DocumentError::UnknownHeads);
        }
        let root = projection::read_at(&self.doc, heads)?;
        Ok(State { heads: sorted(heads.to_vec()), root })
    }

    /// Writes what differs between `base` and `next` as one change at the heads of `base`.
    ///
    /// At the newest heads the document then is `next`; at older ones it is the merge of both.
    pub fn write(
        &mut self,
        base: &State,
        next: &Json,
        explicit: Option<&Explicit>,
        note: Note<'_>,
    ) -> Result<Written, DocumentError> {
        self.write_if(base, next, explicit, note, LENIENT)
    }

    /// As [`write`](Self::write), if the state that the document then is in may follow on the one
    /// before.
    pub fn write_if(
        &mut self,
        base: &State,
        next: &Json,
        explicit: Option<&Explicit>,
        note: Note<'_>,
        judge: Judge<'_>,
    ) -> Result<Written, DocumentError> {
        let root = projection::wrap_reserved(&base.root, next)?;
        let entries = projection::entries(&base.root, &root, explicit, &self.policy);
        let change = if entries.is_empty() {
            None
        } else if base.heads == self.heads() {
            if self.full && root.encoded_len() >= self.root.encoded_len() {
                return Err(DocumentError::Full);
            }
            judge(&self.json(), next)?;
            let change = self.write_here(&entries, note)?;
            self.root = root.clone();
            change
        } else if is_undisturbed(&self.doc, &base.root, &self.root, &entries) {
            self.write_over(base, &root, &entries, note, judge)?
        } else {
            self.write_aside(base, &entries, note, judge)?
        };
        let change = change.map(|change| (change.hash(), encoded(change)));
        let heads = change.as_ref().map_or_else(|| base.heads.clone(), |(hash, _)| vec![*hash]);
        Ok(Written { change, state: State { heads, root } })
    }

    /// A panic in here may leave the document half changed.
    fn write_here(
        &mut self,
        entries: &[(Key, Entry)],
        note: Note<'_>,
    ) -> Result<Option<Change>, DocumentError> {
        let mut panicked = true;
        let written = guard::contained(|| {
            let mut tx = self.doc.transaction();
            let written = projection::write(&mut tx, &self.policy, entries);
            let hash = written.map(|()| tx.commit_with(note.options()).0);
            panicked = false;
            hash
        });
        let hash = if panicked { Err(DocumentError::Diverged) } else { written }?;
        let change = hash.and_then(|hash| self.doc.get_change_by_hash(&hash));
        self.note_change(change.as_ref());
        Ok(change)
    }

    /// Writes at old heads what is [undisturbed] since, and lays it over the JSON. `next` is the
    /// result on the base.
    fn write_over(
        &mut self,
        base: &State,
        next: &Json,
        entries: &[(Key, Entry)],
        note: Note<'_>,
        judge: Judge<'_>,
    ) -> Result<Option<Change>, DocumentError> {
        let policy = Arc::clone(&self.policy);
        let mut written = None;
        self.try_out(|doc, now, _limits| {
            let tx = doc.transaction_at(PatchLog::null(), &base.heads);
            let mut tx = tx.map_err(AutomergeError::from)?;
            projection::write(&mut tx, &policy, entries)?;
            let (hash, _) = tx.commit_with(note.options());
            written = hash.and_then(|hash| doc.get_change_by_hash(&hash));
            let landed =
                written.as_ref().is_none_or(|change| has_landed(doc, change, next, entries));
            let after = if landed {
                laid_over(now, next, entries)
            } else {
                sharing(now, projection::read(doc)?)
            };
            judge(&projection::strip_reserved(now), &projection::strip_reserved(&after))?;
            Ok(after)
        })?;
        self.note_change(written.as_ref());
        Ok(written)
    }

    /// Automerge reports what a change did to the newest state only where it receives one: so a
    /// copy makes the change at the old heads, and the document receives it.
    fn write_aside(
        &mut self,
        base: &State,
        entries: &[(Key, Entry)],
        note: Note<'_>,
        judge: Judge<'_>,
    ) -> Result<Option<Change>, DocumentError> {
        let mut copy = self.doc.clone();
        let mut tx =
            copy.transaction_at(PatchLog::null(), &base.heads).map_err(AutomergeError::from)?;
        projection::write(&mut tx, &self.policy, entries)?;
        let (hash, _) = tx.commit_with(note.options());
        let change = hash.and_then(|hash| copy.get_change_by_hash(&hash));
        if let Some(change) = &change {
            self.receive_one(change, judge)?;
        }
        Ok(change)
    }

    /// Writes a change that changes nothing, in the name of this actor.
    fn write_nothing(&mut self, actor: &[u8], note: Note<'_>) -> Option<Vec<u8>> {
        let writer = self.doc.get_actor().clone();
        self.doc.set_actor(ActorId::from(actor));
        let hash = self.doc.empty_commit(note.options());
        self.doc.set_actor(writer);
        let change = self.doc.get_change_by_hash(&hash)?;
        self.note_change(Some(&change));
        Some(encoded(change))
    }

    /// Receives changes made elsewhere, in causal order; those that are known are passed over. One
    /// that is refused takes only those with it that were made on top of it.
    pub fn receive(&mut self, changes: Vec<Change>) -> Result<Received, DocumentError> {
        let mut received = Received::default();
        let new = |change: &Change| !self.knows(&[change.hash()]);
        let changes: Vec<Change> = changes.into_iter().filter(new).collect();
        let rest = self.reenact_first(changes, &mut received)?;
        let mut refused = 0;
        // The halves that are still to be tried, the first on top.
        let mut parts = vec![rest];
        while let Some(mut part) = parts.pop() {
            let tried = if self.is_cheaper_together(part.len()) {
                self.receive_together(&part)
            } else if part.len() > 1 {
                Ok(false)
            } else {
                part.first()
                    .map_or(Ok(true), |change| self.receive_one(change, LENIENT).map(|()| true))
            };
            match tried {
                Ok(true) => received.add(part),
                Err(error) if error.poisons() => return Err(error),
                // An ancestor was refused before it; to find that out costs nothing.
                Err(error @ DocumentError::UnknownHeads) if part.len() == 1 => {
                    received.refused.get_or_insert(error);
                }
                Err(error) if part.len() == 1 => {
                    received.refused.get_or_insert(error);
                    refused += 1;
                    if refused == limits::CHANGES_REFUSED_MAX && !parts.is_empty() {
                        received.gave_up = true;
                        break;
                    }
                }
                Ok(false) | Err(_) => {
                    let second = part.split_off(part.len() / 2);
                    parts.extend([second, part]);
                }
            }
        }
        Ok(received)
    }

    /// Makes the first of these changes again, as many as can be, unless there are so many that
    /// they cost less [together](Self::together_ns). Returns the others.
    fn reenact_first(
        &mut self,
        mut changes: Vec<Change>,
        received: &mut Received,
    ) -> Result<Vec<Change>, DocumentError> {
        let again_ns = limits::REENACTMENT_NS.saturating_mul(count(changes.len()));
        if changes.len() > 1 && again_ns > self.together_ns() {
            return Ok(changes);
        }
        let mut done = 0;
        while let Some(change) = changes.get(done)
            && self.reenact_one(change, LENIENT)?
        {
            done += 1;
        }
        let rest = changes.split_off(done);
        received.add(changes);
        Ok(rest)
    }

    /// About what it costs to receive a change, however many more come with it: measured with
    /// Automerge 0.12.0, as are the others here, in nanoseconds.
    fn received_ns(&self) -> u64 {
        self.doc.stats().num_changes.saturating_mul(50).saturating_add(25_000)
    }

    /// About what it costs to receive any number of changes at once, and to read the JSON anew.
    fn together_ns(&self) -> u64 {
        let bytes = count(self.root.encoded_len()).max(limits::READ_ANEW_BYTES_MIN);
        bytes.saturating_mul(10).saturating_add(self.received_ns())
    }

    /// Whether so many changes cost less together than one by one.
    fn is_cheaper_together(&self, changes: usize) -> bool {
        self.received_ns().saturating_mul(count(changes)) > self.together_ns()
    }

    /// Receives a change and follows what it does, so that the JSON costs what the change costs.
    ///
    /// Only one: when several of a batch touch the same list element, Automerge can report a wrong
    /// index for what comes after it (see the tests).
    fn receive_one(&mut self, change: &Change, judge: Judge<'_>) -> Result<(), DocumentError> {
        if !self.knows(change.deps()) {
            return Err(DocumentError::UnknownHeads);
        }
        if self.reenact_one(change, judge)? {
            return Ok(());
        }
        let applied = change.clone();
        self.try_out(|doc, root, limits| {
            let mut log = PatchLog::active();
            let before = doc.get_heads();
            doc.apply_changes_log_patches([applied], &mut log)?;
            let deltas = doc.make_patches(&mut log);
            let after = projection::apply(doc, root, &deltas, limits)?;
            guard::read_back(doc, &before)?;
            judge(&projection::strip_reserved(root), &projection::strip_reserved(&after))?;
            Ok(after)
        })?;
        self.note_change(Some(change));
        Ok(())
    }

    /// Makes a change again if it was made on the newest state; returns whether that was done. It
    /// needs no reading back: a change with this name is what the document itself has written.
    fn reenact_one(&mut self, change: &Change, judge: Judge<'_>) -> Result<bool, DocumentError> {
        if self.pause > 0 || !is_next(&self.doc, change) {
            self.pause = self.pause.saturating_sub(1);
            return Ok(false);
        }
        let mut done = false;
        let tried = self.try_out(|doc, root, limits| match reenact(doc, change) {
            Reenacted::Done(deltas) => {
                let after = projection::apply(doc, root, &deltas, limits)?;
                judge(&projection::strip_reserved(root), &projection::strip_reserved(&after))?;
                done = true;
                Ok(after)
            }
            Reenacted::Left => Ok(root.clone()),
            Reenacted::Otherwise => Err(DocumentError::UnknownHeads),
        });
        match tried {
            Ok(()) if done => self.note_change(Some(change)),
            Ok(()) => {}
            Err(error) if error.poisons() => return Err(error),
            // Whether it is refused is found out by receiving it.
            Err(_) => {
                done = false;
                self.pause = limits::REENACTMENT_PAUSE_CHANGES;
            }
        }
        Ok(done)
    }

    /// Receives changes at once and reads the JSON anew; returns whether all of them were taken.
    fn receive_together(&mut self, changes: &[Change]) -> Result<bool, DocumentError> {
        let applied = changes.to_vec();
        self.try_out(|doc, root, limits| {
            let before = doc.get_heads();
            doc.apply_changes(applied)?;
            guard::read_back(doc, &before)?;
            let all = changes.iter().all(|change| knows(doc, &[change.hash()]));
            let after = projection::read(doc)?;
            check_anew(root, &after, limits)?;
            // Some wait for an ancestor that was refused.
            if all { Ok(sharing(root, after)) } else { Err(DocumentError::UnknownHeads) }
        })?;
        self.shield = None;
        if let Some(saved) = &mut self.saved {
            saved.later = saved.later.saturating_add(changes.len());
        }
        Ok(true)
    }

    /// Lets foreign changes into the document; where that goes wrong it is put back as it was.
    fn try_out(
        &mut self,
        step: impl FnOnce(&mut Automerge, &Json, &JsonLimits) -> Result<Json, DocumentError>,
    ) -> Result<(), DocumentError> {
        if self.shield.is_none() {
            self.shield = Some(Shield::new(&self.doc));
        }
        let Self { doc, root, limits, full, .. } = self;
        let full = *full;
        let heads_before = doc.get_heads().len();
        let tried = guard::contained(|| {
            let next = step(doc, root, limits)?;
            let grows = next.encoded_len() > root.encoded_len();
            if grows && next.encoded_len() > limits.document_bytes_max {
                return Err(DocumentError::TooLarge);
            }
            if full && next.encoded_len() >= root.encoded_len() {
                return Err(DocumentError::Full);
            }
            let heads = doc.get_heads().len();
            if heads > limits::DOCUMENT_HEADS_MAX && heads > heads_before {
                return Err(DocumentError::TooMany("heads"));
            }
            Ok(next)
        });
        match tried {
            Ok(next) => {
                self.root = next;
                Ok(())
            }
            Err(error) => self.put_back().and(Err(error)),
        }
    }

    fn put_back(&mut self) -> Result<(), DocumentError> {
        let shield = self.shield.as_ref().ok_or(DocumentError::Diverged)?;
        self.doc = shield.document()?;
        // The next that goes wrong does not do all of that again.
        self.shield = Some(Shield::new(&self.doc));
        Ok(())
    }

    /// Notes a change that the document has taken.
    fn note_change(&mut self, change: Option<&Change>) {
        let Some(change) = change else { return };
        self.shield = self.shield.take().and_then(|shield| shield.with(change));
        if let Some(saved) = &mut self.saved {
            saved.later = saved.later.saturating_add(1);
        }
    }

    /// The document, as Automerge saves it.
    pub fn save(&self) -> Vec<u8> {
        self.doc.save()
    }

    /// The whole document as it was saved not long ago, and the changes since.
    fn saved(&mut self) -> (Arc<[u8]>, Vec<Arc<[u8]>>) {
        // To save takes 4 us a change that there is, so the more there are the longer it waits.
        let many = usize::try_from(self.doc.stats().num_changes / 64).unwrap_or(usize::MAX);
        let later_max = limits::SAVED_CHANGES_MAX.saturating_add(many);
        let kept = self.saved.take().filter(|saved| saved.later <= later_max);
        let saved = kept.unwrap_or_else(|| Saved {
            bytes: self.doc.save().into(),
            heads: self.heads(),
            later: 0,
        });
        let later = if saved.later == 0 { Vec::new() } else { self.changes_since(&saved.heads) };
        let bytes = Arc::clone(&saved.bytes);
        self.saved = Some(saved);
        (bytes, later)
    }

    /// The changes that are not in the past of these heads, encoded, in causal order.
    fn changes_since(&self, heads: &[ChangeHash]) -> Vec<Arc<[u8]>> {
        let changes = self.doc.get_changes(heads).into_iter();
        changes.map(|change| encoded(change).into()).collect()
    }

    /// The changes of these names, as far as they are known, encoded.
    fn changes_named(&self, hashes: &[ChangeHash]) -> Vec<Arc<[u8]>> {
        let changes = hashes.iter().filter_map(|hash| self.doc.get_change_by_hash(hash));
        changes.map(|change| encoded(change).into()).collect()
    }

    /// The names of the changes that are not in the past of these heads.
    fn hashes_since(&self, heads: &[ChangeHash]) -> Vec<ChangeHash> {
        self.doc.get_changes_meta(heads).iter().map(|change| change.hash).collect()
    }
}

/// Holds a document that was read anew against the limits; its size is the caller's business. One
/// that came to be under larger limits is held against the ceilings.
fn check_anew(before: &Json, after: &Json, limits: &JsonLimits) -> Result<(), JsonError> {
    // One more for the map around a root that is no object.
    let limits = JsonLimits {
        depth_max: limits.depth_max.saturating_add(1),
        document_bytes_max: usize::MAX,
        ..limits.clone()
    };
    let ceilings = || JsonLimits {
        depth_max: limits::JSON_DEPTH_MAX.saturating_add(1),
        key_bytes_max: limits::KEY_BYTES_CEILING,
        ..limits.clone()
    };
    after.check(&limits).or_else(|error| {
        if before.check(&limits).is_ok() { Err(error) } else { after.check(&ceilings()) }
    })
}

/// A change as it is kept and sent: deflated, unless that would cost more than it saves.
fn encoded(mut change: Change) -> Vec<u8> {
    if change.raw_bytes().len() < limits::CHANGE_DEFLATED_BYTES_MIN {
        return change.raw_bytes().to_vec();
    }
    change.bytes().into_owned()
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn knows(doc: &Automerge, heads: &[ChangeHash]) -> bool {
    heads.iter().all(|head| doc.get_change_meta_by_hash(head).is_some())
}

/// A root that was read anew, with what has not changed shared with the one before: recent states
/// are kept, and each would otherwise hold the whole document once more.
fn sharing(before: &Json, after: Json) -> Json {
    let unlimited = JsonLimits {
        document_bytes_max: usize::MAX,
        depth_max: limits::JSON_DEPTH_MAX.saturating_add(1),
        key_bytes_max: usize::MAX,
        patch_ops_max: usize::MAX,
        forbid_prototype_keys: false,
    };
    let patch = between(before, &after, &Identity::default());
    match patch.apply(before, &unlimited) {
        Ok(applied) if applied.json == after => applied.json,
        _ => after,
    }
}

fn sorted(mut heads: Vec<ChangeHash>) -> Vec<ChangeHash> {
    heads.sort_unstable();
    heads
}

#[cfg(test)]
mod tests;
