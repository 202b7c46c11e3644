//! The JSON dialect: text frames to what a workspace understands, and back.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::ids::{Secret, StoreName};
use crate::json::{Json, JsonError, JsonLimits, JsonPatch};
use crate::limits;
use crate::protocol::{self, ClientMessage, ServerMessage, codes, cursor};
use crate::workspace::{
    Caps, Cursor, Delivery, Garbled, Hello, MessageId, Refusal, Request, WorkspaceLimits,
};

/// Room for everything in a message but its values, in bytes.
const ENVELOPE_BYTES: usize = 256;

/// Reads a text frame. What cannot be understood is a [`Request::Garbled`] that says why, with the
/// store and the id where that much could be read.
///
/// Of an edit that can be read, the limits are the workspace's to know: it may have been committed
/// before, under others.
pub fn decode(text: &str, limits: &WorkspaceLimits) -> Request {
    decode_with_token(text, limits).0
}

/// As [`decode`], with the token that a hello carries. Of one that cannot be understood it is not
/// taken.
pub fn decode_with_token(text: &str, limits: &WorkspaceLimits) -> (Request, Option<Secret>) {
    let mut token = None;
    let request = match ClientMessage::parse(text) {
        Ok(ClientMessage::Hello(hello)) => {
            let read = read_hello(&hello).map(Request::Hello);
            token = hello.token.filter(|_| read.is_ok());
            read
        }
        Ok(ClientMessage::Patch(patch)) => read_patch(patch),
        Ok(ClientMessage::Sync(sync)) => read_sync(&sync),
        Ok(ClientMessage::Presence(presence)) => read_presence(presence, limits),
        Err(error) => Err(diagnose(text, &error)),
    };
    (request.unwrap_or_else(|reason| Request::Garbled { reason }), token)
}

/// Reads one JSON value, within the limits.
///
/// Errors: [`Refusal::Json`].
pub fn read_value(text: &[u8], limits: &JsonLimits) -> Result<Json, Refusal> {
    Ok(Json::parse(text, limits)?)
}

/// Reads a JSON patch (RFC 6902) that stands alone. As in a message, the limits of what it makes
/// are the workspace's to know.
///
/// Errors: [`Refusal::Json`] where it is no JSON, [`Refusal::Patch`] where it is no patch.
pub fn read_json_patch(text: &[u8]) -> Result<JsonPatch, Refusal> {
    let error = match serde_json::from_slice(text) {
        Ok(patch) => return Ok(patch),
        Err(error) => error,
    };
    // The values are nested in an operation, and that in the array.
    let depth_max = limits::JSON_DEPTH_MAX.saturating_add(2);
    let unlimited = JsonLimits {
        depth_max,
        key_bytes_max: usize::MAX,
        document_bytes_max: usize::MAX,
        forbid_prototype_keys: false,
        ..JsonLimits::default()
    };
    match JsonPatch::from_json(&Json::parse(text, &unlimited)?) {
        Err(error) => Err(error.into()),
        // It is what only the text shows: a member that stands there twice.
        Ok(_) => Err(Refusal::BadMessage(error.to_string())),
    }
}

fn read_hello(hello: &protocol::Hello<'_>) -> Result<Hello, Garbled> {
    let garbled = |refusal: Refusal| Garbled::from(refusal);
    let name = |name: &str| read_name(name).map_err(garbled);
    let mut read = Hello { caps: read_caps(hello.caps.as_deref()), ..Hello::default() };
    for (store, seq) in hello.seqs.iter().flatten() {
        read.seqs.insert(name(store)?, seq.0);
    }
    for (store, message) in hello.sync.iter().flatten() {
        read.sync.insert(name(store)?, read_base64(message).map_err(garbled)?);
    }
    for (store, text) in hello.cursors.iter().flatten() {
        if let Some(cursor) = cursor::decode(text) {
            read.cursors.insert(name(store)?, cursor);
        }
    }
    let stores = hello.stores.as_ref();
    read.stores = stores.map(|all| all.iter().map(|one| name(one)).collect()).transpose()?;
    Ok(read)
}

