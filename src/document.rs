//! The Automerge document behind a store, and the JSON it stands for.
//!
//! A [`Document`] keeps both, and keeps them in step: a JSON client's edit is written into the
//! document at the heads of the state it was made on, and what any change did to the document is
//! carried over to the JSON tree. Both are persistent structures, so a state that a stale client
//! speaks from costs what has changed since.

mod genesis;
mod guard;
mod policy;
mod projection;
mod sync;

use std::sync::Arc;

use automerge::transaction::CommitOptions;
use automerge::{ActorId, Automerge, AutomergeError, Change, ChangeHash, PatchLog, ReadDoc as _};

pub use genesis::{genesis, genesis_heads};
pub use policy::{PathPattern, Policy, Strings};
pub use projection::RESERVED_ROOT;
pub use sync::SyncSession;

use crate::ids::Millis;
use crate::json::{Entry, Explicit, Json, JsonError, JsonLimits, Key};
use crate::limits;

/// Why a document refused. It is as it was, unless the error [poisons](Self::poisons) it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DocumentError {
    /// The bytes are not what Automerge writes.
    #[error("not a valid Automerge message: {0}")]
    Malformed(String),
    /// The change nests deeper than [`limits::JSON_DEPTH_MAX`].
    #[error("the change nests too deep")]
    TooDeep,
    /// With the change the JSON would be larger than [`limits::DOCUMENT_BYTES_MAX`].
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
pub struct Note {
    /// When it was made.
    pub time: Millis,
    /// A word on it.
    pub message: Option<&'static str>,
}

impl Note {
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
}

impl Document {
    /// A document from its genesis, if it has one, or from what was saved of it.
    ///
    /// `checkpoint` is a saved document, `changes` encoded changes in causal order.
    pub fn load(
        policy: Arc<Policy>,
        checkpoint: Option<&[u8]>,
        changes: &[&[u8]],
    ) -> Result<Self, DocumentError> {
        guard::contained(|| {
            let mut doc = checkpoint.map_or_else(|| Ok(Automerge::new()), Automerge::load)?;
            let changes: Result<Vec<Change>, _> =
                changes.iter().map(|bytes| Change::from_bytes(bytes.to_vec())).collect();
            let changes = changes.map_err(|error| DocumentError::Malformed(error.to_string()))?;
            if !changes.is_empty() {
                doc.apply_changes(changes)?;
            }
            let root = projection::read(&doc)?;
            Ok(Self { doc, root, policy })
        })
    }

    /// Signs what is written from now on. An actor must be fresh for each opening of a document: a
    /// second change with the same actor and number would split replicas for ever.
    pub fn sign_as(&mut self, actor: &[u8]) {
        self.doc.set_actor(ActorId::from(actor));
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
        heads.iter().all(|head| self.doc.get_change_meta_by_hash(head).is_some())
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
        note: Note,
    ) -> Result<Written, DocumentError> {
        let root = projection::wrap_reserved(&base.root, next)?;
        let entries = projection::entries(&base.root, &root, explicit, &self.policy);
        let change = if entries.is_empty() {
            None
        } else if base.heads == self.heads() {
            let hash = self.write_here(&entries, note)?;
            self.root = root.clone();
            hash.and_then(|hash| self.doc.get_change_by_hash(&hash))
        } else {
            self.write_aside(base, &entries, note)?
        };
        let change = change.map(|mut change| (change.hash(), change.bytes().into_owned()));
        let heads = change.as_ref().map_or_else(|| base.heads.clone(), |(hash, _)| vec![*hash]);
        Ok(Written { change, state: State { heads, root } })
    }

    /// A panic in here may leave the document half changed.
    fn write_here(
        &mut self,
        entries: &[(Key, Entry)],
        note: Note,
    ) -> Result<Option<ChangeHash>, DocumentError> {
        let mut panicked = true;
        let written = guard::contained(|| {
            let mut tx = self.doc.transaction();
            let written = projection::write(&mut tx, &self.policy, entries);
            let hash = written.map(|()| tx.commit_with(note.options()).0);
            panicked = false;
            hash
        });
        if panicked { Err(DocumentError::Diverged) } else { written }
    }

