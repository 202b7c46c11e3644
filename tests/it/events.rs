//! `/v1/workspaces/{workspace}/events`: server-sent events.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::api::Api;
use crate::client::{PATIENCE, apply};
use crate::server::Server;

/// One event as a browser would hand it on.
#[derive(Debug, PartialEq)]
struct Event {
    name: String,
    id: Option<String>,
    data: Value,
}

/// A stream of events, read as the standard says.
struct Stream {
    response: Response,
    text: String,
    last_id: String,
}

impl Stream {
    async fn open(api: &Api, query: &str, last_id: Option<&str>) -> Self {
        let mut request = Client::new().get(api.url(&format!("/events?{query}")));
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{query}");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-cache");
        Self { response, text: String::new(), last_id: last_id.unwrap_or_default().to_owned() }
    }

    /// The next block of lines, without the blank line behind it; `None`: the stream has ended.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let piece = timeout(PATIENCE, self.response.chunk()).await.expect("nothing comes");
            self.text.push_str(std::str::from_utf8(&piece.ok()??).unwrap());
        }
    }

    /// The next event.
    async fn next(&mut self) -> Option<Event> {
        loop {
            let block = self.block().await?;
            let fields: BTreeMap<&str, &str> =
                block.lines().filter_map(|line| line.split_once(": ")).collect();
            let Some(data) = fields.get("data") else { continue };
            let id = fields.get("id").map(|id| (*id).to_owned());
            if let Some(id) = &id {
                self.last_id.clone_from(id);
            }
            let name = (*fields.get("event").unwrap_or(&"message")).to_owned();
            return Some(Event { name, id, data: serde_json::from_str(data).unwrap() });
        }
    }

    /// The next event, which has this name.
    async fn expect(&mut self, name: &str) -> Value {
        let event = self.next().await.expect("the stream has ended");
        assert_eq!(event.name, name, "{event:?}");
        event.data
    }
}

async fn set(api: &Api, path: &str, value: Value) {
    assert_eq!(api.put(path, &[], &value).await.status, 200);
}

#[tokio::test]
async fn a_stream_tells_what_a_socket_tells() {
    let server = Server::start();
    let api = Api::of(&server, "w");
    set(&api, "a", json!({"n": 1})).await;
    let mut stream = Stream::open(&api, "stores=b,a", None).await;
    assert_eq!(stream.block().await.unwrap(), "retry: 1000");
    let first = stream.next().await.unwrap();
    assert_eq!((first.name.as_str(), &first.data["state"]), ("snapshot", &json!({"n": 1})));
    assert_eq!((&first.data["type"], &first.data["seq"]), (&json!("snapshot"), &json!(1)));
    let second = stream.expect("snapshot").await;
    assert_eq!((&second["store"], &second["state"]), (&json!("b"), &json!({})));
    assert_eq!(stream.expect("ready").await["seqs"], json!({"a": 1, "b": 0}));

    set(&api, "a?path=/n", json!(2)).await;
    set(&api, "c", json!({})).await;
    set(&api, "b", json!({"m": 1})).await;
    let patch = stream.next().await.unwrap();
    assert_eq!((patch.name.as_str(), &patch.data["type"]), ("patch", &json!("patch")));
    assert_eq!(patch.data["patch"], json!([{"op": "replace", "path": "/n", "value": 2}]));
    assert!(patch.id.is_some());
    let patch = stream.expect("patch").await;
    assert_eq!((&patch["store"], &patch["seq"]), (&json!("b"), &json!(1)), "c is not asked for");
}

