//! Real sockets against a real hub, with a log in memory.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::*;
use crate::storage::memory::MemoryLog;

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinHandle<Stopped>,
}

fn config() -> Config {
    Config { listen: "127.0.0.1:0".to_owned(), ..Config::default() }
}

async fn start(config: &Config, log: &Arc<MemoryLog>) -> Running {
    let log: Arc<dyn ChangeLog> = Arc::<MemoryLog>::clone(log);
    let server = Server::start(config, log).await.unwrap();
    let (stop, stopped) = oneshot::channel();
    let address = server.address();
    let server = tokio::spawn(server.run(async { drop(stopped.await) }));
    Running { address, stop, server }
}

async fn start_usual() -> Running {
    start(&config(), &Arc::default()).await
}

impl Running {
    async fn stop(self) -> Stopped {
        self.stop.send(()).unwrap();
        self.server.await.unwrap()
    }
}

struct Client(WebSocketStream<TcpStream>);

impl Client {
    async fn connect(server: &Running) -> Self {
        let stream = TcpStream::connect(server.address).await.unwrap();
        let url = format!("ws://{}/v1/workspaces/w/socket", server.address);
        Self(client_async(url, stream).await.unwrap().0)
    }

    async fn say(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    async fn frame(&mut self) -> Option<Message> {
        let next = timeout(Duration::from_secs(20), self.0.next()).await;
        next.expect("nothing was heard").and_then(Result::ok)
    }

    async fn hear(&mut self) -> Value {
        loop {
            match self.frame().await.expect("the server hung up") {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The code of the close frame that comes, sooner or later.
    async fn close_code(mut self) -> u16 {
        loop {
            match self.frame().await {
                Some(Message::Close(frame)) => return frame.unwrap().code.into(),
                Some(_) => {}
                None => panic!("the server hung up without a word"),
            }
        }
    }
}

/// What a plain HTTP request is answered: status and body.
async fn http(server: &Running, path: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    (status, body.to_owned())
}

fn hello(caps: &[&str]) -> Value {
    json!({"type": "hello", "seqs": {"a": -1}, "caps": caps})
}

fn edit(seq: u64, path: &str, value: &str) -> Value {
    let patch = json!([{"op": "add", "path": path, "value": value}]);
    json!({"type": "patch", "store": "a", "seq": seq, "patch": patch, "id": format!("{path}{seq}")})
}

#[tokio::test]
async fn an_edit_of_one_is_seen_by_the_other() {
    let server = start_usual().await;
    let (mut ada, mut bob) = (Client::connect(&server).await, Client::connect(&server).await);
    ada.say(hello(&[])).await;
    bob.say(hello(&["ack", "ready"])).await;
    let empty = json!({"type": "snapshot", "store": "a", "seq": 0, "state": {}});
    assert_eq!(ada.hear().await, empty);
    assert_eq!(bob.hear().await, empty);
    assert_eq!(bob.hear().await, json!({"type": "ready", "seqs": {"a": 0}}));

    ada.say(edit(0, "/x", "1")).await;
    let heard = bob.hear().await;
    assert_eq!((&heard["type"], &heard["seq"]), (&json!("patch"), &json!(1)));
    bob.say(edit(1, "/y", "2")).await;
    let ack = json!({"type": "ack", "store": "a", "id": "/y1", "seq": 2, "patch": []});
    assert_eq!(bob.hear().await, ack);
    assert_eq!(ada.hear().await["seq"], 2, "her own edit is not echoed to her");
    assert!(server.stop().await.unsaved.is_empty());
}

#[tokio::test]
async fn a_frame_that_is_not_understood_leaves_the_socket_open() {
    let server = start_usual().await;
    let mut ada = Client::connect(&server).await;
    ada.say(json!({"type": "gossip"})).await;
    ada.say(hello(&["ack"])).await;
    assert_eq!(ada.hear().await["type"], "snapshot", "before hello, nothing is said");
    ada.say(json!({"type": "gossip"})).await;
    let error = ada.hear().await;
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("bad-message")));
    ada.say(json!({"type": "patch", "store": "a", "seq": 0, "id": "i", "patch": 5})).await;
    let nack = ada.hear().await;
    assert_eq!((&nack["type"], &nack["code"]), (&json!("nack"), &json!("bad-patch")));
}

#[tokio::test]
async fn what_cannot_be_taken_is_closed_with_its_code() {
    let server = start_usual().await;
    let send = async |message: Message| {
        let mut client = Client::connect(&server).await;
        // The server may hang up before it has read all: what it says counts.
        drop(client.0.send(message).await);
        client.close_code().await
    };
    assert_eq!(send(Message::binary(vec![0; 4])).await, 1003);
    assert_eq!(send(Message::text("x".repeat(limits::FRAME_BYTES_MAX + 1))).await, 1009);
    assert_eq!(send(Message::text("x".repeat(limits::MESSAGE_BYTES_MAX * 2))).await, 1009);

    // A message of frames that are each small enough.
    let mut client = Client::connect(&server).await;
    for n in 0..=4 {
        let data = if n == 0 { Data::Text } else { Data::Continue };
        let payload = vec![b'x'; limits::FRAME_BYTES_MAX];
        let frame = Frame::message(payload, OpCode::Data(data), false);
        if client.0.send(Message::Frame(frame)).await.is_err() {
            break;
        }
    }
    assert_eq!(client.close_code().await, 1009);

    let mut client = Client::connect(&server).await;
    let frame = Frame::message(vec![0xff, 0xfe], OpCode::Data(Data::Text), true);
    client.0.send(Message::Frame(frame)).await.unwrap();
    assert_eq!(client.close_code().await, 1007);
}

#[tokio::test]
async fn a_stop_saves_what_was_said_and_says_that_the_server_restarts() {
    let log = Arc::default();
    let server = start(&config(), &log).await;
    let (mut ada, idle) = (Client::connect(&server).await, Client::connect(&server).await);
    ada.say(hello(&["ack"])).await;
    assert_eq!(ada.hear().await["type"], "snapshot");
    ada.say(edit(0, "/x", "1")).await;
    assert_eq!(ada.hear().await["type"], "ack");
    let address = server.address;
    assert!(server.stop().await.unsaved.is_empty());
    assert_eq!(ada.close_code().await, 1012);
    assert_eq!(idle.close_code().await, 1012);
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");

    let server = start(&config(), &log).await;
    let mut ada = Client::connect(&server).await;
    ada.say(hello(&[])).await;
    assert_eq!(ada.hear().await["state"], json!({"x": "1"}));
}

/// The danger: a client that reads slowly is told less than happened, and nobody notices.
#[tokio::test]
async fn a_slow_client_ends_with_the_newest_state() {
    const EDITS: u64 = 400;
    let mut config = config();
    config.limits.outbox_bytes = 100_000;
    let server = start(&config, &Arc::default()).await;
    let (mut ada, mut slow) = (Client::connect(&server).await, Client::connect(&server).await);
    slow.say(hello(&["ready"])).await;
    assert_eq!(slow.hear().await["type"], "snapshot");
    ada.say(hello(&["ack"])).await;
    assert_eq!(ada.hear().await["type"], "snapshot");
    // More than the buffers of the kernel hold, while the slow one does not read.
    let text = "x".repeat(50_000);
    for seq in 0..EDITS {
        ada.say(edit(seq, "/x", &format!("{seq} {text}"))).await;
        assert_eq!(ada.hear().await["seq"], seq + 1);
    }
    let (mut last, mut snapshots, mut value) = (0, 0, Value::Null);
    while last < EDITS {
        let heard = slow.hear().await;
        let seq = heard["seq"].as_u64();
        match heard["type"].as_str() {
            Some("patch") => {
                assert_eq!(seq, Some(last + 1), "a patch follows what came before");
                value = heard["patch"][0]["value"].clone();
            }
            Some("snapshot") => {
                assert!(seq >= Some(last), "a snapshot does not go back");
                value = heard["state"]["x"].clone();
                snapshots += 1;
            }
            other => assert_eq!(other, Some("ready")),
        }
        last = seq.unwrap_or(last);
    }
    assert!(snapshots > 0, "it was slow enough to lose something");
    assert!(value.as_str().unwrap().starts_with("399 "));
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_let_go() {
    let mut config = config();
    config.limits.outbox_bytes = 100_000;
    config.limits.outbox_stall_ms = 100;
    let server = start(&config, &Arc::default()).await;
    let (mut ada, mut dead) = (Client::connect(&server).await, Client::connect(&server).await);
    dead.say(hello(&[])).await;
    assert_eq!(dead.hear().await["type"], "snapshot");
    ada.say(hello(&["ack"])).await;
    assert_eq!(ada.hear().await["type"], "snapshot");
    let text = "x".repeat(500_000);
    for seq in 0..40 {
        ada.say(edit(seq, "/x", &format!("{seq} {text}"))).await;
        assert_eq!(ada.hear().await["seq"], seq + 1);
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    while dead.frame().await.is_some() {}
}

#[tokio::test]
async fn a_client_that_gives_no_sign_of_life_is_let_go() {
    let ping = Duration::from_millis(100);
    let mut config = config();
    config.limits.ping_ms = 100;
    let server = start(&config, &Arc::default()).await;
    let (mut silent, mut alive) = (Client::connect(&server).await, Client::connect(&server).await);
    alive.say(hello(&[])).await;
    assert_eq!(alive.hear().await["type"], "snapshot");
    // Reading is what answers pings, so one of them reads.
    let reading = async { while let Some(Ok(_)) = alive.0.next().await {} };
    timeout(ping * 8, reading).await.expect_err("the one that answers stays");
    let hung_up = async { while silent.frame().await.is_some() {} };
    timeout(ping, hung_up).await.expect("the other had been let go");
    alive.say(hello(&[])).await;
    assert_eq!(alive.hear().await["type"], "snapshot");
}

#[tokio::test]
async fn requests_that_are_no_sockets() {
    let server = start_usual().await;
    let socket = "/v1/workspaces/w/socket";
    assert_eq!(http(&server, "/livez", "").await, (200, "ok\n".to_owned()));
    assert_eq!(http(&server, "/readyz", "").await, (200, "ok\n".to_owned()));
    let check = async |path: &str, headers: &str, status: u16, code: &str| {
        let (got, body) = http(&server, path, headers).await;
        let problem: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((got, &problem["status"]), (status, &json!(status)), "{path}");
        assert_eq!(problem["code"], code, "{path}");
    };
    check(socket, "", 400, "not-a-websocket").await;
    check("/v1/workspaces/a%20b/socket", "", 400, "bad-name").await;
    check("/v1/workspaces/%ff/socket", "", 400, "bad-name").await;
    check("/v1/workspaces/../socket", "", 400, "bad-name").await;
    check("/nowhere", "", 404, "no-such-resource").await;
    check(socket, "Origin: https://evil.example\r\n", 403, "bad-origin").await;
}

#[tokio::test]
async fn only_this_machine_may_connect_unless_it_is_said() {
    let log: Arc<dyn ChangeLog> = Arc::<MemoryLog>::default();
    let open = Config { listen: "0.0.0.0:0".to_owned(), ..Config::default() };
    let refused = Server::start(&open, Arc::clone(&log)).await;
    assert!(matches!(refused, Err(StartError::Exposed(_))));
    let insecure = Config { insecure: true, ..open };
    assert!(Server::start(&insecure, Arc::clone(&log)).await.is_ok());
    let nowhere = Config { listen: "nowhere".to_owned(), ..Config::default() };
    assert!(matches!(Server::start(&nowhere, log).await, Err(StartError::Listen { .. })));
}

/// The clock stands still as long as anybody has something to do, and else goes on to the next
/// thing that waits for it.
#[tokio::test]
async fn a_stream_without_events_shows_that_it_lives() {
    let server = start_usual().await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let host = server.address;
    let request = format!("GET /v1/workspaces/w/events?stores=s HTTP/1.1\r\nhost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut told = String::new();
    while !told.contains("event: ready") || !told.ends_with("\n\n\r\n") {
        told.push_str(&read_some(&mut stream).await);
    }
    assert!(!told.contains("\r\n:"), "there is no need for a comment yet: {told}");
    tokio::time::pause();
    for _ in 0..3 {
        let since = tokio::time::Instant::now();
        // One chunk (RFC 9112, section 7.1) that holds a comment.
        assert_eq!(read_some(&mut stream).await, "3\r\n:\n\n\r\n");
        let passed = since.elapsed();
        assert!(passed >= Duration::from_millis(limits::EVENT_HEARTBEAT_MS), "{passed:?}");
        assert!(passed < Duration::from_millis(2 * limits::EVENT_HEARTBEAT_MS), "{passed:?}");
    }
    tokio::time::resume();
    drop(stream);
    assert!(server.stop().await.unsaved.is_empty());
}

async fn read_some(stream: &mut TcpStream) -> String {
    let mut bytes = [0; 4096];
    let read = stream.read(&mut bytes).await.unwrap();
    assert_ne!(read, 0, "the stream ended");
    String::from_utf8(bytes[..read].to_vec()).unwrap()
}
