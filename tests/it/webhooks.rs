//! Webhooks over the real binary: what a commit has changed arrives, signed, at least once and in
//! order, whatever happens to the receiver or to the server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::client::Socket;
use crate::metrics::{self, Scrape};
use crate::server::{Server, statehouse};

const PATIENCE: Duration = Duration::from_mins(1);
const SECRET: &str = "a secret of twenty-four bytes and more";

/// Somebody who is called, and answers as he is told to.
pub(crate) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    /// The id and the body of every call that was answered with 200, in order.
    taken: Mutex<Vec<(String, Value)>>,
    /// Stores whose next so many calls are answered with 503.
    refusing: Mutex<BTreeMap<String, u32>>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), Arc::default()).await
    }

    async fn at(address: SocketAddr, shared: Arc<Shared>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().route("/hook", post(take)).with_state(Arc::clone(&shared));
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { address, shared, serving }
    }

    /// It is not there any more; what it took is kept, and who comes back goes on with it.
    async fn stop(self) -> (SocketAddr, Arc<Shared>) {
        self.serving.abort();
        assert!(self.serving.await.unwrap_err().is_cancelled());
        (self.address, self.shared)
    }

    pub(crate) fn config(&self, more: &str) -> String {
        config(&self.address.to_string(), more)
    }

    /// All that it was told.
    pub(crate) fn told(&self) -> Vec<Value> {
        self.shared.taken.lock().unwrap().iter().map(|(_, body)| body.clone()).collect()
    }

    /// The seqs that it was told of, for one store, as soon as `last` is among them.
    pub(crate) async fn seqs(&self, store: &str, last: u64) -> Vec<u64> {
        let told = || -> Vec<u64> {
            let taken = self.shared.taken.lock().unwrap();
            let of = taken.iter().filter(|(_, body)| body["store"] == store);
            of.map(|(_, body)| body["seq"].as_u64().unwrap()).collect()
        };
        let heard = async {
            while !told().contains(&last) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(timeout(PATIENCE, heard).await.is_ok(), "told of {:?}, not of {last}", told());
        told()
    }
}

