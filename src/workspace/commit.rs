//! Commits: what took one seq together, with who and when.

use std::fmt;
use std::sync::Arc;

use automerge::ChangeHash;

use super::webhook::Call;
use crate::ids::{Millis, Seq, SessionId, StoreName};
use crate::limits;

/// A client's own name of a message, unique in its store for ever: 1 to
/// [`limits::MESSAGE_ID_BYTES_MAX`] bytes of text without control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(Arc<str>);

impl MessageId {
    /// The id, or `None` if it is empty, too long or holds control characters.
    pub fn new(id: &str) -> Option<Self> {
        let sound = (1..=limits::MESSAGE_ID_BYTES_MAX).contains(&id.len())
            && !id.chars().any(char::is_control);
        sound.then(|| Self(id.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// The language a change came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dialect {
    /// JSON patches with seqs.
    Json,
    /// Automerge sync messages.
    Crdt,
    /// Those of the automerge-repo dialect.
    Repo,
    /// Server code: the library, a trigger's handler, a tool.
    Server,
    /// The user's own place for plain JSON.
    Container,
}

impl Dialect {
    /// The name of the dialect in logs, tables and contexts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Crdt => "crdt",
            Self::Repo => "repo",
            Self::Server => "server",
            Self::Container => "container",
        }
    }

    /// The dialect of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Json, Self::Crdt, Self::Repo, Self::Server, Self::Container]
            .into_iter()
            .find(|dialect| dialect.as_str() == name)
    }
}

/// Who made a commit, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The user, as the server knows him.
    pub user: String,
    /// The session, if a client made it.
    pub session: Option<SessionId>,
    /// The language it came in.
    pub dialect: Dialect,
    /// The client's own name of the message.
    pub id: Option<MessageId>,
}

/// The changes that took one seq together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its position in the log of the store.
    pub seq: Seq,
    /// The Automerge changes, encoded; none if an accepted edit changed nothing. The first commit
    /// of a store also carries the store's genesis.
    pub changes: Vec<Vec<u8>>,
    /// The heads of the document after it, sorted.
    pub heads: Vec<ChangeHash>,
    /// When the workspace took it.
    pub time: Millis,
    /// Who made it.
    pub origin: Origin,
}

/// Commits of one store that are to become durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// The store.
    pub store: StoreName,
    /// The newest seq that the log must hold before them.
    pub after: Seq,
    /// The commits, each with the seq after the one before.
    pub commits: Vec<Commit>,
    /// What is to be told of them to webhooks, in their order.
    pub calls: Vec<Call>,
}
