//! `statehouse bench` over the real binary: the shape of what it says, and that it fails where
//! edits are lost. How fast anything is, is not looked at.

use std::collections::BTreeMap;
use std::process::Output;
use std::sync::{Arc, Mutex};

use futures_util::stream::SplitSink;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::server::{Server, statehouse};

const WORKLOADS: [&str; 10] =
    ["one", "hot", "many", "idle", "cold", "touched", "catchup", "kill", "slow", "sizes"];

fn bench(arguments: &[&str]) -> Output {
    statehouse().args(["bench", "--json", "--seconds", "0.3"]).args(arguments).output().unwrap()
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// The columns of a report: workload and name, with the figures by name.
fn columns(report: &Value) -> Vec<(String, BTreeMap<String, Value>)> {
    let sections = report["sections"].as_array().unwrap().iter();
    let all = sections.flat_map(|section| {
        let workload = section["workload"].as_str().unwrap();
        assert!(section["title"].as_str().unwrap().starts_with(&format!("{workload}: ")));
        section["columns"].as_array().unwrap().iter().map(move |column| (workload, column))
    });
    let all = all.map(|(workload, column)| {
        let figures = column["figures"].as_array().unwrap().iter();
        let figures = figures.map(|found| (found["what"].as_str().unwrap().to_owned(), found));
        let name = format!("{workload} {}", column["name"].as_str().unwrap());
        (name, figures.map(|(what, found)| (what, found.clone())).collect())
    });
    all.collect()
}

fn value(figures: &BTreeMap<String, Value>, what: &str) -> f64 {
    let found = figures.get(what).unwrap_or_else(|| panic!("no {what:?} in {figures:?}"));
    found["value"].as_f64().unwrap()
}

#[test]
fn every_workload_is_done_and_told_in_one_shape() {
    let output = bench(&["--full", "--scale", "0.01"]);
    let report = report(&output);
    assert!(output.status.success(), "{report:#} {output:?}");
    assert_eq!((&report["format"], &report["passed"]), (&json!(1), &json!(true)));
    assert_eq!(report["durability"], "strict");
    let sections = report["sections"].as_array().unwrap().iter();
    let done: Vec<_> = sections.map(|section| section["workload"].as_str().unwrap()).collect();
    assert_eq!(done, WORKLOADS);
    for (name, figures) in columns(&report) {
        assert!(!figures.is_empty(), "{name}");
        for (what, found) in &figures {
            let value = found["value"].as_f64().unwrap();
            assert!(value.is_finite() && value >= 0.0, "{name}: {what}: {found}");
            let (relay, ratio) = (found["relay"].as_f64(), found["ratio"].as_f64());
            match relay.filter(|relay| *relay > 0.0) {
                Some(relay) => assert!((value / relay - ratio.unwrap()).abs() < 1e-6, "{found}"),
                None => assert_eq!(ratio, None, "{name}: {what}"),
            }
        }
        if cfg!(target_os = "linux") && !name.starts_with("kill") && !name.starts_with("slow") {
            assert!(figures.keys().any(|what| what.contains("CPU")), "{name}: {figures:?}");
        }
    }
}

#[test]
fn the_counts_add_up() {
    let output = bench(&["--workload", "one,many,hot,kill,idle", "--scale", "0.02"]);
    let columns = columns(&report(&output));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(columns.len(), 4 + 3 + 3 + 3 + 2);
    for (name, figures) in columns {
        match name.split_once(' ').unwrap() {
            ("kill", _) => {
                assert!(value(&figures, "edits acknowledged before kills") > 0.0, "{name}");
                assert_eq!(value(&figures, "of these lost").to_bits(), 0.0_f64.to_bits());
            }
            ("idle", _) => assert_eq!(value(&figures, "connections").to_bits(), 20_f64.to_bits()),
            (_, dialect) => {
                assert!(value(&figures, "edits made") > 0.0, "{name}");
                let median = value(&figures, "delivered, p50");
                assert!(median > 0.0 && median <= value(&figures, "delivered, p99"), "{name}");
                // Somebody hears of every edit but in JSON nobody hears of one twice: each client
                // gets an answer or the news of it.
                let messages = value(&figures, "messages to clients, per edit");
                if dialect == "json" && name != "hot json" {
                    assert!(messages > 0.0 && messages <= 2.0, "{name}: {messages}");
                }
                assert_eq!(figures.contains_key("acknowledged, p50"), dialect != "original");
            }
        }
    }
}

#[test]
fn a_server_that_runs_already_is_measured_where_it_is() {
    let server = Server::start();
    let against = ["--against", &server.url(), "--workload", "one,kill", "--clients", "3"];
    let told = report(&bench(&against));
    assert_eq!((&told["passed"], &told["durability"]), (&json!(true), &Value::Null));
    let columns = columns(&told);
    assert_eq!(columns.len(), 4 + 1, "{told:#}");
    for (name, figures) in &columns {
        assert!(!figures.contains_key("CPU per edit"), "{name}");
        assert_eq!(figures.contains_key("delivered, p50"), !name.starts_with("kill"), "{name}");
    }
    let left_out = told["sections"][1]["columns"][0]["warnings"][0].as_str().unwrap();
    assert!(left_out.starts_with("left out: "), "{left_out}");
}

#[test]
fn a_command_line_that_means_nothing_is_refused() {
    for wrong in [
        &["--against", "ftp://127.0.0.1"][..],
        &["--seconds", "0"],
        &["--scale", "-1"],
        &["--clients", "1"],
        &["--workload", "everything"],
        &["--pid", "1"],
    ] {
        let output = statehouse().arg("bench").args(wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {output:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{wrong:?}");
    }
}

/// What a server does to edits.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Deed {
    /// What it says it does.
    Keep,
    /// Acknowledges each, and forgets every fifth.
    Forget,
    /// Tells others of all but every fifth.
    Withhold,
    /// Acknowledges under one seq for ever.
    Repeat,
    /// Closes the socket of whoever makes one.
    Close,
}

/// A server of the JSON dialect for one store of objects without depth.
#[derive(Debug, Default)]
struct Liar {
    seq: u64,
    state: BTreeMap<String, Value>,
    others: Vec<mpsc::Sender<Message>>,
}

async fn lie(deed: Deed) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let liar = Arc::new(Mutex::new(Liar::default()));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let liar = Arc::clone(&liar);
            tokio::spawn(async move {
                let socket = tokio_tungstenite::accept_async(stream).await.unwrap();
                serve(socket, &liar, deed).await;
            });
        }
    });
    format!("ws://{address}")
}

