//! What is written of the messages is what is said.

use std::sync::{Arc, LazyLock};

use automerge::ChangeHash;
use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::document::SyncMessage;
use crate::ids::{Seq, SessionId, StoreName};
use crate::json::arbitrary;
use crate::json::{Identity, Json, JsonPatch, between};
use crate::limits;
use crate::protocol::codes::{error_code, every_refusal};
use crate::protocol::json::{decode, encode};
use crate::protocol::schema::{CODES, HEARD_BY_ALL, HEARD_WITH_CAPS, messages};
use crate::workspace::{Cursor, Delivery, MessageId, Refusal, Request, WorkspaceLimits};

/// A validator of one of the definitions.
fn validator(schema: &Value, name: &str) -> Validator {
    let mut schema = schema.clone();
    schema["anyOf"] = json!([{"$ref": format!("#/$defs/{name}")}]);
    jsonschema::draft202012::new(&schema).unwrap()
}

static SAYING: LazyLock<Validator> = LazyLock::new(|| validator(&messages(), "ClientMessage"));

/// With no members but those that the table has.
static HEARING: LazyLock<Validator> = LazyLock::new(|| {
    let mut schema = messages();
    for name in HEARD_BY_ALL.iter().chain(&HEARD_WITH_CAPS) {
        schema["$defs"][name]["additionalProperties"] = json!(false);
    }
    validator(&schema, "ServerMessage")
});

#[track_caller]
fn is_heard(text: &str) {
    let message = serde_json::from_str(text).unwrap();
    let wrong: Vec<_> = HEARING.iter_errors(&message).map(|it| it.to_string()).collect();
    assert!(wrong.is_empty(), "{text}: {wrong:?}");
}

/// Whether the server understands this, which must be whether it fits.
#[track_caller]
fn is_said(text: &str) -> bool {
    let read = decode(text, &WorkspaceLimits::default());
    let understood = !matches!(read, Request::Garbled { .. });
    let fits = serde_json::from_str(text).is_ok_and(|message| SAYING.is_valid(&message));
    assert_eq!(fits, understood, "{text}: {read:?}");
    fits
}

/// `UPDATE=1` writes the file anew.
#[test]
fn the_file_in_docs_is_that_of_the_sources() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/messages.schema.json");
    let now = serde_json::to_string_pretty(&messages()).unwrap() + "\n";
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(file, &now).unwrap();
    }
    assert_eq!(std::fs::read_to_string(file).unwrap(), now, "run with UPDATE=1");
    jsonschema::draft202012::meta::validate(&messages()).unwrap();
}

#[test]
fn it_has_every_code() {
    let mut codes: Vec<_> = every_refusal().iter().map(error_code).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes, CODES);
}

/// The conversations of `tests/transcripts`, as far as their lines are whole.
#[test]
fn what_is_said_in_the_transcripts_fits() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/transcripts");
    let (mut said, mut heard) = (0, 0);
    for file in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for line in text.lines().filter(|line| !line.contains("<<")) {
            let mut words = line.splitn(2, ' ');
            let (who, what) = (words.next().unwrap(), words.next().unwrap_or_default());
            if who.ends_with('>') && who != "http>" && !who.ends_with(">>") {
                said += usize::from(is_said(what));
            } else if who.ends_with('<') && what.starts_with('{') && who != "http<" {
                // A star stands for any text; this one is base64.
                let any = what.starts_with(r#"{"type":"sync""#);
                is_heard(&if any { what.replace("\"*\"", "\"\"") } else { what.to_owned() });
                heard += 1;
            }
        }
    }
    assert!(said > 150 && heard > 150, "{said} said, {heard} heard");
}

