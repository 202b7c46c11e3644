//! All that can happen to a workspace.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use automerge::ChangeHash;

use crate::ids::{Seq, SessionId, StoreName};
use crate::json::{Json, JsonPatch, Pointer};
use crate::workspace::commit::MessageId;
use crate::workspace::effect::{SaveId, Ticket};
use crate::workspace::recover::{Recovered, Unavailable};
use crate::workspace::repo::RepoRequest;
use crate::workspace::rights::Rights;
use crate::workspace::trigger::{Pattern, TriggerId};

/// One thing that happened. A turn of a workspace takes one or many of them in order.
#[derive(Debug)]
pub enum Input {
    /// A client came. It is told nothing before its hello.
    Attach {
        /// Its session; must be new to the workspace.
        session: SessionId,
        /// Whose client it is, as the server knows him; stamped on commits and presence.
        user: String,
        /// What it may do.
        rights: Arc<Rights>,
    },
    /// A client may do something else from now on.
    Entitle {
        /// Its session.
        session: SessionId,
        /// What it may do.
        rights: Arc<Rights>,
    },
    /// A client left, or its socket died.
    Detach {
        /// Its session.
        session: SessionId,
    },
    /// A client said something.
    Say {
        /// Its session.
        session: SessionId,
        /// What it said.
        request: Request,
        /// What the request takes up until it is done.
        burden: Burden,
    },
    /// What was queued for a slow client has been thrown away: its JSON stores are told anew, the
    /// others from what it has.
    Resync {
        /// Its session.
        session: SessionId,
        /// Stores whose news an Automerge client has missed, and the heads that it has.
        missed: Vec<(StoreName, Vec<ChangeHash>)>,
    },
    /// Server code wants something; the answer carries the same ticket.
    Ask {
        /// Names the answer.
        ticket: Ticket,
        /// What is wanted.
        ask: Ask,
        /// What whoever asks may do.
        rights: Arc<Rights>,
    },
    /// Server code wants to know of changes at a path.
    Watch {
        /// Names the trigger.
        trigger: TriggerId,
        /// Which paths.
        pattern: Pattern,
    },
    /// A trigger is not wanted any more.
    Unwatch {
        /// Its name.
        trigger: TriggerId,
    },
    /// What an [`Effect::Load`](crate::workspace::Effect::Load) found.
    Loaded {
        /// The store.
        store: StoreName,
        /// Its document and history; a store that was never saved comes back new, not as an error.
        result: Result<Box<Recovered>, Unavailable>,
    },
    /// How an [`Effect::Save`](crate::workspace::Effect::Save) ended.
    Saved {
        /// Which one.
        save: SaveId,
        /// Stores whose commits did not become durable, and why.
        failed: Vec<(StoreName, String)>,
    },
    /// What an [`Effect::Recall`](crate::workspace::Effect::Recall) found.
    Recalled {
        /// The store.
        store: StoreName,
        /// The message that was looked for.
        id: MessageId,
        /// The commit that carried it, or that there is none, or that the log could not be read.
        found: Result<Option<Seq>, String>,
    },
    /// How an [`Effect::Checkpoint`](crate::workspace::Effect::Checkpoint) ended.
    Checkpointed {
        /// The store.
        store: StoreName,
        /// The bytes of the new checkpoint that stands; without one, the log is as long as it was.
        done: Option<usize>,
    },
}

/// Something that a request takes up as long as it waits, such as a part of what its session may
/// have under way. It is given back when it is dropped: the workspace drops it when the request is
/// done, not before.
#[derive(Default)]
pub struct Burden(Option<Box<dyn Any + Send>>);

impl Burden {
    /// Holds on to this until the request is done.
    pub fn new(held: impl Any + Send) -> Self {
        Self(Some(Box::new(held)))
    }
}

impl fmt::Debug for Burden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Burden(..)" } else { "Burden" })
    }
}

impl Input {
    /// A client said something that takes up nothing.
    pub fn say(session: SessionId, request: Request) -> Self {
        Self::Say { session, request, burden: Burden::default() }
    }
}

/// What a client may say.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// "This is where I stand": at the start, and whenever a client wants to resync.
    Hello(Hello),
    /// An edit of a JSON client.
    Patch {
        /// The store.
        store: StoreName,
        /// The seq of the state it was made on; negative: on no state at all.
        seq: i64,
        /// The client's own name of this message: sent again, it is not done again.
        id: Option<MessageId>,
        /// The edit.
        patch: JsonPatch,
    },
    /// An Automerge sync message.
    Sync {
        /// The store.
        store: StoreName,
        /// The message, as Automerge encodes it.
        message: Vec<u8>,
    },
    /// Something in the automerge-repo dialect.
    Repo(RepoRequest),
    /// Ephemeral data for the other sessions.
    Presence {
        /// Anything.
        data: Json,
    },
    /// A message that could not be understood; the dialect that read it says why.
    Garbled {
        /// What was wrong, for people.
        reason: Garbled,
    },
}