/// Caps that this server does not know are for another one.
fn read_caps(names: Option<&[String]>) -> Caps {
    let has = |cap: &str| names.is_some_and(|names| names.iter().any(|name| name == cap));
    Caps { ack: has("ack"), ready: has("ready"), presence: has("presence"), cursor: has("cursor") }
}

fn read_patch(message: protocol::Patch<'_>) -> Result<Request, Garbled> {
    let garbled = |refusal| Garbled {
        store: Some(excerpt(&message.store)),
        id: message.id.as_deref().map(excerpt),
        seq: Some(message.seq.0),
        refusal,
        patch: true,
    };
    let store = read_name(&message.store).map_err(garbled)?;
    let id = match message.id.as_deref() {
        None => None,
        Some(id) => Some(MessageId::new(id).ok_or_else(|| {
            garbled(Refusal::BadMessage(format!(
                "an id has 1 to {} bytes and no control characters",
                limits::MESSAGE_ID_BYTES_MAX
            )))
        })?),
    };
    Ok(Request::Patch { store, seq: message.seq.0, id, patch: message.patch })
}

fn read_sync(message: &protocol::Sync<'_>) -> Result<Request, Garbled> {
    let garbled =
        |refusal: Refusal| Garbled { store: Some(excerpt(&message.store)), ..refusal.into() };
    let store = read_name(&message.store).map_err(garbled)?;
    let message = read_base64(&message.message).map_err(garbled)?;
    Ok(Request::Sync { store, message })
}

fn read_presence(
    message: protocol::Presence,
    limits: &WorkspaceLimits,
) -> Result<Request, Garbled> {
    let document_bytes_max = limits.presence_bytes_max;
    let limits = JsonLimits { document_bytes_max, ..limits.json.clone() };
    match message.data.check(&limits) {
        Ok(()) => Ok(Request::Presence { data: message.data }),
        Err(error) => Err(Refusal::from(error).into()),
    }
}

fn read_name(name: &str) -> Result<StoreName, Refusal> {
    name.parse().map_err(|error| Refusal::BadMessage(format!("not the name of a store: {error}")))
}

fn read_base64(text: &str) -> Result<Vec<u8>, Refusal> {
    STANDARD
        .decode(text)
        .map_err(|error| Refusal::BadMessage(format!("a sync message is base64: {error}")))
}

/// The beginning of a text that came from a client and goes back to it: long enough for every
/// text that is sound.
fn excerpt(text: &str) -> String {
    text.chars().take(limits::NAME_BYTES_MAX).collect()
}

/// Says what is wrong with a frame that could not be read. It may read the frame twice more: a
/// frame that can be read is never here.
fn diagnose(text: &str, error: &serde_json::Error) -> Garbled {
    #[derive(Deserialize)]
    struct Legible {
        #[serde(default, rename = "type")]
        kind: Perhaps,
        #[serde(default)]
        store: Perhaps,
        #[serde(default)]
        id: Perhaps,
        #[serde(default)]
        seq: serde_json::Value,
    }

    let bad_message = Refusal::BadMessage(error.to_string());
    let Ok(legible) = serde_json::from_str::<Legible>(text) else {
        return bad_message.into();
    };
    let is_patch = legible.kind.0.as_deref() == Some("patch");
    let cause = if is_patch { diagnose_patch(text) } else { None };
    Garbled {
        store: legible.store.0.as_deref().map(excerpt),
        id: legible.id.0.as_deref().map(excerpt),
        seq: legible.seq.as_i64(),
        refusal: cause.unwrap_or(bad_message),
        patch: is_patch,
    }
}

/// What is wrong with the operations of a patch, if it is they.
fn diagnose_patch(text: &str) -> Option<Refusal> {
    #[derive(Deserialize)]
    struct Operations {
        patch: serde_json::Value,
    }

    let too_deep = Refusal::Json(JsonError::TooDeep);
    let operations = match serde_json::from_str::<Operations>(text) {
        Ok(operations) => Json::from(operations.patch),
        // The parser has a limit of its own, below which numbers can still be out of range.
        Err(error) if error.to_string().starts_with("recursion limit") => return Some(too_deep),
        Err(_) => return None,
    };
    match JsonPatch::from_json(&operations) {
        Err(error) => Some(error.into()),
        // The values are nested in an operation, and that in the array.
        Ok(_) if operations.depth() > limits::JSON_DEPTH_MAX.saturating_add(2) => Some(too_deep),
        Ok(_) => None,
    }
}

