//! samod, the Rust implementation of automerge-repo, as a client of the real binary.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use automerge::transaction::Transactable as _;
use automerge::{AutoSerde, Automerge, ObjType, ROOT, ReadDoc as _};
use futures_util::future::{BoxFuture, ready};
use futures_util::{SinkExt as _, StreamExt as _};
use samod::{BackoffConfig, DialError, Dialer, DialerHandle, DocHandle, Repo, Transport};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::client::{Heard, PATIENCE, Socket, apply};
use crate::server::Server;

pub(crate) const WORKSPACE: &str = "samod";

/// Edits that everybody makes while nobody waits.
const BURST: usize = 20;

/// A way to the server that can be cut.
struct Line {
    url: String,
    is_up: watch::Receiver<bool>,
}

impl Dialer for Line {
    type Error = Infallible;

    fn url(&self) -> reqwest::Url {
        self.url.parse().unwrap()
    }

    fn connect(&self) -> BoxFuture<'static, Result<Transport, DialError<Infallible>>> {
        let (url, mut is_up) = (self.url.clone(), self.is_up.clone());
        Box::pin(async move {
            if !*is_up.borrow() {
                return Err(DialError::transient(std::io::Error::other("the line is cut")));
            }
            let (socket, _) = connect_async(url).await.map_err(DialError::transient)?;
            let (sink, stream) = socket.split();
            let stream = stream.filter_map(|message| {
                ready(match message {
                    Ok(Message::Binary(bytes)) => Some(Ok(bytes.to_vec())),
                    Ok(_) => None,
                    Err(error) => Some(Err(error)),
                })
            });
            let cut = Box::pin(async move { drop(is_up.wait_for(|is_up| !is_up).await) });
            let sink = sink.with(|bytes: Vec<u8>| ready(Ok::<_, Error>(Message::binary(bytes))));
            Ok(Transport::new(stream.take_until(cut), sink))
        })
    }
}

/// A samod repository with one line to the server.
pub(crate) struct Peer {
    repo: Repo,
    is_up: watch::Sender<bool>,
    dialer: DialerHandle<Infallible>,
}

impl Peer {
    pub(crate) async fn start(server: &Server) -> Self {
        let repo = Repo::build_tokio().load().await;
        let (is_up, line) = watch::channel(true);
        let line = Line { url: server.automerge(WORKSPACE), is_up: line };
        let quick = Duration::from_millis(50);
        let backoff = BackoffConfig { initial_delay: quick, max_delay: quick, max_retries: None };
        let dialer = repo.dial(backoff, Arc::new(line)).unwrap();
        let peer = Self { repo, is_up, dialer };
        peer.online(true).await;
        peer
    }

    pub(crate) async fn online(&self, wanted: bool) {
        until("the line is as it is wanted", || self.dialer.is_connected() == wanted).await;
    }

    pub(crate) async fn cut(&self) {
        self.is_up.send_replace(false);
        self.online(false).await;
    }

    pub(crate) async fn back(&self) {
        self.is_up.send_replace(true);
        self.online(true).await;
    }

    pub(crate) async fn create(&self) -> DocHandle {
        let mut doc = Automerge::new();
        doc.transact(|tx| {
            let log = tx.put_object(ROOT, "log", ObjType::List)?;
            tx.insert(&log, 0, "born")
        })
        .unwrap();
        self.repo.create(doc).await.unwrap()
    }

    pub(crate) async fn find(&self, other: &DocHandle) -> DocHandle {
        let found = self.repo.find(other.document_id().clone());
        timeout(PATIENCE, found).await.unwrap().unwrap().expect("the document is there")
    }

    /// Returns when the server has said that it holds everything of this document.
    pub(crate) async fn saved(&self, handle: &DocHandle) {
        let connection = self.dialer.connection_id().unwrap();
        timeout(PATIENCE, handle.they_have_our_changes(connection)).await.unwrap();
    }
}

pub(crate) fn state(handle: &DocHandle) -> Value {
    handle.with_document(|doc| serde_json::to_value(AutoSerde::from(&*doc)).unwrap())
}

