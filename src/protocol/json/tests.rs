//! What clients send and hear, byte for byte.

#![expect(clippy::arithmetic_side_effects, reason = "the numbers of a test are its own")]
#![expect(clippy::wildcard_enum_match_arm, reason = "a test names what it expects")]

use super::*;
use crate::document::SyncMessage;
use crate::ids::{Seq, SessionId};
use crate::json::{JsonOp, PatchError, PatchErrorKind};
use automerge::ChangeHash;
use std::sync::Arc;

fn read(text: &str) -> Request {
    decode(text, &WorkspaceLimits::default())
}

fn read_hello(text: &str) -> Hello {
    match read(text) {
        Request::Hello(hello) => hello,
        other => panic!("{text} is {other:?}"),
    }
}

fn read_garbled(text: &str) -> Garbled {
    match read(text) {
        Request::Garbled { reason } => reason,
        other => panic!("{text} is {other:?}"),
    }
}

fn store(name: &str) -> StoreName {
    name.parse().unwrap()
}

fn json(text: &str) -> Json {
    Json::parse(text, &JsonLimits::default()).unwrap()
}

fn patch(text: &str) -> JsonPatch {
    JsonPatch::from_json(&json(text)).unwrap()
}

fn cursor(seq: u64) -> Cursor {
    Cursor { seq: Seq(seq), heads: vec![ChangeHash([7; 32])] }
}

