//! `backup`, `restore` and `compact` of the real binary, with clients of every dialect.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use automerge::transaction::Transactable as _;
use automerge::{ROOT, ReadDoc as _};
use rusqlite::Connection;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::client::{Heard, PATIENCE, Socket, look};
use crate::crdt::Replica;
use crate::samod::{self, Peer};
use crate::server::{Server, statehouse};

const WORKSPACE: &str = samod::WORKSPACE;
const STORE: &str = "board";

fn run(args: &[&str]) -> Output {
    statehouse().args(args).stdin(Stdio::null()).output().unwrap()
}

fn succeeds(args: &[&str]) -> Value {
    let output = run(args);
    assert!(output.status.success() && output.stderr.is_empty(), "{args:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

fn fails(args: &[&str], code: i32) {
    let output = run(args);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.stdout.is_empty() && !said.contains("panicked"), "{said}");
}

fn healthy(data: &Path) {
    let output = run(&["doctor", text(data)]);
    assert!(output.status.success(), "{output:?}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Which place a log says that it is.
fn identity(database: &Path) -> Vec<u8> {
    let database = Connection::open(database).unwrap();
    let read = |row: &rusqlite::Row<'_>| row.get(0);
    database.query_row("SELECT bytes FROM identity WHERE id = 1", [], read).unwrap()
}

/// A JSON client that adds names of its own to the list, and waits for each to be acknowledged.
struct Json {
    socket: Socket,
    seq: u64,
    acknowledged: Arc<Mutex<Vec<String>>>,
}

impl Json {
    async fn open(server: &Server) -> Self {
        let mut socket = Socket::connect(&server.socket(WORKSPACE)).await;
        let hello = json!({"type": "hello", "stores": [STORE], "caps": ["ack", "cursor"]});
        socket.send(&hello).await;
        let seq = socket.json().await["seq"].as_u64().unwrap();
        let mut json = Self { socket, seq, acknowledged: Arc::default() };
        let list = json!([{"op": "add", "path": "/log", "value": []}]);
        json.edit(STORE, "the list", &list).await;
        json
    }

    /// Makes an edit; what it is acknowledged as.
    async fn edit(&mut self, store: &str, id: &str, patch: &Value) -> Value {
        let seq = self.seq;
        self.edit_at((store, seq), id, patch).await
    }

    /// The same, made on the state at a seq.
    async fn edit_at(&mut self, (store, seq): (&str, u64), id: &str, patch: &Value) -> Value {
        let edit = json!({"type": "patch", "store": store, "seq": seq, "id": id, "patch": patch});
        self.socket.send(&edit).await;
        loop {
            let said = self.socket.json().await;
            assert!(["patch", "ack"].contains(&said["type"].as_str().unwrap()), "{said}");
            if said["store"] == STORE {
                self.seq = said["seq"].as_u64().unwrap();
            }
            if said["type"] == "ack" {
                assert_eq!(said["id"], id);
                return said;
            }
        }
    }

    async fn add(&mut self, name: &str) {
        let patch = json!([{"op": "add", "path": "/log/-", "value": name}]);
        let id = name.split(" xx").next().unwrap();
        self.edit(STORE, id, &patch).await;
        self.acknowledged.lock().unwrap().push(name.to_owned());
    }

    /// Writes until told to stop.
    fn write(mut self, going: Arc<AtomicBool>) -> JoinHandle<Self> {
        tokio::spawn(async move {
            for n in 0.. {
                if !going.load(Ordering::Relaxed) {
                    break;
                }
                self.add(&format!("json {n}")).await;
            }
            self
        })
    }
}

/// An Automerge client that adds names of its own to the list.
struct Crdt {
    replica: Replica,
    socket: Socket,
    written: Vec<String>,
}

impl Crdt {
    async fn open(server: &Server) -> Self {
        let socket = Socket::connect(&server.socket(WORKSPACE)).await;
        let mut crdt = Self { replica: Replica::new(), socket, written: Vec::new() };
        crdt.hello().await;
        while crdt.replica.doc.get(ROOT, "log").unwrap().is_none() {
            crdt.exchange().await;
        }
        crdt
    }

    async fn hello(&mut self) {
        self.socket.send(&self.replica.hello(STORE)).await;
    }

    fn add(&mut self) {
        let (_, log) = self.replica.doc.get(ROOT, "log").unwrap().unwrap();
        let name = format!("crdt {}", self.written.len());
        self.replica.doc.insert(&log, 0, name.as_str()).unwrap();
        self.written.push(name);
    }

    /// Says what there is to say, and takes what comes.
    async fn exchange(&mut self) {
        if let Some(message) = self.replica.say(STORE) {
            self.socket.send(&message).await;
        }
        match self.socket.hear_within(Duration::from_millis(10)).await {
            Some(Heard::Json(said)) if said["type"] == "sync" => {
                self.replica.hear(said["message"].as_str().unwrap());
            }
            Some(Heard::Json(said)) => assert_eq!(said["type"], "ready", "{said}"),
            Some(other) => panic!("{other:?}"),
            None => {}
        }
    }

    /// Goes on until the server has all of the document, and the document all of these.
    async fn settle(&mut self, names: &[String]) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            self.exchange().await;
            let heads = self.replica.doc.get_heads();
            let held = self.replica.held().is_some_and(|held| held == heads);
            let list: BTreeSet<String> = self.list().into_iter().collect();
            if held && names.iter().all(|name| list.contains(name)) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "it never settles");
        }
    }

    fn list(&self) -> Vec<String> {
        self.replica.strings("log", None)
    }

    fn write(mut self, going: Arc<AtomicBool>) -> JoinHandle<Self> {
        tokio::spawn(async move {
            while going.load(Ordering::Relaxed) {
                self.add();
                self.exchange().await;
            }
            self
        })
    }
}