/// The danger: what happens while nobody listens is missed, or told twice.
#[tokio::test]
async fn a_reader_that_comes_again_gets_exactly_what_it_missed() {
    let mut server = Server::start();
    let api = Api::of(&server, "w");
    set(&api, "a", json!({"n": 0})).await;
    set(&api, "b", json!({"n": 0})).await;
    let mut stream = Stream::open(&api, "stores=a,b", None).await;
    let mut states = BTreeMap::new();
    for _ in 0..2 {
        let snapshot = stream.expect("snapshot").await;
        states.insert(snapshot["store"].as_str().unwrap().to_owned(), snapshot["state"].clone());
    }
    stream.expect("ready").await;
    set(&api, "a?path=/n", json!(1)).await;
    apply(states.get_mut("a").unwrap(), &stream.expect("patch").await["patch"]);
    let id = stream.last_id.clone();
    drop(stream);

    set(&api, "a?path=/m", json!(2)).await;
    server.kill();
    server.start_again(None);
    set(&api, "a?path=/k", json!(3)).await;
    let encoded = id.replace('=', "%3D").replace(',', "%2C");
    for (query, header) in
        [("stores=a,b", Some(id.as_str())), (&format!("stores=a,b&lastEventId={encoded}"), None)]
    {
        let mut stream = Stream::open(&api, query, header).await;
        let patch = stream.expect("patch").await;
        assert_eq!((&patch["store"], &patch["seq"]), (&json!("a"), &json!(4)));
        let mut state = states["a"].clone();
        apply(&mut state, &patch["patch"]);
        assert_eq!(state, json!({"n": 1, "m": 2, "k": 3}));
        assert_eq!(stream.expect("ready").await["seqs"], json!({"a": 4, "b": 1}));
    }
    // An id that means nothing here is as none.
    let mut stream = Stream::open(&api, "stores=a", Some("a=zzz,§")).await;
    assert_eq!(stream.expect("snapshot").await["seq"], 4);
}

#[tokio::test]
async fn a_view_of_one_place_has_only_what_is_there() {
    let server = Server::start();
    let api = Api::of(&server, "w");
    set(&api, "a", json!({"list": [{"id": 1, "x": 1}, {"id": 2, "x": 2}], "other": 0})).await;
    let mut stream = Stream::open(&api, "stores=a&path=/list/1", None).await;
    assert_eq!(stream.expect("snapshot").await["state"], json!({"id": 2, "x": 2}));
    stream.expect("ready").await;
    set(&api, "a?path=/other", json!(1)).await;
    set(&api, "a?path=/list/1/x", json!(3)).await;
    let patch = stream.expect("patch").await;
    assert_eq!(patch["patch"], json!([{"op": "replace", "path": "/x", "value": 3}]));
    assert_eq!(patch["seq"], 3, "what happened elsewhere is not told");
    let id = stream.last_id.clone();
    let gone = json!([{"op": "remove", "path": "/list/0"}]);
    assert_eq!(api.patch("a", &[], &gone).await.status, 200);
    let patch = stream.expect("patch").await;
    assert_eq!(patch["patch"], json!([{"op": "remove", "path": ""}]));

    let mut again = Stream::open(&api, "stores=a&path=/list/1", Some(&id)).await;
    assert_eq!(again.expect("patch").await["patch"], json!([{"op": "remove", "path": ""}]));
    let mut absent = Stream::open(&api, "stores=a&path=/nowhere", None).await;
    assert_eq!(absent.expect("snapshot").await.get("state"), None);
    absent.expect("ready").await;
    set(&api, "a?path=/nowhere", json!(null)).await;
    let patch = absent.expect("patch").await;
    assert_eq!(patch["patch"], json!([{"op": "add", "path": "", "value": null}]));
}

