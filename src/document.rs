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
mod receive;
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
        } else if is_undisturbed(&self.doc, base, &self.root, &entries) {
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
                written.as_ref().is_some_and(|change| has_landed(doc, change, next, entries));
            let after = if landed {
                laid_over(now, next, entries)
            } else {
                sharing(now, projection::read(doc)?)
            };
            judge(&projection::strip_reserved(now), &projection::strip_reserved(&after))?;
            Ok(Some(after))
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

/// A change as it is kept and sent: deflated, unless that would cost more than it saves.
fn encoded(mut change: Change) -> Vec<u8> {
    if change.raw_bytes().len() < limits::CHANGE_DEFLATED_BYTES_MIN {
        return change.raw_bytes().to_vec();
    }
    change.bytes().into_owned()
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
