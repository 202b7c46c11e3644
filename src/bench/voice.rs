//! The clients' side of a conversation, in each dialect.

mod json;
mod sync;

use std::collections::BTreeMap;

use automerge::{Automerge, ChangeHash};
use clap::ValueEnum;
use tokio_tungstenite::tungstenite::Message;

use super::Outcome;
use super::board::EditKey;
use super::replica::{Replica, Watcher};
pub use json::{JsonVoice, Place};
pub use sync::SyncVoice;

/// What a client holds at the end: what two of them must agree on, and a newcomer must be given.
///
/// Of JSON: by writer and key the number of the last edit there. Of Automerge: its heads.
pub type Holdings = BTreeMap<String, u64>;

/// A side of a conversation.
pub trait Voice: Send {
    /// Prepares the first thing to say.
    fn greet(&mut self) -> Outcome<()>;
    /// Takes what was heard; returns others' edits that are new here.
    fn hear(&mut self, message: &Message) -> Outcome<Vec<EditKey>>;
    /// All that is to be said now.
    fn say(&mut self) -> Outcome<Vec<Message>>;
    /// Whether it has the document.
    fn settled(&self) -> bool;
    /// Makes one edit; it is said with the next words.
    fn edit(&mut self) -> Outcome<EditKey>;
    /// How many of its own edits, counted from the first, the server is known to have.
    fn acked(&self) -> u64;
    /// What it holds.
    fn holdings(&self) -> Holdings;
    /// The heads of its document, where it has any.
    fn heads(&self) -> Vec<ChangeHash>;
    /// The last seq it was told, in the dialects that have seqs.
    fn seq(&self) -> Option<u64>;
    /// What the server has promised it to keep.
    fn claim(&self) -> Claim;
    /// How many of the edits that another was promised are not in what this one holds.
    fn lost(&self, claim: &Claim) -> u64;
}

/// The edits of one writer that the server has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The writer, as its edits name him.
    pub writer: String,
    /// So many, counted from the first.
    pub edits: u64,
}

/// A way to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Dialect {
    /// JSON patches, each acknowledged.
    Json,
    /// JSON patches of the original protocol, whose clients count by themselves.
    Original,
    /// Automerge sync messages in JSON.
    Crdt,
    /// automerge-repo.
    Repo,
}

impl Dialect {
    /// All of them, in the order of a table.
    pub const ALL: [Self; 4] = [Self::Json, Self::Original, Self::Crdt, Self::Repo];

    /// The name in a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Original => "original",
            Self::Crdt => "crdt",
            Self::Repo => "repo",
        }
    }

    /// Whether its clients hold an Automerge document.
    pub fn is_automerge(self) -> bool {
        matches!(self, Self::Crdt | Self::Repo)
    }

    /// Whether the server says that it has an edit.
    pub fn acknowledges(self) -> bool {
        self != Self::Original
    }

    /// A voice with this number among the clients of its document, which starts with `doc` if it
    /// is Automerge; `copied`: it speaks to a relay.
    pub fn voice(self, place: Place, doc: Automerge, copied: bool) -> Box<dyn Voice> {
        match self {
            Self::Json => Box::new(JsonVoice::new(place, true, copied)),
            Self::Original => Box::new(JsonVoice::new(place, false, copied)),
            Self::Crdt | Self::Repo => {
                Box::new(SyncVoice::new(self, place, Replica::new(doc, copied), copied))
            }
        }
    }

    /// A voice that only listens to a document of which it has nothing but what these heads are
    /// of, and that costs little.
    pub fn listener(self, place: Place, heads: Vec<ChangeHash>, copied: bool) -> Box<dyn Voice> {
        match self {
            Self::Json | Self::Original => self.voice(place, Automerge::new(), copied),
            Self::Crdt | Self::Repo => {
                Box::new(SyncVoice::new(self, place, Watcher::new(heads, copied), copied))
            }
        }
    }
}
