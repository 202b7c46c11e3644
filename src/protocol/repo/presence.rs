//! Presence as stock clients say it: ephemeral messages with an envelope of their own.
//!
//! automerge-repo's `Presence` broadcasts `{"__presence": {"type": ..}}` on the handle of a
//! document. Whoever runs it holds a state by channels: a *snapshot* replaces or adds channels, an
//! *update* one of them, a *heartbeat* every 15 s says that the sender is still there, and a
//! *goodbye* that it is not. Any other ephemeral message is an application's own.

use super::cbor::{Members, Reader, Writer};
use super::value::{read_json, write_json};
use crate::json::{Json, JsonLimits};
use crate::limits;
use crate::workspace::repo::PresenceWord;

/// The one member of the envelope.
const MARKER: &str = "__presence";

/// Room for everything in an envelope but its value, in bytes.
const ENVELOPE_BYTES: usize = 64;

impl PresenceWord {
    /// Reads the data of an ephemeral message. `None` if it is something else than presence, or
    /// beyond `limits`, [`limits::EPHEMERAL_BYTES_MAX`] or [`limits::PRESENCE_BYTES_MAX`].
    pub fn parse(data: &[u8], limits: &JsonLimits) -> Option<Self> {
        if data.len() > limits::EPHEMERAL_BYTES_MAX {
            return None;
        }
        let mut reader = Reader::new(data);
        let (envelope, read) = Members::read(&mut reader, &[MARKER]);
        read.ok().filter(|()| reader.is_end())?;
        let names = &["type", "channel", "value", "state"];
        let (word, read) = Members::read(&mut envelope.get(MARKER)?, names);
        read.ok()?;
        let value = |name: &str| match word.get(name) {
            None => Some(Json::Null),
            Some(value) => read_value(value, limits),
        };
        match &*word.get("type")?.text().ok()? {
            "heartbeat" => Some(Self::Heartbeat),
            "goodbye" => Some(Self::Goodbye),
            "update" => {
                let channel = word.get("channel")?.text().ok()?.into_owned();
                limits.check_key(&channel).ok()?;
                Some(Self::Update { channel, value: value("value")? })
            }
            "snapshot" => Some(Self::Snapshot { state: value("state")? }),
            _ => None,
        }
    }

    /// The data of the ephemeral message that says this.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(ENVELOPE_BYTES.saturating_add(self.value_len()));
        writer.map(1);
        writer.text(MARKER);
        let (members, kind) = match self {
            Self::Heartbeat => (1, "heartbeat"),
            Self::Update { .. } => (3, "update"),
            Self::Snapshot { .. } => (2, "snapshot"),
            Self::Goodbye => (1, "goodbye"),
        };
        writer.map(members);
        writer.text("type");
        writer.text(kind);
        match self {
            Self::Heartbeat | Self::Goodbye => {}
            Self::Update { channel, value } => {
                writer.text("channel");
                writer.text(channel);
                writer.text("value");
                write_json(&mut writer, value);
            }
            Self::Snapshot { state } => {
                writer.text("state");
                write_json(&mut writer, state);
            }
        }
        writer.finish()
    }
}

fn read_value(mut reader: Reader<'_>, limits: &JsonLimits) -> Option<Json> {
    let json = read_json(&mut reader, limits, 0).ok()?;
    let bytes_max = limits.document_bytes_max.min(limits::PRESENCE_BYTES_MAX);
    (json.encoded_len() <= bytes_max).then_some(json)
}

#[cfg(test)]
mod tests;
