//! The Automerge sync exchange of one session with one store, from the side of a server.
//!
//! The other side is a stock Automerge client: it says which heads it has, describes what it holds
//! by a Bloom filter, and sends what the last description it saw did not cover. This side needs
//! no filter to serve it. Heads name a state exactly: a client whose heads are all known lacks
//! precisely what came after them. Only a client with heads nobody here has seen is asked, by a
//! filter of ours, for what it has beyond; and once that has come, its heads are known too.
//!
//! A client that was [told](SyncSession::is_told) all there is needs no state of its own any more:
//! the [news](SyncMessage::news) of a commit is one message, the same bytes for all such clients.
//! So a session costs the same however long the history is, and no filter that a stranger sent is
//! ever looked into.
//!
//! The dialogue starts anew with every connection: messages that a cut lost would otherwise count
//! as received. See "sync" in the Automerge documentation for the protocol itself.

mod message;
mod orphans;
#[cfg(test)]
pub(crate) mod stock;

use automerge::{ActorId, ChangeHash};

pub use message::SyncMessage;

use super::{Document, DocumentError, guard};
use crate::limits;
use guard::{GuardLimits, Opened};
use orphans::Orphans;

/// A client's sync message whose bytes are sound.
#[derive(Debug)]
pub struct Incoming(Opened);

impl Incoming {
    /// Reads a message as far as that needs no document.
    pub fn open(bytes: &[u8]) -> Result<Self, DocumentError> {
        guard::open_message(bytes, &GuardLimits::default()).map(Self)
    }

    /// Whether its sender has anything of the document.
    pub fn has_heads(&self) -> bool {
        !self.0.heads.is_empty()
    }

    /// The heads that its sender has.
    pub fn heads(&self) -> &[ChangeHash] {
        &self.0.heads
    }

    /// The actors of its changes that the document does not have, each once.
    pub fn new_authors(&self, document: &Document) -> Vec<ActorId> {
        let new = self.0.changes.iter().filter(|change| !document.knows(&[change.hash()]));
        let mut authors: Vec<_> = new.map(|change| change.actor_id().clone()).collect();
        authors.sort_unstable();
        authors.dedup();
        authors
    }

    /// The message as if nothing were in it: what it asks for is still answered.
    pub fn without_changes(mut self) -> Self {
        self.0.changes.clear();
        self
    }
}

/// What a message brought.
#[derive(Debug, Default)]
pub struct Received {
    /// The changes that were new, encoded, in causal order.
    pub changes: Vec<Vec<u8>>,
    /// Why some changes were refused; those in `changes` stand all the same.
    pub refused: Option<DocumentError>,
}

/// What one session is known to have of one document.
#[derive(Debug, Default)]
pub struct SyncSession {
    /// Whether the client was given all that the document has.
    told: bool,
    /// Whether it was asked for what it has beyond, and has brought nothing new since.
    asked: bool,
    /// Whether it reads whole documents, not only changes.
    reads_documents: bool,
    orphans: Orphans,
    /// What its last message asks for.
    question: Option<Question>,
    /// The heads of both sides when the last message had been taken.
    stand: (Vec<ChangeHash>, Vec<ChangeHash>),
    /// Messages in a row that changed neither.
    idle_rounds: u32,
}

#[derive(Debug)]
struct Question {
    heads: Vec<ChangeHash>,
    need: Vec<ChangeHash>,
    /// What the client says both sides had when they last spoke.
    last_sync: Vec<ChangeHash>,
}

impl SyncSession {
    /// A dialogue in which nothing was said yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the client was given all that the document has, and follows its news.
    pub fn is_told(&self) -> bool {
        self.told
    }

    /// Takes a message into the document. What it asks for, [`answer`](Self::answer) says.
    pub fn receive(
        &mut self,
        document: &mut Document,
        incoming: Incoming,
    ) -> Result<Received, DocumentError> {
        let Opened { heads, need, last_sync, bloom_is_empty, flags, changes } = incoming.0;
        let last_sync = last_sync.unwrap_or_default();
        self.reads_documents = flags.is_some();
        // A client resets when it was told of states that it does not have, and when it ignored
        // what it was sent.
        let starts_over = last_sync.is_empty() && bloom_is_empty;
        let asks_again = flags.is_some_and(|flags| flags.sync_reset);
        self.told &= !(starts_over || asks_again);
        let mut received = Received::default();
        if !changes.is_empty() {
            let ready = self.orphans.join(document, changes)?;
            received = document.receive(ready)?;
        }
        self.asked &= received.changes.is_empty();
        self.note_progress((document.heads(), heads.clone()))?;
        self.question = Some(Question { heads, need, last_sync });
        Ok(received)
    }

    /// What is to be said to the last message; `None` if nothing. After a
    /// [receive](Self::receive) that committed changes, the news of them must have gone out first.
    pub fn answer(&mut self, document: &mut Document) -> Option<SyncMessage> {
        let Question { heads, need, last_sync } = self.question.take()?;
        let (known, unknown): (Vec<_>, Vec<_>) =
            heads.into_iter().partition(|head| document.knows(&[*head]));
        if !unknown.is_empty() && !self.asked {
            self.asked = true;
            return Some(self.ask(document, unknown, last_sync));
        }
        if !self.told {
            self.told = true;
            let mut since = known;
            if !unknown.is_empty() && document.knows(&last_sync) {
                since.extend(last_sync);
            }
            return Some(SyncMessage::all_since(document, since, self.reads_documents));
        }
        self.asked &= !unknown.is_empty();
        SyncMessage::of_changes(document, &need)
    }

    /// Opens the dialogue with a client that has nothing, and was told before that there is
    /// nothing.
    pub fn begin(&mut self, document: &mut Document) -> SyncMessage {
        self.told = true;
        SyncMessage::all_since(document, Vec::new(), self.reads_documents)
    }

    /// Asks for what the client has beyond the document.
    fn ask(
        &self,
        document: &Document,
        unknown: Vec<ChangeHash>,
        last_sync: Vec<ChangeHash>,
    ) -> SyncMessage {
        let shared = if document.knows(&last_sync) { last_sync } else { Vec::new() };
        let need = if self.orphans.is_empty() { unknown } else { self.orphans.missing(document) };
        SyncMessage::question(document, need, shared)
    }

    fn note_progress(
        &mut self,
        stand: (Vec<ChangeHash>, Vec<ChangeHash>),
    ) -> Result<(), DocumentError> {
        self.idle_rounds = if stand == self.stand { self.idle_rounds.saturating_add(1) } else { 0 };
        self.stand = stand;
        if self.idle_rounds > limits::SYNC_IDLE_ROUNDS_MAX {
            return Err(DocumentError::NoProgress);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
