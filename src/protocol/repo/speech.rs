//! What a peer says as a workspace understands it, and what a workspace has to say as a peer
//! hears it.

use std::sync::Arc;

use automerge::ChangeHash;

use super::{PROTOCOL, RemoteHeads, RepoMessage, RepoMetadata};
use crate::ids::{DocumentId, Millis, SessionId};
use crate::json::JsonLimits;
use crate::protocol::codes;
use crate::workspace::repo::{
    self, Ephemeral, PresenceWord, RepoDelivery, RepoRequest, SenderId, StorageId,
};
use crate::workspace::{Delivery, Refusal};

/// What a client's message wants; `None` if nothing: it is one that only servers send, or about a
/// document that the client lacks.
pub fn request(message: RepoMessage<'_>, limits: &JsonLimits) -> Option<RepoRequest> {
    let storage = |name: &str| StorageId(name.into());
    Some(match message {
        RepoMessage::Join { sender, metadata, .. } => RepoRequest::Join {
            name: SenderId((&*sender).into()),
            // What is forgotten with the peer is no place to keep documents.
            storage: metadata.storage_id.filter(|_| !metadata.is_ephemeral).map(|id| storage(&id)),
        },
        RepoMessage::Request { document, data, .. } | RepoMessage::Sync { document, data, .. } => {
            RepoRequest::Document { document, message: data.into_owned() }
        }
        RepoMessage::Ephemeral { sender, document, count, session, data, .. } => {
            let presence = PresenceWord::parse(&data, limits);
            let (sender, data) = (SenderId((&*sender).into()), data.into_owned());
            let session = (&*session).into();
            let said = Ephemeral { document, sender, session, count, data, presence };
            RepoRequest::Ephemeral(Arc::new(said))
        }
        RepoMessage::RemoteSubscriptionChange { add, remove, .. } => RepoRequest::Subscribe {
            add: add.iter().map(|id| storage(id)).collect(),
            remove: remove.iter().map(|id| storage(id)).collect(),
        },
        RepoMessage::RemoteHeadsChanged { document, heads, .. } => {
            let known = |(id, RemoteHeads { heads, timestamp })| {
                let id: std::borrow::Cow<'_, str> = id;
                (storage(&id), repo::RemoteHeads { heads, time: Millis(timestamp) })
            };
            RepoRequest::RemoteHeads { document, heads: heads.into_iter().map(known).collect() }
        }
        RepoMessage::Peer { .. }
        | RepoMessage::Error { .. }
        | RepoMessage::Leave { .. }
        | RepoMessage::DocUnavailable { .. } => return None,
    })
}

/// The two ends of a socket.
#[derive(Debug, Clone, Copy)]
pub struct Ends<'a> {
    /// The server's name of itself.
    pub server: &'a str,
    /// This life of the server.
    pub run: &'a str,
    /// The client's name.
    pub client: &'a str,
}

impl Ends<'_> {
    /// The frame that tells a client this; `None` if the dialect has no word for it. Sync messages
    /// have a way of their own, [`encode_sync`](super::encode_sync).
    pub fn encode(self, delivery: &Delivery) -> Option<Vec<u8>> {
        match delivery {
            Delivery::Repo(said) => Some(self.encode_repo(said)),
            Delivery::Error { store, refusal } => {
                Some(self.encode_error(store.as_deref(), refusal))
            }
            Delivery::Snapshot { .. }
            | Delivery::Patch { .. }
            | Delivery::Sync { .. }
            | Delivery::Ready { .. }
            | Delivery::Ack { .. }
            | Delivery::Nack { .. }
            | Delivery::Presence { .. } => None,
        }
    }

    fn encode_error(self, store: Option<&str>, refusal: &Refusal) -> Vec<u8> {
        let (code, told) = (codes::error_code(refusal), codes::told(refusal));
        let message = match store {
            Some(store) => format!("{code}: {told} ({store})"),
            None => format!("{code}: {told}"),
        };
        let (sender, target) = (self.server.into(), self.client.into());
        RepoMessage::Error { message: message.into(), sender, target }.encode()
    }

    fn encode_repo(self, said: &RepoDelivery) -> Vec<u8> {
        let (server, target) = (self.server.into(), self.client.into());
        match said {
            RepoDelivery::Joined { storage } => {
                let storage_id = Some((&*storage.0).into());
                let metadata = RepoMetadata { storage_id, is_ephemeral: false };
                let version = PROTOCOL.into();
                RepoMessage::Peer { sender: server, metadata, version, target }.encode()
            }
            RepoDelivery::Unavailable { document } => {
                super::encode_doc_unavailable(self.server, self.client, document)
            }
            RepoDelivery::Ephemeral(said) => RepoMessage::Ephemeral {
                sender: (&*said.sender.0).into(),
                target,
                document: said.document,
                count: said.count,
                session: (&*said.session).into(),
                data: (&*said.data).into(),
            }
            .encode(),
            RepoDelivery::Presence { document, session, word, count } => {
                self.encode_presence(*document, *session, word, *count)
            }
            RepoDelivery::RemoteHeads { document, heads } => {
                let heads = heads.iter().map(|(id, heads)| {
                    let known: Vec<ChangeHash> = heads.heads.clone();
                    ((&*id.0).into(), RemoteHeads { heads: known, timestamp: heads.time.0 })
                });
                let (document, heads) = (*document, heads.collect());
                RepoMessage::RemoteHeadsChanged { sender: server, target, document, heads }.encode()
            }
        }
    }

    /// A session of another dialect appears as a peer of its own.
    fn encode_presence(
        self,
        document: DocumentId,
        session: SessionId,
        word: &PresenceWord,
        count: u64,
    ) -> Vec<u8> {
        RepoMessage::Ephemeral {
            sender: format!("{}:{session}", self.server).into(),
            target: self.client.into(),
            document,
            count,
            session: self.run.into(),
            data: word.encode().into(),
        }
        .encode()
    }
}
