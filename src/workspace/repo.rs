//! Sessions that speak the automerge-repo dialect: several documents in one session, presence and
//! the heads of others relayed between peers.
//!
//! A store is a document of that dialect, by an id that follows from its name. What is common to
//! all Automerge sessions is in `workspace/sync.rs`; here is what only these say.

mod documents;
mod ephemeral;
mod remote;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use automerge::ChangeHash;

use super::effect::Delivery;
use super::{Refusal, Rights, Workspace};
use crate::ids::{DocumentId, Millis, SessionId, StoreName};
use crate::json::{Json, Object};
pub(super) use documents::Documents;
pub(super) use ephemeral::Heard;
pub(super) use remote::RemoteBook;

/// A head as it is written in the dialect, in base58 with a checksum, at most.
const HEAD_TEXT_BYTES: usize = 64;

/// The name that a client of the dialect gives itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SenderId(pub Arc<str>);

/// The name of the place where a peer keeps its documents.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StorageId(pub Arc<str>);

impl fmt::Debug for SenderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for StorageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a client may say in the automerge-repo dialect.
#[derive(Debug, Clone, PartialEq)]
pub enum RepoRequest {
    /// "I am here." Another session of the same peer ends.
    Join {
        /// Its name.
        name: SenderId,
        /// Where it keeps documents, if it keeps them.
        storage: Option<StorageId>,
    },
    /// An Automerge sync message about a document, which it may want, have or create.
    Document {
        /// The document.
        document: DocumentId,
        /// The message, as Automerge encodes it.
        message: Vec<u8>,
    },
    /// Something of this moment, for all who have the document open.
    Ephemeral(Arc<Ephemeral>),
    /// It wants to hear, or not to hear any more, what these places hold.
    Subscribe {
        /// Places to add.
        add: Vec<StorageId>,
        /// Places to remove.
        remove: Vec<StorageId>,
    },
    /// What other places hold of a document, as far as it has heard.
    RemoteHeads {
        /// The document.
        document: DocumentId,
        /// What they hold.
        heads: Vec<(StorageId, RemoteHeads)>,
    },
}

/// What a client of the automerge-repo dialect is told, beside sync messages and errors.
#[derive(Debug, Clone, PartialEq)]
pub enum RepoDelivery {
    /// It has joined.
    Joined {
        /// Where this server keeps its documents.
        storage: StorageId,
    },
    /// There is no such document; it will be told if there is one later.
    Unavailable {
        /// What was asked for; it need not be an id that a document can have.
        document: String,
    },
    /// What another peer said of this moment.
    Ephemeral(Arc<Ephemeral>),
    /// What another session shows of itself that does not speak the dialect.
    Presence {
        /// The document in which it is shown.
        document: DocumentId,
        /// The other session.
        session: SessionId,
        /// What it shows.
        word: PresenceWord,
        /// Rises with each word.
        count: u64,
    },
    /// What some places hold of a document; what this server holds is durable.
    RemoteHeads {
        /// The document.
        document: DocumentId,
        /// What they hold.
        heads: Vec<(StorageId, RemoteHeads)>,
    },
}

impl RepoDelivery {
    /// The length of what it carries, in bytes: about that of the encoded message.
    pub fn payload_len(&self) -> usize {
        match self {
            Self::Joined { storage } => storage.0.len(),
            Self::Unavailable { document } => document.len(),
            Self::Ephemeral(said) => said
                .data
                .len()
                .saturating_add(said.sender.0.len())
                .saturating_add(said.session.len()),
            Self::Presence { word, .. } => word.value_len(),
            Self::RemoteHeads { heads, .. } => heads.iter().fold(0, |sum, (storage, known)| {
                let heads = known.heads.len().saturating_mul(HEAD_TEXT_BYTES);
                heads.saturating_add(storage.0.len()).saturating_add(sum)
            }),
        }
    }
}

/// A message of this moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Ephemeral {
    /// The document that it is about.
    pub document: DocumentId,
    /// Who said it first.
    pub sender: SenderId,
    /// The run of the sender's program.
    pub session: Arc<str>,
    /// Rises with each message of that run.
    pub count: u64,
    /// What is said, as the dialect encodes it.
    pub data: Vec<u8>,
    /// The same, if it has the form of presence.
    pub presence: Option<PresenceWord>,
}

/// What presence consists of, in the form that the stock clients of the dialect give it.
#[derive(Debug, Clone, PartialEq)]
pub enum PresenceWord {
    /// Still there.
    Heartbeat,
    /// One member of its state has changed.
    Update {
        /// The name of the member.
        channel: String,
        /// Its value.
        value: Json,
    },
    /// Several members at once, as an object.
    Snapshot {
        /// The state.
        state: Json,
    },
    /// It left.
    Goodbye,
}

