//! The process is killed twenty times under load, and nothing that was acknowledged is lost.
//!
//! Writers push names of their own into one list: three JSON clients that understand `ack`, two
//! CRDT clients, and in Node, where there is one, a stock Automerge client and a stock
//! automerge-repo client. After every kill, before any of them is back to resend what it still has,
//! newcomers look at what the server kept; and every now and then a doctor looks at the data.
//!
//! `STATEHOUSE_KILLS=1000 cargo test --release --test it -- kill` kills a thousand times, and says
//! on standard error how far it is.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use automerge::ReadDoc as _;
use automerge::transaction::Transactable as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use statehouse::ids::DocumentId;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::client::{Heard, PATIENCE, Socket, apply, look};
use crate::crdt::Replica;
use crate::node;
use crate::server::{Server, statehouse};

/// How often the process is killed, unless `STATEHOUSE_KILLS` says otherwise.
const KILLS: usize = 20;
/// Kills of one server; then all begins anew, because the list grows.
const ROUND_MAX: usize = 100;
/// Kills after which the data is examined as it was left.
const DOCTOR_EVERY: usize = 10;
const WORKSPACE: &str = "kill";
const STORE: &str = "shared";
/// What must never be said of an edit.
const LOST: &str = "were acknowledged and are lost";
/// Edits a JSON client makes before it waits for the answers to all of them.
const CHAIN_MAX: usize = 8;

/// Whether the writers are to go on, and where.
#[derive(Clone, Default)]
struct Field {
    url: String,
    going: Arc<AtomicBool>,
    /// Rung when a JSON client has heard an ack.
    acks: Arc<Notify>,
}

impl Field {
    fn is_going(&self) -> bool {
        self.going.load(Ordering::Relaxed)
    }
}

/// What a writer knows when it stands still.
#[derive(Default)]
struct Account {
    written: Vec<String>,
    acknowledged: Vec<String>,
}

struct Edit {
    name: String,
    base: i64,
    patch: Value,
    /// The state right after it, as its author sees it.
    view: Value,
    acknowledged: bool,
}

/// A JSON client with a queue: its edits have ids, and are sent until they are acknowledged.
///
/// Edits made while others wait lie on top of each other and on one base: they are a chain. Until
/// all of it is acknowledged a new session is sent all of it: the server lays an edit on those of
/// the chain that it knows.
struct JsonWriter {
    name: String,
    random: StdRng,
    seq: i64,
    state: Value,
    chain: Vec<Edit>,
    account: Account,
}

impl JsonWriter {
    fn new(name: String, seed: u64) -> Self {
        Self {
            name,
            random: StdRng::seed_from_u64(seed),
            seq: -1,
            state: Value::Null,
            chain: Vec::new(),
            account: Account::default(),
        }
    }

    /// Writes until told to stop; comes back by itself when the connection breaks.
    async fn write(mut self, field: Field) -> Self {
        while field.is_going() {
            let Ok(mut socket) = Socket::try_connect(&field.url).await else {
                sleep(Duration::from_millis(5)).await;
                continue;
            };
            self.hello(&mut socket).await;
            while field.is_going() {
                if self.state.is_object() && self.chain.len() < CHAIN_MAX {
                    self.edit(&mut socket).await;
                }
                let pause = Duration::from_millis(self.random.random_range(0..5));
                match socket.hear_within(pause).await {
                    Some(Heard::Json(message)) => {
                        if message["type"] == "ack" {
                            field.acks.notify_waiters();
                        }
                        self.hear(&message);
                    }
                    Some(Heard::Closed(_)) => break,
                    Some(Heard::Pong) | None => {}
                }
            }
        }
        self
    }

    /// Waits until all that it wrote is acknowledged and it has seen what `state` shows.
    async fn finish(&mut self, url: &str, seq: u64) {
        let mut socket = Socket::connect(url).await;
        self.hello(&mut socket).await;
        while !self.chain.is_empty() || self.seq < i64::try_from(seq).unwrap() {
            let message = socket.json().await;
            self.hear(&message);
        }
    }