#[test]
fn what_is_garbled_does_not_fit() {
    for text in [
        r"null",
        r"[]",
        r"{}",
        r#"{"type":5}"#,
        r#"{"type":"snapshot"}"#,
        r#"{"type":"hello","seqs":{"a":1.5}}"#,
        r#"{"type":"hello","seqs":{"a":"1"}}"#,
        r#"{"type":"hello","seqs":{"a b":1}}"#,
        r#"{"type":"hello","stores":["../x"]}"#,
        r#"{"type":"hello","stores":[".."]}"#,
        r#"{"type":"hello","sync":{"a":"not base64"}}"#,
        r#"{"type":"hello","caps":"ack"}"#,
        r#"{"type":"presence"}"#,
        r#"{"type":"sync","store":"a"}"#,
        r#"{"type":"sync","store":"a","message":"AAE"}"#,
        r#"{"type":"sync","store":"a","message":"AB=="}"#,
        r#"{"type":"patch","store":"a","seq":1}"#,
        r#"{"type":"patch","store":"a","seq":1,"id":"","patch":[]}"#,
        r#"{"type":"patch","store":"a","seq":1,"id":"\u0085","patch":[]}"#,
        r#"{"type":"patch","store":"a","seq":1,"patch":[{"op":"remove","path":"x"}]}"#,
        r#"{"type":"patch","store":"a","seq":1,"patch":[{"op":"remove","path":"/~2"}]}"#,
        r#"{"type":"patch","store":"a","seq":1,"patch":[{"op":"move","path":"/a"}]}"#,
        r#"{"type":"patch","store":"a","seq":1,"patch":[{"op":"test","path":"/a"}]}"#,
    ] {
        assert!(!is_said(text), "{text}");
    }
    for text in [
        r#"{"type":"hello"}"#,
        r#"{"type":"hello","seqs":{"a":3.0,"b":1e300},"future":{}}"#,
        r#"{"type":"hello","caps":["telepathy"],"cursors":{"a b":"of another version"}}"#,
        r#"{"type":"patch","store":"a","seq":-1,"id":null,"patch":[]}"#,
        r#"{"type":"presence","data":null,"store":5}"#,
    ] {
        assert!(is_said(text), "{text}");
    }
    let longest = "/x".repeat(limits::POINTER_SEGMENTS_MAX);
    for (path, fits) in [(&longest, true), (&format!("{longest}/"), false)] {
        let op = json!({"op": "remove", "path": path});
        let edit = json!({"type": "patch", "store": "a", "seq": 0, "patch": [op]});
        assert_eq!(is_said(&edit.to_string()), fits);
    }
}

fn name() -> impl Strategy<Value = StoreName> {
    "[A-Za-z0-9._:-]{1,12}".prop_filter_map("a name", |name| name.parse().ok())
}

fn cursor() -> impl Strategy<Value = Cursor> {
    let heads = prop::collection::btree_set(any::<[u8; 32]>(), 0..3);
    (any::<u64>(), heads).prop_map(|(seq, heads)| Cursor {
        seq: Seq(seq),
        heads: heads.into_iter().map(ChangeHash).collect(),
    })
}

fn patch() -> impl Strategy<Value = JsonPatch> {
    arbitrary::pair().prop_map(|(one, other)| between(&one, &other, &Identity::default()))
}

fn refusal() -> impl Strategy<Value = Refusal> {
    let all = every_refusal();
    (0..all.len()).prop_map(move |index| all[index].clone())
}

fn delivery() -> impl Strategy<Value = Delivery> {
    let at = (name(), any::<u64>().prop_map(Seq), prop::option::of(cursor())).boxed();
    let id = prop::option::of("[a-z0-9-]{1,36}".prop_map(|id| MessageId::new(&id).unwrap()));
    let (text, told) = (prop::option::of(".{0,40}"), refusal().boxed());
    prop_oneof![
        (at.clone(), arbitrary::json()).prop_map(|((store, seq, cursor), state)| {
            Delivery::Snapshot { store, seq, state, cursor }
        }),
        (at.clone(), patch()).prop_map(|((store, seq, cursor), patch)| {
            Delivery::Patch { store, seq, patch: Arc::new(patch), cursor }
        }),
        (name(), prop::collection::vec(any::<[u8; 32]>(), 0..3)).prop_map(|(store, heads)| {
            let heads = heads.into_iter().map(ChangeHash).collect();
            let message = Arc::new(SyncMessage::news(heads, vec![], vec![]));
            Delivery::Sync { store, message }
        }),
        prop::collection::vec(at.clone(), 0..4).prop_map(|all| {
            let seqs = all.iter().map(|(store, seq, _)| (store.clone(), *seq)).collect();
            let cursors = all.into_iter().map(|(store, _, cursor)| Some((store, cursor?)));
            Delivery::Ready { seqs, cursors: cursors.collect() }
        }),
        (at, id, patch()).prop_map(|((store, seq, cursor), id, patch)| {
            Delivery::Ack { store, id, seq, patch, cursor }
        }),
        (text.clone(), text.clone(), told.clone())
            .prop_map(|(store, id, refusal)| Delivery::Nack { store, id, refusal }),
        (text, told).prop_map(|(store, refusal)| Delivery::Error { store, refusal }),
        (any::<u64>(), ".{0,20}", prop::option::of(arbitrary::json())).prop_map(
            |(session, user, data)| Delivery::Presence { session: SessionId(session), user, data }
        ),
    ]
}

