//! All that a workspace can ask for.

use std::collections::BTreeMap;
use std::sync::Arc;

use automerge::ChangeHash;

use crate::document::{Breach, DocumentError, Frozen, SyncMessage};
use crate::ids::{Millis, Seq, SessionId, StoreName};
use crate::json::{Identity, Json, JsonPatch};
use crate::workspace::commit::{Append, Dialect, MessageId};
use crate::workspace::input::Cursor;
use crate::workspace::refusal::Refusal;
use crate::workspace::repo::RepoDelivery;
use crate::workspace::rights::View;
use crate::workspace::trigger::Firing;

/// Names an [`Effect::Save`]; they are answered in any order, and rise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SaveId(pub u64);

/// Names the answer to an [`Ask`](crate::workspace::Ask).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// One thing to do, in the order given. What waits for a save comes out after it is durable.
#[derive(Debug)]
pub enum Effect {
    /// Read a store from the log; the answer is [`Input::Loaded`](crate::workspace::Input::Loaded).
    Load {
        /// The store.
        store: StoreName,
    },
    /// Make commits durable; the answer is [`Input::Saved`](crate::workspace::Input::Saved).
    Save {
        /// Names the answer.
        save: SaveId,
        /// The commits, store by store, gapless.
        appends: Vec<Append>,
    },
    /// Look for an old message in the log; the answer is
    /// [`Input::Recalled`](crate::workspace::Input::Recalled).
    Recall {
        /// The store.
        store: StoreName,
        /// The message.
        id: MessageId,
    },
    /// The log of this store has grown long: replace its beginning by a checkpoint.
    Checkpoint {
        /// The store.
        store: StoreName,
    },
    /// Tell clients.
    Deliver {
        /// The sessions, each of them attached.
        to: Vec<SessionId>,
        /// What to tell them.
        delivery: Delivery,
    },
    /// Run a handler.
    Fire(Box<Firing>),
    /// Answer server code.
    Answer {
        /// The ticket of the question.
        ticket: Ticket,
        /// The answer.
        answer: Result<Answer, Refusal>,
    },
    /// A client's change broke a rule of its store and was put back, by a commit that is durable.
    Mended {
        /// The store.
        store: StoreName,
        /// What the change broke.
        breach: Box<Breach>,
    },
    /// End a session; it is detached already.
    Close {
        /// Which one.
        session: SessionId,
        /// Why.
        refusal: Refusal,
    },
}

/// What a client is told. `cursor` is there for clients that asked for it.
#[derive(Debug, Clone, PartialEq)]
pub enum Delivery {
    /// The whole state of a store.
    Snapshot {
        /// The store.
        store: StoreName,
        /// The seq of that state.
        seq: Seq,
        /// The state.
        state: Json,
        /// The same position as a cursor.
        cursor: Option<Cursor>,
    },
    /// What turns the state the client has into the one at `seq`.
    Patch {
        /// The store.
        store: StoreName,
        /// The seq after it.
        seq: Seq,
        /// `add`, `remove` and `replace` only.
        patch: Arc<JsonPatch>,
        /// The same position as a cursor.
        cursor: Option<Cursor>,
    },
    /// An Automerge sync message.
    Sync {
        /// The store.
        store: StoreName,
        /// The message.
        message: Arc<SyncMessage>,
    },
    /// Something in the automerge-repo dialect.
    Repo(RepoDelivery),
    /// The hello is answered in full.
    Ready {
        /// Where each store of the answer stands.
        seqs: Vec<(StoreName, Seq)>,
        /// The same positions as cursors.
        cursors: Option<Vec<(StoreName, Cursor)>>,
    },
    /// The client's edit is durable.
    Ack {
        /// The store.
        store: StoreName,
        /// The client's name of the message.
        id: Option<MessageId>,
        /// The seq of its commit.
        seq: Seq,
        /// Turns (the sender's base + its edit) into the state at `seq`.
        patch: JsonPatch,
        /// The same position as a cursor.
        cursor: Option<Cursor>,
    },
    /// The client's edit was refused, and nothing changed.
    Nack {
        /// The store, as far as it could be read.
        store: Option<String>,
        /// The client's name of the message.
        id: Option<String>,
        /// Why.
        refusal: Refusal,
    },
    /// Something other than an edit went wrong.
    Error {
        /// The store it is about.
        store: Option<String>,
        /// What.
        refusal: Refusal,
    },
    /// What another session shows of itself; `None`: it left.
    Presence {
        /// The other session.
        session: SessionId,
        /// Its user, as the server knows him.
        user: String,
        /// Its data.
        data: Option<Json>,
    },
}