    async fn hello(&mut self, socket: &mut Socket) {
        let hello = json!({
            "type": "hello", "seqs": {STORE: self.seq}, "stores": [STORE], "caps": ["ack", "ready"],
        });
        socket.send(&hello).await;
        for edit in &self.chain {
            socket.send(&message(edit)).await;
        }
    }

    async fn edit(&mut self, socket: &mut Socket) {
        let name = format!("{}.{}", self.name, self.account.written.len());
        self.account.written.push(name.clone());
        let path = if self.random.random_bool(0.5) { "/log/-" } else { "/log/0" };
        let patch = json!([{"op": "add", "path": path, "value": name}]);
        let before = self.chain.last().map_or(&self.state, |last| &last.view);
        let mut view = before.clone();
        apply(&mut view, &patch);
        let base = self.chain.first().map_or(self.seq, |first| first.base);
        let edit = Edit { name, base, patch, view, acknowledged: false };
        socket.send(&message(&edit)).await;
        self.chain.push(edit);
    }

    fn hear(&mut self, message: &Value) {
        let kind = message["type"].as_str().unwrap();
        if kind == "ready" {
            return;
        }
        let seq = message["seq"].as_i64().unwrap_or_else(|| panic!("{message}"));
        match kind {
            "snapshot" => self.state = message["state"].clone(),
            "patch" => apply(&mut self.state, &message["patch"]),
            "ack" => match self.acknowledge(message, seq) {
                Some(state) => self.state = state,
                None => return,
            },
            _ => panic!("{message}"),
        }
        assert!(seq >= self.seq, "from {} back to {seq}", self.seq);
        self.seq = seq;
    }

    /// Takes an ack; returns the state at its seq, if that is news.
    fn acknowledge(&mut self, ack: &Value, seq: i64) -> Option<Value> {
        let mut waiting = self.chain.iter_mut().filter(|edit| !edit.acknowledged);
        let Some(edit) = waiting.next().filter(|edit| ack["id"] == edit.name) else {
            let told = self.account.acknowledged.iter().any(|name| ack["id"] == *name);
            assert!(told, "acks come in the order of the edits: {ack}");
            return None;
        };
        edit.acknowledged = true;
        self.account.acknowledged.push(edit.name.clone());
        let mut state = edit.view.clone();
        apply(&mut state, &ack["patch"]);
        if waiting.next().is_none() {
            self.chain.clear();
        }
        // A seq that another message had told of is one state.
        assert!(seq != self.seq || state == self.state, "two states at {seq}");
        (seq > self.seq).then_some(state)
    }
}

fn message(edit: &Edit) -> Value {
    json!({
        "type": "patch", "store": STORE, "seq": edit.base, "id": edit.name, "patch": edit.patch,
    })
}

/// A CRDT client: what it wrote is acknowledged when the server says that it has heads with it.
struct CrdtWriter {
    name: String,
    random: StdRng,
    replica: Replica,
    account: Account,
}

impl CrdtWriter {
    fn new(name: String, seed: u64) -> Self {
        let random = StdRng::seed_from_u64(seed);
        Self { name, random, replica: Replica::new(), account: Account::default() }
    }

    async fn write(mut self, field: Field) -> Self {
        while field.is_going() {
            let Ok(mut socket) = Socket::try_connect(&field.url).await else {
                sleep(Duration::from_millis(5)).await;
                continue;
            };
            socket.send(&self.replica.hello(STORE)).await;
            while field.is_going() {
                self.edit();
                if let Some(message) = self.replica.say(STORE) {
                    socket.send(&message).await;
                }
                let pause = Duration::from_millis(self.random.random_range(5..30));
                match socket.hear_within(pause).await {
                    Some(Heard::Json(message)) => self.hear(&message),
                    Some(Heard::Closed(_)) => break,
                    Some(Heard::Pong) | None => {}
                }
            }
        }
        if let Some(heads) = self.replica.held() {
            let held: BTreeSet<String> =
                self.replica.strings("log", Some(&heads)).into_iter().collect();
            let acknowledged = self.account.written.iter().filter(|name| held.contains(*name));
            self.account.acknowledged = acknowledged.cloned().collect();
        }
        self
    }

