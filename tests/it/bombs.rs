//! Hostile sync messages against the real server, beside somebody who goes on editing.

mod corpus;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use self::corpus::{corpus, honest};
use crate::client::{Heard, Socket, look};
use crate::crdt::Replica;
use crate::server::Server;

/// By how much the server's memory may grow, at its peak, while it is attacked.
const GROWTH_KB_MAX: u64 = 64 << 10;

/// The bystander's next edit, and the answer to it.
async fn edit(bystander: &mut Socket, number: &mut u64) {
    *number += 1;
    let patch = json!([{"op": "add", "path": "/number", "value": *number}]);
    let id = number.to_string();
    bystander
        .send(&json!({"type": "patch", "store": "s", "seq": 0, "id": id, "patch": patch}))
        .await;
    loop {
        let heard = bystander.json().await;
        if heard["type"] == "ack" && heard["id"] == json!(id) {
            return;
        }
        assert!(heard["type"] == "patch" || heard["type"] == "ack", "{heard}");
    }
}

/// A session that speaks the store in Automerge, after it has heard what the store holds.
async fn attacker(url: &str) -> Socket {
    let mut socket = Socket::connect(url).await;
    socket.send(&Replica::new().hello("s")).await;
    assert_eq!(socket.json().await["type"], "sync");
    assert_eq!(socket.json().await["type"], "ready");
    socket
}

/// Sends bytes as a sync message; returns the code of the error that answers, if any does.
async fn attack(url: &str, bytes: &[u8]) -> Option<String> {
    let mut socket = attacker(url).await;
    let message = BASE64_STANDARD.encode(bytes);
    socket.send(&json!({"type": "sync", "store": "s", "message": message})).await;
    socket.settle().await;
    // Answers come in order, and this one comes for certain.
    let hello = json!({"type": "hello", "seqs": {"s": -1}, "stores": ["s"], "caps": ["ready"]});
    socket.send(&hello).await;
    loop {
        match socket.hear().await {
            Heard::Json(heard) if heard["type"] == "error" && heard["store"] == "s" => {
                return heard["code"].as_str().map(str::to_owned);
            }
            Heard::Json(heard) if heard["type"] == "ready" => return None,
            Heard::Json(_) | Heard::Pong => {}
            Heard::Closed(code) => panic!("the socket was closed with {code:?}"),
        }
    }
}

#[tokio::test]
async fn bombs_bounce() {
    let server = Server::start();
    let url = server.socket("main");
    let mut bystander = Socket::connect(&url).await;
    let hello = json!({"type": "hello", "seqs": {"s": -1}, "caps": ["ready", "ack"]});
    bystander.send(&hello).await;
    assert_eq!(bystander.json().await["type"], "snapshot");
    assert_eq!(bystander.json().await["type"], "ready");
    let (bombs, mut number) = (corpus(), 0);
    edit(&mut bystander, &mut number).await;
    // All that an honest message needs is there before the memory is looked at.
    assert_eq!(attack(&url, &honest()).await, None);
    let before = server.peak_kb_anew();
    for bomb in bombs {
        let answer = attack(&url, &bomb.bytes).await;
        assert_eq!(answer.as_deref(), bomb.code, "{}", bomb.name);
        edit(&mut bystander, &mut number).await;
    }
    let growth = server.peak_kb().saturating_sub(before);
    assert!(growth <= GROWTH_KB_MAX, "the memory grew by {growth} kB");
    let (_, state): (u64, Value) = look(&url, "s").await;
    assert_eq!(state, json!({"k": null, "number": number}));
}
