//! What the real server says of itself to Prometheus, after traffic that is known.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reqwest::{StatusCode, header};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::client::{PATIENCE, Socket};
use crate::crdt::Replica;
use crate::server::Server;

/// Names that must not get out.
const WORKSPACE: &str = "tell-nobody";
const STORE: &str = "secret-store";

/// What was scraped: each name with its labels as they stand, and its value.
pub(crate) struct Scrape {
    samples: BTreeMap<String, f64>,
    text: String,
}

impl Scrape {
    pub(crate) async fn of(url: &str) -> Self {
        let answer = reqwest::get(format!("{url}/metrics")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let kind = answer.headers()[header::CONTENT_TYPE].to_str().unwrap();
        assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
        Self::parse(answer.text().await.unwrap())
    }

    /// Reads the text as strictly as the format is written.
    fn parse(text: String) -> Self {
        let mut samples = BTreeMap::new();
        let mut types: BTreeMap<&str, &str> = BTreeMap::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if line == "# EOF" {
                assert!(lines.peek().is_none(), "the end is the end");
                drop(lines);
                return Self { samples, text };
            }
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            if let ["#", what, name, rest] = words[..] {
                match what {
                    "TYPE" => assert!(types.insert(name, rest).is_none(), "{name} is there twice"),
                    "UNIT" => assert!(name.ends_with(rest), "{line}"),
                    "HELP" => assert!(!rest.is_empty(), "{line}"),
                    _ => panic!("{line}"),
                }
                continue;
            }
            let (name, value) = line.rsplit_once(' ').unwrap();
            let value: f64 = value.parse().unwrap();
            let family = types.iter().find(|(family, kind)| belongs(name, family, kind));
            assert!(family.is_some(), "of no family: {line}");
            assert!(samples.insert(name.to_owned(), value).is_none(), "{name} is there twice");
        }
        panic!("it does not end: {text}");
    }

    /// The value of one name with its labels.
    pub(crate) fn value(&self, name: &str) -> f64 {
        *self.samples.get(name).unwrap_or_else(|| panic!("no {name} in {}", self.text))
    }

    pub(crate) fn counts(&self, name: &str) -> u64 {
        let value = self.value(name);
        assert!(value >= 0.0 && value.fract() == 0.0, "{name} is {value}");
        format!("{value}").parse().unwrap()
    }

    fn names(&self) -> BTreeSet<&str> {
        self.samples.keys().map(|name| name.split('{').next().unwrap()).collect()
    }
}

/// Whether a sample can be one of a family of this type.
fn belongs(sample: &str, family: &str, kind: &str) -> bool {
    let name = sample.split('{').next().unwrap();
    let Some(suffix) = name.strip_prefix(family) else { return false };
    match kind {
        "counter" => suffix == "_total",
        "gauge" => suffix.is_empty(),
        "info" => suffix == "_info",
        "histogram" => ["_bucket", "_sum", "_count"].contains(&suffix),
        _ => false,
    }
}

async fn hello(server: &Server) -> Socket {
    let mut socket = Socket::connect(&server.socket(WORKSPACE)).await;
    let hello = json!({"type": "hello", "stores": [STORE], "caps": ["ack", "ready"]});
    socket.send(&hello).await;
    assert_eq!(socket.json().await["type"], "snapshot");
    assert_eq!(socket.json().await["type"], "ready");
    socket
}

async fn edit(socket: &mut Socket, seq: u64, op: Value) -> Value {
    let id = format!("edit {seq} {op}");
    let edit = json!({"type": "patch", "store": STORE, "seq": seq, "id": id, "patch": [op]});
    socket.send(&edit).await;
    socket.json().await
}