pub(crate) fn write(handle: &DocHandle, name: &str) {
    handle.with_document(|doc| {
        let (_, log) = doc.get(ROOT, "log").unwrap().unwrap();
        let at = doc.length(&log);
        doc.transact(|tx| tx.insert(&log, at, name)).unwrap();
    });
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is_so() {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain until {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until both show the same list of so many names; returns the sorted names.
pub(crate) async fn agreement(handles: [&DocHandle; 2], names: usize) -> Vec<String> {
    until("the repositories agree", || {
        let states = handles.map(state);
        states[0] == states[1] && states[0]["log"].as_array().unwrap().len() == names
    })
    .await;
    sorted(&state(handles[0]))
}

pub(crate) fn sorted(state: &Value) -> Vec<String> {
    let log = state["log"].as_array().unwrap();
    let mut names: Vec<String> = log.iter().map(|name| name.as_str().unwrap().into()).collect();
    names.sort_unstable();
    names
}

/// A JSON client of the same store, which waits for the ack of each edit.
struct Json {
    socket: Socket,
    store: String,
    seq: u64,
    state: Value,
}

impl Json {
    async fn open(server: &Server, handle: &DocHandle) -> Self {
        let store = handle.document_id().to_string();
        let mut socket = Socket::connect(&server.socket(WORKSPACE)).await;
        let hello =
            json!({"type": "hello", "seqs": {&store: -1}, "stores": [store], "caps": ["ack"]});
        socket.send(&hello).await;
        let snapshot = socket.json().await;
        assert_eq!(snapshot["type"], "snapshot", "{snapshot}");
        let (seq, state) = (snapshot["seq"].as_u64().unwrap(), snapshot["state"].clone());
        Self { socket, store, seq, state }
    }

    async fn write(&mut self, name: &str) {
        let patch = json!([{"op": "add", "path": "/log/-", "value": name}]);
        let edit = json!({
            "type": "patch", "store": self.store, "seq": self.seq, "id": name, "patch": patch,
        });
        let mut view = self.state.clone();
        apply(&mut view, &patch);
        self.socket.send(&edit).await;
        loop {
            let message = self.socket.json().await;
            if message["type"] != "ack" {
                self.hear(&message);
                continue;
            }
            apply(&mut view, &message["patch"]);
            (self.state, self.seq) = (view, message["seq"].as_u64().unwrap());
            return;
        }
    }

    fn hear(&mut self, message: &Value) {
        assert_eq!(message["type"], "patch", "{message}");
        apply(&mut self.state, &message["patch"]);
        self.seq = message["seq"].as_u64().unwrap();
    }

    /// Listens until its list has so many names.
    async fn catch_up(&mut self, names: usize) -> Vec<String> {
        while self.state["log"].as_array().unwrap().len() < names {
            match self.socket.hear().await {
                Heard::Json(message) => self.hear(&message),
                other => panic!("a patch was due, and {other:?} came"),
            }
        }
        sorted(&self.state)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samod_and_a_json_client_edit_one_store() {
    let server = Server::start();
    let [a, b] = [Peer::start(&server).await, Peer::start(&server).await];
    let born = a.create().await;
    a.saved(&born).await;
    let found = b.find(&born).await;
    assert_eq!(state(&found), json!({"log": ["born"]}));
    let mut json = Json::open(&server, &born).await;
    assert_eq!(json.state, json!({"log": ["born"]}));

    let mut names = vec!["born".to_owned()];
    for edit in 0..BURST {
        let written = ["a", "b", "json"].map(|author| format!("{author}.{edit}"));
        write(&born, &written[0]);
        write(&found, &written[1]);
        json.write(&written[2]).await;
        names.extend(written);
    }
    names.sort_unstable();
    assert_eq!(agreement([&born, &found], names.len()).await, names);
    assert_eq!(json.catch_up(names.len()).await, names);
    assert_eq!(json.state, state(&born), "the same order everywhere");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samod_edits_offline_and_comes_back() {
    let server = Server::start();
    let [a, b] = [Peer::start(&server).await, Peer::start(&server).await];
    let born = a.create().await;
    a.saved(&born).await;
    let found = b.find(&born).await;
    let (both, mut names) = ([&a, &b], 1);
    for round in 0..5 {
        let away = [&both[..], &both[..1], &both[1..]][round % 3];
        for peer in away {
            peer.cut().await;
        }
        for edit in 0..BURST {
            write(&born, &format!("a.{round}.{edit}"));
            write(&found, &format!("b.{round}.{edit}"));
        }
        names += 2 * BURST;
        for peer in away {
            peer.back().await;
        }
        let mut distinct = agreement([&born, &found], names).await;
        distinct.dedup();
        assert_eq!(distinct.len(), names, "nothing is there twice");
    }
    let mut json = Json::open(&server, &born).await;
    assert_eq!(json.catch_up(names).await, sorted(&state(&born)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn samod_stays_through_kills_of_the_server() {
    let mut server = Server::start();
    let [a, b] = [Peer::start(&server).await, Peer::start(&server).await];
    let born = a.create().await;
    a.saved(&born).await;
    let found = b.find(&born).await;
    let mut names = 1;
    for kill in 0..3 {
        write(&born, &format!("before {kill}"));
        names += 1;
        agreement([&born, &found], names).await;
        a.saved(&born).await;
        let held = sorted(&state(&born));
        // Nobody may help the server to remember.
        a.cut().await;
        b.cut().await;
        server.kill();
        write(&born, &format!("a meanwhile {kill}"));
        write(&found, &format!("b meanwhile {kill}"));
        names += 2;
        server.start_again(None);
        let newcomer = Peer::start(&server).await;
        let kept = sorted(&state(&newcomer.find(&born).await));
        let lost: Vec<&String> = held.iter().filter(|name| !kept.contains(name)).collect();
        assert_eq!(lost, Vec::<&String>::new(), "the server said that it holds these");
        a.back().await;
        b.back().await;
        agreement([&born, &found], names).await;
    }
    // This time they find their way back by themselves.
    server.kill();
    a.online(false).await;
    b.online(false).await;
    write(&found, "last");
    server.start_again(None);
    a.online(true).await;
    b.online(true).await;
    assert!(agreement([&born, &found], names + 1).await.contains(&"last".to_owned()));
}