async fn serve(socket: WebSocketStream<TcpStream>, liar: &Mutex<Liar>, deed: Deed) {
    let (writer, mut reader) = socket.split();
    let (out, waiting) = mpsc::channel(4_096);
    tokio::spawn(write(writer, waiting));
    while let Some(Ok(message)) = reader.next().await {
        let Ok(text) = message.to_text() else { break };
        let Ok(said) = serde_json::from_str::<Value>(text) else { break };
        if said["type"] == "patch" && deed == Deed::Close {
            out.send(Message::Close(None)).await.unwrap();
            break;
        }
        answer(&mut liar.lock().unwrap(), &out, &said, deed);
    }
}

async fn write(
    mut writer: SplitSink<WebSocketStream<TcpStream>, Message>,
    mut waiting: mpsc::Receiver<Message>,
) {
    while let Some(message) = waiting.recv().await {
        if writer.send(message).await.is_err() {
            break;
        }
    }
}

fn answer(liar: &mut Liar, out: &mpsc::Sender<Message>, said: &Value, deed: Deed) {
    let say = |to: &mpsc::Sender<Message>, message: Value| {
        drop(to.try_send(Message::text(message.to_string())));
    };
    if said["type"] == "hello" {
        let (seq, state) = (liar.seq, json!(liar.state));
        say(out, json!({"type": "snapshot", "store": "bench", "seq": seq, "state": state}));
        say(out, json!({"type": "ready", "seqs": {"bench": seq}}));
        liar.others.push(out.clone());
        return;
    }
    liar.seq += 1;
    let (seq, fifth) = (liar.seq, liar.seq.is_multiple_of(5));
    let acked = if deed == Deed::Repeat { 1 } else { seq };
    say(out, json!({"type": "ack", "store": "bench", "id": said["id"], "seq": acked, "patch": []}));
    if !(fifth && deed == Deed::Forget) {
        let path = said["patch"][0]["path"].as_str().unwrap().trim_start_matches('/');
        liar.state.insert(path.to_owned(), said["patch"][0]["value"].clone());
    }
    if fifth && deed == Deed::Withhold {
        return;
    }
    let told = json!({"type": "patch", "store": "bench", "seq": seq, "patch": said["patch"]});
    for other in liar.others.iter().filter(|other| !other.same_channel(out)) {
        say(other, told.clone());
    }
}

