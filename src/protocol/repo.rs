//! The dialect of automerge-repo over a WebSocket, version "1": one CBOR map in each binary frame.
//!
//! [`RepoMessage`] is what a frame says, in either direction: [`RepoMessage::decode`] borrows from
//! the frame, [`RepoMessage::encode`] writes what cbor-x reads without options. [`request`] and
//! [`Ends::encode`] turn messages into what a workspace understands, and back.
//!
//! The reader is as tolerant as the stock one: members in any order, unknown ones skipped, the last
//! of two with one name, `null` and `undefined` for what is not there, maps and texts of unstated
//! length, whole numbers as floats, bytes with or without the tag of a `Uint8Array`. It is not
//! tolerant of what it could only guess at: a frame that is cut or goes on after its map, a member
//! of another type than it ought to have, and whatever is beyond [`crate::limits`].

mod cbor;
mod decode;
mod encode;
mod presence;
mod speech;
mod value;

use std::borrow::Cow;
use std::collections::BTreeMap;

use automerge::ChangeHash;

pub use encode::{encode_doc_unavailable, encode_sync};
pub use speech::{Ends, request};

use crate::ids::{DocumentId, DocumentIdError, checked_bytes, checked_text};

/// The one version of the protocol that there is. A join that names none means it.
pub const PROTOCOL: &str = "1";

/// One message, with the names of automerge-repo: a *peer* is the program at one end of a socket,
/// named by itself. Everything but `Join`, `Leave` and `Error` is addressed to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepoMessage<'a> {
    /// The first message of a client.
    Join {
        /// The client's name of itself.
        sender: Cow<'a, str>,
        /// What it says of itself.
        metadata: RepoMetadata<'a>,
        /// Versions that it speaks; [`PROTOCOL`] alone if it named none.
        versions: Vec<Cow<'a, str>>,
    },
    /// The server's answer to a join.
    Peer {
        /// The server's name of itself.
        sender: Cow<'a, str>,
        /// What it says of itself.
        metadata: RepoMetadata<'a>,
        /// The version that is spoken from here on; [`PROTOCOL`] if none is named.
        version: Cow<'a, str>,
        /// The client's name.
        target: Cow<'a, str>,
    },
    /// Something is wrong; if nothing can follow, the sender closes. What is not there reads as an
    /// empty text.
    Error {
        /// What is wrong, for people.
        message: Cow<'a, str>,
        /// Who says so.
        sender: Cow<'a, str>,
        /// To whom.
        target: Cow<'a, str>,
    },
    /// The sender is about to go.
    Leave {
        /// Who.
        sender: Cow<'a, str>,
    },
    /// As `Sync`, from one who lacks the document and wants to be told if there is none.
    Request {
        /// Who asks.
        sender: Cow<'a, str>,
        /// Who is asked.
        target: Cow<'a, str>,
        /// For what.
        document: DocumentId,
        /// An Automerge sync message.
        data: Cow<'a, [u8]>,
    },
    /// The next word of the Automerge sync protocol.
    Sync {
        /// Who says it.
        sender: Cow<'a, str>,
        /// To whom.
        target: Cow<'a, str>,
        /// Of what.
        document: DocumentId,
        /// An Automerge sync message.
        data: Cow<'a, [u8]>,
    },
    /// There is no such document here.
    DocUnavailable {
        /// Who lacks it.
        sender: Cow<'a, str>,
        /// Who asked.
        target: Cow<'a, str>,
        /// Which.
        document: DocumentId,
    },
    /// An application's word of the moment, passed on from peer to peer. Sender, session and count
    /// together name it, and stay as they are on its way.
    Ephemeral {
        /// Who said it first.
        sender: Cow<'a, str>,
        /// To whom it is passed on.
        target: Cow<'a, str>,
        /// The document that it is about.
        document: DocumentId,
        /// Rises with each message of the session; at most 2^53 - 1.
        count: u64,
        /// One life of the sender, drawn at random when it started.
        session: Cow<'a, str>,
        /// The application's value in CBOR. Its length is for the reader to check, against
        /// [`crate::limits::EPHEMERAL_BYTES_MAX`].
        data: Cow<'a, [u8]>,
    },
    /// From which storages the sender wants to hear `RemoteHeadsChanged`.
    RemoteSubscriptionChange {
        /// Who wants.
        sender: Cow<'a, str>,
        /// From whom.
        target: Cow<'a, str>,
        /// Ids of storages, at most [`crate::limits::REMOTE_STORAGES_MAX`].
        add: Vec<Cow<'a, str>>,
        /// No longer these; as many at most.
        remove: Vec<Cow<'a, str>>,
    },
    /// How far storages are with a document.
    RemoteHeadsChanged {
        /// Who says so.
        sender: Cow<'a, str>,
        /// To whom.
        target: Cow<'a, str>,
        /// Of what.
        document: DocumentId,
        /// By the id of the storage, at most [`crate::limits::REMOTE_STORAGES_MAX`].
        heads: BTreeMap<Cow<'a, str>, RemoteHeads>,
    },
}

/// What a peer says of itself (`peerMetadata`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RepoMetadata<'a> {
    /// The id of what it saves to, the same over restarts.
    pub storage_id: Option<Cow<'a, str>>,
    /// Whether it forgets everything when it goes.
    pub is_ephemeral: bool,
}

/// How far one storage is with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteHeads {
    /// The heads that it has, at most [`crate::limits::REMOTE_HEADS_MAX`].
    pub heads: Vec<ChangeHash>,
    /// When it had them, in milliseconds since 1970 by its own clock; at most 2^53 - 1.
    pub timestamp: u64,
}

/// Why a frame was refused, with what could be read of it for an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct RepoError {
    /// What is wrong.
    pub fault: RepoFault,
    /// The type of the message; at most [`crate::limits::NAME_BYTES_MAX`] characters of it.
    pub kind: Option<String>,
}

/// What is wrong with a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RepoFault {
    /// It is not one CBOR map (RFC 8949), or its nesting is beyond
    /// [`crate::limits::JSON_DEPTH_MAX`].
    #[error("a message is one map in CBOR")]
    Malformed,
    /// There is no such message; holds at most [`crate::limits::NAME_BYTES_MAX`] characters of
    /// its type.
    #[error("there is no message of the type {0:?}")]
    UnknownType(String),
    /// A member that this message must have is not there.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A member is not what it ought to be.
    #[error("`{0}` is malformed")]
    Member(&'static str),
    /// A member is longer, or has more in it, than its limit.
    #[error("`{0}` is too long")]
    TooLong(&'static str),
    /// `documentId` is not the id of a document.
    #[error("`documentId` is malformed: {reason}")]
    BadDocumentId {
        /// The id as it was written, at most [`crate::limits::NAME_BYTES_MAX`] characters of
        /// it; `None` where it was no text.
        text: Option<String>,
        /// What is wrong with it.
        reason: DocumentIdError,
    },
}

/// A head as automerge-repo writes it: the hash of the change, in base58 with a checksum.
pub fn head_text(head: &ChangeHash) -> String {
    checked_text(&head.0)
}

/// The head that [`head_text`] wrote, and nothing else.
pub fn parse_head(text: &str) -> Option<ChangeHash> {
    checked_bytes(text).ok().map(ChangeHash)
}

#[cfg(test)]
mod tests;
