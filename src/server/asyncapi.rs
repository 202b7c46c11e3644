//! `GET /asyncapi.json`: the sockets of the server for programs (`AsyncAPI` 3.0), and
//! `GET /messages.schema.json`: the messages of the JSON socket alone, as JSON Schema.
//!
//! The schemas of the JSON messages are those of `protocol/schema.rs`. What goes over the socket of
//! automerge-repo is CBOR, of which a JSON Schema says nothing: there each message has its name and
//! its members in words.

use std::sync::LazyLock;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};

use super::caller::Stranger;
use super::http::JSON;
use super::problem::Problem;
use crate::protocol::schema::{self, HEARD_BY_ALL, HEARD_WITH_CAPS, SAID};

/// The messages of the automerge-repo dialect: the `type` of each, which side says it, and what is
/// in it beside that.
const REPO: [(&str, Side, &str); 10] = [
    (
        "join",
        Side::Client,
        "the first message: senderId, peerMetadata, supportedProtocolVersions (none means \"1\")",
    ),
    (
        "peer",
        Side::Server,
        "the answer: senderId, targetId, peerMetadata with the storageId of the server, \
         selectedProtocolVersion",
    ),
    (
        "request",
        Side::Client,
        "senderId, targetId, documentId, data: an Automerge sync message about a document that \
         the client does not have",
    ),
    ("sync", Side::Both, "senderId, targetId, documentId, data: an Automerge sync message"),
    (
        "doc-unavailable",
        Side::Both,
        "senderId, targetId, documentId: the sender has no such document",
    ),
    (
        "ephemeral",
        Side::Both,
        "senderId, targetId, documentId, sessionId, count, data: passed on to the others",
    ),
    (
        "remote-subscription-change",
        Side::Both,
        "senderId, targetId, add, remove: the storages of which the sender wants to hear",
    ),
    (
        "remote-heads-changed",
        Side::Both,
        "senderId, targetId, documentId, newHeads: by storage its heads and the time of that",
    ),
    ("leave", Side::Client, "senderId: the client goes"),
    ("error", Side::Both, "senderId, targetId, message, which begins with a code"),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
    Both,
}

/// Where components are.
const SCHEMAS: &str = "#/components/schemas/";
const MESSAGES: &str = "#/components/messages/";
/// What stands before the name of a message of automerge-repo, where all messages have names.
const OF_REPO: &str = "repo-";

static DESCRIBED: LazyLock<String> = LazyLock::new(|| written(&document()));
static SCHEMA: LazyLock<String> = LazyLock::new(|| written(&schema::messages()));

fn written(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Answers with the description of the sockets.
pub(super) async fn serve(_: Stranger) -> Result<Response, Problem> {
    Ok(answer(&DESCRIBED))
}

/// Answers with the schema of the messages.
pub(super) async fn serve_schema(_: Stranger) -> Result<Response, Problem> {
    Ok(answer(&SCHEMA))
}

fn answer(text: &'static str) -> Response {
    const TYPE: HeaderValue = HeaderValue::from_static(JSON);
    ([(header::CONTENT_TYPE, TYPE)], text).into_response()
}

fn document() -> Value {
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "statehouse",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The sockets: JSON messages, Automerge inside of them, and \
                            automerge-repo. PROTOCOL.md says in words when each message comes; \
                            openapi.json has what is HTTP.",
        },
        "defaultContentType": JSON,
        "servers": {
            "here": {
                "host": "127.0.0.1:4600",
                "protocol": "ws",
                "description": "as it listens without a configuration",
                "security": [
                    {"$ref": "#/components/securitySchemes/bearer"},
                    {"$ref": "#/components/securitySchemes/ticket"},
                ],
            },
        },
        "channels": {"socket": json_channel(), "automerge": repo_channel()},
        "operations": operations(),
        "components": {
            "schemas": schema::definitions(SCHEMAS),
            "messages": messages(),
            "parameters": {
                "workspace": {"description": "1 to 128 of `A-Z a-z 0-9 . _ : -`"},
            },
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "where the configuration asks; also as the subprotocol \
                                    `bearer.<token>` beside `statehouse.v1`, or in the first \
                                    hello of the JSON socket",
                },
                "ticket": {
                    "type": "httpApiKey",
                    "in": "query",
                    "name": "ticket",
                    "description": "of `POST /v1/tickets`: it lets in once",
                },
            },
        },
    })
}

