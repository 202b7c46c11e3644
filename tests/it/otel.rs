//! Traces that leave the server: whole, from the caller's on, and without a word of a user's.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::{Value, json};

use crate::api::Api;
use crate::client::Socket;
use crate::server::Server;

/// What stands wherever a client may write, and in no trace.
const CANARY: &str = "canary";

type Received = Arc<Mutex<Vec<Bytes>>>;

/// A collector: where it listens, and what it was sent.
async fn collector() -> (String, Received) {
    collector_that_answers(StatusCode::OK).await
}

async fn collector_that_answers(status: StatusCode) -> (String, Received) {
    let received = Received::default();
    let take = move |State(received): State<Received>, body: Bytes| async move {
        received.lock().unwrap().push(body);
        status
    };
    let routes = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&received));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    (url, received)
}

/// A span, as far as it is looked at.
#[derive(Debug)]
struct Span {
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
    name: String,
}

/// The fields of a message in protobuf that have a length: their numbers and what is in them.
fn fields(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        value
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let len = match key & 7 {
            0 => {
                varint(&mut bytes);
                continue;
            }
            1 => 8,
            2 => usize::try_from(varint(&mut bytes)).unwrap(),
            5 => 4,
            other => panic!("no wire type: {other}"),
        };
        let (value, rest) = bytes.split_at(len);
        found.push((key >> 3, value));
        bytes = rest;
    }
    found
}

/// The values of one field.
fn all(bytes: &[u8], number: u64) -> Vec<&[u8]> {
    fields(bytes).into_iter().filter(|(n, _)| *n == number).map(|(_, value)| value).collect()
}

/// The spans of a request to a collector (opentelemetry-proto, `trace/v1/trace.proto`).
fn spans(request: &[u8]) -> Vec<Span> {
    let scopes = all(request, 1).into_iter().flat_map(|resource| all(resource, 2));
    let spans = scopes.flat_map(|scope| all(scope, 2));
    let read = |span: &[u8]| {
        let one = |number| all(span, number).first().copied().unwrap_or_default().to_vec();
        Span { trace: one(1), id: one(2), parent: one(4), name: String::from_utf8(one(5)).unwrap() }
    };
    spans.map(read).collect()
}

/// The names of what led to a span, itself first, and the last id that is said to be before it.
fn walk<'a>(spans: &'a [Span], mut span: &'a Span) -> (Vec<&'a str>, &'a [u8]) {
    let mut names = vec![span.name.as_str()];
    while let Some(before) = spans.iter().find(|before| before.id == span.parent) {
        assert_eq!(before.trace, span.trace);
        names.push(&before.name);
        span = before;
    }
    names.dedup();
    (names, &span.parent)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_walk_is_one_trace_and_says_nothing_of_users() {
    let (url, received) = collector().await;
    let mut server = Server::with_variables("", &[("OTEL_EXPORTER_OTLP_ENDPOINT", &url)]);
    let api = Api::of(&server, "canary-workspace");
    let parent = format!("00-{}-{}-01", "ab".repeat(16), "cd".repeat(8));
    let headers = [
        ("traceparent", parent.as_str()),
        ("tracestate", "canary=canary"),
        ("baggage", "canary=canary"),
        ("user-agent", CANARY),
        ("idempotency-key", CANARY),
        ("authorization", "Bearer canary"),
    ];
    api.put("canary-store?canary", &headers, &json!({"canary": CANARY})).await.seq();
    api.put("canary-store?path=/canary/canary", &[], &json!(1)).await.is_problem(422, "bad-path");
    api.send("CANARY".parse().unwrap(), "/canary", &[], "")
        .await
        .is_problem(404, "no-such-resource");

    let mut socket = Socket::connect(&server.socket("canary-workspace")).await;
    socket.send(&json!({"type": "hello", "caps": ["ack"], "client": CANARY})).await;
    let seq = socket.json().await["seq"].clone();
    let patch = json!([{"op": "add", "path": "/canary", "value": CANARY}]);
    let edit = json!({
        "type": "patch", "store": "canary-store", "seq": seq, "id": "canary-2", "patch": patch,
    });
    socket.send(&edit).await;
    assert_eq!(socket.json().await["type"], "ack");
    assert!(server.terminate().success(), "what is left is sent at the end");

    let received = received.lock().unwrap().clone();
    let spans: Vec<Span> = received.iter().flat_map(|request| spans(request)).collect();
    let saves = spans.iter().filter(|span| span.name == "save");
    let mut walks: Vec<_> = saves.map(|save| walk(&spans, save)).collect();
    walks.sort_unstable();
    let of_caller: &[u8] = &[0xcd; 8];
    let of_socket: &[u8] = &[];
    let expected = [
        (vec!["save", "turn", "message"], of_socket),
        (vec!["save", "turn", "request"], of_caller),
    ];
    assert_eq!(walks, expected, "{spans:#?}");
    let theirs = spans.iter().filter(|span| span.trace == [0xab; 16]).count();
    assert!(theirs >= 4, "the turn that answers too: {spans:#?}");
    for request in &received {
        let text = String::from_utf8_lossy(request).to_lowercase();
        assert!(!text.contains(CANARY), "{text}");
        assert!(text.contains("service.name") && text.contains("statehouse"));
    }
    let told = of_traces(&server.log());
    assert!(told.is_empty(), "nothing was wrong with these: {told:?}");
}

/// What a log says of the sending of traces.
fn of_traces(log: &str) -> Vec<Value> {
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["target"].as_str().unwrap().starts_with("opentelemetry")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_takes_nothing_is_told_of_in_the_log() {
    let (url, received) = collector_that_answers(StatusCode::INTERNAL_SERVER_ERROR).await;
    let mut server = Server::with_variables("", &[("OTEL_EXPORTER_OTLP_ENDPOINT", &url)]);
    Api::of(&server, "canary-w").put("canary-s", &[], &json!(CANARY)).await.seq();
    assert!(server.terminate().success(), "a server does not depend on who looks at it");
    assert!(!received.lock().unwrap().is_empty());
    let told = of_traces(&server.log());
    let failed = |line: &Value| line["error"].as_str().is_some_and(|why| why.contains("500"));
    assert!(told.iter().any(failed), "{told:?}");
    for line in told {
        assert!(matches!(line["level"].as_str(), Some("ERROR" | "WARN")), "{line}");
        assert!(!line.to_string().contains(CANARY), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_told_of_no_collector_looks_for_none() {
    let (url, received) = collector().await;
    let off = [("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()), ("OTEL_SDK_DISABLED", "true")];
    for variables in [&off[..], &[]] {
        let mut server = Server::with_variables("", variables);
        Api::of(&server, "w").put("s", &[], &json!(1)).await.seq();
        assert!(server.terminate().success());
    }
    assert!(received.lock().unwrap().is_empty());
    let mut server = Server::prepared();
    let said = server.try_start_again(&[("OTEL_TRACES_EXPORTER", "zipkin")]).unwrap_err();
    assert!(said.contains("OTEL_TRACES_EXPORTER=zipkin"), "{said}");
}
