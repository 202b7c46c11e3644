//! The clients' side of a document: whole, or only its heads.

use std::collections::{BTreeMap, BTreeSet};

use automerge::sync::{
    ChunkList, Have, Message, MessageFlags, MessageVersion, State, SyncDoc as _,
};
use automerge::transaction::Transactable as _;
use automerge::{Automerge, Change, ChangeHash, ROOT, ReadDoc as _};

use super::board::EditKey;
use super::{Outcome, words};

/// Keys that the edits of a bench are spread over.
const KEYS: u64 = 500;

/// What names a change among the edits of a run: the beginning of its hash.
pub fn key_of(hash: &ChangeHash) -> EditKey {
    hash.0.iter().take(8).fold(0, |key, byte| key << 8 | u64::from(*byte))
}

/// A document that starts with so many changes, one key each, of 500.
pub fn prepared(changes: u64) -> Outcome<Automerge> {
    prepared_with(changes, KEYS)
}

/// A document that starts with so many changes, which put so many keys.
pub fn prepared_with(changes: u64, keys: u64) -> Outcome<Automerge> {
    let mut doc = Automerge::new();
    let each = keys.div_ceil(changes.max(1));
    for n in 0..changes {
        let mut tx = doc.transaction();
        for k in 0..each {
            let key = (n * each + k) % keys.max(1);
            tx.put(ROOT, format!("k{key:03}"), n).map_err(words)?;
        }
        tx.commit();
    }
    Ok(doc)
}

/// What a client of either kind does with what it hears.
pub trait Follower: Send + 'static {
    /// Takes a sync message; returns the changes that are new here.
    fn hear(&mut self, data: &[u8]) -> Outcome<Vec<ChangeHash>>;
    /// What is to be said, if anything.
    fn say(&mut self) -> Option<Vec<u8>>;
    /// Whether the server is known to have the same heads, and there are any.
    fn settled(&self) -> bool;
    /// The heads here.
    fn heads(&self) -> Vec<ChangeHash>;
    /// Makes one edit; a follower that cannot write refuses.
    fn edit(&mut self) -> Outcome<ChangeHash>;
    /// How many of its own edits, counted from the first, the server is known to have.
    fn acked(&self) -> u64;
    /// What names it as a writer.
    fn writer(&self) -> String;
    /// How many changes of a writer are here.
    fn edits_of(&self, writer: &str) -> u64;
}

/// A document with all that Automerge's sync protocol knows about the server.
#[derive(Debug)]
pub struct Replica {
    doc: Automerge,
    state: State,
    /// The server only copies: changes go out by themselves, and are not answered.
    copied: bool,
    unsent: Vec<Vec<u8>>,
    /// Its actor, as text: what tells its values from those of others.
    name: String,
    edits: u64,
    acked: u64,
    /// How many of the own edits each change of this run has among its ancestors.
    covers: BTreeMap<ChangeHash, u64>,
}

impl Replica {
    /// A client that starts with this document.
    pub fn new(doc: Automerge, copied: bool) -> Self {
        let (state, unsent, covers) = (State::new(), Vec::new(), BTreeMap::new());
        let name = doc.get_actor().to_hex_string();
        Self { doc, state, copied, unsent, name, edits: 0, acked: 0, covers }
    }

    /// Makes one change: a new value for the next key.
    fn put(&mut self) -> Outcome<ChangeHash> {
        self.edits += 1;
        let mut tx = self.doc.transaction();
        // The same value twice would be no change.
        let value = format!("{}-{}", self.name, self.edits);
        tx.put(ROOT, format!("k{:03}", self.edits % KEYS), value).map_err(words)?;
        let hash = tx.commit().0.ok_or("an edit changed nothing")?;
        self.covers.insert(hash, self.edits);
        if self.copied {
            let change = self.doc.get_change_by_hash(&hash).ok_or("an edit is not there")?;
            self.unsent.push(change.raw_bytes().to_vec());
        }
        Ok(hash)
    }

    /// The own changes, as bytes, that were not sent.
    pub fn take_unsent(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.unsent)
    }

    /// Notes the changes that came after these heads, and returns the foreign ones.
    fn note_since(&mut self, before: &[ChangeHash]) -> Vec<ChangeHash> {
        let mut foreign = Vec::new();
        for change in self.doc.get_changes_meta(before) {
            let covered = change.deps.iter().filter_map(|dep| self.covers.get(dep)).max();
            self.covers.insert(change.hash, covered.copied().unwrap_or(0));
            foreign.push(change.hash);
        }
        foreign
    }
}