    /// Automerge reports what a change did to the newest state only where it receives one: so a
    /// copy makes the change at the old heads, and the document receives it.
    fn write_aside(
        &mut self,
        base: &State,
        entries: &[(Key, Entry)],
        note: Note,
    ) -> Result<Option<Change>, DocumentError> {
        let mut copy = self.doc.clone();
        let mut tx =
            copy.transaction_at(PatchLog::null(), &base.heads).map_err(AutomergeError::from)?;
        projection::write(&mut tx, &self.policy, entries)?;
        let (hash, _) = tx.commit_with(note.options());
        let change = hash.and_then(|hash| copy.get_change_by_hash(&hash));
        if let Some(change) = change.clone() {
            self.receive(vec![change])?;
        }
        Ok(change)
    }

    /// Receives changes made elsewhere, and returns those that were new, encoded, in causal order.
    pub fn receive(&mut self, changes: Vec<Change>) -> Result<Vec<Vec<u8>>, DocumentError> {
        self.receive_and(changes, |_| Ok(()))
    }

    /// The document, as Automerge saves it.
    pub fn save(&self) -> Vec<u8> {
        self.doc.save()
    }

    /// Receives changes and then does something else, on a copy that takes the document's place if
    /// all went well.
    fn receive_and(
        &mut self,
        changes: Vec<Change>,
        then: impl FnOnce(&mut Automerge) -> Result<(), DocumentError>,
    ) -> Result<Vec<Vec<u8>>, DocumentError> {
        let mut copy = self.doc.clone();
        let before = copy.get_heads();
        let (copy, root, new) = guard::contained(|| {
            let root = absorb(&mut copy, &self.root, changes)?;
            let grows = root.encoded_len() > self.root.encoded_len();
            if grows && root.encoded_len() > limits::DOCUMENT_BYTES_MAX {
                return Err(DocumentError::TooLarge);
            }
            then(&mut copy)?;
            let changes = copy.get_changes(&before);
            let new = changes.into_iter().map(|mut change| change.bytes().into_owned()).collect();
            Ok((copy, root, new))
        })?;
        self.doc = copy;
        self.root = root;
        Ok(new)
    }
}

/// Applies changes to a document, and carries what they did over to its root map.
///
/// They go in one by one: when several of a batch touch the same list element, Automerge can
/// report a wrong index for what comes after it (see the tests). Where that would cost more than
/// reading the document anew, or a change waits for another, it is read anew.
fn absorb(doc: &mut Automerge, root: &Json, changes: Vec<Change>) -> Result<Json, DocumentError> {
    let many = changes.len() > limits::CHANGES_TRACED_MAX;
    let known = |doc: &Automerge, change: &Change| {
        change.deps().iter().all(|dep| doc.get_change_meta_by_hash(dep).is_some())
    };
    let mut root = root.clone();
    let mut changes = changes.into_iter();
    while let Some(change) = changes.next() {
        if many || !known(doc, &change) {
            let rest: Vec<Change> = std::iter::once(change).chain(changes).collect();
            doc.apply_changes(rest)?;
            let root = projection::read(doc)?;
            // One more for the map around a root that is no object.
            let depth_max = limits::JSON_DEPTH_MAX.saturating_add(1);
            root.check(&JsonLimits { depth_max, ..JsonLimits::default() })?;
            return Ok(root);
        }
        let mut log = PatchLog::active();
        doc.apply_changes_log_patches([change], &mut log)?;
        let deltas = doc.make_patches(&mut log);
        root = projection::apply(doc, &root, &deltas)?;
    }
    Ok(root)
}

fn sorted(mut heads: Vec<ChangeHash>) -> Vec<ChangeHash> {
    heads.sort_unstable();
    heads
}

#[cfg(test)]
mod tests;