async fn take(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let (id, time) = (header("webhook-id"), header("webhook-timestamp"));
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{id}.{time}.").as_bytes());
    mac.update(&body);
    let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(header("webhook-signature"), signature);
    let body: Value = serde_json::from_slice(&body).unwrap();
    if let Some(left) = shared.refusing.lock().unwrap().get_mut(body["store"].as_str().unwrap())
        && *left > 0
    {
        *left -= 1;
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    shared.taken.lock().unwrap().push((id, body));
    StatusCode::OK
}

fn config(receiver: &str, more: &str) -> String {
    format!(
        "[webhooks]\nallow_private = true\n{more}\n\
         [[trigger]]\nname = \"hook\"\npath = \"/*\"\nurl = \"http://{receiver}/hook\"\n\
         secret = \"{SECRET}\"\n"
    )
}

/// Makes so many commits, each of which is durable when this returns.
async fn write(server: &Server, store: &str, count: u64) {
    let mut socket = Socket::connect(&server.socket("w")).await;
    socket.send(&json!({"type": "hello", "stores": [store], "caps": ["ack", "ready"]})).await;
    let mut seq = socket.json().await["seq"].as_u64().unwrap();
    assert_eq!(socket.json().await["type"], "ready");
    for _ in 0..count {
        let patch = json!([{"op": "add", "path": "/n", "value": seq + 1}]);
        let id = format!("{store} {seq}");
        let edit = json!({"type": "patch", "store": store, "seq": seq, "id": id, "patch": patch});
        socket.send(&edit).await;
        let ack = socket.json().await;
        assert_eq!(ack["type"], "ack", "{ack}");
        seq = ack["seq"].as_u64().unwrap();
    }
}

/// Some may have been told more than once, but none too early.
fn check(seqs: &[u64], last: u64) {
    let mut newest = 0;
    for seq in seqs {
        assert!(*seq <= newest + 1, "{seq} before {}: {seqs:?}", newest + 1);
        newest = newest.max(*seq);
    }
    assert_eq!(newest, last, "{seqs:?}");
}

#[tokio::test]
async fn a_commit_is_told_with_what_it_changed() {
    let receiver = Receiver::start().await;
    let server = Server::with_config(&receiver.config(""));
    write(&server, "s", 3).await;
    assert_eq!(receiver.seqs("s", 3).await, [1, 2, 3]);
    let taken = receiver.shared.taken.lock().unwrap().clone();
    for (at, (_, body)) in taken.iter().enumerate() {
        let seq = at as u64 + 1;
        let mut expected = json!({
            "type": "changed", "webhook": "hook", "workspace": "w", "store": "s", "seq": seq,
            "path": "/s/n", "new": seq, "user": "anonymous", "dialect": "json",
            "time": body["time"],
        });
        if seq > 1 {
            expected["old"] = json!(seq - 1);
        }
        assert_eq!(*body, expected);
        assert!(body["time"].as_u64().unwrap() > 1_600_000_000_000);
    }
    let mut ids: Vec<&str> = taken.iter().map(|(id, _)| id.as_str()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 3, "each has an id of its own");
}

#[tokio::test]
async fn a_receiver_that_fails_is_told_in_order_and_holds_up_no_other_store() {
    let receiver = Receiver::start().await;
    receiver.shared.refusing.lock().unwrap().insert("slow".to_owned(), 2);
    let server = Server::with_config(&receiver.config(""));
    write(&server, "slow", 4).await;
    write(&server, "quick", 4).await;
    assert_eq!(receiver.seqs("quick", 4).await, [1, 2, 3, 4]);
    assert_eq!(receiver.seqs("slow", 4).await, [1, 2, 3, 4]);
}

#[tokio::test]
async fn nothing_is_forgotten_when_the_receiver_is_away_and_the_server_is_killed() {
    let receiver = Receiver::start().await;
    let mut server = Server::with_config(&receiver.config(""));
    write(&server, "s", 5).await;
    receiver.seqs("s", 5).await;
    let (address, shared) = receiver.stop().await;
    for _ in 0..3 {
        write(&server, "s", 5).await;
        server.kill();
        server.start_again(None);
    }
    write(&server, "s", 5).await;
    let receiver = Receiver::at(address, shared).await;
    check(&receiver.seqs("s", 25).await, 25);

    // Killed while it is calling.
    for round in 1..=3 {
        write(&server, "s", 20).await;
        server.kill();
        server.start_again(None);
        check(&receiver.seqs("s", 25 + round * 20).await, 25 + round * 20);
    }
    let taken = receiver.shared.taken.lock().unwrap().clone();
    let mut ids: BTreeMap<u64, String> = BTreeMap::new();
    for (id, body) in taken {
        let known = ids.entry(body["seq"].as_u64().unwrap()).or_insert_with(|| id.clone());
        assert_eq!(*known, id, "told again, a call has the same id");
    }
}

#[tokio::test]
async fn what_waits_when_the_server_stops_is_told_when_it_comes_back() {
    let receiver = Receiver::start().await;
    let config = receiver.config("");
    let (address, shared) = receiver.stop().await;
    let mut server = Server::with_config(&config);
    write(&server, "s", 3).await;
    assert!(server.terminate().success());
    let receiver = Receiver::at(address, shared).await;
    server.start_again(None);
    assert_eq!(receiver.seqs("s", 3).await, [1, 2, 3]);
}

#[tokio::test]
async fn a_call_that_always_fails_is_given_up_and_the_next_ones_are_made() {
    let receiver = Receiver::start().await;
    receiver.shared.refusing.lock().unwrap().insert("s".to_owned(), 2);
    let server = Server::with_config(&receiver.config("give_up_ms = 100"));
    write(&server, "s", 3).await;
    // The first attempt is made again once the pause is over, and that is one too many.
    assert_eq!(receiver.seqs("s", 3).await, [2, 3]);
    assert!(server.log().contains("given up"), "the log says so");
    assert!(!server.log().contains(SECRET), "and not with what it is signed");
}

/// The numbers of one webhook, as they are scraped.
fn numbers(all: &Scrape) -> [u64; 6] {
    let of = |name: &str| all.counts(&format!("statehouse_webhook_{name}{{trigger=\"0\"}}"));
    let calls = |result: &str| {
        let labels = format!("trigger=\"0\",result=\"{result}\"");
        all.counts(&format!("statehouse_webhook_calls_total{{{labels}}}"))
    };
    let kept = [of("calls_waiting"), of("calls_given_up")];
    let attempts = ["told", "failed", "given_up"].map(calls);
    [kept[0], kept[1], attempts[0], attempts[1], attempts[2], of("call_seconds_count")]
}

#[tokio::test]
async fn what_was_given_up_is_counted_looked_at_and_made_again() {
    let receiver = Receiver::start().await;
    receiver.shared.refusing.lock().unwrap().insert("s".to_owned(), 2);
    let admin = "[admin]\nlisten = \"127.0.0.1:0\"\n";
    let server = Server::with_config(&format!("{admin}{}", receiver.config("give_up_ms = 100")));
    let admin = metrics::admin(&server);
    assert_eq!(numbers(&Scrape::of(&admin).await), [0; 6]);
    write(&server, "s", 3).await;
    assert_eq!(receiver.seqs("s", 3).await, [2, 3]);
    let settled = async {
        while numbers(&Scrape::of(&admin).await) != [0, 1, 2, 1, 1, 4] {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let counted = timeout(PATIENCE, settled).await;
    assert!(counted.is_ok(), "{:?}", numbers(&Scrape::of(&admin).await));

    let ask = |arguments: &[&str]| {
        let mut command = statehouse();
        let output = command.arg("webhooks").args(arguments).args(["--admin", &admin]).output();
        let output = output.unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), serde_json::from_str::<Value>(&said).unwrap_or_default())
    };
    let (code, said) = ask(&["given-up"]);
    let id = said["calls"][0]["id"].as_u64().unwrap();
    let call = json!({
        "id": id, "webhook": "hook", "workspace": "w", "store": "s", "seq": 1, "path": "/s/n",
        "time": said["calls"][0]["time"],
    });
    assert_eq!((code, &said), (Some(0), &json!({"calls": [call]})));
    assert_eq!(ask(&["given-up", "--after", &id.to_string()]).1, json!({"calls": []}));
    assert_eq!(ask(&["retry", &(id + 1).to_string()]).0, Some(4), "that one was told");
    assert_eq!(ask(&["retry", &id.to_string()]), (Some(0), json!({"retried": 1, "left": 0})));
    // It comes after those that were made meanwhile.
    assert_eq!(receiver.seqs("s", 1).await, [2, 3, 1]);
    assert_eq!(ask(&["retry"]), (Some(0), json!({"retried": 0, "left": 0})));

    // A page in somebody's browser is not asked in; nor is anybody where clients are.
    let post = |url: String| reqwest::Client::new().post(url);
    let path = "/webhooks/given-up/retry";
    for origin in ["https://example.com", "http://localhost:3000", &admin] {
        let page = post(format!("{admin}{path}")).header("origin", origin);
        assert_eq!(page.send().await.unwrap().status(), StatusCode::FORBIDDEN);
    }
    let url = format!("{}{path}", server.url());
    assert_eq!(post(url).send().await.unwrap().status(), StatusCode::NOT_FOUND);
}

#[test]
fn whom_a_webhook_may_not_call_is_refused_with_the_configuration() {
    let hook = |url: &str, secret: &str| {
        format!("[[trigger]]\npath = \"/s\"\nurl = \"{url}\"\nsecret = \"{secret}\"\n")
    };
    let sound = hook("https://example.com/", SECRET);
    for (config, said) in [
        (hook("http://127.0.0.1:9/", SECRET), "not of the public internet"),
        (hook("http://[::ffff:10.0.0.1]/", SECRET), "not of the public internet"),
        (hook(&format!("http://{}/", "169.254.169.254"), SECRET), "not of the public internet"),
        (hook("file:///etc/passwd", SECRET), "http or https"),
        (hook("https://example.com/", "short"), "24 to 64 bytes"),
        (hook("https://example.com/", "whsec_%"), "base64"),
        (format!("{sound}{sound}"), "listed twice"),
        (sound.replace("/s\"", "s\""), "a pattern starts with"),
        (sound.replace("secret", "secrt"), "unknown field"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("statehouse.toml");
        std::fs::write(&file, config).unwrap();
        let mut serve = statehouse();
        serve.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(&file).arg("--data");
        let output = serve.arg(folder.path().join("data")).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(said), "{error}");
        assert!(!error.contains(SECRET), "{error}");
    }
}
