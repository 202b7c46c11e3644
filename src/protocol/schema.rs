//! The messages of the JSON dialect for programs: one table of JSON Schemas (2020-12).
//!
//! What is written by hand here is held to the encoder and the decoder by the tests of
//! `server/asyncapi.rs`. The keywords
//! are those that older drafts have too, so that the same table serves as schemas of `AsyncAPI`.
//!
//! A schema cannot say that a member stands in an object only once, how long a text is in bytes, or
//! how deep a value is nested; and an edit can be refused for what it does. So a message that fits
//! may be refused; one that does not fit is.

use serde_json::{Map, Value, json};

use crate::limits;

/// The messages that a client may say: the name of each schema.
pub const SAID: [&str; 4] = ["Hello", "Edit", "ClientSync", "ClientPresence"];

/// The messages that every client may hear: those of the original protocol, and of Automerge.
pub const HEARD_BY_ALL: [&str; 3] = ["Snapshot", "Patch", "Sync"];

/// The messages that a client may hear beside those, if it has named the caps for them.
pub const HEARD_WITH_CAPS: [&str; 5] = ["Ready", "Ack", "Nack", "Error", "Presence"];

/// The codes of refusals, in order. More may come.
pub const CODES: [&str; 27] = [
    "actor-taken",
    "bad-message",
    "bad-patch",
    "bad-path",
    "bad-sync",
    "forbidden",
    "forbidden-key",
    "internal",
    "key-too-long",
    "no-store",
    "not-an-object",
    "not-saved",
    "precondition-failed",
    "refused",
    "replaced",
    "reserved-key",
    "resync",
    "schema-violation",
    "shutting-down",
    "stale",
    "test-failed",
    "too-deep",
    "too-large",
    "too-many",
    "too-many-ops",
    "unavailable",
    "workspace-full",
];

/// All messages as one schema: a text frame of either side fits it.
pub fn messages() -> Value {
    let mut definitions = definitions("#/$defs/");
    let one_of = |names: &[&str]| -> Value {
        let all = names.iter().map(|name| json!({"$ref": format!("#/$defs/{name}")}));
        json!({"oneOf": all.collect::<Vec<_>>()})
    };
    let heard = [&HEARD_BY_ALL[..], &HEARD_WITH_CAPS[..]].concat();
    definitions.insert("ClientMessage".to_owned(), one_of(&SAID));
    definitions.insert("ServerMessage".to_owned(), one_of(&heard));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:statehouse:messages",
        "title": "Messages of statehouse",
        "description": "Text frames of /v1/workspaces/{workspace}/socket. #/$defs/ClientMessage \
                        is what a client says, #/$defs/ServerMessage what it hears. Members that \
                        are not named here are to be ignored.",
        "anyOf": [{"$ref": "#/$defs/ClientMessage"}, {"$ref": "#/$defs/ServerMessage"}],
        "$defs": definitions,
    })
}

/// The schema of each message and of each part of one, by name. `prefix` is what a reference to one
/// of them begins with.
pub fn definitions(prefix: &str) -> Map<String, Value> {
    let named = |name: &str| json!({"$ref": format!("{prefix}{name}")});
    parts(&named).into_iter().chain(said(&named)).chain(heard(&named)).collect()
}

/// What a JSON Pointer (RFC 6901) is, as a regular expression.
pub fn pointer_pattern() -> String {
    format!("^(/([^~/]|~[01])*){{0,{}}}$", limits::POINTER_SEGMENTS_MAX)
}

type Definitions = Map<String, Value>;

/// A message with these members, of which those in `required` are always there.
fn message(kind: &str, about: &str, required: &[&str], members: Value) -> Value {
    let mut properties = Map::from_iter([("type".to_owned(), json!({"const": kind}))]);
    if let Value::Object(members) = members {
        properties.extend(members);
    }
    let required: Vec<&str> = ["type"].iter().chain(required).copied().collect();
    json!({
        "type": "object",
        "description": about,
        "required": required,
        "properties": properties,
    })
}

/// A map of stores to this.
fn by_store(named: &impl Fn(&str) -> Value, value: &Value) -> Value {
    json!({
        "type": "object",
        "propertyNames": named("StoreName"),
        "additionalProperties": value,
    })
}

/// The same, or `null`, which is as good as nothing.
fn or_null(schema: &Value) -> Value {
    json!({"anyOf": [schema, {"type": "null"}]})
}