#[test]
fn the_original_hello() {
    let hello = read_hello(r#"{"type":"hello","seqs":{"chartState":12,"b":-1,"c":3.0}}"#);
    let seqs = [("chartState", 12), ("b", -1), ("c", 3)].map(|(name, seq)| (store(name), seq));
    assert_eq!(hello, Hello { seqs: seqs.into(), ..Hello::default() });
    assert_eq!(read_hello(r#"{"type":"hello"}"#), Hello::default());
    assert_eq!(read_hello(r#"{"type":"hello","seqs":{}}"#), Hello::default());
    assert_eq!(read_hello(r#"{"type":"hello","seqs":null}"#), Hello::default());
}

#[test]
fn a_hello_with_everything() {
    let text = format!(
        r#"{{"type":"hello","seqs":{{"a":1}},"sync":{{"notes":"AAEC"}},"stores":["a","notes"],
            "cursors":{{"a":"{}","b":"of another version"}},"client":"test/1","token":"t",
            "caps":["ack","ready","presence","cursor","telepathy"],"future":{{}}}}"#,
        cursor::encode(&cursor(5)).unwrap(),
    );
    let hello = read_hello(&text);
    assert_eq!(hello.sync, [(store("notes"), vec![0, 1, 2])].into());
    assert_eq!(hello.stores, Some(vec![store("a"), store("notes")]));
    assert_eq!(hello.cursors, [(store("a"), cursor(5))].into(), "the other is ignored");
    assert_eq!(hello.caps, Caps { ack: true, ready: true, presence: true, cursor: true });
}

#[test]
fn a_seq_that_nobody_has_seen_is_no_error() {
    for (text, seq) in
        [("1e300", i64::MAX), ("18446744073709551615", i64::MAX), ("-1e300", i64::MIN)]
    {
        let hello = read_hello(&format!(r#"{{"type":"hello","seqs":{{"a":{text}}}}}"#));
        assert_eq!(hello.seqs, [(store("a"), seq)].into());
    }
}

#[test]
fn the_original_patch() {
    let text = r#"{"type":"patch","store":"a","seq":12,"patch":[{"op":"remove","path":"/x"}]}"#;
    let expected = Request::Patch {
        store: store("a"),
        seq: 12,
        id: None,
        patch: patch(r#"[{"op":"remove","path":"/x"}]"#),
    };
    assert_eq!(read(text), expected);
}

#[test]
fn the_type_may_stand_anywhere_and_in_escapes() {
    let expected = read(r#"{"type":"patch","store":"a","seq":1,"id":"i","patch":[]}"#);
    assert!(matches!(expected, Request::Patch { id: Some(_), .. }));
    for text in [
        r#"{"store":"a","seq":1,"type":"patch","id":"i","patch":[]}"#,
        r#"{"patch":[],"store":"a","seq":1,"id":"i","type":"patch"}"#,
        r#"{"t\u0079pe":"p\u0061tch","store":"\u0061","seq":1.0,"id":"i","patch":[]}"#,
        r#" {"type":"patch","more":[{"type":"hello"}],"store":"a","seq":1,"id":"i","patch":[]} "#,
    ] {
        assert_eq!(read(text), expected, "{text}");
    }
}

#[test]
fn members_of_other_messages_are_not_looked_at() {
    let text = r#"{"type":"presence","store":5,"seq":"x","patch":0,"data":{"at":[1,2]}}"#;
    assert_eq!(read(text), Request::Presence { data: json(r#"{"at":[1,2]}"#) });
}

#[test]
fn sync_and_presence() {
    let expected = Request::Sync { store: store("notes"), message: vec![0, 1, 2] };
    assert_eq!(read(r#"{"type":"sync","store":"notes","message":"AAEC"}"#), expected);
    assert_eq!(read(r#"{"type":"presence","data":null}"#), Request::Presence { data: Json::Null });
    let large = format!(r#"{{"type":"presence","data":"{}"}}"#, "x".repeat(20_000));
    assert_eq!(read_garbled(&large).refusal, Refusal::Json(JsonError::TooLarge));
}

#[test]
fn what_is_no_message_is_garbled() {
    for text in [
        "",
        "x",
        "null",
        "[]",
        "{}",
        r#"{"type":5}"#,
        r#"{"type":"snapshot"}"#,
        r#"{"type":"hello"} {}"#,
        r#"{"type":"hello","seqs":{"a":1.5}}"#,
        r#"{"type":"hello","seqs":{"a":"1"}}"#,
        r#"{"type":"hello","seqs":{"a b":1}}"#,
        r#"{"type":"hello","stores":["../x"]}"#,
        r#"{"type":"hello","sync":{"a":"not base64"}}"#,
        r#"{"type":"hello","caps":"ack"}"#,
        r#"{"type":"presence"}"#,
        r#"{"type":"sync","store":"a"}"#,
    ] {
        let garbled = read_garbled(text);
        assert!(matches!(garbled.refusal, Refusal::BadMessage(_)), "{text}: {garbled:?}");
        assert!(!garbled.patch, "{text}");
    }
}

/// A client matches the refusal to its edit by store and id, so they come back if at all possible.
#[test]
fn a_garbled_patch_says_which_it_was() {
    let check = |members: &str, store: Option<&str>, id: Option<&str>, code: &str| {
        let garbled = read_garbled(&format!(r#"{{"type":"patch",{members}}}"#));
        assert!(garbled.patch, "{members}");
        assert_eq!(garbled.store.as_deref(), store, "{members}");
        assert_eq!(garbled.id.as_deref(), id, "{members}");
        assert_eq!(codes::error_code(&garbled.refusal), code, "{members}: {}", garbled.refusal);
    };
    let both = (Some("a"), Some("i"));
    let head = r#""store":"a","id":"i""#;
    check(&format!(r#"{head},"seq":1"#), both.0, both.1, "bad-message");
    check(&format!(r#"{head},"seq":"1","patch":[]"#), both.0, both.1, "bad-message");
    check(&format!(r#"{head},"seq":1,"patch":{{}}"#), both.0, both.1, "bad-patch");
    check(&format!(r#"{head},"seq":1,"patch":[{{"op":"add"}}]"#), both.0, both.1, "bad-patch");
    check(r#""store":"a b","id":"i","seq":1,"patch":[]"#, Some("a b"), Some("i"), "bad-message");
    check(r#""store":7,"id":"i","seq":1,"patch":[]"#, None, Some("i"), "bad-message");
    check(r#""store":"a","id":8,"seq":1,"patch":[]"#, Some("a"), None, "bad-message");
    check(r#""store":"a","id":"","seq":1,"patch":[]"#, Some("a"), Some(""), "bad-message");
    check(r#""seq":1,"patch":[]"#, None, None, "bad-message");

    let bad_pointer = format!(r#"{head},"seq":1,"patch":[{{"op":"remove","path":"x"}}]"#);
    check(&bad_pointer, both.0, both.1, "bad-patch");
    let ops = vec![r#"{"op":"remove","path":"/x"}"#; limits::PATCH_OPS_CEILING + 1].join(",");
    check(&format!(r#"{head},"seq":1,"patch":[{ops}]"#), both.0, both.1, "too-many-ops");
    for depth in [65, 100, 200, 100_000] {
        let value = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let op = format!(r#"{{"op":"add","path":"/x","value":{value}}}"#);
        check(&format!(r#"{head},"seq":1,"patch":[{op}]"#), both.0, both.1, "too-deep");
    }
    // What is echoed is bounded.
    let long = "ä".repeat(100_000);
    let garbled = read_garbled(&format!(
        r#"{{"type":"patch","store":"a","id":"{long}","seq":1,"patch":[]}}"#
    ));
    assert_eq!(garbled.id.unwrap().chars().count(), limits::NAME_BYTES_MAX);
}

#[test]
fn a_value_as_deep_as_allowed_is_read() {
    let deepest = format!("{}{}", "[".repeat(64), "]".repeat(64));
    let text = format!(
        r#"{{"type":"patch","store":"a","seq":1,
            "patch":[{{"op":"add","path":"","value":{deepest}}}]}}"#
    );
    assert!(matches!(read(&text), Request::Patch { .. }));
}

/// The wire contract, byte for byte: clients are written against these lines.
#[track_caller]
fn says(delivery: &Delivery, expected: &str) {
    let text = encode(delivery).unwrap();
    assert_eq!(text, expected);
    let read: ServerMessage<'_> = serde_json::from_str(&text).unwrap();
    assert_eq!(Some(read), message(delivery), "a client reads what the server wrote");
}

#[test]
fn what_is_said_of_a_store() {
    let (a, seq) = (store("a"), Seq(13));
    let edit = patch(r#"[{"op":"replace","path":"/x","value":2}]"#);
    let state = json(r#"{"x":1.0,"text":"\u2028 \"quoted\""}"#);
    says(
        &Delivery::Snapshot { store: a.clone(), seq, state, cursor: None },
        concat!(
            r#"{"type":"snapshot","store":"a","seq":13,"#,
            "\"state\":{\"text\":\"\u{2028} \\\"quoted\\\"\",\"x\":1.0}}",
        ),
    );
    says(
        &Delivery::Patch {
            store: a.clone(),
            seq,
            patch: Arc::new(edit.clone()),
            cursor: Some(Cursor { seq, heads: vec![] }),
        },
        concat!(
            r#"{"type":"patch","store":"a","seq":13,"#,
            r#""patch":[{"op":"replace","path":"/x","value":2}],"cursor":"AQAAAAAAAAAN"}"#,
        ),
    );
    says(
        &Delivery::Sync {
            store: a.clone(),
            message: Arc::new(SyncMessage::news(vec![], vec![], vec![])),
        },
        r#"{"type":"sync","store":"a","message":"QgAAAQAAAAIChA=="}"#,
    );
    says(
        &Delivery::Ready {
            seqs: vec![(store("b"), Seq(1)), (a.clone(), Seq(0))],
            cursors: Some(vec![(a.clone(), Cursor { seq: Seq(0), heads: vec![] })]),
        },
        r#"{"type":"ready","seqs":{"a":0,"b":1},"cursors":{"a":"AQAAAAAAAAAA"}}"#,
    );
    let id = MessageId::new("i");
    says(
        &Delivery::Ack { store: a.clone(), id, seq, patch: JsonPatch::default(), cursor: None },
        r#"{"type":"ack","store":"a","id":"i","seq":13,"patch":[]}"#,
    );
    says(
        &Delivery::Ack { store: a, id: None, seq, patch: edit, cursor: None },
        concat!(
            r#"{"type":"ack","store":"a","id":null,"seq":13,"#,
            r#""patch":[{"op":"replace","path":"/x","value":2}]}"#,
        ),
    );
}

#[test]
fn what_is_said_of_messages_and_sessions() {
    let refusal = Refusal::Patch(PatchError { op: 2, kind: PatchErrorKind::TestFailed });
    let (name, id) = (Some("a".to_owned()), Some("i".to_owned()));
    says(
        &Delivery::Nack { store: name.clone(), id, refusal },
        concat!(
            r#"{"type":"nack","store":"a","id":"i","code":"test-failed","#,
            r#""message":"operation 2: the value is not the one that is expected"}"#,
        ),
    );
    says(
        &Delivery::Error { store: name, refusal: Refusal::NoStore },
        r#"{"type":"error","code":"no-store","message":"there is no such store","store":"a"}"#,
    );
    says(
        &Delivery::Error { store: None, refusal: Refusal::BadMessage("what?".to_owned()) },
        r#"{"type":"error","code":"bad-message","message":"what?"}"#,
    );
    let (session, user) = (SessionId(7), "ada".to_owned());
    says(
        &Delivery::Presence { session, user: user.clone(), data: Some(json(r#"{"at":1}"#)) },
        r#"{"type":"presence","session":"s7","user":"ada","data":{"at":1}}"#,
    );
    says(
        &Delivery::Presence { session, user, data: None },
        r#"{"type":"presence","session":"s7","user":"ada","data":null}"#,
    );
}

#[test]
fn what_a_client_writes_the_server_reads() {
    let patch =
        JsonPatch { ops: vec![JsonOp::Add { path: "/x".parse().unwrap(), value: json("[1]") }] };
    let message = ClientMessage::Patch(protocol::Patch {
        store: "a".into(),
        seq: protocol::Whole(-1),
        id: Some("i".into()),
        patch: patch.clone(),
    });
    let text = serde_json::to_string(&message).unwrap();
    assert_eq!(ClientMessage::parse(&text).unwrap(), message);
    let expected = Request::Patch { store: store("a"), seq: -1, id: MessageId::new("i"), patch };
    assert_eq!(read(&text), expected);
}

mod hostile {
    use super::*;
    use proptest::prelude::*;

    const SOUND: &[&str] = &[
        r#"{"type":"hello","seqs":{"a":1},"sync":{"b":"AAEC"},"cursors":{"a":"AQAAAAAAAAAN"}}"#,
        r#"{"type":"patch","store":"a","seq":1,"patch":[{"op":"add","path":"/a","value":[{}]}]}"#,
        r#"{"type":"presence","data":{"x":[1.5,null,"\u0041"]}}"#,
    ];

    proptest! {
        /// Whatever comes in, something comes out, and it can be told to the client.
        #[test]
        fn text_is_read_or_refused(text in ".*") {
            answer(&text);
        }

        #[test]
        fn damaged_messages_are_read_or_refused(
            index in 0..SOUND.len(),
            at in any::<prop::sample::Index>(),
            removed in 0_usize..9,
            inserted in r#"[\[\]{}",:0-9a-z\\]{0,9}"#,
        ) {
            let mut text: Vec<char> = SOUND[index].chars().collect();
            let at = at.index(text.len());
            let end = (at + removed).min(text.len());
            text.splice(at..end, inserted.chars());
            answer(&text.into_iter().collect::<String>());
        }
    }

    fn answer(text: &str) {
        if let Request::Garbled { reason } = read(text) {
            let delivery = if reason.patch {
                Delivery::Nack { store: reason.store, id: reason.id, refusal: reason.refusal }
            } else {
                Delivery::Error { store: reason.store, refusal: reason.refusal }
            };
            serde_json::from_str::<ServerMessage<'_>>(&encode(&delivery).unwrap()).unwrap();
        }
    }
}