#[tokio::test]
async fn what_is_told_is_what_happened() {
    let server = Server::start();
    let mut ada = hello(&server).await;
    for seq in 0..3 {
        let op = json!({"op": "add", "path": format!("/{seq}"), "value": "secret-value"});
        assert_eq!(edit(&mut ada, seq, op).await["type"], "ack");
    }
    let refused = edit(&mut ada, 3, json!({"op": "remove", "path": "/9"})).await;
    assert_eq!(refused["code"], "bad-path");
    ada.send_text("what is this").await;
    assert_eq!(ada.json().await["code"], "bad-message");

    let mut replica = Replica::new();
    let mut bob = Socket::connect(&server.socket(WORKSPACE)).await;
    bob.send(&replica.hello(STORE)).await;
    replica_catches_up(&mut replica, &mut bob, 3).await;
    write(&mut replica);
    bob.send(&replica.say(STORE).unwrap()).await;
    assert_eq!(ada.json().await["type"], "patch");

    let listing = format!("{}/v1/workspaces/{WORKSPACE}", server.url());
    assert_eq!(reqwest::get(listing).await.unwrap().status(), StatusCode::OK);
    let nowhere = format!("{}/{STORE}", server.url());
    assert_eq!(reqwest::get(nowhere).await.unwrap().status(), StatusCode::NOT_FOUND);

    let all = Scrape::of(&server.url()).await;
    assert_eq!(all.counts("statehouse_commits_total{dialect=\"json\"}"), 3);
    assert_eq!(all.counts("statehouse_commits_total{dialect=\"crdt\"}"), 1);
    assert_eq!(all.counts("statehouse_commits_total{dialect=\"server\"}"), 0);
    assert_eq!(all.counts("statehouse_commit_seconds_count"), 4);
    assert_eq!(all.counts("statehouse_commit_seconds_bucket{le=\"+Inf\"}"), 4);
    assert!(all.value("statehouse_commit_seconds_sum") > 0.0);
    assert_eq!(all.counts("statehouse_save_seconds_count"), 4);
    assert_eq!(all.counts("statehouse_save_batch_commits_sum"), 4);
    assert_eq!(all.counts("statehouse_save_batch_commits_bucket{le=\"1.0\"}"), 4);
    assert!(all.counts("statehouse_changes_bytes_total") > 100);
    assert_eq!(all.counts("statehouse_commits_unsaved_total"), 0);
    assert_eq!(all.counts("statehouse_refusals_total{code=\"bad-path\"}"), 1);
    assert_eq!(all.counts("statehouse_refusals_total{code=\"bad-message\"}"), 1);
    assert_eq!(all.counts("statehouse_sessions{dialect=\"json\"}"), 2);
    assert_eq!(all.counts("statehouse_sessions{dialect=\"repo\"}"), 0);
    assert_eq!(all.counts("statehouse_workspaces_loaded"), 1);
    assert!(all.counts("statehouse_memory_bytes") > 0);
    assert_eq!(all.counts("statehouse_store_loads_total{result=\"ok\"}"), 1);
    assert_eq!(all.counts("statehouse_checkpoints_total{result=\"failed\"}"), 0);
    // The listing's socket and that of the wrong path may still be open, as is the one that asks.
    assert!((3..=5).contains(&all.counts("statehouse_sockets")));
    let socket = "/v1/workspaces/{workspace}/socket";
    let requests = |route: &str, status: u16| {
        format!("statehouse_http_requests_total{{route=\"{route}\",status=\"{status}\"}}")
    };
    assert_eq!(all.counts(&requests(socket, 101)), 2);
    assert_eq!(all.counts(&requests("/v1/workspaces/{workspace}", 200)), 1);
    assert_eq!(all.counts(&requests("none", 404)), 1);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(all.counts(&format!("statehouse_build_info{{version=\"{version}\"}}")), 1);
    for secret in [WORKSPACE, STORE, "secret-value", "anonymous", "edit 0"] {
        assert!(!all.text.contains(secret), "{secret} got out");
    }

    assert_eq!(all.counts("statehouse_frames_garbled_total"), 1);

    bob.close().await;
    ada.close().await;
    let is_over = |all: &Scrape| all.counts("statehouse_sessions{dialect=\"json\"}") == 0;
    until(&server.url(), is_over).await;
}

