//! The dialect of one socket: how its frames are read and written.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio_tungstenite::tungstenite::protocol::frame::coding::Data;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::hub::Outgoing;
use crate::ids::{DocumentId, Secret, StoreName, WorkspaceId};
use crate::protocol::codes::Closing;
use crate::protocol::json;
use crate::protocol::repo::{self, Ends, RepoFault, RepoMessage};
use crate::workspace::{Delivery, Refusal, RepoDelivery, Request, WorkspaceLimits};

/// What a frame comes to.
#[derive(Debug)]
pub(super) enum Heard {
    /// It wants something; or it was not understood, and the workspace knows how to say so.
    Request(Request),
    /// The same, from a client that shows a token with it.
    Hello(Request, Secret),
    /// It is answered without asking anybody.
    Answer(Delivery),
    /// It asks for nothing.
    Nothing,
    /// With this the socket ends, after these words.
    End(Option<Delivery>, Closing),
}

/// The language that a socket is spoken to in.
#[derive(Debug)]
pub(crate) enum Tongue {
    /// JSON in text frames.
    Json,
    /// CBOR in binary frames, as automerge-repo speaks it.
    Repo(Repo),
}

/// A socket of the automerge-repo dialect.
#[derive(Debug)]
pub(crate) struct Repo {
    workspace: WorkspaceId,
    server: Arc<ServerName>,
    /// The client's name of itself, from its join on.
    client: OnceLock<String>,
    /// The ids of the documents that it is told of: to make the text of one takes three hashes.
    documents: Mutex<BTreeMap<StoreName, Arc<str>>>,
}

/// What this server calls itself among peers.
#[derive(Debug)]
pub(crate) struct ServerName {
    /// Its name: another one in every life, since nothing of a dialogue outlives one.
    peer: String,
    /// This life.
    run: String,
}

impl ServerName {
    /// The name of a life, from a random number.
    pub(crate) fn new(life: u128) -> Self {
        let run = format!("{life:032x}");
        Self { peer: format!("statehouse-{run}"), run }
    }
}

impl Tongue {
    /// The dialect of automerge-repo.
    pub(crate) fn repo(workspace: WorkspaceId, server: Arc<ServerName>) -> Self {
        let (client, documents) = (OnceLock::new(), Mutex::default());
        Self::Repo(Repo { workspace, server, client, documents })
    }

    /// What a frame says.
    pub(super) fn hear(&self, frame: &Message, limits: &WorkspaceLimits) -> Heard {
        match (self, frame) {
            (Self::Json, Message::Text(text)) => match json::decode_with_token(text, limits) {
                (request, None) => Heard::Request(request),
                (request, Some(token)) => Heard::Hello(request, token),
            },
            (Self::Repo(repo), Message::Binary(bytes)) => repo.hear(bytes, limits),
            (Self::Json, Message::Binary(_)) => Heard::End(None, Closing::BINARY),
            (Self::Repo(_), Message::Text(_)) => Heard::End(None, Closing::TEXT),
            // The answer to a close frame is written while the stream is read to its end.
            (_, Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_)) => {
                Heard::Nothing
            }
        }
    }

    /// The message that says this, and the kind of frame it is written in; `None` if the dialect
    /// has no word for it.
    pub(super) fn say(&self, outgoing: &Outgoing) -> Option<(Data, Bytes)> {
        match self {
            Self::Json => outgoing.text().map(|text| (Data::Text, text.clone().into())),
            Self::Repo(repo) => repo.say(outgoing).map(|bytes| (Data::Binary, bytes.into())),
        }
    }

    /// About how many bytes it takes to say this.
    pub(super) fn weight(&self, outgoing: &Outgoing) -> usize {
        match self {
            Self::Json => outgoing.text().map_or(0, |text| text.len()),
            Self::Repo(_) => outgoing.weight(),
        }
    }
}