impl Follower for Replica {
    fn hear(&mut self, data: &[u8]) -> Outcome<Vec<ChangeHash>> {
        let message = Message::decode(data).map_err(|error| format!("sync message: {error}"))?;
        let before = self.doc.get_heads();
        if self.copied {
            for chunk in message.changes.iter() {
                let change = Change::try_from(chunk).map_err(|error| error.to_string())?;
                if let Some(covered) = self.covers.get(&change.hash()) {
                    self.acked = self.acked.max(*covered);
                } else {
                    self.doc.apply_changes([change]).map_err(|error| error.to_string())?;
                }
            }
            return Ok(self.note_since(&before));
        }
        let received = self.doc.receive_sync_message(&mut self.state, message);
        received.map_err(|error| format!("sync message: {error}"))?;
        let foreign = self.note_since(&before);
        let theirs = self.state.their_heads.iter().flatten();
        let covered = theirs.filter_map(|head| self.covers.get(head)).max();
        self.acked = self.acked.max(covered.copied().unwrap_or(0));
        Ok(foreign)
    }

    fn say(&mut self) -> Option<Vec<u8>> {
        if !self.copied {
            return self.doc.generate_sync_message(&mut self.state).map(Message::encode);
        }
        if self.unsent.is_empty() {
            return None;
        }
        let changes = self.take_unsent();
        Some(plain_message(self.doc.get_heads(), Vec::new(), changes))
    }

    fn settled(&self) -> bool {
        let heads = self.doc.get_heads();
        !heads.is_empty() && self.state.their_heads.as_ref() == Some(&heads)
    }

    fn heads(&self) -> Vec<ChangeHash> {
        self.doc.get_heads()
    }

    fn edit(&mut self) -> Outcome<ChangeHash> {
        self.put()
    }

    fn acked(&self) -> u64 {
        self.acked
    }

    fn writer(&self) -> String {
        self.name.clone()
    }

    fn edits_of(&self, writer: &str) -> u64 {
        let changes = self.doc.get_changes_meta(&[]);
        let of_writer = changes.iter().filter(|change| change.actor.to_hex_string() == writer);
        of_writer.count() as u64
    }
}

/// A client that keeps only the heads of its document, and says what a whole one would.
///
/// A thousand of them cost the bench what one whole document costs.
#[derive(Debug)]
pub struct Watcher {
    heads: BTreeSet<ChangeHash>,
    /// Heads that both sides are known to have.
    shared: Vec<ChangeHash>,
    theirs: Vec<ChangeHash>,
    said: Option<BTreeSet<ChangeHash>>,
    copied: bool,
}

impl Watcher {
    /// A client that has the document up to these heads, and knows from the last time that the
    /// server has it too; without heads it is new.
    pub fn new(heads: Vec<ChangeHash>, copied: bool) -> Self {
        let known = heads.iter().copied().collect();
        Self { heads: known, shared: heads, theirs: Vec::new(), said: None, copied }
    }

    fn agrees(&self) -> bool {
        self.theirs.iter().copied().collect::<BTreeSet<_>>() == self.heads
    }
}

impl Follower for Watcher {
    fn hear(&mut self, data: &[u8]) -> Outcome<Vec<ChangeHash>> {
        let message = Message::decode(data).map_err(|error| format!("sync message: {error}"))?;
        let mut new = Vec::new();
        for chunk in message.changes.iter() {
            let Ok(change) = Change::try_from(chunk) else {
                // The whole document in one chunk, which the message's heads describe.
                self.heads = message.heads.iter().copied().collect();
                continue;
            };
            for dep in change.deps() {
                self.heads.remove(dep);
            }
            self.heads.insert(change.hash());
            new.push(change.hash());
        }
        self.theirs = message.heads;
        if self.agrees() {
            self.shared.clone_from(&self.theirs);
        }
        Ok(new)
    }

    fn say(&mut self) -> Option<Vec<u8>> {
        let nothing_new = self.said.as_ref() == Some(&self.heads);
        if self.copied || (nothing_new && self.agrees()) {
            return None;
        }
        self.said = Some(self.heads.clone());
        let heads = self.heads.iter().copied().collect();
        Some(plain_message(heads, self.shared.clone(), Vec::new()))
    }

    fn settled(&self) -> bool {
        !self.heads.is_empty() && self.agrees()
    }

    fn heads(&self) -> Vec<ChangeHash> {
        self.heads.iter().copied().collect()
    }

    fn edit(&mut self) -> Outcome<ChangeHash> {
        Err("a watcher does not write".to_owned())
    }

    fn acked(&self) -> u64 {
        0
    }

    fn writer(&self) -> String {
        String::new()
    }

    fn edits_of(&self, _writer: &str) -> u64 {
        0
    }
}

/// A sync message written by hand: these heads, nothing after the last sync, these changes.
fn plain_message(heads: Vec<ChangeHash>, last: Vec<ChangeHash>, changes: Vec<Vec<u8>>) -> Vec<u8> {
    let mut flags = MessageFlags::new();
    flags.set(MessageFlags::SUPPORTS_SYNC_RESET);
    let message = Message {
        heads,
        need: Vec::new(),
        have: vec![Have { last_sync: last, ..Have::default() }],
        changes: ChunkList::from(changes),
        flags: Some(flags),
        version: MessageVersion::V1,
    };
    message.encode()
}
