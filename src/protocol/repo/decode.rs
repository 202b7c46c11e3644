//! Frames to messages.
//!
//! One walk over the map finds where the members stand; what they are is read when the type of the
//! message is known. Nothing is copied but lists, and no list grows before what it holds was there.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::cbor::{Item, Malformed, Members, Reader};
use super::{PROTOCOL, RemoteHeads, RepoError, RepoFault, RepoMessage, RepoMetadata, parse_head};
use crate::ids::{DocumentId, DocumentIdError};
use crate::limits;

/// Every member that some message has.
const NAMES: [&str; 14] = [
    "type",
    "senderId",
    "targetId",
    "documentId",
    "data",
    "peerMetadata",
    "supportedProtocolVersions",
    "selectedProtocolVersion",
    "message",
    "count",
    "sessionId",
    "add",
    "remove",
    "newHeads",
];

impl<'a> RepoMessage<'a> {
    /// Reads one frame.
    pub fn decode(frame: &'a [u8]) -> Result<Self, RepoError> {
        let mut reader = Reader::new(frame);
        let (members, read) = Members::read(&mut reader, &NAMES);
        let message = match read {
            Ok(()) if reader.is_end() => Message(&members).read(),
            Ok(()) | Err(Malformed) => Err(RepoFault::Malformed),
        };
        message.map_err(|fault| Message(&members).refuse(fault))
    }
}

/// The members of a message, to be read one by one.
struct Message<'m, 'a>(&'m Members<'a, { NAMES.len() }>);