impl Repo {
    fn hear(&self, frame: &Bytes, limits: &WorkspaceLimits) -> Heard {
        let message = match RepoMessage::decode(frame) {
            Ok(message) => message,
            Err(error) => return self.refuse(&error),
        };
        match (&message, self.client.get()) {
            (RepoMessage::Leave { .. }, _) => return Heard::End(None, Closing::NORMAL),
            (RepoMessage::Error { message, .. }, _) => {
                tracing::debug!(bytes = message.len(), "a peer reports an error");
                return Heard::Nothing;
            }
            (RepoMessage::Join { sender, versions, .. }, None) => {
                if !versions.iter().any(|version| version == repo::PROTOCOL) {
                    return end("unsupported protocol version", Closing::PROTOCOL);
                }
                // Nothing else is heard at this time: there is one reader.
                self.client.get_or_init(|| (**sender).to_owned());
            }
            (RepoMessage::Join { sender, .. }, Some(client)) if **sender != **client => {
                return end("a socket belongs to one peer", Closing::PROTOCOL);
            }
            (_, None) => return end("the first message is a join", Closing::PROTOCOL),
            // Stock clients pass on what they are told. What this server says in the name of
            // others, nobody else does.
            (RepoMessage::Ephemeral { sender, .. }, Some(_))
                if sender.starts_with(&self.server.peer) =>
            {
                return Heard::Nothing;
            }
            (message, Some(client)) if speaks_for(message).is_some_and(|name| name != client) => {
                tracing::debug!("a message in the name of another client is passed over");
                return Heard::Nothing;
            }
            (_, Some(_)) => {}
        }
        let request = repo::request(message, &limits.json);
        request.map_or(Heard::Nothing, |request| Heard::Request(Request::Repo(request)))
    }

    fn refuse(&self, error: &repo::RepoError) -> Heard {
        // A client that asks for something that can be no document waits for this answer.
        if let (RepoFault::BadDocumentId { text: Some(text), .. }, Some(_), Some(kind)) =
            (&error.fault, self.client.get(), &error.kind)
            && (kind == "request" || kind == "sync")
        {
            let document = text.clone();
            return Heard::Answer(Delivery::Repo(RepoDelivery::Unavailable { document }));
        }
        if let (RepoFault::UnknownType(_), Some(_)) = (&error.fault, self.client.get()) {
            // A later protocol may say more than this one: what is not known is passed over.
            tracing::debug!("a message of an unknown type is passed over");
            return Heard::Nothing;
        }
        let refusal = Refusal::BadMessage(error.to_string());
        match self.client.get() {
            None => Heard::End(Some(Delivery::Error { store: None, refusal }), Closing::PROTOCOL),
            Some(_) => Heard::Request(Request::Garbled { reason: refusal.into() }),
        }
    }

    fn say(&self, outgoing: &Outgoing) -> Option<Vec<u8>> {
        let client = self.client.get().map_or("", String::as_str);
        if let Delivery::Sync { store, .. } = outgoing.delivery() {
            let document = self.document(store);
            let bytes = outgoing.sync_bytes()?;
            return Some(repo::encode_sync(&self.server.peer, client, &document, bytes));
        }
        let ends = Ends { server: &self.server.peer, run: &self.server.run, client };
        ends.encode(outgoing.delivery())
    }

    fn document(&self, store: &StoreName) -> Arc<str> {
        let mut documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        let text = || DocumentId::of(&self.workspace, store).to_string().into();
        Arc::clone(documents.entry(store.clone()).or_insert_with(text))
    }
}

/// Whose word a message is, where that is the client's own.
fn speaks_for<'m>(message: &'m RepoMessage<'_>) -> Option<&'m str> {
    match message {
        RepoMessage::Request { sender, .. }
        | RepoMessage::Sync { sender, .. }
        | RepoMessage::RemoteSubscriptionChange { sender, .. }
        | RepoMessage::RemoteHeadsChanged { sender, .. } => Some(sender),
        RepoMessage::Join { .. }
        | RepoMessage::Peer { .. }
        | RepoMessage::Error { .. }
        | RepoMessage::Leave { .. }
        | RepoMessage::DocUnavailable { .. }
        | RepoMessage::Ephemeral { .. } => None,
    }
}

fn end(why: &str, closing: Closing) -> Heard {
    let refusal = Refusal::BadMessage(why.to_owned());
    Heard::End(Some(Delivery::Error { store: None, refusal }), closing)
}
