//! Many messages at once: what may be answered together, and what may not.

use serde_json::json;

use crate::client::{Socket, apply, look};
use crate::server::Server;

const EDITS: u64 = 100;

/// An original client sends a hundred edits on a state that is no longer the newest. None is lost,
/// and it is not sent a hundred snapshots for them.
#[tokio::test]
async fn stale_edits_that_wait_together_are_answered_together() {
    let server = Server::start();
    let url = server.socket("main");
    let (mut stale, mut other) = (Socket::connect(&url).await, Socket::connect(&url).await);
    let hello = json!({"type": "hello", "seqs": {"s": -1}});
    for socket in [&mut stale, &mut other] {
        socket.send(&hello).await;
        assert_eq!(socket.json().await["seq"], 0);
    }
    let add = |seq: u64, key: &str| {
        let patch = json!([{"op": "add", "path": format!("/{key}"), "value": true}]);
        json!({"type": "patch", "store": "s", "seq": seq, "patch": patch})
    };
    other.send(&add(0, "other")).await;
    assert_eq!(stale.json().await["seq"], 1);

    let edits: Vec<_> = (0..EDITS).map(|number| add(0, &format!("stale{number}"))).collect();
    stale.send_together(&edits).await;
    let (mut snapshots, mut seq) = (0, 1);
    while seq < 1 + EDITS {
        let message = stale.json().await;
        assert_eq!(message["type"], "snapshot", "{message}");
        assert!(message["seq"].as_u64() > Some(seq), "{message} after {seq}");
        seq = message["seq"].as_u64().unwrap();
        snapshots += 1;
    }
    assert!(snapshots < EDITS / 2, "{snapshots} snapshots for {EDITS} edits");

    // The others are told each commit, with its own seq.
    let mut state = json!({"other": true});
    for seq in 2..2 + EDITS {
        let message = other.json().await;
        assert_eq!((&message["type"], &message["seq"]), (&json!("patch"), &json!(seq)));
        apply(&mut state, &message["patch"]);
    }
    assert_eq!(look(&url, "s").await, (1 + EDITS, state.clone()));
    assert_eq!(state.as_object().unwrap().len() as u64, 1 + EDITS);
}
