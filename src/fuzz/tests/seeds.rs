//! Where fuzzing starts from: honest inputs of every kind.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::document::probe::{chunk_contents, everything, message};
use crate::ids::{DocumentId, Seq};
use crate::json::{Json, JsonLimits};
use crate::protocol::cursor;
use crate::protocol::repo::{RemoteHeads, RepoMessage, RepoMetadata, head_text};
use crate::workspace::Cursor;
use crate::workspace::repo::PresenceWord;

/// Text frames of clients and of the server, and other JSON. `@` stands for a sync message.
const TEXTS: &[&str] = &[
    r#"{"type":"hello","seqs":{"s":3,"t":-1},"stores":["s"],"caps":["ack","ready","cursor"]}"#,
    r#"{"type":"hello","sync":{"s":"@"},"cursors":{"s":"AQAAAAAAAAAF"},"client":"c 1\n"}"#,
    r#"{"seq":2.0,"store":"s","id":"m","patch":[{"op":"add","path":"/a","value":1}],
        "type":"patch"}"#,
    r#"{"type":"patch","store":"s","seq":1,"patch":[{"op":"move","from":"/a~1","path":"/b/-"},
        {"op":"copy","from":"","path":"/c"},{"op":"test","path":"/c","value":[1e0]},
        {"op":"remove","path":"/c"},{"op":"replace","path":"","value":{"x":null}}]}"#,
    r#"{"type":"sync","store":"s","message":"@"}"#,
    r#"{"type":"presence","data":{"cursor":[1,2.5,-3e7,"x\u0000\ud83d\ude42"]}}"#,
    r#"{"type":"snapshot","store":"s","seq":7,"state":{"a":[true,false]},"cursor":"AQAAAAAAAAAF"}"#,
    r#"{"type":"patch","store":"s","seq":8,"patch":[{"op":"remove","path":"/a/0"}]}"#,
    r#"{"type":"ready","seqs":{"s":8},"cursors":{"s":"AQAAAAAAAAAF"}}"#,
    r#"{"type":"ack","store":"s","id":null,"seq":9,"patch":[]}"#,
    r#"{"type":"nack","store":null,"id":"m","code":"bad_message","message":"why"}"#,
    r#"{"type":"error","code":"internal","message":"why","store":"s"}"#,
    r#"{"type":"presence","session":"s1","user":"u","data":null}"#,
    r#"[18446744073709551615,-9223372036854775808,1e308,5e-324,0.1,"\\\"\/\b\f\n\r\t"]"#,
];

/// The seeds of a target.
pub(super) fn of(target: &str) -> Vec<Vec<u8>> {
    match target {
        "decode" => decode(),
        "guard" => guard(),
        "recover" => scripts(24, 8),
        "converge" => scripts(24, 40),
        _ => scripts(24, 16),
    }
}

/// Rows of choices that look random, each longer than the one before by so many.
fn scripts(count: usize, longer: usize) -> Vec<Vec<u8>> {
    let mut state = 0x5eed_u64;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    };
    (1..=count).map(|number| (0..number * longer).map(|_| byte()).collect()).collect()
}

/// An input of one kind.
fn kind(kind: u8, rest: impl AsRef<[u8]>) -> Vec<u8> {
    [&[kind], rest.as_ref()].concat()
}

fn decode() -> Vec<Vec<u8>> {
    let mut doc = everything();
    let changes = doc.get_changes(&[]);
    let heads = doc.get_heads();
    let raw: Vec<Vec<u8>> = changes.iter().map(|change| change.raw_bytes().to_vec()).collect();
    let sync = [message(&[]), message(&raw), message(&[doc.save()])];
    let text = STANDARD.encode(&sync[1]);
    let texts = TEXTS.iter().map(|frame| kind(0, frame.replace('@', &text)));
    let limits = JsonLimits::default();
    let state = Json::parse(r#"{"a":[1,-2,0.5,null,true,"x"]}"#, &limits).unwrap();
    let words = [
        PresenceWord::Heartbeat,
        PresenceWord::Goodbye,
        PresenceWord::Update { channel: "c".to_owned(), value: state.clone() },
        PresenceWord::Snapshot { state },
    ];
    let said: Vec<Vec<u8>> = words.iter().map(PresenceWord::encode).collect();
    let frames = messages(&sync[1], &said[2], &heads).into_iter().map(|frame| kind(1, frame));
    let cursor = cursor::encode(&Cursor { seq: Seq(5), heads: heads.clone() }).unwrap();
    let names = [DocumentId([9; 16]).to_string(), head_text(&heads[0]), cursor, "/a~1/~0".into()];
    texts
        .chain(frames)
        .chain(said.iter().map(|word| kind(1, word)))
        .chain(names.into_iter().map(|name| kind(2, name)))
        .chain(sync.iter().map(|message| kind(3, message)))
        .collect()
}

/// A frame of each message of automerge-repo.
fn messages(sync: &[u8], said: &[u8], heads: &[automerge::ChangeHash]) -> Vec<Vec<u8>> {
    let (sender, target) = (|| "one".into(), || "other".into());
    let document = DocumentId([9; 16]);
    let storage_id = Some("storage".into());
    let metadata = RepoMetadata { storage_id, is_ephemeral: false };
    let versions = vec!["1".into()];
    let remote = RemoteHeads { heads: heads.to_vec(), timestamp: 1 << 40 };
    [
        RepoMessage::Join { sender: sender(), metadata: metadata.clone(), versions },
        RepoMessage::Peer { sender: sender(), metadata, version: "1".into(), target: target() },
        RepoMessage::Error { message: "why".into(), sender: sender(), target: target() },
        RepoMessage::Leave { sender: sender() },
        RepoMessage::Request { sender: sender(), target: target(), document, data: sync.into() },
        RepoMessage::Sync { sender: sender(), target: target(), document, data: sync.into() },
        RepoMessage::DocUnavailable { sender: sender(), target: target(), document },
        RepoMessage::Ephemeral {
            sender: sender(),
            target: target(),
            document,
            count: 3,
            session: "life".into(),
            data: said.into(),
        },
        RepoMessage::RemoteSubscriptionChange {
            sender: sender(),
            target: target(),
            add: vec!["storage".into()],
            remove: vec!["other".into()],
        },
        RepoMessage::RemoteHeadsChanged {
            sender: sender(),
            target: target(),
            document,
            heads: [("storage".into(), remote)].into_iter().collect(),
        },
    ]
    .iter()
    .map(RepoMessage::encode)
    .collect()
}

fn guard() -> Vec<Vec<u8>> {
    let mut doc = everything();
    let mut seeds = Vec::new();
    let changes = doc.get_changes(&[]);
    for (at, change) in (0..).zip(&changes) {
        seeds.push([&[0, at], chunk_contents(change.raw_bytes())].concat());
        let deflated = change.clone().bytes().into_owned();
        seeds.push([&[3, at][..], &message(&[deflated])].concat());
        seeds.push([&[2, at][..], &scripts(1, 12)[0]].concat());
    }
    let plain = doc.document().save_nocompress();
    seeds.push([&[1, 0], chunk_contents(&plain)].concat());
    seeds.push([&[3, 0][..], &message(&[doc.save()])].concat());
    seeds
}