impl<'a> Message<'_, 'a> {
    fn read(&self) -> Result<RepoMessage<'a>, RepoFault> {
        let kind = self.required("type", Reader::text)?;
        Ok(match &*kind {
            "join" => RepoMessage::Join {
                sender: self.sender()?,
                metadata: self.metadata()?,
                versions: self.versions()?,
            },
            "peer" => RepoMessage::Peer {
                sender: self.sender()?,
                metadata: self.metadata()?,
                version: self.version()?,
                target: self.target()?,
            },
            "error" => RepoMessage::Error {
                message: self.text_or_empty("message", limits::REPO_ERROR_BYTES_MAX)?,
                sender: self.text_or_empty("senderId", limits::PEER_ID_BYTES_MAX)?,
                target: self.text_or_empty("targetId", limits::PEER_ID_BYTES_MAX)?,
            },
            "leave" => RepoMessage::Leave { sender: self.sender()? },
            "request" => {
                let (sender, target, document) = self.addressed()?;
                RepoMessage::Request { sender, target, document, data: self.data()? }
            }
            "sync" => {
                let (sender, target, document) = self.addressed()?;
                RepoMessage::Sync { sender, target, document, data: self.data()? }
            }
            "doc-unavailable" => {
                let (sender, target, document) = self.addressed()?;
                RepoMessage::DocUnavailable { sender, target, document }
            }
            "ephemeral" => self.ephemeral()?,
            "remote-subscription-change" => RepoMessage::RemoteSubscriptionChange {
                sender: self.sender()?,
                target: self.target()?,
                add: self.storages("add")?,
                remove: self.storages("remove")?,
            },
            "remote-heads-changed" => {
                let (sender, target, document) = self.addressed()?;
                RepoMessage::RemoteHeadsChanged { sender, target, document, heads: self.heads()? }
            }
            _ => return Err(RepoFault::UnknownType(excerpt(&kind))),
        })
    }

    fn ephemeral(&self) -> Result<RepoMessage<'a>, RepoFault> {
        let (sender, target, document) = self.addressed()?;
        Ok(RepoMessage::Ephemeral {
            sender,
            target,
            document,
            count: self.required("count", Reader::whole)?,
            session: self.name("sessionId")?,
            data: self.data()?,
        })
    }

    /// Adds to a fault what can be read all the same.
    fn refuse(&self, fault: RepoFault) -> RepoError {
        let kind = self.required("type", Reader::text).ok();
        RepoError { fault, kind: kind.as_deref().map(excerpt) }
    }

    /// Reads a member, if it is there.
    fn optional<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, Malformed>,
    ) -> Result<Option<T>, RepoFault> {
        let value = self.0.get(name).map(|mut reader| read(&mut reader));
        value.transpose().map_err(|Malformed| RepoFault::Member(name))
    }

    fn required<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, Malformed>,
    ) -> Result<T, RepoFault> {
        self.optional(name, read)?.ok_or(RepoFault::Missing(name))
    }

    /// The name of a peer or of a session.
    fn name(&self, name: &'static str) -> Result<Cow<'a, str>, RepoFault> {
        let text = self.required(name, Reader::text)?;
        within(name, text, limits::PEER_ID_BYTES_MAX)
    }

    fn sender(&self) -> Result<Cow<'a, str>, RepoFault> {
        self.name("senderId")
    }

    fn target(&self) -> Result<Cow<'a, str>, RepoFault> {
        self.name("targetId")
    }

    fn data(&self) -> Result<Cow<'a, [u8]>, RepoFault> {
        self.required("data", Reader::bytes)
    }

    fn text_or_empty(&self, name: &'static str, max: usize) -> Result<Cow<'a, str>, RepoFault> {
        let text = self.optional(name, Reader::text)?;
        within(name, text.unwrap_or_default(), max)
    }

    fn addressed(&self) -> Result<(Cow<'a, str>, Cow<'a, str>, DocumentId), RepoFault> {
        Ok((self.sender()?, self.target()?, self.document()?))
    }

    /// Old clients wrote the bytes themselves.
    fn document(&self) -> Result<DocumentId, RepoFault> {
        const NAME: &str = "documentId";
        let bad = |text, reason| RepoFault::BadDocumentId { text, reason };
        let is_text = |reader: &mut Reader<'a>| Ok(reader.item()? == Item::Text);
        if self.required(NAME, is_text)? {
            let text = self.required(NAME, Reader::text)?;
            return text.parse().map_err(|reason| bad(Some(excerpt(&text)), reason));
        }
        let bytes = self.required(NAME, Reader::bytes)?;
        let id = <[u8; 16]>::try_from(&*bytes);
        id.map(DocumentId).map_err(|_other_length| bad(None, DocumentIdError::Length))
    }

    fn metadata(&self) -> Result<RepoMetadata<'a>, RepoFault> {
        const NAME: &str = "peerMetadata";
        let metadata = self.optional(NAME, |reader| {
            let (members, read) = Members::read(reader, &["storageId", "isEphemeral"]);
            read?;
            let storage_id = members.get("storageId").map(|mut at| at.text()).transpose()?;
            let is_ephemeral = members.get("isEphemeral").map(|mut at| at.bool()).transpose()?;
            Ok(RepoMetadata { storage_id, is_ephemeral: is_ephemeral.unwrap_or_default() })
        })?;
        let metadata = metadata.unwrap_or_default();
        match &metadata.storage_id {
            Some(id) if id.len() > limits::STORAGE_ID_BYTES_MAX => Err(RepoFault::TooLong(NAME)),
            Some(_) | None => Ok(metadata),
        }
    }

    /// Clients from before there were versions name none.
    fn versions(&self) -> Result<Vec<Cow<'a, str>>, RepoFault> {
        let versions = self.list("supportedProtocolVersions", limits::REPO_VERSIONS_MAX)?;
        Ok(versions.unwrap_or_else(|| vec![PROTOCOL.into()]))
    }

    fn version(&self) -> Result<Cow<'a, str>, RepoFault> {
        const NAME: &str = "selectedProtocolVersion";
        let version = self.optional(NAME, Reader::text)?;
        within(NAME, version.unwrap_or(Cow::Borrowed(PROTOCOL)), limits::STORAGE_ID_BYTES_MAX)
    }

    fn storages(&self, name: &'static str) -> Result<Vec<Cow<'a, str>>, RepoFault> {
        Ok(self.list(name, limits::REMOTE_STORAGES_MAX)?.unwrap_or_default())
    }

    /// A list of short texts.
    fn list(&self, name: &'static str, max: usize) -> Result<Option<Vec<Cow<'a, str>>>, RepoFault> {
        let Some(mut reader) = self.0.get(name) else { return Ok(None) };
        let malformed = |Malformed| RepoFault::Member(name);
        let mut items = reader.array().map_err(malformed)?;
        let mut texts = Vec::new();
        while reader.more(&mut items).map_err(malformed)? {
            let text = reader.text().map_err(malformed)?;
            room(name, texts.len(), max)?;
            texts.push(within(name, text, limits::STORAGE_ID_BYTES_MAX)?);
        }
        Ok(Some(texts))
    }

    fn heads(&self) -> Result<BTreeMap<Cow<'a, str>, RemoteHeads>, RepoFault> {
        const NAME: &str = "newHeads";
        let malformed = |Malformed| RepoFault::Member(NAME);
        let mut reader = self.0.get(NAME).ok_or(RepoFault::Missing(NAME))?;
        let mut items = reader.map().map_err(malformed)?;
        let mut storages = BTreeMap::new();
        while reader.more(&mut items).map_err(malformed)? {
            let storage = reader.text().map_err(malformed)?;
            let storage = within(NAME, storage, limits::STORAGE_ID_BYTES_MAX)?;
            room(NAME, storages.len(), limits::REMOTE_STORAGES_MAX)?;
            let (members, read) = Members::read(&mut reader, &["heads", "timestamp"]);
            read.map_err(malformed)?;
            let heads = members.get("heads").ok_or(RepoFault::Member(NAME))?;
            let timestamp = members.get("timestamp").ok_or(RepoFault::Member(NAME))?.whole();
            let timestamp = timestamp.map_err(malformed)?;
            storages.insert(storage, RemoteHeads { heads: read_heads(NAME, heads)?, timestamp });
        }
        Ok(storages)
    }
}

fn read_heads(
    name: &'static str,
    mut reader: Reader<'_>,
) -> Result<Vec<automerge::ChangeHash>, RepoFault> {
    let malformed = |Malformed| RepoFault::Member(name);
    let mut items = reader.array().map_err(malformed)?;
    let mut heads = Vec::new();
    while reader.more(&mut items).map_err(malformed)? {
        let text = reader.text().map_err(malformed)?;
        room(name, heads.len(), limits::REMOTE_HEADS_MAX)?;
        heads.push(parse_head(&text).ok_or(RepoFault::Member(name))?);
    }
    Ok(heads)
}

fn within<'a>(
    name: &'static str,
    text: Cow<'a, str>,
    max: usize,
) -> Result<Cow<'a, str>, RepoFault> {
    if text.len() > max { Err(RepoFault::TooLong(name)) } else { Ok(text) }
}

/// Whether one more fits to those that are there.
fn room(name: &'static str, there: usize, max: usize) -> Result<(), RepoFault> {
    if there >= max { Err(RepoFault::TooLong(name)) } else { Ok(()) }
}

/// The beginning of a text that may be anything.
fn excerpt(text: &str) -> String {
    text.chars().take(limits::NAME_BYTES_MAX).collect()
}