#[tokio::test]
async fn an_ag_ui_client_gets_the_events_of_its_protocol() {
    let server = Server::start();
    let api = Api::of(&server, "w");
    set(&api, "a", json!({"n": 1})).await;
    let mut stream = Stream::open(&api, "stores=a&format=ag-ui", None).await;
    let started = stream.expect("message").await;
    let (thread, run) = (&started["threadId"], &started["runId"]);
    let expected = json!({
        "type": "RUN_STARTED", "threadId": "w/a", "runId": run, "protocolVersion": "1.0",
    });
    assert_eq!(started, expected);
    let snapshot = stream.expect("message").await;
    assert_eq!(snapshot, json!({"type": "STATE_SNAPSHOT", "snapshot": {"n": 1}}));
    set(&api, "a?path=/n", json!(2)).await;
    let delta = json!([{"op": "replace", "path": "/n", "value": 2}]);
    assert_eq!(stream.expect("message").await, json!({"type": "STATE_DELTA", "delta": delta}));
    let finished = json!({"type": "RUN_FINISHED", "threadId": thread, "runId": run});
    assert_eq!(server_ends_it(server, stream).await.unwrap().data, finished);
    let server = Server::start();
    let api = Api::of(&server, "w");
    for bad in ["format=ag-ui", "stores=a,b&format=ag-ui", "format=x", "stores=,", "path=x"] {
        api.get(&format!("/events?{bad}"), &[]).await.is_problem(400, "bad-query");
    }
}

/// The event that comes when the server stops, and holds that it is the last one.
async fn server_ends_it(mut server: Server, mut stream: Stream) -> Option<Event> {
    assert!(server.terminate().success());
    let last = stream.next().await;
    assert!(last.is_none() || stream.next().await.is_none());
    last
}

#[tokio::test]
async fn a_stream_ends_in_order_when_the_server_stops() {
    let server = Server::start();
    let api = Api::of(&server, "w");
    let mut stream = Stream::open(&api, "stores=a", None).await;
    stream.expect("snapshot").await;
    stream.expect("ready").await;
    let last = server_ends_it(server, stream).await.unwrap();
    assert_eq!(last.name, "close");
    assert_eq!(last.data, json!({"type": "close", "code": 1012, "reason": "shutting-down"}));
}

#[tokio::test]
async fn what_cannot_be_streamed_is_a_problem() {
    let server = Server::with_config("create_stores = false\n[[store]]\nname = \"a\"\n");
    let api = Api::of(&server, "w");
    api.get("/events?stores=a,b", &[]).await.is_problem(404, "no-store");
    let many: Vec<String> = (0..65).map(|n| format!("s{n}")).collect();
    let many = format!("/events?stores={}", many.join(","));
    api.get(&many, &[]).await.is_problem(400, "bad-query");
    let mut all = Stream::open(&api, "", None).await;
    assert_eq!(all.expect("snapshot").await["store"], "a");
    assert_eq!(all.expect("ready").await["seqs"], json!({"a": 0}));
}

/// The danger: for a reader that does not read, the server keeps everything.
#[tokio::test]
async fn a_slow_reader_is_given_fresh_state() {
    const EDITS: usize = 200;
    let server = Server::with_config("[limits]\noutbox_bytes = 100000\n");
    let api = Api::of(&server, "w");
    set(&api, "a", json!({"n": 0, "text": ""})).await;
    let mut slow = Stream::open(&api, "stores=a", None).await;
    let mut state = slow.expect("snapshot").await["state"].clone();
    slow.expect("ready").await;
    let before = server.peak_kb_anew();
    for n in 1..=EDITS {
        let text = "x".repeat(100_000);
        set(&api, "a", json!({"n": n, "text": format!("{n}{text}")})).await;
    }
    let grown = server.peak_kb() - before;
    let mut snapshots = 0;
    while state["n"] != json!(EDITS) {
        let event = slow.next().await.expect("the stream has ended");
        match event.name.as_str() {
            "snapshot" => {
                state = event.data["state"].clone();
                snapshots += 1;
            }
            "patch" => apply(&mut state, &event.data["patch"]),
            other => panic!("{other}"),
        }
    }
    assert!(snapshots > 0, "it was slow enough to lose something");
    // The history keeps its text; a stream that kept all would hold it once more.
    assert!(grown < 150_000, "{grown} kB for {EDITS} edits of 100 kB");
    let quiet = timeout(Duration::from_millis(200), slow.next()).await;
    assert!(quiet.is_err(), "and then nothing more: {quiet:?}");
}