/// A message that is understood.
fn sound() -> impl Strategy<Value = Value> {
    let sync = prop::collection::vec(any::<u8>(), 0..9);
    let edit = (name(), any::<i64>(), prop::option::of("[^\\pC]{1,16}"), patch());
    prop_oneof![
        prop::collection::btree_map(name(), any::<i64>(), 0..3).prop_map(|seqs| {
            let seqs: Map<_, _> =
                seqs.into_iter().map(|(name, seq)| (name.to_string(), json!(seq))).collect();
            let stores: Vec<&String> = seqs.keys().collect();
            json!({"type": "hello", "stores": stores, "seqs": seqs, "sync": {}, "cursors": {},
                   "caps": ["ack"], "client": "c/1", "token": "t"})
        }),
        edit.prop_map(|(store, seq, id, patch)| {
            json!({"type": "patch", "store": store.as_str(), "seq": seq, "id": id, "patch": patch})
        }),
        (name(), sync).prop_map(|(store, bytes)| {
            use base64::Engine as _;
            let message = base64::engine::general_purpose::STANDARD.encode(bytes);
            json!({"type": "sync", "store": store.as_str(), "message": message})
        }),
        arbitrary::json().prop_map(|data| json!({"type": "presence", "data": data})),
    ]
}

/// Every value in it, with the object or array that it stands in.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(all) => {
            for (index, one) in all.iter().enumerate() {
                places(one, &format!("{at}/{index}"), found);
            }
        }
        Value::Object(all) => {
            for (key, one) in all {
                let key = key.replace('~', "~0").replace('/', "~1");
                places(one, &format!("{at}/{key}"), found);
            }
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn whatever_the_server_says_fits(delivery in delivery()) {
        is_heard(&encode(&delivery).unwrap());
    }

    #[test]
    fn whatever_is_understood_fits(message in sound()) {
        prop_assert!(is_said(&message.to_string()));
    }

    /// One value of a message replaced by another, or taken out.
    #[test]
    fn a_message_fits_if_and_only_if_it_is_understood(
        mut message in sound(),
        at in any::<prop::sample::Index>(),
        other in prop::option::of(prop_oneof![
            arbitrary::json().prop_map(|json: Json| serde_json::to_value(json).unwrap()),
            prop::sample::select(&["hello", "patch", "sync", "presence", "/a", "~", "..", ""][..])
                .prop_map(Value::from),
        ]),
    ) {
        let mut found = Vec::new();
        places(&message, "", &mut found);
        let place = &found[at.index(found.len())];
        match (other, place.rsplit_once('/')) {
            (None, Some((parent, key))) => match message.pointer_mut(parent).unwrap() {
                Value::Object(all) => {
                    all.remove(&key.replace("~1", "/").replace("~0", "~"));
                }
                Value::Array(all) => {
                    all.remove(key.parse().unwrap());
                }
                other => panic!("{other} holds nothing"),
            },
            (Some(other), _) => *message.pointer_mut(place).unwrap() = other,
            (None, None) => message = Value::Null,
        }
        is_said(&message.to_string());
    }
}
