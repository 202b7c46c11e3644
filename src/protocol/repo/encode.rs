//! Messages to frames.

use std::borrow::Cow;

use super::cbor::{Writer, written_len};
use super::{RemoteHeads, RepoMessage, RepoMetadata, head_text};

/// Room for everything in a message but its data and its lists, in bytes.
const ENVELOPE_BYTES: usize = 256;

impl RepoMessage<'_> {
    /// The frame that says this: a map of definite length, without tags, `type` first. What is
    /// absent is left out; whole numbers beyond 32 bits are floats, as cbor-x writes them itself,
    /// and are exact up to 2^53.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Join { sender, metadata, versions } => {
                let mut message = Message::new("join", sender, 4, 0);
                message.metadata(metadata);
                message.list("supportedProtocolVersions", versions);
                message.finish()
            }
            Self::Peer { sender, metadata, version, target } => {
                let mut message = Message::new("peer", sender, 5, 0);
                message.metadata(metadata);
                message.text("selectedProtocolVersion", version);
                message.text("targetId", target);
                message.finish()
            }
            Self::Error { message: text, sender, target } => {
                let mut message = Message::new("error", sender, 4, text.len());
                message.text("message", text);
                message.text("targetId", target);
                message.finish()
            }
            Self::Leave { sender } => Message::new("leave", sender, 2, 0).finish(),
            Self::Request { sender, target, document, data } => {
                encode_data("request", sender, target, &document.to_string(), data)
            }
            Self::Sync { sender, target, document, data } => {
                encode_sync(sender, target, &document.to_string(), data)
            }
            Self::DocUnavailable { sender, target, document } => {
                encode_doc_unavailable(sender, target, &document.to_string())
            }
            Self::Ephemeral { sender, target, document, count, session, data } => {
                let mut message = Message::new("ephemeral", sender, 7, data.len());
                message.text("targetId", target);
                message.whole("count", *count);
                message.text("sessionId", session);
                message.text("documentId", &document.to_string());
                message.data(data);
                message.finish()
            }
            Self::RemoteSubscriptionChange { sender, target, add, remove } => {
                let mut message = Message::new("remote-subscription-change", sender, 5, 0);
                message.text("targetId", target);
                message.list("add", add);
                message.list("remove", remove);
                message.finish()
            }
            Self::RemoteHeadsChanged { sender, target, document, heads } => {
                let mut message = Message::new("remote-heads-changed", sender, 5, 0);
                message.text("targetId", target);
                message.text("documentId", &document.to_string());
                message.0.text("newHeads");
                message.0.map(heads.len());
                for (storage, heads) in heads {
                    message.0.text(storage);
                    message.heads(heads);
                }
                message.finish()
            }
        }
    }
}

/// The frame of a [`RepoMessage::Sync`], in one allocation of the right size. `document` is the
/// text of the id: it is the same for every session, and its checksum is two SHA-256.
pub fn encode_sync(sender: &str, target: &str, document: &str, data: &[u8]) -> Vec<u8> {
    encode_data("sync", sender, target, document, data)
}

/// The frame of a [`RepoMessage::DocUnavailable`], for whatever id was asked for: a client that
/// asks for one that is none here waits for this answer all the same.
pub fn encode_doc_unavailable(sender: &str, target: &str, document: &str) -> Vec<u8> {
    let mut message = Message::new("doc-unavailable", sender, 4, document.len());
    message.text("targetId", target);
    message.text("documentId", document);
    message.finish()
}

fn encode_data(kind: &str, sender: &str, target: &str, document: &str, data: &[u8]) -> Vec<u8> {
    let texts =
        ["type", kind, "senderId", sender, "targetId", target, "documentId", document, "data"];
    let parts = texts.iter().map(|text| text.len()).chain([data.len()]);
    let length = parts.map(written_len).fold(1, usize::saturating_add);
    let mut message = Message(Writer::with_capacity(length));
    message.open(kind, sender, 5);
    message.text("targetId", target);
    message.text("documentId", document);
    message.data(data);
    message.finish()
}

/// A message that is being written, member by member.
struct Message(Writer);

impl Message {
    fn new(kind: &str, sender: &str, members: usize, large: usize) -> Self {
        let mut message = Self(Writer::with_capacity(ENVELOPE_BYTES.saturating_add(large)));
        message.open(kind, sender, members);
        message
    }

    /// `members` counts all of them: type and sender, written here, and those that follow.
    fn open(&mut self, kind: &str, sender: &str, members: usize) {
        self.0.map(members);
        self.text("type", kind);
        self.text("senderId", sender);
    }

    fn finish(self) -> Vec<u8> {
        self.0.finish()
    }

    fn text(&mut self, name: &str, value: &str) {
        self.0.text(name);
        self.0.text(value);
    }

    fn whole(&mut self, name: &str, value: u64) {
        self.0.text(name);
        self.0.integer(value.into());
    }

    fn data(&mut self, data: &[u8]) {
        self.0.text("data");
        self.0.bytes(data);
    }

    fn list(&mut self, name: &str, values: &[Cow<'_, str>]) {
        self.0.text(name);
        self.0.array(values.len());
        for value in values {
            self.0.text(value);
        }
    }

    fn metadata(&mut self, metadata: &RepoMetadata<'_>) {
        self.0.text("peerMetadata");
        self.0.map(1_usize.saturating_add(metadata.storage_id.iter().len()));
        if let Some(storage_id) = &metadata.storage_id {
            self.text("storageId", storage_id);
        }
        self.0.text("isEphemeral");
        self.0.bool(metadata.is_ephemeral);
    }

    fn heads(&mut self, remote: &RemoteHeads) {
        self.0.map(2);
        self.0.text("heads");
        self.0.array(remote.heads.len());
        for head in &remote.heads {
            self.0.text(&head_text(head));
        }
        self.whole("timestamp", remote.timestamp);
    }
}
