//! How the real server comes to its end when it is asked to.

use reqwest::StatusCode;
use serde_json::json;

use crate::client::{Heard, Socket, look};
use crate::metrics::admin;
use crate::server::Server;

async fn readiness(url: &str) -> StatusCode {
    reqwest::get(format!("{url}/readyz")).await.unwrap().status()
}

async fn hello(server: &Server) -> Socket {
    let mut socket = Socket::connect(&server.socket("w")).await;
    socket.send(&json!({"type": "hello", "stores": ["s"], "caps": ["ack"]})).await;
    assert_eq!(socket.json().await["type"], "snapshot");
    socket
}

/// Waits until the server no longer says that it takes requests.
async fn until_drained(url: &str) {
    while readiness(url).await != StatusCode::SERVICE_UNAVAILABLE {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_server_that_drains_says_so_and_goes_on() {
    let mut server =
        Server::with_config("[admin]\nlisten = \"127.0.0.1:0\"\n[limits]\ndrain_ms = 3000\n");
    let admin = admin(&server);
    let mut ada = hello(&server).await;
    assert_eq!(readiness(&server.url()).await, StatusCode::OK);
    server.signal("TERM");
    until_drained(&server.url()).await;
    assert_eq!(readiness(&admin).await, StatusCode::SERVICE_UNAVAILABLE);

    // Who has not heard of it yet is served as before.
    let mut bob = hello(&server).await;
    let patch = json!([{"op": "add", "path": "/late", "value": true}]);
    bob.send(&json!({"type": "patch", "store": "s", "seq": 0, "id": "1", "patch": patch})).await;
    assert_eq!(bob.json().await["type"], "ack");
    assert_eq!(ada.json().await["type"], "patch");

    for mut socket in [ada, bob] {
        assert_eq!(socket.hear().await, Heard::Closed(Some(1012)));
    }
    assert!(server.wait().success());
    server.start_again(Some(""));
    assert_eq!(look(&server.socket("w"), "s").await, (1, json!({"late": true})));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    // Without the second, the test would run out of patience.
    let mut server = Server::with_config("[limits]\ndrain_ms = 600000\n");
    server.signal("TERM");
    until_drained(&server.url()).await;
    server.signal("INT");
    assert_eq!(server.wait().code(), Some(1));
}