/// A text where there is one, and nothing where there is something else.
#[derive(Default)]
struct Perhaps(Option<String>);

impl<'de> Deserialize<'de> for Perhaps {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Any {
            Text(String),
            Other(serde::de::IgnoredAny),
        }

        Any::deserialize(deserializer).map(|any| match any {
            Any::Text(text) => Self(Some(text)),
            Any::Other(_) => Self(None),
        })
    }
}

/// The text frame that tells a client this; `None` if the dialect has no word for it.
pub fn encode(delivery: &Delivery) -> Option<String> {
    let mut text = Vec::with_capacity(ENVELOPE_BYTES.saturating_add(value_bytes(delivery)));
    let written = serde_json::to_writer(&mut text, &message(delivery)?);
    Some(match (written, String::from_utf8(text)) {
        (Ok(()), Ok(text)) => text,
        // Writing JSON fails only for a map whose keys are no text, and no message has one.
        (Err(_), _) | (_, Err(_)) => {
            r#"{"type":"error","code":"internal","message":""}"#.to_owned()
        }
    })
}

/// The length of the large part of a message: all of it is written into one allocation.
fn value_bytes(delivery: &Delivery) -> usize {
    match delivery {
        Delivery::Snapshot { state, .. } => state.encoded_len(),
        Delivery::Sync { message, .. } => message.payload_len().div_ceil(3).saturating_mul(4),
        Delivery::Presence { data, .. } => data.as_ref().map_or(0, Json::encoded_len),
        Delivery::Patch { .. }
        | Delivery::Ready { .. }
        | Delivery::Ack { .. }
        | Delivery::Nack { .. }
        | Delivery::Error { .. }
        | Delivery::Repo(_) => 0,
    }
}

fn message(delivery: &Delivery) -> Option<ServerMessage<'_>> {
    Some(match delivery {
        Delivery::Repo(_) => return None,
        Delivery::Snapshot { store, seq, state, cursor } => ServerMessage::Snapshot {
            store: store.as_str().into(),
            seq: seq.0,
            state: Cow::Borrowed(state),
            cursor: cursor.as_ref().and_then(cursor::encode),
        },
        Delivery::Patch { store, seq, patch, cursor } => ServerMessage::Patch {
            store: store.as_str().into(),
            seq: seq.0,
            patch: Cow::Borrowed(patch),
            cursor: cursor.as_ref().and_then(cursor::encode),
        },
        Delivery::Sync { store, message } => {
            let message = STANDARD.encode(message.encode());
            ServerMessage::Sync { store: store.as_str().into(), message }
        }
        Delivery::Ready { seqs, cursors } => ServerMessage::Ready {
            seqs: seqs.iter().map(|(store, seq)| (store.as_str().into(), seq.0)).collect(),
            cursors: cursors.as_ref().map(|cursors| {
                let text = |(store, at): &'_ (StoreName, Cursor)| {
                    Some((store.to_string().into(), cursor::encode(at)?))
                };
                cursors.iter().filter_map(text).collect()
            }),
        },
        Delivery::Ack { store, id, seq, patch, cursor } => ServerMessage::Ack {
            store: store.as_str().into(),
            id: id.as_ref().map(|id| id.as_str().into()),
            seq: seq.0,
            patch: Cow::Borrowed(patch),
            cursor: cursor.as_ref().and_then(cursor::encode),
        },
        Delivery::Nack { store, id, refusal } => ServerMessage::Nack {
            store: store.as_deref().map(Cow::Borrowed),
            id: id.as_deref().map(Cow::Borrowed),
            code: codes::error_code(refusal).into(),
            message: codes::told(refusal).into(),
        },
        Delivery::Error { store, refusal } => ServerMessage::Error {
            code: codes::error_code(refusal).into(),
            message: codes::told(refusal).into(),
            store: store.as_deref().map(Cow::Borrowed),
        },
        Delivery::Presence { session, user, data } => ServerMessage::Presence {
            session: session.to_string().into(),
            user: user.into(),
            data: data.as_ref().map(Cow::Borrowed),
        },
    })
}

#[cfg(test)]
mod tests;
