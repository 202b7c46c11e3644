//! Who asks too often is told when he may again, and who talks too fast is read slower.

use reqwest::{Response, StatusCode, header};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Error;

use crate::client::{Heard, Socket};
use crate::server::Server;

async fn get(server: &Server, path: &str) -> Response {
    reqwest::get(format!("{}{path}", server.url())).await.unwrap()
}

/// More than a bucket holds that fills once a second, even if it takes a while.
const MANY: usize = 40;

#[tokio::test]
async fn who_asks_too_often_is_told_when_he_may_again() {
    let server = Server::with_config("[limits]\nrequests_per_s = 1\n");
    let mut refused = None;
    for n in 0..MANY {
        let answer = get(&server, "/v1/workspaces/w").await;
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            assert!(n >= 10, "only {n} were let in at once");
            refused = Some(answer);
            break;
        }
        assert_eq!(answer.status(), StatusCode::OK);
    }
    let refused = refused.expect("so many pass");
    let wait = refused.headers()[header::RETRY_AFTER].to_str().unwrap();
    assert!((1..=2).contains(&wait.parse::<u64>().unwrap()), "{wait}");
    let problem: Value = serde_json::from_str(&refused.text().await.unwrap()).unwrap();
    assert_eq!((&problem["status"], &problem["code"]), (&json!(429), &json!("too-many-requests")));
    // Whoever runs it still sees how it is.
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(get(&server, path).await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn who_opens_sockets_too_often_is_refused() {
    let server = Server::with_config("[limits]\nsockets_per_s = 1\n");
    for n in 0..MANY {
        match Socket::try_connect(&server.socket("w")).await {
            Ok(socket) => drop(socket),
            Err(Error::Http(answer)) => {
                assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
                assert!(n >= 10, "only {n} were let in at once");
                // Other requests have another bucket.
                assert_eq!(get(&server, "/v1/workspaces/w").await.status(), StatusCode::OK);
                return;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("so many pass");
}

#[tokio::test]
async fn who_talks_too_fast_is_read_slower_and_nothing_is_lost() {
    let server = Server::with_config("[limits]\nmessages_per_s = 20\n");
    let mut socket = Socket::connect(&server.socket("w")).await;
    socket.send(&json!({"type": "hello", "stores": ["s"], "caps": ["ack"]})).await;
    assert_eq!(socket.json().await["type"], "snapshot");
    let edits: Vec<Value> = (0..240)
        .map(|n| {
            let patch = json!([{"op": "add", "path": format!("/{n}"), "value": n}]);
            json!({"type": "patch", "store": "s", "seq": 0, "id": format!("{n}"), "patch": patch})
        })
        .collect();
    socket.send_together(&edits).await;
    for n in 0..edits.len() {
        let ack = socket.json().await;
        assert_eq!((&ack["type"], &ack["id"]), (&json!("ack"), &json!(format!("{n}"))), "{ack}");
    }
}

#[tokio::test]
async fn a_workspace_has_so_many_sessions() {
    let server = Server::with_config("[limits]\nsessions = 2\n");
    let mut ada = Socket::connect(&server.socket("w")).await;
    let mut bob = Socket::connect(&server.socket("w")).await;
    for socket in [&mut ada, &mut bob] {
        socket.send(&json!({"type": "hello", "stores": ["s"]})).await;
        assert_eq!(socket.json().await["type"], "snapshot");
    }
    let mut eve = Socket::connect(&server.socket("w")).await;
    assert_eq!(eve.hear().await, Heard::Closed(Some(1008)));
    // Another workspace has its own.
    let mut eve = Socket::connect(&server.socket("other")).await;
    eve.send(&json!({"type": "hello", "stores": ["s"]})).await;
    assert_eq!(eve.json().await["type"], "snapshot");
    bob.close().await;
    // The place is free when the server has seen him go.
    loop {
        let mut eve = Socket::connect(&server.socket("w")).await;
        eve.send(&json!({"type": "hello", "stores": ["s"]})).await;
        match eve.hear().await {
            Heard::Json(said) => return assert_eq!(said["type"], "snapshot"),
            Heard::Closed(code) => assert_eq!(code, Some(1008)),
            Heard::Pong => panic!("nobody asked"),
        }
    }
}
