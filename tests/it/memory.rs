//! What a socket costs that once carried something large, and is idle now.

use automerge::AutoCommit;
use automerge::sync::{State, SyncDoc as _};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use statehouse::ids::DocumentId;
use statehouse::protocol::repo::{RepoMessage, RepoMetadata};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::client::{PATIENCE, Socket};
use crate::server::Server;

const SOCKETS: u64 = 200;
const LARGE_BYTES: usize = 900_000;
/// What one socket may keep: more than it needs, since the allocator keeps something, too, and far
/// less than what it carried.
const SOCKET_KB_MAX: u64 = 64;
/// Nobody is asked for a sign of life while this test waits for somebody else.
const CONFIG: &str = "[limits]\nping_ms = 3600000\nrepo_ping_ms = 3600000\n";

type RepoSocket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A server with a large store `s` in workspace `w`.
async fn server() -> Server {
    let server = Server::with_config(CONFIG);
    let mut writer = Socket::connect(&server.socket("w")).await;
    writer.send(&json!({"type": "hello", "stores": ["s"], "caps": ["ack"]})).await;
    assert_eq!(writer.json().await["type"], "snapshot");
    // Random digits, so that they stay large in every dialect.
    let large: String =
        (0..LARGE_BYTES).map(|_| char::from(rand::random_range(b' '..b'~'))).collect();
    let patch = json!([{"op": "add", "path": "/large", "value": large}]);
    writer.send(&json!({"type": "patch", "store": "s", "seq": 0, "id": "1", "patch": patch})).await;
    assert_eq!(writer.json().await["type"], "ack");
    writer.close().await;
    server
}

/// Fails if the sockets that were opened since cost too much each.
fn assert_small(server: &Server, before_kb: u64, what: &str) {
    let grown_kb = server.peak_kb_anew().saturating_sub(before_kb);
    eprintln!("{what}: {} bytes a socket", (grown_kb << 10) / SOCKETS);
    assert!(grown_kb <= SOCKETS * SOCKET_KB_MAX, "{SOCKETS} sockets keep {grown_kb} kB: {what}");
}

async fn json_receiver(server: &Server) -> Socket {
    let mut socket = Socket::connect(&server.socket("w")).await;
    socket.send(&json!({"type": "hello", "seqs": {"s": -1}, "stores": ["s"]})).await;
    let snapshot = socket.json().await;
    assert_eq!(snapshot["state"]["large"].as_str().map(str::len), Some(LARGE_BYTES));
    socket
}

async fn json_sender(server: &Server) -> Socket {
    let mut socket = Socket::connect(&server.socket("w")).await;
    socket.send(&json!({"type": "hello", "stores": [], "caps": ["ready"]})).await;
    assert_eq!(socket.json().await["type"], "ready");
    socket.send(&json!({"type": "gossip", "of": "x".repeat(LARGE_BYTES)})).await;
    assert_eq!(socket.json().await["code"], "bad-message");
    socket
}

async fn assert_answers(mut socket: Socket) {
    socket.send(&json!({"type": "hello", "stores": [], "caps": ["ready"]})).await;
    assert_eq!(socket.json().await["type"], "ready");
}

#[tokio::test]
async fn json_sockets_keep_nothing_of_what_they_carried() {
    let server = server().await;
    let first = (json_receiver(&server).await, json_sender(&server).await);
    let mut sockets = Vec::new();
    let before = server.peak_kb_anew();
    for _ in 0..SOCKETS {
        sockets.push(json_receiver(&server).await);
    }
    assert_small(&server, before, "a JSON snapshot received");
    let before = server.peak_kb_anew();
    for _ in 0..SOCKETS {
        sockets.push(json_sender(&server).await);
    }
    assert_small(&server, before, "a JSON message sent");
    for socket in sockets.into_iter().chain([first.0, first.1]) {
        assert_answers(socket).await;
    }
}

/// A socket of a peer whom nobody else is.
async fn repo_socket(server: &Server, name: &str) -> RepoSocket {
    let (mut socket, _) = connect_async(server.automerge("w")).await.unwrap();
    let (metadata, versions) = (RepoMetadata::default(), vec!["1".into()]);
    let join = RepoMessage::Join { sender: name.into(), metadata, versions };
    socket.send(Message::binary(join.encode())).await.unwrap();
    assert!(hear_repo(&mut socket, |said| matches!(said, RepoMessage::Peer { .. })).await > 0);
    socket
}

/// Reads on to a message of this kind; its length in bytes.
async fn hear_repo(socket: &mut RepoSocket, is_it: impl Fn(&RepoMessage<'_>) -> bool) -> usize {
    loop {
        let frame = timeout(PATIENCE, socket.next()).await.expect("a frame");
        if let Message::Binary(bytes) = frame.unwrap().unwrap()
            && is_it(&RepoMessage::decode(&bytes).unwrap())
        {
            return bytes.len();
        }
    }
}

async fn repo_receiver(server: &Server, name: &str) -> RepoSocket {
    let mut socket = repo_socket(server, name).await;
    let document = DocumentId::of(&"w".parse().unwrap(), &"s".parse().unwrap());
    let (mut doc, mut sync) = (AutoCommit::new(), State::new());
    let data = doc.sync().generate_sync_message(&mut sync).unwrap().encode().into();
    let (sender, target) = (name.into(), "server".into());
    let request = RepoMessage::Request { sender, target, document, data };
    socket.send(Message::binary(request.encode())).await.unwrap();
    let bytes = hear_repo(&mut socket, |said| matches!(said, RepoMessage::Sync { .. })).await;
    assert!(bytes > LARGE_BYTES / 2, "{bytes} bytes");
    socket
}

async fn repo_sender(server: &Server, name: &str) -> RepoSocket {
    let mut socket = repo_socket(server, name).await;
    socket.send(Message::binary(vec![0xff; LARGE_BYTES])).await.unwrap();
    hear_repo(&mut socket, |said| matches!(said, RepoMessage::Error { .. })).await;
    socket
}

#[tokio::test]
async fn repo_sockets_keep_nothing_of_what_they_carried() {
    let server = server().await;
    let first = (repo_receiver(&server, "r").await, repo_sender(&server, "s").await);
    let mut sockets = Vec::new();
    let before = server.peak_kb_anew();
    for n in 0..SOCKETS {
        sockets.push(repo_receiver(&server, &format!("r{n}")).await);
    }
    assert_small(&server, before, "a document received");
    let before = server.peak_kb_anew();
    for n in 0..SOCKETS {
        sockets.push(repo_sender(&server, &format!("s{n}")).await);
    }
    assert_small(&server, before, "a binary message sent");
    for mut socket in sockets.into_iter().chain([first.0, first.1]) {
        socket.send(Message::binary(vec![0xff])).await.unwrap();
        hear_repo(&mut socket, |said| matches!(said, RepoMessage::Error { .. })).await;
    }
}
