//! Frames of every dialect: whatever comes, it is refused or understood, and what is understood and
//! said again is understood the same.

use std::panic::catch_unwind;

use automerge::sync;
use serde_json::Value;

use crate::document::Incoming;
use crate::ids::DocumentId;
use crate::json::{Json, JsonLimits, JsonPatch, Pointer};
use crate::protocol::repo::{RepoMessage, head_text, parse_head, request};
use crate::protocol::{ClientMessage, ServerMessage, cursor, json};
use crate::workspace::WorkspaceLimits;
use crate::workspace::repo::{PresenceWord, RepoRequest};

/// The first byte says what the others are to be.
pub fn decode(bytes: &[u8]) {
    let Some((kind, frame)) = bytes.split_first() else { return };
    match kind % 4 {
        0 => text(frame),
        1 => repo(frame),
        2 => names(frame),
        _ => sync_message(frame),
    }
}

/// A text frame, as a client's and as the server's, and as the JSON in it.
fn text(frame: &[u8]) {
    let Ok(text) = str::from_utf8(frame) else { return };
    drop(json::decode(text, &WorkspaceLimits::default()));
    if let Ok(message) = ClientMessage::parse(text) {
        let again = serde_json::to_string(&message).unwrap();
        assert_eq!(ClientMessage::parse(&again).unwrap(), message, "{again}");
    }
    if let Ok(message) = serde_json::from_str::<ServerMessage<'_>>(text) {
        let again = serde_json::to_string(&message).unwrap();
        assert_eq!(serde_json::from_str::<ServerMessage<'_>>(&again).unwrap(), message, "{again}");
    }
    let limits = JsonLimits { forbid_prototype_keys: false, ..JsonLimits::default() };
    let Ok(value) = Json::parse(text, &limits) else { return };
    value.check(&limits).unwrap();
    let again = value.to_string();
    assert_eq!(again.len(), value.encoded_len(), "{again}");
    assert_eq!(Json::parse(&again, &limits).as_ref(), Ok(&value), "{again}");
    if let Ok(patch) = JsonPatch::from_json(&value) {
        let text = serde_json::to_string(&patch).unwrap();
        assert_eq!(serde_json::from_str::<JsonPatch>(&text).unwrap(), patch, "{text}");
    }
}

/// A binary frame of automerge-repo, and the presence in it.
fn repo(frame: &[u8]) {
    let limits = JsonLimits::default();
    presence(frame, &limits);
    let Ok(message) = RepoMessage::decode(frame) else { return };
    let again = message.encode();
    assert_eq!(RepoMessage::decode(&again).as_ref(), Ok(&message), "{again:?}");
    if let Some(RepoRequest::Ephemeral(said)) = request(message, &limits) {
        presence(&said.data, &limits);
    }
}

fn presence(data: &[u8], limits: &JsonLimits) {
    let Some(word) = PresenceWord::parse(data, limits) else { return };
    let again = PresenceWord::parse(&word.encode(), limits);
    assert_eq!(again.as_ref().map(in_floats), Some(in_floats(&word)), "{data:?}");
}

/// A word with all numbers as JavaScript has them: the dialect writes what is beyond 32 bits so.
fn in_floats(word: &PresenceWord) -> (Option<String>, Value) {
    match word {
        PresenceWord::Heartbeat => (None, "heartbeat".into()),
        PresenceWord::Goodbye => (None, "goodbye".into()),
        PresenceWord::Update { channel, value } => (Some(channel.clone()), floats(value.into())),
        PresenceWord::Snapshot { state } => (None, floats(state.into())),
    }
}

fn floats(value: Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().into(),
        Value::Array(items) => items.into_iter().map(floats).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(key, value)| (key, floats(value))).collect()
        }
        other => other,
    }
}

/// What has one spelling only is spelt the same again.
fn names(frame: &[u8]) {
    let Ok(text) = str::from_utf8(frame) else { return };
    if let Some(cursor) = cursor::decode(text) {
        assert_eq!(cursor::encode(&cursor).as_deref(), Some(text));
    }
    if let Ok(pointer) = Pointer::parse(text) {
        assert_eq!(pointer.to_string(), text);
    }
    if let Ok(id) = text.parse::<DocumentId>() {
        assert_eq!(id.to_string(), text);
    }
    if let Some(head) = parse_head(text) {
        assert_eq!(head_text(&head), text);
    }
}

/// A sync message that passes is one that Automerge reads too, and the same.
fn sync_message(frame: &[u8]) {
    let Ok(incoming) = Incoming::open(frame) else { return };
    if incoming.refused().is_some() {
        return;
    }
    let read = catch_unwind(|| sync::Message::decode(frame));
    let Ok(Ok(message)) = read else { return };
    assert_eq!(incoming.heads(), message.heads);
    assert_eq!(incoming.reads_documents(), message.flags.is_some());
}