    fn edit(&mut self) {
        let Some((_, log)) = self.replica.doc.get(automerge::ROOT, "log").unwrap() else { return };
        let name = format!("{}.{}", self.name, self.account.written.len());
        let at = self.random.random_range(0..=self.replica.doc.length(&log));
        self.replica.doc.insert(&log, at, name.as_str()).unwrap();
        self.account.written.push(name);
    }

    fn hear(&mut self, message: &Value) {
        match message["type"].as_str() {
            Some("sync") => self.replica.hear(message["message"].as_str().unwrap()),
            Some("ready") => {}
            _ => panic!("{message}"),
        }
    }

    /// Syncs until its list has these strings.
    async fn finish(&mut self, url: &str, list: &[String]) {
        let mut socket = Socket::connect(url).await;
        socket.send(&self.replica.hello(STORE)).await;
        while self.replica.strings("log", None) != list {
            let message = socket.json().await;
            self.hear(&message);
            if let Some(message) = self.replica.say(STORE) {
                socket.send(&message).await;
            }
        }
    }
}

/// A stock client in Node: `writer.mjs` or `repo/writer.mjs`.
struct NodeWriter {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    account: Account,
    state: Value,
}

impl NodeWriter {
    fn start(script: &str, arguments: &[&str], server: &Server) -> Self {
        let mut child = node::start(script, arguments, server);
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let stdout = BufReader::new(stdout);
        Self { child, stdin, stdout, account: Account::default(), state: Value::Null }
    }

    fn go(&mut self) {
        self.say("go");
    }

    /// Tells it to stop; `hear` waits until it has.
    fn halt(&mut self) {
        self.say("halt");
    }

    /// Syncs, without writing, until its list has so many names.
    fn catch_up(&mut self, names: usize) {
        self.say(&format!("catch up {names}"));
        self.hear();
    }

    fn say(&mut self, what: &str) {
        writeln!(self.stdin, "{what}").unwrap();
    }

    fn hear(&mut self) {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        let told: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
        self.account =
            Account { written: names(&told["written"]), acknowledged: names(&told["held"]) };
        self.state = told["state"].clone();
    }
}

