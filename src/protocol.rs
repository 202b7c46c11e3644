//! All that may be said between a client and the server, in each of its dialects.
//!
//! The types here are the messages of the JSON dialect as they stand on the wire: names are text,
//! positions are numbers, bytes are base64. [`json`] turns them into what a workspace understands
//! and back; [`codes`] is the one table of error and close codes; [`cursor`] writes a position as
//! opaque text. The server reads [`ClientMessage`]s and writes [`ServerMessage`]s, a client the
//! other way round, so both go both ways. [`repo`] is the dialect of automerge-repo, in CBOR.

// Seqs, lengths and indices come off the wire here: no sum may wrap, no cast may cut.
#![warn(clippy::arithmetic_side_effects, clippy::as_conversions)]
#![warn(clippy::wildcard_enum_match_arm)]

pub mod codes;
pub mod cursor;
pub mod json;
pub mod repo;
pub mod schema;
mod tagged;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, Serialize};

use crate::ids::Secret;
use crate::json::{Json, JsonPatch};

/// What a client may say, in one text frame.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ClientMessage<'a> {
    /// "This is where I stand."
    Hello(Hello<'a>),
    /// An edit.
    Patch(Patch<'a>),
    /// An Automerge sync message.
    Sync(Sync<'a>),
    /// Ephemeral data for the other sessions.
    Presence(Presence),
}

impl<'a> ClientMessage<'a> {
    /// Reads a text frame. Members that no message of its type has are skipped.
    pub fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        tagged::parse(text)
    }
}

impl<'de> tagged::Tagged<'de> for ClientMessage<'de> {
    fn read<D: Deserializer<'de>>(kind: &str, members: D) -> Result<Self, D::Error> {
        match kind {
            "hello" => Hello::deserialize(members).map(Self::Hello),
            "patch" => Patch::deserialize(members).map(Self::Patch),
            "sync" => Sync::deserialize(members).map(Self::Sync),
            "presence" => Presence::deserialize(members).map(Self::Presence),
            _ => Err(D::Error::custom("there is no message of this type")),
        }
    }
}

/// `{"type":"hello"}`, with whatever the client holds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Hello<'a> {
    /// Per store the last seq applied; negative: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seqs: Option<BTreeMap<String, Whole>>,
    /// Stores spoken in CRDT, each with an Automerge sync message in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<BTreeMap<String, String>>,
    /// Only these stores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stores: Option<Vec<String>>,
    /// Per store the last cursor seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursors: Option<BTreeMap<String, String>>,
    /// What the client understands beyond the original protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caps: Option<Vec<String>>,
    /// The program and its version.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub client: Option<Cow<'a, str>>,
    /// Who the client is, as a token says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
}

/// `{"type":"patch"}`: an edit made on the state at `seq`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Patch<'a> {
    /// The store.
    #[serde(borrow)]
    pub store: Cow<'a, str>,
    /// The seq of the state it was made on.
    pub seq: Whole,
    /// The client's own name of this message.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub id: Option<Cow<'a, str>>,
    /// The edit.
    pub patch: JsonPatch,
}

/// `{"type":"sync"}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sync<'a> {
    /// The store.
    #[serde(borrow)]
    pub store: Cow<'a, str>,
    /// An Automerge sync message in base64.
    #[serde(borrow)]
    pub message: Cow<'a, str>,
}

/// `{"type":"presence"}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Presence {
    /// Anything; `null` takes it back.
    pub data: Json,
}

/// What the server may say, in one text frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ServerMessage<'a> {
    /// The whole state of a store.
    Snapshot {
        /// The store.
        store: Cow<'a, str>,
        /// The seq of that state.
        seq: u64,
        /// The state.
        state: Cow<'a, Json>,
        /// The same position as a cursor.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cursor: Option<String>,
    },
    /// What turns the state the client has into the one at `seq`.
    Patch {
        /// The store.
        store: Cow<'a, str>,
        /// The seq after it.
        seq: u64,
        /// The change.
        patch: Cow<'a, JsonPatch>,
        /// The same position as a cursor.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cursor: Option<String>,
    },
    /// An Automerge sync message.
    Sync {
        /// The store.
        store: Cow<'a, str>,
        /// The message in base64.
        message: String,
    },
    /// The hello is answered in full.
    Ready {
        /// Where each store of the answer stands.
        seqs: BTreeMap<Cow<'a, str>, u64>,
        /// The same positions as cursors.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cursors: Option<BTreeMap<Cow<'a, str>, String>>,
    },
    /// The client's edit is durable.
    Ack {
        /// The store.
        store: Cow<'a, str>,
        /// The client's name of the message; `null` if it gave none.
        id: Option<Cow<'a, str>>,
        /// The seq of its commit.
        seq: u64,
        /// Turns (the sender's base + its edit) into the state at `seq`.
        patch: Cow<'a, JsonPatch>,
        /// The same position as a cursor.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cursor: Option<String>,
    },
    /// The client's edit was refused, and nothing changed.
    Nack {
        /// The store; `null` where it could not be read.
        store: Option<Cow<'a, str>>,
        /// The client's name of the message; `null` where there was none to be read.
        id: Option<Cow<'a, str>>,
        /// One of [`codes`].
        code: Cow<'a, str>,
        /// What was wrong, for people.
        message: Cow<'a, str>,
    },
    /// Something other than an edit went wrong.
    Error {
        /// One of [`codes`].
        code: Cow<'a, str>,
        /// What was wrong, for people.
        message: Cow<'a, str>,
        /// The store it is about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        store: Option<Cow<'a, str>>,
    },
    /// What another session shows of itself.
    Presence {
        /// The other session.
        session: Cow<'a, str>,
        /// Its user.
        user: Cow<'a, str>,
        /// Its data; `null`: it left.
        data: Option<Cow<'a, Json>>,
    },
}

/// A whole number. JavaScript does not tell 3 from 3.0, so a float without a fraction is one too;
/// what is beyond [`i64`] becomes its nearest end, which is a position nobody has ever seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Whole(pub i64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_i64(WholeVisitor)
    }
}

struct WholeVisitor;

impl Visitor<'_> for WholeVisitor {
    type Value = Whole;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_i64<E>(self, n: i64) -> Result<Whole, E> {
        Ok(Whole(n))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Whole, E> {
        Ok(Whole(i64::try_from(n).unwrap_or(i64::MAX)))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::as_conversions,
        reason = "there is no fraction, and `as` saturates"
    )]
    fn visit_f64<E: serde::de::Error>(self, n: f64) -> Result<Whole, E> {
        if n.fract() == 0.0 { Ok(Whole(n as i64)) } else { Err(E::custom("not a whole number")) }
    }
}