fn table(rows: impl IntoIterator<Item = (&'static str, Value)>) -> Definitions {
    rows.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

fn parts(named: &impl Fn(&str) -> Value) -> Definitions {
    table([
        (
            "StoreName",
            json!({
                "type": "string",
                "minLength": 1,
                "maxLength": limits::NAME_BYTES_MAX,
                "pattern": "^[A-Za-z0-9._:-]*$",
                "not": {"enum": [".", ".."]},
            }),
        ),
        (
            "Seq",
            json!({"type": "integer", "minimum": 0, "description": "names a state of a store"}),
        ),
        ("Cursor", json!({"type": "string", "description": "names a state of a store; opaque"})),
        (
            "MessageId",
            json!({
                "type": "string",
                "minLength": 1,
                "maxLength": limits::MESSAGE_ID_BYTES_MAX,
                "pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$",
                "description": "unique in the store for ever; the length counts in bytes of UTF-8",
            }),
        ),
        (
            "SyncMessage",
            json!({
                "type": "string",
                "contentEncoding": "base64",
                // With padding, and with nothing in the bits that no byte needs.
                "pattern": "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|\
                            [A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$",
                "description": "a message of Automerge's sync protocol, version 1 or 2",
            }),
        ),
        (
            "Code",
            json!({
                "type": "string",
                "pattern": "^[a-z]+(-[a-z]+)*$",
                "examples": CODES,
                "description": "what programs go by; more may come",
            }),
        ),
        (
            "JsonPointer",
            json!({
                "type": "string",
                "pattern": pointer_pattern(),
                "description": "RFC 6901",
            }),
        ),
        (
            "JsonPatch",
            json!({
                "type": "array",
                "items": named("JsonOperation"),
                "maxItems": limits::PATCH_OPS_CEILING,
                "description": "RFC 6902",
            }),
        ),
        ("JsonOperation", operation(named)),
    ])
}

fn operation(named: &impl Fn(&str) -> Value) -> Value {
    let pointer = named("JsonPointer");
    let with = |ops: &[&str], member: Option<(&str, Value)>| {
        let mut required = vec!["op", "path"];
        let mut properties = json!({"op": {"enum": ops}, "path": pointer});
        if let (Some((name, schema)), Some(properties)) = (member, properties.as_object_mut()) {
            required.push(name);
            properties.insert(name.to_owned(), schema);
        }
        json!({"type": "object", "required": required, "properties": properties})
    };
    json!({"oneOf": [
        with(&["add", "replace", "test"], Some(("value", json!({"description": "any value"})))),
        with(&["remove"], None),
        with(&["move", "copy"], Some(("from", pointer.clone()))),
    ]})
}

fn said(named: &impl Fn(&str) -> Value) -> Definitions {
    let positions = by_store(named, &json!({"type": "integer"}));
    let sync = by_store(named, &named("SyncMessage"));
    let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let text = json!({"type": "string"});
    let stores = json!({"type": "array", "items": named("StoreName")});
    let caps = json!({
        "type": "array",
        "items": {"type": "string", "examples": ["ack", "ready", "presence", "cursor"]},
    });
    let hello = json!({
        "seqs": or_null(&positions),
        "sync": or_null(&sync),
        "stores": or_null(&stores),
        "cursors": or_null(&texts),
        "caps": or_null(&caps),
        "client": or_null(&text),
        "token": or_null(&text),
    });
    let edit = json!({
        "store": named("StoreName"),
        "seq": {"type": "integer", "description": "of the state that it was made on"},
        "id": or_null(&named("MessageId")),
        "patch": named("JsonPatch"),
    });
    let sync = json!({"store": named("StoreName"), "message": named("SyncMessage")});
    let about = "where the client stands: per store the last seq applied, negative for nothing; \
                 it may be repeated";
    let shown = json!({"data": {"description": "any value; `null` takes it back"}});
    table([
        ("Hello", message("hello", about, &[], hello)),
        ("Edit", message("patch", "an edit", &["store", "seq", "patch"], edit)),
        ("ClientSync", message("sync", "Automerge", &["store", "message"], sync)),
        ("ClientPresence", message("presence", "ephemeral, to the others", &["data"], shown)),
    ])
}

fn heard(named: &impl Fn(&str) -> Value) -> Definitions {
    let (store, seq, cursor) = (named("StoreName"), named("Seq"), named("Cursor"));
    let (patch, text) = (named("JsonPatch"), json!({"type": "string"}));
    let maybe = or_null(&text);
    let kind = |name: &'static str, about: &str, required: &[&str], members: Value| {
        (name, message(&name.to_lowercase(), about, required, members))
    };
    let state = json!({"description": "any value"});
    let snapshot = json!({"store": store, "seq": seq, "state": state, "cursor": cursor});
    let change = json!({"store": store, "seq": seq, "patch": patch, "cursor": cursor});
    let sync = json!({"store": store, "message": named("SyncMessage")});
    let ready = json!({"seqs": by_store(named, &seq), "cursors": by_store(named, &cursor)});
    let ack = json!({
        "store": store, "id": maybe, "seq": seq, "patch": patch, "cursor": cursor,
    });
    let code = named("Code");
    let nack = json!({"store": maybe, "id": maybe, "code": code, "message": text});
    let error = json!({"store": text, "code": code, "message": text});
    let presence = json!({
        "session": text, "user": text, "data": {"description": "any value; `null`: it left"},
    });
    table([
        kind("Snapshot", "the state", &["store", "seq", "state"], snapshot),
        kind(
            "Patch",
            "what turns the state that the client has into that at `seq`",
            &["store", "seq", "patch"],
            change,
        ),
        kind("Sync", "Automerge", &["store", "message"], sync),
        kind("Ready", "cap `ready`: the hello is answered", &["seqs"], ready),
        kind(
            "Ack",
            "cap `ack`: the edit is durable; `patch` turns the sender's base with its edit into \
             the state at `seq`",
            &["store", "id", "seq", "patch"],
            ack,
        ),
        kind(
            "Nack",
            "cap `ack`: the edit was refused, and nothing changed",
            &["store", "id", "code", "message"],
            nack,
        ),
        kind(
            "Error",
            "any cap: something other than an edit was refused",
            &["code", "message"],
            error,
        ),
        kind(
            "Presence",
            "cap `presence`: what another session shows of itself",
            &["session", "user", "data"],
            presence,
        ),
    ])
}