/// Why a message could not be taken, as far as the dialect that read it could tell.
#[derive(Debug, Clone, PartialEq)]
pub struct Garbled {
    /// The store it was about, where that much could be read.
    pub store: Option<String>,
    /// The id it carried, where that much could be read.
    pub id: Option<String>,
    /// The seq it named, where that much could be read.
    pub seq: Option<i64>,
    /// What is wrong with it.
    pub refusal: crate::workspace::refusal::Refusal,
    /// Whether it was a JSON patch: then it is answered with a nack, not an error.
    pub patch: bool,
}

impl From<crate::workspace::Refusal> for Garbled {
    /// A message of which nothing could be read.
    fn from(refusal: crate::workspace::Refusal) -> Self {
        Self { store: None, id: None, seq: None, refusal, patch: false }
    }
}

/// Where a client stands, and how it wants to be spoken to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Hello {
    /// Per store the last seq applied; negative: holds nothing.
    pub seqs: BTreeMap<StoreName, i64>,
    /// Stores spoken in CRDT, each with the client's first sync message.
    pub sync: BTreeMap<StoreName, Vec<u8>>,
    /// Only these stores; `None`: all.
    pub stores: Option<Vec<StoreName>>,
    /// Per store the last cursor seen; goes before the seq.
    pub cursors: BTreeMap<StoreName, Cursor>,
    /// What the client understands beyond the original protocol.
    pub caps: Caps,
}

/// What a client understands beyond the original protocol.
#[expect(
    clippy::struct_excessive_bools,
    reason = "a set of four flags, each a word of the protocol"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Caps {
    /// `ack` and `nack` as answers to its patches.
    pub ack: bool,
    /// `ready` at the end of the answer to a hello.
    pub ready: bool,
    /// `presence` of the others.
    pub presence: bool,
    /// `cursor` beside every seq.
    pub cursor: bool,
}

impl Caps {
    /// Whether the client understands anything beyond the original protocol, errors too.
    pub fn any(self) -> bool {
        self.ack || self.ready || self.presence || self.cursor
    }
}

/// A state of a store by seq and by heads: it outlives the history of seqs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The position in the commit log.
    pub seq: Seq,
    /// The Automerge heads of the state there, sorted.
    pub heads: Vec<ChangeHash>,
}

/// What server code may want.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// The state of a store.
    Get {
        /// The store.
        store: StoreName,
    },
    /// A state of a store, and the commits after it. Nothing comes back where the position is
    /// ahead of all there is, [`Refusal::Stale`](crate::workspace::Refusal::Stale) where the
    /// history does not reach back to it.
    Moments {
        /// The store.
        store: StoreName,
        /// The first state.
        from: At,
        /// How many commits after it, at most.
        more: usize,
    },
    /// The document of a store.
    Document {
        /// The store.
        store: StoreName,
    },
    /// Change a store.
    Write(Write),
    /// The names of all stores, those of the configuration first.
    Stores,
    /// Where every store stands and how large it is, in the same order.
    Overview,
    /// The state of every store, in the order of their names' registration.
    States,
    /// What changed after the given seqs; stores that are not named count from their beginning.
    ChangesSince {
        /// Per store, the last seq known; all stores when `None` is the map's default.
        since: BTreeMap<StoreName, Seq>,
        /// The seq for stores that `since` does not name.
        otherwise: Seq,
    },
    /// The answer comes when all that was written before is durable.
    Flush,
}

/// A change that server code makes to a store.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// The store.
    pub store: StoreName,
    /// The state the writer had read; `None`: the newest.
    pub base: Option<Cursor>,
    /// What to do.
    pub edit: Edit,
    /// Who does it.
    pub author: Author,
    /// What has to be true for it, and the name under which it is done once.
    pub terms: Terms,
}

/// Under which conditions a change is made. Without any it is made whenever it can be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Terms {
    /// The writer's own name of the change: sent again, it is not done again. With one, a commit is
    /// made also where nothing changes, so that the name is kept.
    pub id: Option<MessageId>,
    /// Only if the base is the newest state.
    pub newest: bool,
    /// Only if the store has a commit, or only if it has none.
    pub written: Option<bool>,
    /// Only if the newest state is none of these.
    pub unlike: Vec<Vec<ChangeHash>>,
}

/// The name of a state of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// That at a seq.
    Seq(Seq),
    /// That with these heads, in any order.
    Heads(Vec<ChangeHash>),
}

/// The ways to say what a store should become.
#[derive(Debug, Clone, PartialEq)]
pub enum Edit {
    /// This is the whole state; what differs from the base is written.
    Set(Json),
    /// Members of the root object, each set whole (the original's `updateState`).
    Update(Json),
    /// A JSON merge patch (RFC 7396).
    Merge(Json),
    /// A JSON patch (RFC 6902).
    Patch(JsonPatch),
    /// This is the value at one place: it replaces the one there, or is added where nothing is.
    /// In an array, the place after the last element, or `-`, is one where nothing is.
    Put {
        /// The place; what would hold it must be there.
        path: Pointer,
        /// The value.
        value: Json,
    },
}

/// Who changes a store by way of [`Ask::Write`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Author {
    /// Server code. `depth` counts the triggers that led to it: 0 for a write of its own.
    Server {
        /// Firings of triggers behind this write.
        depth: u32,
    },
    /// The user's own durable place for plain JSON, while it is being read: fires nothing.
    Container,
    /// A client of the HTTP API or a tool.
    User(String),
}