fn names(state: &Value) -> Vec<String> {
    let list = state["log"].as_array().unwrap();
    list.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// What came of the writers while a backup was made.
struct Past {
    json: Json,
    crdt: Crdt,
    repo: Peer,
    document: ::samod::DocHandle,
    /// Acknowledged before the backup began.
    before: Vec<String>,
}

/// Lets everybody write, and makes a backup meanwhile.
async fn backup_under_load(server: &Server, to: &Path) -> Past {
    let (json, crdt) = (Json::open(server).await, Crdt::open(server).await);
    let repo = Peer::start(server).await;
    let document = repo.create().await;
    repo.saved(&document).await;
    let (going, acknowledged) = (Arc::new(AtomicBool::new(true)), Arc::clone(&json.acknowledged));
    let (json, crdt) = (json.write(Arc::clone(&going)), crdt.write(Arc::clone(&going)));
    let many = |at_least: usize| {
        let acknowledged = Arc::clone(&acknowledged);
        async move {
            while acknowledged.lock().unwrap().len() < at_least {
                sleep(Duration::from_millis(5)).await;
            }
        }
    };
    many(50).await;
    samod::write(&document, "repo before");
    repo.saved(&document).await;
    let before = acknowledged.lock().unwrap().clone();
    let (data, file) = (server.data(), to.to_owned());
    let made = tokio::task::spawn_blocking(move || {
        succeeds(&["backup", text(&data), "--to", text(&file)])
    });
    let made = made.await.unwrap();
    assert_eq!((&made["workspaces"], &made["stores"]), (&json!(1), &json!(2)), "{made}");
    let after = acknowledged.lock().unwrap().len();
    many(after + 50).await;
    samod::write(&document, "repo after");
    repo.saved(&document).await;
    going.store(false, Ordering::Relaxed);
    let (json, mut crdt) = (json.await.unwrap(), crdt.await.unwrap());
    // It has all that came after the backup, also from the other.
    let all = acknowledged.lock().unwrap().clone();
    crdt.settle(&all).await;
    Past { json, crdt, repo, document, before }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restore_everybody_comes_back_with_what_he_has() {
    let mut server = Server::start();
    let place = tempfile::tempdir().unwrap();
    let (file, data) = (place.path().join("backup.db"), server.data());
    let mut past = backup_under_load(&server, &file).await;
    let late = json!([{"op": "add", "path": "/late", "value": 1}]);
    past.json.edit_at(("late", 0), "late", &late).await;
    past.repo.cut().await;
    server.kill();
    past.crdt.add();
    samod::write(&past.document, "repo offline");

    fails(&["backup", text(&data), "--to", text(&file)], 2);
    fails(&["restore", text(&file), text(&data)], 2);
    let lost = place.path().join("lost");
    fs::rename(&data, &lost).unwrap();
    succeeds(&["restore", text(&file), text(&data)]);
    healthy(&data);
    fails(&["restore", text(&file), text(&data)], 2);
    assert_ne!(identity(&data.join("statehouse.db")), identity(&lost.join("statehouse.db")));
    assert_eq!(identity(&file), identity(&lost.join("statehouse.db")));

    server.start_again(None);
    let (seq, state) = look(&server.socket(WORKSPACE), STORE).await;
    let kept: BTreeSet<String> = names(&state).into_iter().collect();
    let missing: Vec<_> = past.before.iter().filter(|name| !kept.contains(*name)).collect();
    assert!(missing.is_empty(), "acknowledged before the backup, and not in it: {missing:?}");

    // Who knows numbers of the former life is told anew, also of what the backup did not know.
    let mut socket = Socket::connect(&server.socket(WORKSPACE)).await;
    let seqs = json!({STORE: past.json.seq, "late": 1});
    let stores = json!([STORE, "late"]);
    socket.send(&json!({"type": "hello", "seqs": seqs, "stores": stores, "caps": ["ack"]})).await;
    let mut starts = Vec::new();
    for store in [STORE, "late"] {
        let told = socket.json().await;
        assert_eq!((&told["type"], &told["store"]), (&json!("snapshot"), &json!(store)));
        starts.push(told["seq"].as_u64().unwrap());
    }
    assert_eq!(starts[0], seq);
    assert!(starts.iter().all(|seq| *seq >= 1 << 32 && *seq < 1 << 53), "{starts:?}");
    past.json = Json { socket, seq, ..past.json };
    // What it sends once more was done, and is not done again.
    let name = past.before[0].clone();
    let again = json!([{"op": "add", "path": "/log/-", "value": name}]);
    let ack = past.json.edit(STORE, &name, &again).await;
    assert!(ack["seq"].as_u64().unwrap() <= seq && ack["seq"].as_u64().unwrap() >= 1 << 32);
    past.json.seq = seq;
    let ack = past.json.edit_at(("late", starts[1]), "late", &late).await;
    assert_eq!(ack["seq"], starts[1] + 1, "{ack}");

    everybody_is_back(&server, past).await;
    assert!(server.terminate().success());
    healthy(&data);
    let compacted = succeeds(&["compact", text(&data)]);
    assert!(compacted["bytes_after"].as_u64() < compacted["bytes_before"].as_u64(), "{compacted}");
    healthy(&data);
    server.start_again(None);
    assert_eq!(look(&server.socket(WORKSPACE), "late").await.1, json!({"late": 1}));
}

/// The Automerge clients bring what they have, and all go on.
async fn everybody_is_back(server: &Server, mut past: Past) {
    past.crdt.socket = Socket::connect(&server.socket(WORKSPACE)).await;
    past.crdt.hello().await;
    let acknowledged = past.json.acknowledged.lock().unwrap().clone();
    past.crdt.settle(&acknowledged).await;
    past.crdt.add();
    past.crdt.settle(&acknowledged).await;
    let (_, state) = look(&server.socket(WORKSPACE), STORE).await;
    let mut list = names(&state);
    assert_eq!(list, past.crdt.list());
    let all = list.len();
    list.sort_unstable();
    list.dedup();
    assert_eq!(list.len(), all, "something is there twice");
    let wanted = acknowledged.iter().chain(&past.crdt.written);
    assert_eq!(wanted.filter(|name| list.binary_search(name).is_err()).count(), 0);

    let ack_of = json!([{"op": "add", "path": "/log/0", "value": "on and on"}]);
    past.json.edit(STORE, "on and on", &ack_of).await;
    past.crdt.settle(&["on and on".to_owned()]).await;

    past.repo.back().await;
    past.repo.saved(&past.document).await;
    let newcomer = Peer::start(server).await;
    let found = newcomer.find(&past.document).await;
    samod::write(&past.document, "repo again");
    let told = samod::agreement([&past.document, &found], 5).await;
    let expected = ["born", "repo after", "repo again", "repo before", "repo offline"];
    assert_eq!(told, expected);
}

/// A server that has written a few hundred commits, and has ended.
async fn furnished() -> Server {
    let mut server = Server::start();
    let mut json = Json::open(&server).await;
    for n in 0..300 {
        json.add(&format!("{n} {}", "x".repeat(200))).await;
    }
    json.socket.close().await;
    assert!(server.terminate().success());
    server
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

fn export(data: &Path) -> Vec<u8> {
    let output = run(&["export", text(data), "--to", "-", "--format", "json"]);
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

/// However far they come, what they work on is whole, and what they make is whole or not there.
#[tokio::test]
async fn what_is_killed_leaves_nothing_half_done() {
    let server = furnished().await;
    let whole = export(&server.data());
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    for round in 0_u64..8 {
        let data = at(&format!("data{round}"));
        copy(&server.data(), &data);
        let (file, again) = (at(&format!("{round}.db")), at(&format!("again{round}")));
        for args in [
            &["compact", text(&data)][..],
            &["backup", text(&data), "--to", text(&file)],
            &["restore", text(&file), text(&again)],
        ] {
            let mut command = statehouse();
            command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = command.spawn().unwrap();
            thread::sleep(Duration::from_millis(round * 12));
            child.kill().unwrap();
            child.wait().unwrap();
            healthy(&data);
            assert_eq!(export(&data), whole);
            if args[0] == "backup" && !file.exists() {
                succeeds(args);
            }
        }
        if !again.join("statehouse.db").exists() {
            succeeds(&["restore", text(&file), text(&again)]);
        }
        healthy(&again);
        assert_eq!(export(&again), whole);
    }
}

#[tokio::test]
async fn what_is_damaged_is_not_kept_for_sound() {
    let server = furnished().await;
    let (data, place) = (server.data(), tempfile::tempdir().unwrap());
    let [file, again] = ["backup.db", "again"].map(|name| place.path().join(name));
    crate::decay::damage(&data, "UPDATE commits SET changes = zeroblob(7) WHERE seq = 9");
    fails(&["backup", text(&data), "--to", text(&file)], 6);
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "something is left");
    assert_eq!(run(&["compact", text(&data)]).status.code(), Some(6));

    fs::copy(data.join("statehouse.db"), &file).unwrap();
    fails(&["restore", text(&file), text(&again)], 6);
    fs::write(&file, "no database").unwrap();
    fails(&["restore", text(&file), text(&again)], 6);
    fails(&["restore", "no/such/file", text(&again)], 1);
    fails(&["backup", "no/such/folder", "--to", text(&place.path().join("x"))], 1);
    assert!(!again.join("statehouse.db").exists());
}