impl PresenceWord {
    /// The length of the large part, in bytes.
    pub fn value_len(&self) -> usize {
        match self {
            Self::Heartbeat | Self::Goodbye => 0,
            Self::Update { channel, value } => channel.len().saturating_add(value.encoded_len()),
            Self::Snapshot { state } => state.encoded_len(),
        }
    }
}

/// What a place holds of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteHeads {
    /// The heads of what it holds, sorted.
    pub heads: Vec<ChangeHash>,
    /// When this was learned.
    pub time: Millis,
}

/// What only a session of this dialect has.
#[derive(Debug)]
pub(super) struct RepoSession {
    name: SenderId,
    storage: Option<StorageId>,
    /// Places of whose heads it wants to hear.
    pub(super) remotes: BTreeSet<StorageId>,
    /// Documents that it asked for and that there are none of.
    wanted: BTreeSet<DocumentId>,
    /// What it shows of itself, by store; where it shows anything, it is shown others.
    shows: BTreeMap<StoreName, Object>,
}

impl RepoSession {
    /// What it shows of itself in stores that these rights show in full.
    pub(super) fn shown_to(&self, rights: &Rights) -> Option<Json> {
        let seen = self.shows.iter().filter(|(store, _)| rights.reading(store).is_whole());
        ephemeral::all_shown(&seen.map(|(_, channels)| channels).collect::<Vec<_>>())
    }
}

impl Workspace {
    /// Does what a client of the automerge-repo dialect wants; gives it back if it has to wait.
    pub(super) fn repo(
        &mut self,
        id: SessionId,
        request: RepoRequest,
        now: Millis,
    ) -> Option<RepoRequest> {
        match request {
            RepoRequest::Join { name, storage } => self.join(id, name, storage),
            RepoRequest::Document { document, message } => {
                let message = self.repo_sync(id, document, message, now)?;
                return Some(RepoRequest::Document { document, message });
            }
            RepoRequest::Ephemeral(ephemeral) => self.ephemeral(id, &ephemeral),
            RepoRequest::Subscribe { add, remove } => self.subscribe(id, &add, &remove),
            RepoRequest::RemoteHeads { document, heads } => {
                self.hear_remote_heads(id, document, heads, now);
            }
        }
        None
    }

    fn join(&mut self, id: SessionId, name: SenderId, storage: Option<StorageId>) {
        if let Some(other) = self.names.get(&name).copied().filter(|other| *other != id) {
            let user = |id| self.sessions.get(&id).map(|session| &session.user);
            if user(other) != user(id) {
                // Names are no secret: nobody may end another's session by taking his.
                return self.close(id, Refusal::Replaced);
            }
            self.close(other, Refusal::Replaced);
        }
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.greeted = true;
        // Said again, it changes nothing.
        session.repo.get_or_insert_with(|| {
            Box::new(RepoSession {
                name: name.clone(),
                storage,
                remotes: BTreeSet::new(),
                wanted: BTreeSet::new(),
                shows: BTreeMap::new(),
            })
        });
        self.names.insert(name, id);
        let storage = self.remote.own().clone();
        self.tell_repo(id, RepoDelivery::Joined { storage });
    }

    /// Forgets what is known of a session that has ended.
    pub(super) fn forget_peer(&mut self, id: SessionId, peer: &RepoSession) {
        self.documents.forget(id, peer);
        self.remote.unsubscribe(id, &peer.remotes);
        if self.names.get(&peer.name) == Some(&id) {
            self.names.remove(&peer.name);
        }
    }

    /// Tells a session anew what was thrown away on its way.
    pub(super) fn resync_peer(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let Some(peer) = &session.repo else {
            return;
        };
        let open: Vec<_> = session.stands.keys().cloned().collect();
        let shows: Vec<StoreName> = peer.shows.keys().cloned().collect();
        let remotes: Vec<StorageId> = peer.remotes.iter().cloned().collect();
        for key in open {
            self.tell_known_heads(id, &key, &remotes);
        }
        for store in shows {
            self.show_others(id, &store, true);
        }
    }

    /// Tells a session something that no save has to go before.
    fn tell_repo(&mut self, id: SessionId, said: RepoDelivery) {
        self.tell_at_once(vec![id], Delivery::Repo(said));
    }

    fn peer(&self, id: SessionId) -> Option<&RepoSession> {
        self.sessions.get(&id)?.repo.as_deref()
    }
}
