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

use automerge::{ActorId, Change, ChangeHash};

pub use message::SyncMessage;

use super::{Document, DocumentError, encoded, genesis, guard};
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

    /// Whether its sender reads whole documents, not only changes.
    pub fn reads_documents(&self) -> bool {
        self.0.flags.is_some()
    }

    /// Why none of its changes is let in, if that is so whatever the document holds.
    pub fn refused(&self) -> Option<&DocumentError> {
        self.0.changes.as_ref().err()
    }

    /// Leaves its changes outside; tells whether it brought any.
    pub fn leave_changes(&mut self) -> bool {
        let left = std::mem::replace(&mut self.0.changes, Ok(Vec::new()));
        left.map_or(true, |changes| !changes.is_empty())
    }

    /// The heads that its sender has.
    pub fn heads(&self) -> &[ChangeHash] {
        &self.0.heads
    }
}

/// What a message brought.
#[derive(Debug, Default)]
pub struct Received {
    /// The changes that were new, encoded, in causal order.
    pub changes: Vec<Vec<u8>>,
    /// The actors that made them.
    pub authors: Vec<ActorId>,
    /// Why some changes were refused; those in `changes` stand all the same.
    pub refused: Option<DocumentError>,
    /// An actor under which changes were made that the sender may not use.
    pub taken: Option<ActorId>,
    /// Whether changes were left that nobody looked at, because too many before them were refused:
    /// the client must send them again.
    pub gave_up: bool,
}

impl Received {
    /// Adds changes that were taken.
    pub(super) fn add(&mut self, changes: Vec<Change>) {
        self.authors.extend(changes.iter().map(|change| change.actor_id().clone()));
        self.changes.extend(changes.into_iter().map(encoded));
    }
}

/// What one session is known to have of one document.
#[expect(clippy::struct_excessive_bools, reason = "each answers a question of its own")]
#[derive(Debug, Default)]
pub struct SyncSession {
    /// Whether the client was given all that the document has.
    told: bool,
    /// Whether it was asked for what it has beyond, and has brought nothing new since.
    asked: bool,
    /// Whether it reads whole documents, not only changes.
    reads_documents: bool,
    /// Whether it takes no changes at present.
    takes_nothing: bool,
    orphans: Orphans,
    /// What its last message asks for.
    question: Option<Question>,
    /// The heads of the document when it last asked for something.
    stand: Vec<ChangeHash>,
    /// How often it has asked since they changed.
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
        self.told && !self.takes_nothing
    }

    /// What changes that wait for their ancestors take, in bytes.
    pub fn orphan_bytes(&self) -> usize {
        self.orphans.bytes()
    }

    /// Takes a message into the document, as far as its sender may use the actors in it. What it
    /// asks for, [`answer`](Self::answer) says, whatever became of the changes.
    pub fn receive(
        &mut self,
        document: &mut Document,
        incoming: Incoming,
        mut may_use: impl FnMut(&ActorId) -> bool,
    ) -> Result<Received, DocumentError> {
        let Opened { heads, need, last_sync, bloom_is_empty, flags, changes } = incoming.0;
        let last_sync = last_sync.unwrap_or_default();
        // A client resets when it was told of states that it does not have, and when it ignored
        // what it was sent.
        let starts_over = last_sync.is_empty() && bloom_is_empty;
        let asks_again = flags.is_some_and(|flags| flags.sync_reset);
        self.told &= !(starts_over || asks_again);
        self.reads_documents = flags.is_some();
        // Its resets do not say that it takes nothing, so they do not say the opposite either.
        let takes_nothing = flags.is_some_and(|flags| flags.read_only);
        self.takes_nothing = takes_nothing || (self.takes_nothing && starts_over);
        // A client that is told all only confirms what it hears, as often as it hears something.
        let asks = !self.told || !need.is_empty();
        self.question = Some(Question { heads, need, last_sync });
        let mut received = Received::default();
        match changes {
            Ok(changes) if changes.is_empty() => {}
            Ok(changes) => {
                let (ready, lost) = self.orphans.join(document, changes);
                let mut taken = None;
                let mut forged = None;
                let mut may_pass = |change: &Change| {
                    if genesis::claims_to_be(change) {
                        forged = Some(DocumentError::Refused("it is no genesis".to_owned()));
                    } else if !may_use(change.actor_id()) {
                        taken.get_or_insert_with(|| change.actor_id().clone());
                    } else {
                        return true;
                    }
                    false
                };
                received = document.receive(ready.into_iter().filter(&mut may_pass).collect())?;
                received.taken = taken;
                received.refused = forged.or(received.refused).or(lost);
            }
            Err(error) => received.refused = Some(error),
        }
        self.asked &= received.changes.is_empty();
        if asks {
            self.note_progress(document.heads())?;
        }
        Ok(received)
    }

    /// What is to be said to the last message; `None` if nothing. After a
    /// [receive](Self::receive) that committed changes, the news of them must have gone out first.
    pub fn answer(&mut self, document: &mut Document) -> Option<SyncMessage> {
        let Question { heads, mut need, last_sync } = self.question.take()?;
        let (known, unknown): (Vec<_>, Vec<_>) =
            heads.into_iter().partition(|head| document.knows(&[*head]));
        if !unknown.is_empty() && !self.asked {
            self.asked = true;
            return Some(self.ask(document, unknown, last_sync));
        }
        if self.takes_nothing {
            return None;
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
        need.sort_unstable();
        need.dedup();
        SyncMessage::of_changes(document, &need)
    }

    /// A dialogue with a client that asked before there was anything, and is now told all by
    /// [`SyncMessage::all`].
    pub fn told(reads_documents: bool) -> Self {
        Self { told: true, reads_documents, ..Self::default() }
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

    fn note_progress(&mut self, stand: Vec<ChangeHash>) -> Result<(), DocumentError> {
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