/// How the bench ends against a server that does this, and why.
async fn ends(deed: Deed, seconds: &'static str) -> (Option<i32>, String) {
    let url = lie(deed).await;
    let output = tokio::task::spawn_blocking(move || {
        let one = ["--workload", "one", "--dialect", "json", "--clients", "2"];
        let told = ["bench", "--json", "--seconds", seconds, "--patience", "2"];
        statehouse().args(told).args(one).args(["--against", &url]).output().unwrap()
    });
    let output = output.await.unwrap();
    let told = report(&output);
    let failed = &told["sections"][0]["columns"][0]["failed"];
    assert_eq!(told["passed"], json!(failed.is_null()), "{told:#}");
    (output.status.code(), failed.as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_loses_edits_makes_it_fail() {
    assert_eq!(ends(Deed::Keep, "0.3").await, (Some(0), String::new()));
    for (deed, why) in [
        (Deed::Forget, "a newcomer is given another state"),
        (Deed::Repeat, "came after seq"),
        (Deed::Close, "closed the socket"),
    ] {
        let (code, said) = ends(deed, "0.3").await;
        assert_eq!(code, Some(1), "{deed:?}: {said}");
        assert!(said.contains(why), "{deed:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_that_is_never_told_is_noticed() {
    // More than 16 edits of each writer: neither the next one nor a later one to the same key hides
    // it.
    let (code, said) = ends(Deed::Withhold, "1.5").await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is missing: a later one came"), "{said}");
}

/// Whether there is such a process, and it has not ended.
#[cfg(target_os = "linux")]
fn runs(process: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = status.rsplit_once(") ").map(|(_, rest)| rest.chars().next());
    !matches!(state, None | Some(Some('Z' | 'X')))
}

/// The processes that a process has started, and that run.
#[cfg(target_os = "linux")]
fn children(process: u32) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let started = threads.map(|thread| {
        let started = thread.unwrap().path().join("children");
        std::fs::read_to_string(started).unwrap_or_default()
    });
    let all: Vec<String> = started.collect();
    all.iter().flat_map(|all| all.split_whitespace()).map(str::to_owned).collect()
}

/// Waits until this is so.
#[cfg(target_os = "linux")]
fn until(what: &str, is_so: impl Fn() -> bool) {
    let waited = (0..3_000).find(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        is_so()
    });
    assert!(waited.is_some(), "{what}");
}

#[cfg(target_os = "linux")]
#[test]
fn what_it_started_ends_with_it() {
    // SIGTERM finds the relay or the server; SIGKILL finds the relay, which comes first.
    for (signal, dialect) in [("TERM", "json"), ("KILL", "repo")] {
        let mut bench = statehouse()
            .args(["bench", "--seconds", "600", "--workload", "one", "--dialect", dialect])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        until("it starts something", || !children(bench.id()).is_empty());
        let started = children(bench.id());
        crate::server::signal(&bench, signal);
        assert!(!crate::server::exit_of(&mut bench).success());
        until("all of it ends", || started.iter().all(|process| !runs(process)));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_that_it_started_ends_with_it() {
    // There is no relay beside this one: the first that is started is the server.
    let mut bench = statehouse()
        .args(["bench", "--seconds", "600", "--workload", "touched", "--scale", "100"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until("it starts something", || !children(bench.id()).is_empty());
    let started = children(bench.id());
    crate::server::signal(&bench, "TERM");
    assert_eq!(crate::server::exit_of(&mut bench).code(), Some(1));
    until("all of it ends", || started.iter().all(|process| !runs(process)));
}