/// What server code is answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The state of a store, and its name as a base for writing.
    State {
        /// The state.
        state: Json,
        /// Where it stands.
        cursor: Cursor,
    },
    /// The change is durable, or there was none to make.
    Written {
        /// The seq of the state with the change in it.
        seq: Seq,
        /// Whether the change made the state another one; if it was done before and the history
        /// does not reach back to it, that is assumed.
        changed: bool,
        /// The heads at `seq`, if the history reaches back to it.
        heads: Option<Vec<ChangeHash>>,
    },
    /// States of a store.
    Moments(Moments),
    /// The document of a store.
    Document {
        /// The document.
        document: Frozen,
        /// Where it stands.
        cursor: Cursor,
    },
    /// The stores, those of the configuration first; each with whether it is persistent.
    Stores(Vec<(StoreName, bool)>),
    /// All stores, those of the configuration first.
    Overview(Vec<Overview>),
    /// The state of every store that could be read.
    States {
        /// In registration order.
        states: Vec<(StoreName, Json, Cursor)>,
        /// Stores that could not be read.
        unavailable: Vec<StoreName>,
    },
    /// What changed.
    Changes(Changes),
    /// All that was written before the question is durable; stores that lost commits are named.
    Flushed,
}

/// A store, as [`Ask::Overview`](crate::workspace::Ask::Overview) sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overview {
    /// The store.
    pub store: StoreName,
    /// Whether it is kept in the log.
    pub persistent: bool,
    /// Where it stands, and its length as compact JSON, in bytes; `None`: it cannot be read.
    pub stand: Option<(Cursor, usize)>,
}

/// The answer to [`Ask::Moments`](crate::workspace::Ask::Moments). Old states are not read
/// before somebody looks at them, since to read one is to walk the document.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// The first state, and those that the commits after it made, in order.
    pub moments: Vec<Moment>,
    /// The newest seq of the store.
    pub newest: Seq,
    /// What tells the elements of its arrays apart.
    pub identity: Identity,
    /// What may be seen of them.
    view: View,
    /// Where states are read that are not at hand; it is left out where all are.
    document: Option<Frozen>,
}

/// A state that a store has had.
#[derive(Debug, Clone, PartialEq)]
pub struct Moment {
    /// Its seq; `None`: it has none, or none that is remembered.
    pub seq: Option<Seq>,
    /// Its heads, sorted.
    pub heads: Vec<ChangeHash>,
    /// When the commit was taken that made it.
    pub time: Millis,
    /// Who made that commit, and in which dialect, if that is known.
    pub author: Option<(Arc<str>, Dialect)>,
    state: Option<Json>,
}

impl Moment {
    /// A state, with its JSON if that is at hand.
    pub(super) fn new(
        seq: Option<Seq>,
        heads: Vec<ChangeHash>,
        time: Millis,
        author: Option<(Arc<str>, Dialect)>,
        state: Option<Json>,
    ) -> Self {
        Self { seq, heads, time, author, state }
    }

    /// Whether its JSON is at hand, so that nothing has to be read.
    pub fn is_at_hand(&self) -> bool {
        self.state.is_some()
    }
}

impl Moments {
    /// States of a store in its order. `document` is asked for only if one of them must be read.
    pub(super) fn new(
        moments: Vec<Moment>,
        newest: Seq,
        (identity, view): (Identity, View),
        document: impl FnOnce() -> Frozen,
    ) -> Self {
        let all_at_hand = moments.iter().all(Moment::is_at_hand);
        let document = (!all_at_hand).then(document);
        Self { moments, newest, identity, view, document }
    }

    /// The JSON of one of these moments.
    ///
    /// Errors: what the document says where it cannot read that state.
    pub fn json(&self, moment: &Moment) -> Result<Json, DocumentError> {
        match (&moment.state, &self.document) {
            (Some(state), _) => Ok(self.view.of(state)),
            (None, Some(document)) => Ok(self.view.of(&document.state_at(&moment.heads)?.json())),
            (None, None) => Err(DocumentError::UnknownHeads),
        }
    }
}

/// The answer to [`Ask::ChangesSince`](crate::workspace::Ask::ChangesSince).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Changes {
    /// Per store what turns the old state into the newest one; only stores that changed.
    pub patches: BTreeMap<StoreName, JsonPatch>,
    /// Where each store stands now: ask with it the next time.
    pub seqs: BTreeMap<StoreName, Seq>,
    /// Stores whose history does not reach back that far: read their state instead.
    pub truncated: Vec<StoreName>,
}