/// A channel at this path, with these messages.
fn channel(path: &str, about: &str, names: impl Iterator<Item = String>) -> Value {
    let messages: Map<_, _> = names
        .map(|name| {
            let reference = json!({"$ref": format!("{MESSAGES}{name}")});
            (name, reference)
        })
        .collect();
    json!({
        "address": format!("/v1/workspaces/{{workspace}}/{path}"),
        "description": about,
        "parameters": {"workspace": {"$ref": "#/components/parameters/workspace"}},
        "messages": messages,
        "bindings": {
            "ws": {
                "method": "GET",
                "query": {"type": "object", "properties": {"ticket": {"type": "string"}}},
            },
        },
    })
}

fn json_channel() -> Value {
    let names = SAID.iter().chain(&HEARD_BY_ALL).chain(&HEARD_WITH_CAPS);
    channel(
        "socket",
        "Text frames, one JSON message each. A client that names no caps hears only what the \
         original protocol has. Stores that a hello names in `sync` are spoken in Automerge.",
        names.map(|name| (*name).to_owned()),
    )
}

fn repo_channel() -> Value {
    channel(
        "automerge",
        "Binary frames, one CBOR map each (RFC 8949): the dialect of @automerge/automerge-repo, \
         protocol version \"1\".",
        REPO.iter().map(|(kind, ..)| format!("{OF_REPO}{kind}")),
    )
}

/// What goes over a channel in one direction; `receive` is what the server receives.
fn operation(action: &str, channel: &str, about: &str, names: Vec<String>) -> Value {
    let messages = names.into_iter().map(|name| {
        let reference = format!("#/channels/{channel}/messages/{name}");
        json!({"$ref": reference})
    });
    json!({
        "action": action,
        "summary": about,
        "channel": {"$ref": format!("#/channels/{channel}")},
        "messages": messages.collect::<Vec<_>>(),
    })
}

fn operations() -> Value {
    let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let of = |side: Side| {
        let said = REPO.iter().filter(|(_, by, _)| [side, Side::Both].contains(by));
        said.map(|(kind, ..)| format!("{OF_REPO}{kind}")).collect()
    };
    let with_caps = [&HEARD_BY_ALL[..], &HEARD_WITH_CAPS[..]].concat();
    json!({
        "say": operation("receive", "socket", "what a client says, a hello first", all(&SAID)),
        "hear": operation(
            "send", "socket", "what a client without caps hears", all(&HEARD_BY_ALL)
        ),
        "hearWithCaps": operation(
            "send", "socket", "what a client with caps hears", all(&with_caps)
        ),
        "sayRepo": operation(
            "receive", "automerge", "what an automerge-repo client says, `join` first",
            of(Side::Client)
        ),
        "hearRepo": operation(
            "send", "automerge", "what an automerge-repo client hears", of(Side::Server)
        ),
    })
}

fn messages() -> Map<String, Value> {
    let names = SAID.iter().chain(&HEARD_BY_ALL).chain(&HEARD_WITH_CAPS);
    let json = names.map(|name| {
        let payload = json!({"$ref": format!("{SCHEMAS}{name}")});
        let message = json!({"name": name, "contentType": JSON, "payload": payload});
        ((*name).to_owned(), message)
    });
    let repo = REPO.iter().map(|(kind, _, members)| {
        let message = json!({
            "name": kind,
            "contentType": "application/cbor",
            "summary": members,
            "payload": {"type": "string", "format": "binary"},
        });
        (format!("{OF_REPO}{kind}"), message)
    });
    json.chain(repo).collect()
}

#[cfg(test)]
mod messages;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// `UPDATE=1` writes the file anew.
    #[test]
    fn the_description_in_docs_is_that_of_the_sources() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/asyncapi.json");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(file, &*DESCRIBED).unwrap();
        }
        assert_eq!(std::fs::read_to_string(file).unwrap(), *DESCRIBED, "run with UPDATE=1");
    }

    fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Array(all) => all.iter().for_each(|one| references(one, found)),
            Value::Object(all) => {
                found.extend(all.get("$ref").and_then(Value::as_str));
                all.values().for_each(|one| references(one, found));
            }
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_component_is_used() {
        let document = document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        for reference in &found {
            let place = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(place).is_some(), "{reference}");
        }
        for (kind, all) in document["components"].as_object().unwrap() {
            for name in all.as_object().unwrap().keys() {
                let reference = format!("#/components/{kind}/{name}");
                assert!(found.contains(reference.as_str()), "{reference}");
            }
        }
    }
}