impl Drop for NodeWriter {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn names(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// Everything acknowledged is in the list, nothing is in it twice, and nothing that nobody wrote.
fn judge(list: &[String], accounts: &[&Account]) -> Result<(), String> {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for name in list {
        *times.entry(name).or_default() += 1;
    }
    let twice = times.iter().filter(|(_, times)| **times > 1).map(|(name, _)| *name).collect();
    let acknowledged = accounts.iter().flat_map(|account| &account.acknowledged);
    let lost = acknowledged.map(String::as_str).filter(|name| !times.contains_key(name)).collect();
    let written: BTreeSet<&String> = accounts.iter().flat_map(|account| &account.written).collect();
    let invented = list.iter().filter(|name| !written.contains(name)).map(String::as_str).collect();
    for (names, what) in
        [(twice, "are there more than once"), (lost, LOST), (invented, "were written by nobody")]
    {
        let names: Vec<&str> = names;
        if !names.is_empty() {
            return Err(format!("these {what}: {names:?}"));
        }
    }
    Ok(())
}

/// The list as newcomers of both dialects see it: they must agree.
async fn newcomers(url: &str) -> (u64, Vec<String>) {
    let (seq, state) = look(url, STORE).await;
    let list = names(&state["log"]);
    CrdtWriter::new("newcomer".into(), 0).finish(url, &list).await;
    (seq, list)
}

/// A server, and everybody who writes to it.
struct Torture {
    server: Server,
    /// How often it was killed.
    kills: usize,
    field: Field,
    random: StdRng,
    json: Vec<JsonWriter>,
    crdt: Vec<CrdtWriter>,
    node: Vec<NodeWriter>,
}

impl Torture {
    async fn new(server: Server) -> Self {
        let seed: u64 = rand::random();
        eprintln!("seed {seed}");
        let field = Field { url: server.socket(WORKSPACE), ..Field::default() };
        lay_out(&field.url).await;
        let json = (0..3).map(|n| JsonWriter::new(format!("json{n}"), seed.wrapping_add(n)));
        let crdt = (0..2).map(|n| CrdtWriter::new(format!("crdt{n}"), seed.wrapping_sub(n)));
        let mut node = Vec::new();
        if node::available("the clients in Node under kills") {
            let document =
                DocumentId::of(&WORKSPACE.parse().unwrap(), &STORE.parse().unwrap()).url();
            node.push(NodeWriter::start("writer.mjs", &[], &server));
            node.push(NodeWriter::start("repo/writer.mjs", &[&document], &server));
        }
        Self {
            random: StdRng::seed_from_u64(seed),
            json: json.collect(),
            crdt: crdt.collect(),
            node,
            kills: 0,
            field,
            server,
        }
    }

    /// Lets everybody write, kills the server, starts it again, and looks at what it kept.
    async fn kill(&mut self, at_an_ack: bool) -> Result<(), String> {
        self.field.going.store(true, Ordering::Relaxed);
        let json: Vec<JoinHandle<JsonWriter>> = self
            .json
            .drain(..)
            .map(|writer| tokio::spawn(writer.write(self.field.clone())))
            .collect();
        let crdt: Vec<JoinHandle<CrdtWriter>> = self
            .crdt
            .drain(..)
            .map(|writer| tokio::spawn(writer.write(self.field.clone())))
            .collect();
        self.node.iter_mut().for_each(NodeWriter::go);
        sleep(Duration::from_millis(self.random.random_range(20..600))).await;
        if at_an_ack {
            drop(timeout(PATIENCE, self.field.acks.notified()).await);
        }
        // They are told just before, so that none is back before the newcomers.
        self.node.iter_mut().for_each(NodeWriter::halt);
        self.server.kill();
        self.field.going.store(false, Ordering::Relaxed);
        for task in json {
            self.json.push(task.await.map_err(|error| error.to_string())?);
        }
        for task in crdt {
            self.crdt.push(task.await.map_err(|error| error.to_string())?);
        }
        self.node.iter_mut().for_each(NodeWriter::hear);

        self.kills += 1;
        if self.kills.is_multiple_of(DOCTOR_EVERY) {
            examine(&self.server)?;
        }
        self.server.start_again(None);
        let (_, list) = newcomers(&self.field.url).await;
        judge(&list, &self.accounts())
    }

    /// Names that were written, and that were acknowledged.
    fn counts(&self) -> (usize, usize) {
        let accounts = self.accounts();
        let written = accounts.iter().map(|account| account.written.len()).sum();
        (written, accounts.iter().map(|account| account.acknowledged.len()).sum())
    }

    fn accounts(&self) -> Vec<&Account> {
        let json = self.json.iter().map(|writer| &writer.account);
        let crdt = self.crdt.iter().map(|writer| &writer.account);
        json.chain(crdt).chain(self.node.iter().map(|writer| &writer.account)).collect()
    }

    /// Everybody comes back, delivers what is left, and sees what a newcomer sees: all of it.
    async fn finish(mut self) {
        let url = &self.field.url;
        for writer in &mut self.json {
            writer.finish(url, 0).await;
        }
        for writer in &mut self.crdt {
            deliver(writer, url).await;
        }
        let (seq, mut list) = newcomers(url).await;
        judge(&list, &self.accounts()).unwrap();
        for account in self.accounts() {
            let (written, held) = (account.written.len(), account.acknowledged.len());
            eprintln!("{held} of {written} acknowledged");
            assert!(held > self.kills, "a writer hardly wrote: the test shows little");
        }
        for writer in &mut self.json {
            writer.finish(url, seq).await;
            assert_eq!(names(&writer.state["log"]), list);
            assert_eq!(writer.account.acknowledged, writer.account.written);
        }
        for writer in &mut self.crdt {
            writer.finish(url, &list).await;
        }
        for node in &mut self.node {
            // It brings what only it has, so the others see it again afterwards.
            let missing = node.account.written.iter().filter(|name| !list.contains(name)).count();
            node.catch_up(list.len() + missing);
            list = newcomers(url).await.1;
            assert_eq!(names(&node.state["log"]), list);
        }
        self.server.kill();
        examine(&self.server).unwrap();
    }
}

/// What a doctor says of the data that a dead server has left.
fn examine(server: &Server) -> Result<(), String> {
    let examined = statehouse().arg("doctor").arg(server.data()).output();
    let examined = examined.map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&examined.stdout);
    if examined.status.success() { Ok(()) } else { Err(format!("the doctor says: {said}")) }
}

/// Past the test harness, which shows nothing of what a test prints that passes.
fn report(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Makes the list that everybody writes into.
async fn lay_out(url: &str) {
    let mut socket = Socket::connect(url).await;
    socket.send(&json!({"type": "hello", "seqs": {STORE: -1}, "caps": ["ack"]})).await;
    assert_eq!(socket.json().await["type"], "snapshot");
    let patch = json!([{"op": "add", "path": "/log", "value": []}]);
    let edit = json!({"type": "patch", "store": STORE, "seq": 0, "id": "log", "patch": patch});
    socket.send(&edit).await;
    assert_eq!(socket.json().await["type"], "ack");
    socket.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_over_twenty_kills() {
    let wanted = std::env::var("STATEHOUSE_KILLS").ok();
    let kills: usize = wanted.as_ref().map_or(KILLS, |kills| kills.parse().unwrap());
    let mut done = 0;
    while done < kills {
        let mut torture = Torture::new(Server::start()).await;
        let round = ROUND_MAX.min(kills - done);
        for kill in 1..=round {
            // An ack that is sent too early is one that is heard before the log is written: the
            // moment after an ack is the most dangerous one.
            let outcome = torture.kill(kill % 2 == 0).await;
            outcome.unwrap_or_else(|what| panic!("after kill {kill} {what}"));
            if wanted.is_some() && kill.is_multiple_of(DOCTOR_EVERY) {
                let (written, held) = torture.counts();
                let so_far = done + kill;
                report(&format!("{so_far} of {kills} kills: {held} of {written} acknowledged"));
            }
        }
        torture.finish().await;
        done += round;
    }
}

/// The torture itself, on a server that is told to acknowledge before it writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledgement_before_its_time_is_noticed() {
    let start = || Torture::new(Server::with_config("durability = \"relaxed\"\n"));
    let mut torture = start().await;
    for _ in 0..10 * KILLS {
        match torture.kill(true).await {
            Ok(()) => {}
            Err(what) if what.contains(LOST) => return,
            // A client that is told of the past is as upset as a newcomer; but that is its own end.
            Err(_) => torture = start().await,
        }
    }
    panic!("a server that loses what it acknowledged passes for sound");
}

/// Syncs until the server has all that this client wrote.
async fn deliver(writer: &mut CrdtWriter, url: &str) {
    let mut socket = Socket::connect(url).await;
    socket.send(&writer.replica.hello(STORE)).await;
    let all = |writer: &mut CrdtWriter| {
        let Some(heads) = writer.replica.held() else { return false };
        let held: BTreeSet<_> = writer.replica.strings("log", Some(&heads)).into_iter().collect();
        writer.account.written.iter().all(|name| held.contains(name))
    };
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !all(writer) {
        assert!(tokio::time::Instant::now() < deadline, "the server does not take what it is sent");
        if let Some(message) = writer.replica.say(STORE) {
            socket.send(&message).await;
        }
        if let Some(Heard::Json(message)) = socket.hear_within(Duration::from_millis(20)).await {
            writer.hear(&message);
        }
    }
}