#[tokio::test]
async fn a_stream_of_events_is_a_session() {
    let server = Server::start();
    let events = format!("{}/v1/workspaces/{WORKSPACE}/events", server.url());
    let events = reqwest::get(events).await.unwrap();
    let all = Scrape::of(&server.url()).await;
    assert_eq!(all.counts("statehouse_sessions{dialect=\"events\"}"), 1);
    drop(events);
    let is_over = |all: &Scrape| all.counts("statehouse_sessions{dialect=\"events\"}") == 0;
    until(&server.url(), is_over).await;
}

/// Takes what the server says until the document has so many keys.
async fn replica_catches_up(replica: &mut Replica, socket: &mut Socket, keys: usize) {
    use automerge::ReadDoc as _;
    while replica.doc.length(automerge::ROOT) < keys {
        let said = socket.json().await;
        if said["type"] == "sync" {
            replica.hear(said["message"].as_str().unwrap());
            if let Some(answer) = replica.say(STORE) {
                socket.send(&answer).await;
            }
        }
    }
}

fn write(replica: &mut Replica) {
    use automerge::transaction::Transactable as _;
    replica.doc.put(automerge::ROOT, "bob", "was here").unwrap();
}

/// Scrapes until it is so.
async fn until(url: &str, is_so: impl Fn(&Scrape) -> bool) {
    for _ in 0..PATIENCE.as_millis() / 20 {
        if is_so(&Scrape::of(url).await) {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("it never came to be so: {}", Scrape::of(url).await.text);
}

/// The address that the server gave to those who run it, from its log.
pub(crate) fn admin(server: &Server) -> String {
    let log = server.log();
    let line = log.lines().rev().find(|line| line.contains("those who run the server"));
    let line: Value = serde_json::from_str(line.unwrap()).unwrap();
    format!("http://{}", line["address"].as_str().unwrap())
}

async fn status(url: &str, path: &str) -> StatusCode {
    reqwest::get(format!("{url}{path}")).await.unwrap().status()
}

#[tokio::test]
async fn with_an_address_of_their_own_clients_are_not_told() {
    let server = Server::with_config("[admin]\nlisten = \"127.0.0.1:0\"\n");
    let admin = admin(&server);
    for path in ["/livez", "/readyz"] {
        assert_eq!(status(&server.url(), path).await, StatusCode::OK);
        assert_eq!(status(&admin, path).await, StatusCode::OK);
    }
    assert_eq!(status(&server.url(), "/metrics").await, StatusCode::NOT_FOUND);
    assert_eq!(status(&admin, "/v1/workspaces/w").await, StatusCode::NOT_FOUND);
    let all = Scrape::of(&admin).await;
    assert_eq!(all.counts("statehouse_workspaces_loaded"), 0);
}

/// Each query of the dashboard names a metric that there is.
#[tokio::test]
async fn the_dashboard_asks_for_what_there_is() {
    let server = Server::with_config(
        "[[trigger]]\npath = \"/s\"\nurl = \"https://example.com/\"\n\
         secret = \"a secret of twenty-four bytes and more\"\n",
    );
    let mut ada = hello(&server).await;
    let refused = edit(&mut ada, 0, json!({"op": "remove", "path": "/9"})).await;
    assert_eq!(refused["type"], "nack");
    assert_eq!(status(&server.url(), "/livez").await, StatusCode::OK);
    let all = Scrape::of(&server.url()).await;
    let there = all.names();

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/ops/grafana.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut asked = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let metrics: Vec<&str> = words
                .filter(|word| word.starts_with("statehouse_") || word.starts_with("process_"))
                .collect();
            assert!(!metrics.is_empty(), "{query} asks for nothing");
            asked.extend(metrics.into_iter().map(str::to_owned));
        }
    }
    for name in &asked {
        assert!(there.contains(&**name), "the dashboard asks for {name}; there are {there:?}");
    }
    assert!(asked.len() >= 20, "{asked:?}");
}
