//! Limits over the real socket: one step under passes; one over is refused with its code, changes
//! nothing, and leaves the socket as it was.

use automerge::transaction::Transactable as _;
use automerge::{ROOT, ReadDoc as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::api::Api;
use crate::client::{Heard, PATIENCE, Socket, look};
use crate::crdt::Replica;
use crate::server::Server;

const TINY: &str = "[limits]\n\
    patch_ops = 3\n\
    json_depth = 3\n\
    key_bytes = 9\n\
    document_bytes = 200\n\
    presence_bytes = 20\n\
    stores = 2\n\
    frame_bytes = 2000\n\
    message_bytes = 4000\n";

/// A client that is told what becomes of its edits, and the store it edits.
struct Editor {
    socket: Socket,
    seq: u64,
    edits: u32,
}

impl Editor {
    async fn connect(server: &Server) -> Self {
        let mut socket = Socket::connect(&server.socket("w")).await;
        let caps = ["ack", "ready", "presence"];
        socket.send(&json!({"type": "hello", "stores": ["s"], "caps": caps})).await;
        let snapshot = socket.json().await;
        assert_eq!(snapshot["type"], "snapshot", "{snapshot}");
        assert_eq!(socket.json().await["type"], "ready");
        Self { socket, seq: snapshot["seq"].as_u64().unwrap(), edits: 0 }
    }

    /// What an edit is answered.
    async fn edit(&mut self, store: &str, ops: Value) -> Value {
        self.edits += 1;
        let id = format!("edit {}", self.edits);
        let seq = if store == "s" { self.seq } else { 0 };
        let patch = json!({"type": "patch", "store": store, "seq": seq, "id": id, "patch": ops});
        self.socket.send(&patch).await;
        let answer = self.socket.json().await;
        assert_eq!(answer["id"], id, "{answer}");
        if store == "s" && answer["type"] == "ack" {
            self.seq += 1;
            assert_eq!(answer["seq"], self.seq);
        }
        answer
    }

    async fn accepted(&mut self, ops: Value) {
        let answer = self.edit("s", ops).await;
        assert_eq!(answer["type"], "ack", "{answer}");
    }

    /// The next edit that passes shows that this one took no seq.
    async fn refused(&mut self, ops: Value, code: &str) {
        let answer = self.edit("s", ops).await;
        assert_eq!((&answer["type"], &answer["code"]), (&json!("nack"), &json!(code)), "{answer}");
    }
}

fn add(path: &str, value: &Value) -> Value {
    json!([{"op": "add", "path": path, "value": value}])
}

#[tokio::test]
async fn an_edit_beyond_a_limit_is_refused_with_its_code() {
    let server = Server::with_config(TINY);
    let mut editor = Editor::connect(&server).await;

    let op = json!({"op": "add", "path": "/n", "value": 1});
    editor.accepted(json!(vec![op.clone(); 3])).await;
    editor.refused(json!(vec![op; 4]), "too-many-ops").await;

    editor.accepted(add("/d", &json!({"a": {}}))).await;
    editor.refused(add("/d", &json!({"a": {"a": {}}})), "too-deep").await;
    editor.refused(add("/d/a/a", &json!([])), "too-deep").await;

    editor.accepted(add("/123456789", &json!(1))).await;
    editor.refused(add("/1234567890", &json!(1)), "key-too-long").await;
    editor.refused(add("/d", &json!({"1234567890": 1})), "key-too-long").await;
    editor.refused(add("/__proto__", &json!(1)), "forbidden-key").await;

    editor.refused(json!([{"op": "remove", "path": "/x".repeat(64)}]), "bad-path").await;
    editor.refused(json!([{"op": "remove", "path": "/x".repeat(65)}]), "bad-patch").await;

    let state = |bytes: usize| json!({"s": "x".repeat(bytes - r#"{"s":""}"#.len())});
    editor.accepted(add("", &state(200))).await;
    editor.refused(add("", &state(201)), "too-large").await;
    editor.refused(add("/t", &json!(1)), "too-large").await;

    assert_eq!(look(&server.socket("w"), "s").await, (editor.seq, state(200)));
}

#[tokio::test]
async fn names_and_their_number_are_limited() {
    let server = Server::with_config(TINY);
    let mut editor = Editor::connect(&server).await;
    for bad in ["", ".", "..", "a/b", "a b", &"x".repeat(129)] {
        let answer = editor.edit(bad, add("/n", &json!(1))).await;
        assert_eq!(answer["code"], "bad-message", "{answer}");
    }
    let answer = editor.edit(&"x".repeat(128), add("/n", &json!(1))).await;
    assert_eq!(answer["type"], "ack", "{answer}");

    let answer = editor.edit("third", add("/n", &json!(1))).await;
    assert_eq!((&answer["type"], &answer["code"]), (&json!("nack"), &json!("too-many")));
    editor.socket.send(&json!({"type": "hello", "stores": ["third"], "caps": ["ready"]})).await;
    let error = editor.socket.json().await;
    assert_eq!((&error["code"], &error["store"]), (&json!("too-many"), &json!("third")));
    assert_eq!(editor.socket.json().await, json!({"type": "ready", "seqs": {}}));
}

#[tokio::test]
async fn presence_is_limited() {
    let server = Server::with_config(TINY);
    let (mut ada, mut bob) = (Editor::connect(&server).await, Editor::connect(&server).await);
    let fits = "x".repeat(18);
    ada.socket.send(&json!({"type": "presence", "data": fits})).await;
    assert_eq!(bob.socket.json().await["data"], fits);
    ada.socket.send(&json!({"type": "presence", "data": format!("{fits}x")})).await;
    let error = ada.socket.json().await;
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("too-large")));
    ada.socket.send(&json!({"type": "presence", "data": null})).await;
    assert_eq!(bob.socket.json().await["data"], Value::Null, "and nothing in between");
}

#[tokio::test]
async fn a_frame_beyond_the_limit_ends_the_socket() {
    let server = Server::with_config(TINY);
    let hello = |bytes: usize| {
        let (head, tail) = (r#"{"type":"hello","stores":["s"],"caps":["ready"],"pad":""#, r#""}"#);
        format!("{head}{}{tail}", "x".repeat(bytes - head.len() - tail.len()))
    };
    let mut socket = Socket::connect(&server.socket("w")).await;
    socket.send_text(&hello(2_000)).await;
    assert_eq!(socket.json().await["type"], "snapshot");
    assert_eq!(socket.json().await["type"], "ready");
    socket.send_text(&hello(2_001)).await;
    assert_eq!(socket.hear().await, Heard::Closed(Some(1009)));
}

/// The danger: who lowers a limit loses what was saved under the old one.
#[tokio::test]
async fn what_was_saved_under_larger_limits_is_still_there() {
    let mut server = Server::start();
    let mut editor = Editor::connect(&server).await;
    let state = json!({"long key, really": {"a": {"a": {"a": "x".repeat(300)}}}, "n": 1});
    let replace = json!({"op": "add", "path": "", "value": state});
    let four = json!([replace, replace, replace, replace]);
    editor.accepted(four.clone()).await;
    for store in ["t", "u"] {
        assert_eq!(editor.edit(store, add("/n", &json!(1))).await["type"], "ack");
    }
    assert!(server.terminate().success());
    server.start_again(Some(TINY));

    assert_eq!(look(&server.socket("w"), "s").await, (1, state));
    for store in ["t", "u"] {
        assert_eq!(look(&server.socket("w"), store).await, (1, json!({"n": 1})));
    }
    let mut editor = Editor::connect(&server).await;
    // It was committed: that it would not be today is no answer to who sends it again.
    let again = json!({"type": "patch", "store": "s", "seq": 0, "id": "edit 1", "patch": four});
    editor.socket.send(&again).await;
    let ack = editor.socket.json().await;
    assert_eq!((&ack["type"], &ack["seq"]), (&json!("ack"), &json!(1)), "{ack}");
    editor.edits = 100;
    editor.refused(add("/m", &json!(1)), "too-large").await;
    editor.accepted(json!([{"op": "replace", "path": "/long key, really", "value": 1}])).await;
    editor.accepted(add("/m", &json!(1))).await;
    let (_, state) = look(&server.socket("w"), "s").await;
    assert_eq!(state, json!({"long key, really": 1, "n": 1, "m": 1}));
}

/// What only waits for a place is let in when one is free.
#[tokio::test]
async fn no_more_sockets_are_served_than_there_are_places() {
    let server = Server::with_config("[limits]\nsockets = 2");
    let mut ada = Socket::connect(&server.socket("w")).await;
    let bob = Socket::connect(&server.socket("w")).await;
    let url = server.socket("w");
    let eve = tokio::spawn(async move { Socket::connect(&url).await });
    for _ in 0..50 {
        ada.settle().await;
    }
    assert!(!eve.is_finished(), "there is no place for a third");
    bob.close().await;
    let mut eve = timeout(PATIENCE, eve).await.unwrap().unwrap();
    eve.send(&json!({"type": "hello", "stores": ["s"]})).await;
    assert_eq!(eve.json().await["type"], "snapshot");
}

/// The danger: sockets that say nothing take all places, for ever.
#[tokio::test]
async fn a_request_that_does_not_come_gives_up_its_place() {
    let server = Server::with_config("[limits]\nsockets = 1\nrequest_ms = 200");
    let address = server.url().strip_prefix("http://").unwrap().to_owned();
    for said in ["", "GET /livez HTTP/1.1\r\nHost: x\r\nX: "] {
        let mut silent = TcpStream::connect(&address).await.unwrap();
        silent.write_all(said.as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        let read = timeout(PATIENCE, silent.read_to_end(&mut heard)).await.unwrap();
        assert!(read.is_err() || !heard.starts_with(b"HTTP/1.1 200"), "{said:?}");
        look(&server.socket("w"), "s").await;
    }
    // One that has been answered, and asks nothing more.
    let mut done = TcpStream::connect(&address).await.unwrap();
    done.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut heard = Vec::new();
    timeout(PATIENCE, done.read_to_end(&mut heard)).await.unwrap().unwrap();
    assert!(heard.starts_with(b"HTTP/1.1 200"));
}

/// A client that is gone without a word looks like one that says nothing: it answers no ping.
#[tokio::test]
async fn a_client_that_answers_no_ping_is_let_go() {
    let server = Server::with_config("[limits]\nping_ms = 300");
    let mut watcher = Editor::connect(&server).await;
    let mut silent = Editor::connect(&server).await;
    silent.socket.send(&json!({"type": "presence", "data": "here"})).await;
    assert_eq!(watcher.socket.json().await["data"], "here");
    // Reading is what answers pings, and the silent one does not read.
    assert_eq!(watcher.socket.json().await["data"], Value::Null, "it has left");
}

/// What the log holds of all stores of a workspace counts, and what they hold still counts after a
/// restart.
#[tokio::test]
async fn a_workspace_that_is_full_takes_only_what_makes_it_smaller() {
    let config = "[limits]\nworkspace_bytes = 20000\n";
    let mut server = Server::with_config(config);
    let mut editor = Editor::connect(&server).await;
    // Text that does not shrink in the log.
    let text = |n: u64| (0..300).map(|at| ((n + at) * 7_919).to_string()).collect::<String>();
    let mut taken = 0;
    let refused = loop {
        let ops = json!([{"op": "add", "path": format!("/{taken}"), "value": text(taken)}]);
        let answer = editor.edit("s", ops).await;
        if answer["type"] != "ack" {
            break answer;
        }
        taken += 1;
        assert!(taken < 100, "it is never full");
    };
    assert_eq!((&refused["type"], &refused["code"]), (&json!("nack"), &json!("workspace-full")));
    assert!(taken > 5, "{taken}");
    // It is the workspace that is full, not the store; and others are not.
    let api = Api::of(&server, "w");
    api.put("other", &[], &json!({"a": 1})).await.is_problem(507, "workspace-full");
    assert_eq!(Api::of(&server, "v").put("s", &[], &json!({"a": 1})).await.status, 200);

    server.kill();
    server.start_again(None);
    let mut editor = Editor { edits: 1_000, ..Editor::connect(&server).await };
    editor.refused(json!([{"op": "add", "path": "/more", "value": 1}]), "workspace-full").await;
    let same = json!([{"op": "replace", "path": "/0", "value": text(0).replace('7', "8")}]);
    editor.refused(same, "workspace-full").await;
    editor.accepted(json!([{"op": "remove", "path": "/0"}])).await;

    let mut replica = Replica::new();
    let mut crdt = Socket::connect(&server.socket("w")).await;
    crdt.send(&replica.hello("s")).await;
    while replica.doc.length(ROOT) < usize::try_from(taken).unwrap() - 1 {
        let said = crdt.json().await;
        if said["type"] == "sync" {
            replica.hear(said["message"].as_str().unwrap());
            if let Some(answer) = replica.say("s") {
                crdt.send(&answer).await;
            }
        }
    }
    replica.doc.put(ROOT, "more", "of it").unwrap();
    crdt.send(&replica.say("s").unwrap()).await;
    let error = loop {
        let said = crdt.json().await;
        if said["type"] == "error" {
            break said;
        }
    };
    assert_eq!((&error["code"], &error["store"]), (&json!("workspace-full"), &json!("s")));
    let mut deleting = Replica::new();
    let mut crdt = Socket::connect(&server.socket("w")).await;
    crdt.send(&deleting.hello("s")).await;
    while deleting.doc.length(ROOT) < usize::try_from(taken).unwrap() - 1 {
        let said = crdt.json().await;
        if said["type"] == "sync" {
            deleting.hear(said["message"].as_str().unwrap());
        }
    }
    deleting.doc.delete(ROOT, "1").unwrap();
    crdt.send(&deleting.say("s").unwrap()).await;
    assert_eq!(editor.socket.json().await["patch"], json!([{"op": "remove", "path": "/1"}]));
}
