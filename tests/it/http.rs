//! `/v1/workspaces/{workspace}/stores/{store}` over HTTP.

use std::time::Duration;

use automerge::transaction::Transactable as _;
use automerge::{AutoCommit, ReadDoc as _};
use reqwest::Method;
use serde_json::{Value, json};

use crate::api::{Answer, Api, JSON, JSON_PATCH, MERGE_PATCH};
use crate::client::{Heard, Socket, apply};
use crate::crdt::Replica;
use crate::server::Server;

fn add(path: &str, value: &Value) -> Value {
    json!([{"op": "add", "path": path, "value": value}])
}

fn started() -> (Server, Api) {
    let server = Server::start();
    let api = Api::of(&server, "w");
    (server, api)
}

#[tokio::test]
async fn a_state_is_read_with_its_tag_and_seq() {
    let (_server, api) = started();
    let empty = api.get("/stores/s", &[]).await;
    assert_eq!(
        (empty.status, empty.json(), empty.header("statehouse-seq")),
        (200, json!({}), Some("0"))
    );
    assert_eq!(empty.header("content-type"), Some(JSON));

    let numbers = r#"{"int":9007199254740993,"float":1.0,"small":1e-7,"null":null}"#;
    let put = api.send(Method::PUT, "/stores/s", &[("content-type", JSON)], numbers).await;
    assert_eq!((put.seq(), &put.json()["changed"]), (1, &json!(true)));
    let read = api.get("/stores/s", &[]).await;
    let text = String::from_utf8(read.bytes.clone()).unwrap();
    assert_eq!(text, r#"{"float":1.0,"int":9007199254740993,"null":null,"small":1e-7}"#);
    assert_eq!((read.tag(), read.header("statehouse-seq")), (put.tag(), Some("1")));
    assert!(read.tag().starts_with('"'), "a strong tag");

    let same = api.get("/stores/s", &[("if-none-match", &read.tag())]).await;
    assert_eq!((same.status, same.bytes.len(), same.tag()), (304, 0, read.tag()));
    let weak = api.get("/stores/s", &[("if-none-match", &format!("W/{}", read.tag()))]).await;
    assert_eq!(weak.status, 304, "reading compares weakly");
    let other = api.get("/stores/s", &[("if-none-match", &empty.tag())]).await;
    assert_eq!(other.status, 200);
    api.get("/stores/s", &[("if-match", &empty.tag())])
        .await
        .is_problem(412, "precondition-failed");

    let head = api.send(Method::HEAD, "/stores/s", &[], "").await;
    assert_eq!((head.status, head.bytes.len(), head.tag()), (200, 0, read.tag()));
    assert_eq!(head.header("content-length"), Some(text.len().to_string().as_str()));
}

#[tokio::test]
async fn one_value_is_read_by_its_pointer_and_absence_is_not_null() {
    let (_server, api) = started();
    let state = json!({"a/b": {"m~n": 1}, "ä ö": [null, {"x": true}], "": 0});
    api.put("s", &[], &state).await.seq();
    let places = [
        ("", state.clone()),
        ("/a~1b/m~0n", json!(1)),
        ("%2Fa~1b%2Fm~0n", json!(1)),
        ("/%C3%A4%20%C3%B6/1/x", json!(true)),
        ("/%C3%A4+%C3%B6/0", Value::Null),
        ("/", json!(0)),
    ];
    for (path, value) in places {
        assert_eq!(api.state(&format!("s?path={path}")).await.0, value, "{path}");
    }
    for absent in ["/nothing", "/%C3%A4%20%C3%B6/2", "/%C3%A4%20%C3%B6/-", "/a~1b/m~0n/x"] {
        let answer = api.get(&format!("/stores/s?path={absent}"), &[]).await;
        answer.is_problem(404, "no-such-value");
    }
    for bad in ["a", "/~2", "/x~"] {
        api.get(&format!("/stores/s?path={bad}"), &[]).await.is_problem(400, "bad-query");
    }
}

#[tokio::test]
async fn what_a_store_was_is_read_by_seq_tag_and_heads() {
    let (_server, api) = started();
    let mut tags = vec![api.state("s").await.1];
    for n in 1..=5 {
        let put = api.put("s", &[], &json!({"n": n})).await;
        assert_eq!(put.seq(), n);
        tags.push(put.tag());
    }
    for (n, tag) in tags.iter().enumerate() {
        let expected = if n == 0 { json!({}) } else { json!({"n": n}) };
        let by_seq = api.get(&format!("/stores/s?at={n}"), &[]).await;
        assert_eq!((by_seq.json(), by_seq.tag()), (expected.clone(), tag.clone()));
        if n > 0 {
            let unquoted = tag.trim_matches('"');
            assert_eq!(api.state(&format!("s?at={unquoted}")).await.0, expected);
        }
    }
    let listing = api.get("", &[]).await.json();
    let head = listing["stores"][0]["heads"][0].as_str().unwrap().to_owned();
    assert_eq!(api.state(&format!("s?at={head}&path=/n")).await.0, json!(5));
    api.get("/stores/s?at=6", &[]).await.is_problem(404, "no-such-version");
    let unknown = "ab".repeat(32);
    api.get(&format!("/stores/s?at={unknown}"), &[]).await.is_problem(404, "no-such-version");
    api.get("/stores/s?at=x", &[]).await.is_problem(400, "bad-query");
    api.put("s?at=3", &[], &json!({})).await.is_problem(400, "bad-query");
    assert_eq!(api.state("s").await.0, json!({"n": 5}));
}

#[tokio::test]
async fn a_store_is_patched_and_set() {
    let (_server, api) = started();
    let done = api.patch("s", &[], &add("/a", &json!([1, 2]))).await;
    assert_eq!(done.json(), json!({"seq": 1, "changed": true}));
    let merge = [("content-type", "application/merge-patch+json; charset=utf-8")];
    let merged = api.send(Method::PATCH, "/stores/s", &merge, r#"{"b":{"c":1},"d":null}"#).await;
    assert_eq!(merged.seq(), 2);
    assert_eq!(api.state("s").await, (json!({"a": [1, 2], "b": {"c": 1}}), merged.tag()));
    let same = api.put("s", &[], &json!({"a": [1, 2], "b": {"c": 1}})).await;
    assert_eq!((same.json(), same.tag()), (json!({"seq": 2, "changed": false}), merged.tag()));

    // One value.
    assert_eq!(api.put("s?path=/a/0", &[], &json!("x")).await.seq(), 3);
    assert_eq!(api.put("s?path=/a/-", &[], &json!("y")).await.seq(), 4);
    assert_eq!(api.put("s?path=/b/new", &[], &Value::Null).await.seq(), 5);
    let expected = json!({"a": ["x", 2, "y"], "b": {"c": 1, "new": null}});
    assert_eq!(api.state("s").await.0, expected);
    api.put("s?path=/no/where", &[], &json!(1)).await.is_problem(422, "bad-path");
    let delete = async |path: &str| api.send(Method::DELETE, path, &[], "").await;
    assert_eq!(delete("/stores/s?path=/a/1").await.seq(), 6);
    delete("/stores/s?path=/nothing").await.is_problem(404, "no-such-value");
    delete("/stores/s").await.is_problem(400, "bad-query");
    delete("/stores/s?path=").await.is_problem(400, "bad-query");
    let patch = api.patch("s?path=/a", &[], &json!([])).await;
    patch.is_problem(400, "bad-query");
    assert_eq!(api.state("s?path=/a").await.0, json!(["x", "y"]));
    assert_eq!(api.put("s?path=", &[], &json!([1])).await.seq(), 7, "the root may be anything");
    assert_eq!(api.state("s").await.0, json!([1]));
}

#[tokio::test]
async fn what_is_wrong_has_a_status_and_changes_nothing() {
    let server = Server::with_config(
        "[limits]\nframe_bytes = 200000\nmessage_bytes = 200000\ndocument_bytes = 100000\n\
         patch_ops = 100\n",
    );
    let api = Api::of(&server, "w");
    let tag = api.put("s", &[], &json!({"a": 1})).await.tag();
    let test = json!([{"op": "test", "path": "/a", "value": 2}]);
    api.patch("s", &[], &test).await.is_problem(409, "test-failed");
    let missing = json!([{"op": "remove", "path": "/x"}]);
    api.patch("s", &[], &missing).await.is_problem(422, "bad-path");
    for (body, status, code) in [
        ("[", 400, "bad-message"),
        ("", 400, "bad-message"),
        ("{}", 400, "bad-patch"),
        (r#"[{"op":"jump","path":"/a"}]"#, 400, "bad-patch"),
        (r#"[{"op":"add","path":"a","value":1}]"#, 400, "bad-patch"),
        (r#"[{"op":"add","path":"/x","path":"/y","value":1}]"#, 400, "bad-message"),
        (r#"[{"op":"add","path":"/__proto__","value":1}]"#, 422, "forbidden-key"),
        (r#"[{"op":"add","path":"/x","value":{"constructor":1}}]"#, 422, "forbidden-key"),
        (r#"[{"op":"add","path":"/x","value":1e400}]"#, 400, "bad-message"),
    ] {
        let kind = [("content-type", JSON_PATCH)];
        api.send(Method::PATCH, "/stores/s", &kind, body).await.is_problem(status, code);
    }
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let put = async |body: String| {
        api.send(Method::PUT, "/stores/s", &[("content-type", JSON)], body).await
    };
    put(deep(65)).await.is_problem(422, "too-deep");
    put(deep(40_000)).await.is_problem(422, "too-deep");
    put(format!(r#"{{"{}":1}}"#, "k".repeat(1_025))).await.is_problem(422, "key-too-long");
    put(json!("x".repeat(150_000)).to_string()).await.is_problem(413, "too-large");
    put(json!("x".repeat(250_000)).to_string()).await.is_problem(413, "too-large");
    put(json!("x".repeat(5_000_000)).to_string()).await.is_problem(413, "too-large");
    let many = vec![json!({"op": "add", "path": "/m", "value": 1}); 101];
    api.patch("s", &[], &json!(many)).await.is_problem(413, "too-many-ops");
    let fitting = [("content-type", MERGE_PATCH)];
    let half = json!({"b": "x".repeat(60_000)}).to_string();
    assert_eq!(api.send(Method::PATCH, "/stores/s", &fitting, half.clone()).await.status, 200);
    let other = half.replace("\"b\"", "\"c\"");
    api.send(Method::PATCH, "/stores/s", &fitting, other).await.is_problem(413, "too-large");
    assert_eq!(api.send(Method::DELETE, "/stores/s?path=/b", &[], "").await.status, 200);
    let (state, now) = api.state("s").await;
    assert_eq!(state, json!({"a": 1}));
    assert_ne!(now, tag, "it is another state that says the same");
}

#[tokio::test]
async fn kinds_and_methods_that_are_not_understood_are_named() {
    let (_server, api) = started();
    for kind in [None, Some("text/plain"), Some(JSON)] {
        let headers: Vec<_> = kind.map(|kind| ("content-type", kind)).into_iter().collect();
        let answer = api.send(Method::PATCH, "/stores/s", &headers, "[]").await;
        answer.is_problem(415, "unsupported-media-type");
        let accepted = answer.header("accept-patch").unwrap();
        assert_eq!(accepted, format!("{JSON_PATCH}, {MERGE_PATCH}"));
    }
    let answer = api.send(Method::PUT, "/stores/s", &[("content-type", JSON_PATCH)], "[]").await;
    answer.is_problem(415, "unsupported-media-type");
    assert_eq!(answer.header("accept"), Some(JSON));
    let packed = [("content-type", JSON), ("content-encoding", "gzip")];
    let answer = api.send(Method::PUT, "/stores/s", &packed, "{}").await;
    answer.is_problem(415, "unsupported-media-type");
    let post = api.send(Method::POST, "/stores/s", &[], "").await;
    post.is_problem(405, "method-not-allowed");
    assert!(post.header("allow").unwrap().contains("PATCH"), "{post:?}");
    let options = api.send(Method::OPTIONS, "/stores/s", &[], "").await;
    assert_eq!(options.status, 204);
    assert!(options.header("allow").unwrap().contains("DELETE"));
    assert!(options.header("accept-patch").unwrap().contains(MERGE_PATCH));
}

#[tokio::test]
async fn a_store_that_may_not_be_is_not_there() {
    let server = Server::with_config(
        "create_stores = false\n[[store]]\nname = \"s\"\n[[store]]\nname = \"own\"\n\
         scope = \"session\"\npersistent = false\n",
    );
    let api = Api::of(&server, "w");
    assert_eq!(api.state("s").await.0, json!({}));
    for store in ["t", "own"] {
        api.get(&format!("/stores/{store}"), &[]).await.is_problem(404, "no-store");
        api.put(store, &[], &json!({})).await.is_problem(404, "no-store");
        api.patch(store, &[], &json!([])).await.is_problem(404, "no-store");
    }
    for path in ["changes?since=0", "export.automerge"] {
        api.get(&format!("/stores/t/{path}"), &[]).await.is_problem(404, "no-store");
    }
    api.get("/stores/a%20b", &[]).await.is_problem(400, "bad-name");
    api.put("a%2Fb", &[], &json!({})).await.is_problem(400, "bad-name");
}

/// The danger: of two writers who have read the same state, the second undoes the first.
#[tokio::test]
async fn writers_with_the_same_tag_merge_unless_they_are_strict() {
    let (_server, api) = started();
    let start = json!({"list": [{"id": 1, "n": 1}, {"id": 2, "n": 2}], "x": 0});
    let tag = api.put("s", &[], &start).await.tag();
    let base = [("if-match", tag.as_str())];
    let front = json!([{"op": "add", "path": "/list/0", "value": {"id": 0, "n": 0}}]);
    assert_eq!(api.patch("s", &base, &front).await.seq(), 2);
    // On the state of the tag, the element with id 2 is at index 1.
    let second = json!([{"op": "replace", "path": "/list/1/n", "value": 22}]);
    let done = api.patch("s", &base, &second).await;
    assert_eq!(done.seq(), 3);
    let set = json!({"list": [{"id": 1, "n": 1}, {"id": 2, "n": 2}], "x": 1});
    let put = api.put("s", &base, &set).await;
    assert_eq!(put.seq(), 4);
    let list = json!([{"id": 0, "n": 0}, {"id": 1, "n": 1}, {"id": 2, "n": 22}]);
    assert_eq!(api.state("s").await, (json!({"list": list, "x": 1}), put.tag()));

    let strict = [("if-match", tag.as_str()), ("prefer", "handling=strict")];
    let refused = api.patch("s", &strict, &second).await;
    refused.is_problem(412, "precondition-failed");
    assert_eq!(refused.header("preference-applied"), Some("handling=strict"));
    let newest = put.tag();
    let strict = [("if-match", newest.as_str()), ("prefer", "handling=strict")];
    let done = api.patch("s", &strict, &add("/y", &json!(1))).await;
    assert_eq!((done.seq(), done.header("preference-applied")), (5, Some("handling=strict")));
    let either = format!("{tag}, {}", done.tag());
    let strict = [("if-match", either.as_str()), ("prefer", "handling=strict")];
    assert_eq!(api.patch("s", &strict, &add("/z", &json!(1))).await.seq(), 6, "any of a list");
}

#[tokio::test]
async fn conditions_are_as_the_rfc_says() {
    let (_server, api) = started();
    let one = json!({"n": 1});
    api.put("s", &[("if-match", "*")], &one).await.is_problem(412, "precondition-failed");
    let created = api.put("s", &[("if-none-match", "*")], &one).await;
    assert_eq!(created.seq(), 1);
    let again = api.put("s", &[("if-none-match", "*")], &json!({"n": 2})).await;
    again.is_problem(412, "precondition-failed");
    assert_eq!(api.put("s", &[("if-match", "*")], &json!({"n": 2})).await.seq(), 2);
    let both = [("if-match", "*"), ("if-none-match", "*")];
    api.put("s", &both, &one).await.is_problem(412, "precondition-failed");

    let tag = api.state("s").await.1;
    for newest in [tag.clone(), format!("W/{tag}")] {
        let unlike = [("if-none-match", newest.as_str())];
        api.put("s", &unlike, &one).await.is_problem(412, "precondition-failed");
    }
    let unlike = [("if-none-match", created.header("etag").unwrap())];
    assert_eq!(api.put("s", &unlike, &json!({"n": 3})).await.seq(), 3);
    let weak = format!("W/{tag}");
    let weak = [("if-match", weak.as_str())];
    api.put("s", &weak, &one).await.is_problem(412, "precondition-failed");
    let foreign = [("if-match", "\"somebody-elses\"")];
    api.put("s", &foreign, &one).await.is_problem(412, "precondition-failed");
    let other_store = api.put("t", &[], &json!({"t": 1})).await.tag();
    let foreign = [("if-match", other_store.as_str())];
    api.put("s", &foreign, &one).await.is_problem(412, "stale");
    api.put("s", &[("if-match", "x")], &one).await.is_problem(400, "bad-header");
    assert_eq!(api.state("s").await.0, json!({"n": 3}));
}

/// A state with very many heads has a tag that is as short as others, and serves as well.
#[tokio::test]
async fn a_state_with_many_heads_has_a_tag_too() {
    const WRITERS: u64 = 20;
    let (_server, api) = started();
    let base = api.put("s", &[], &json!({"n": 0})).await.tag();
    let mut tag = base.clone();
    for n in 0..WRITERS {
        let patch = add(&format!("/k{n}"), &json!(n));
        tag = api.patch("s", &[("if-match", &base)], &patch).await.tag();
        assert!(tag.len() < 600, "{tag}");
    }
    let listing = api.get("", &[]).await.json();
    assert_eq!(listing["stores"][0]["heads"].as_array().unwrap().len(), 20);
    let (state, read) = api.state("s").await;
    assert_eq!((read, state.as_object().unwrap().len()), (tag.clone(), 21));
    assert_eq!(api.get("/stores/s", &[("if-none-match", &tag)]).await.status, 304);
    let unquoted = tag.trim_matches('"');
    assert_eq!(api.state(&format!("s?at={unquoted}")).await.0, state);
    let strict = [("if-match", tag.as_str()), ("prefer", "handling=strict")];
    let merged = api.patch("s", &strict, &add("/last", &json!(1))).await;
    assert_eq!(merged.seq(), WRITERS + 2);
    api.patch("s", &strict, &add("/more", &json!(1))).await.is_problem(412, "precondition-failed");
    assert_eq!(api.patch("s", &strict[..1], &add("/more", &json!(1))).await.seq(), WRITERS + 3);
    assert_eq!(api.state("s").await.0.as_object().unwrap().len(), 23);
    let altered = [("if-match", "\"h.3.AAAA\"")];
    api.put("s", &altered, &json!({})).await.is_problem(412, "precondition-failed");
}

#[tokio::test]
async fn a_key_makes_a_request_safe_to_repeat_also_after_a_kill() {
    let (mut server, api) = started();
    let append = add("/list/-", &json!("x"));
    api.put("s", &[], &json!({"list": []})).await.seq();
    let key = [("idempotency-key", "\"8e03978e-40d5-43e8-bc93-6894a57f9324\"")];
    let first = api.patch("s", &key, &append).await;
    assert_eq!((first.seq(), &first.json()["changed"]), (2, &json!(true)));
    api.put("s?path=/later", &[], &json!(1)).await.seq();
    let again = api.patch("s", &key, &append).await;
    assert_eq!((again.json(), again.tag()), (first.json(), first.tag()), "what it was then");
    let raw = [("idempotency-key", "8e03978e-40d5-43e8-bc93-6894a57f9324")];
    assert_eq!(api.patch("s", &raw, &append).await.json(), first.json());

    server.kill();
    server.start_again(None);
    let after = api.patch("s", &key, &append).await;
    assert_eq!((after.seq(), &after.json()["changed"]), (2, &json!(true)));
    assert_eq!(api.state("s").await.0, json!({"list": ["x"], "later": 1}));

    // What changed nothing is not done later either.
    let set = json!([{"op": "replace", "path": "/later", "value": 1}]);
    let key = [("idempotency-key", "nothing")];
    let first = api.patch("s", &key, &set).await;
    assert_eq!(first.json(), json!({"seq": 4, "changed": false}));
    api.put("s?path=/later", &[], &json!(2)).await.seq();
    assert_eq!(api.patch("s", &key, &set).await.json(), first.json());
    assert_eq!(api.state("s?path=/later").await.0, json!(2));

    // A refused request is not remembered.
    let key = [("idempotency-key", "refused")];
    let test = json!([{"op": "test", "path": "/later", "value": 3}]);
    api.patch("s", &key, &test).await.is_problem(409, "test-failed");
    let other = [("idempotency-key", "")];
    api.patch("s", &other, &test).await.is_problem(400, "bad-header");
    api.put("s?path=/later", &[], &json!(3)).await.seq();
    assert_eq!(api.patch("s", &key, &test).await.status, 200);
}

/// The same key as the id of a socket's edit: one memory for both.
#[tokio::test]
async fn a_key_and_the_id_of_a_patch_are_one_memory() {
    let (server, api) = started();
    let done = api.patch("s", &[("idempotency-key", "k")], &add("/a", &json!(1))).await;
    assert_eq!(done.seq(), 1);
    let mut socket = Socket::connect(&server.socket("w")).await;
    socket.send(&json!({"type": "hello", "seqs": {"s": 0}, "caps": ["ack"]})).await;
    assert_eq!(socket.json().await["type"], "patch");
    let patch = add("/a", &json!(1));
    socket.send(&json!({"type": "patch", "store": "s", "seq": 0, "id": "k", "patch": patch})).await;
    let ack = socket.json().await;
    assert_eq!((&ack["type"], &ack["seq"]), (&json!("ack"), &json!(1)));
    let patch = add("/b", &json!(2));
    socket.send(&json!({"type": "patch", "store": "s", "seq": 1, "id": "m", "patch": patch})).await;
    assert_eq!(socket.json().await["seq"], 2);
    let again = api.patch("s", &[("idempotency-key", "m")], &add("/b", &json!(3))).await;
    assert_eq!(again.seq(), 2, "the first to use it counts");
    assert_eq!(api.state("s").await.0, json!({"a": 1, "b": 2}));
}

/// Follows the changes of a store from a state on.
async fn followed(api: &Api, store: &str, mut state: Value, limit: usize) -> (Value, Vec<Value>) {
    let (mut since, mut all) = (0, Vec::new());
    loop {
        let path = format!("/stores/{store}/changes?since={since}&limit={limit}");
        let page = api.get(&path, &[]).await;
        assert_eq!(page.status, 200, "{page:?}");
        let page = page.json();
        for change in page["changes"].as_array().unwrap() {
            since += 1;
            assert_eq!(change["seq"], since, "one for each commit, in order");
            apply(&mut state, &change["patch"]);
            all.push(change.clone());
        }
        match page.get("next") {
            Some(next) => assert_eq!(*next, json!(since)),
            None => return (state, all),
        }
    }
}

#[tokio::test]
async fn the_changes_of_a_store_are_told_one_by_one() {
    let (mut server, api) = started();
    for n in 0..30 {
        let value = json!({"id": n, "even": n % 2 == 0});
        let place = if n % 3 == 0 { "/0" } else { "/-" };
        let patch = if n == 0 { add("", &json!([value])) } else { add(place, &value) };
        assert_eq!(api.patch("s", &[], &patch).await.seq(), n + 1);
    }
    let state = api.state("s").await.0;
    let (end, changes) = followed(&api, "s", json!({}), 7).await;
    assert_eq!((&end, changes.len()), (&state, 30));
    assert_eq!(
        (&changes[3]["user"], &changes[3]["dialect"]),
        (&json!("anonymous"), &json!("json"))
    );
    assert!(changes[3]["time"].as_u64().unwrap() > 1_600_000_000_000);

    let none = api.get("/stores/s/changes?since=30", &[]).await.json();
    assert_eq!(none, json!({"changes": [], "seq": 30}));
    api.get("/stores/s/changes?since=31", &[]).await.is_problem(404, "no-such-version");
    for bad in ["", "since=x", "since=0&limit=0", "since=0&limit=1001", "since=-1"] {
        api.get(&format!("/stores/s/changes?{bad}"), &[]).await.is_problem(400, "bad-query");
    }

    // After a restart no old state is at hand: all is read from the document.
    assert!(server.terminate().success());
    server.start_again(None);
    assert_eq!(followed(&api, "s", json!({}), 1_000).await.1.len(), 30);
    assert_eq!(followed(&api, "s", json!({}), 7).await, (state, changes));
}

#[tokio::test]
async fn a_history_that_does_not_reach_back_says_so() {
    let server = Server::with_config("[[store]]\nname = \"t\"\npersistent = false\n");
    let api = Api::of(&server, "w");
    let done = api.put("t", &[], &json!({"a": 1})).await;
    assert_eq!(done.status, 200);
    let seq = done.json()["seq"].as_u64().unwrap();
    if seq > 1 {
        // A store without a log counts on from another number in each life.
        api.get("/stores/t?at=0", &[]).await.is_problem(410, "version-gone");
        api.get("/stores/t/changes?since=0", &[]).await.is_problem(410, "version-gone");
    }
    let since = format!("/stores/t/changes?since={}", seq - 1);
    assert_eq!(api.get(&since, &[]).await.json()["changes"][0]["seq"], seq);
}

#[tokio::test]
async fn a_document_is_exported_as_automerge_reads_it() {
    let (_server, api) = started();
    let empty = api.get("/stores/s/export.automerge", &[]).await;
    assert_eq!(AutoCommit::load(&empty.bytes).unwrap().get_heads(), []);
    let tag = api.put("s", &[], &json!({"title": "x", "n": 5})).await.tag();
    let answer = api.get("/stores/s/export.automerge", &[]).await;
    assert_eq!((answer.status, answer.tag()), (200, tag.clone()));
    assert_eq!(answer.header("content-type"), Some("application/vnd.automerge"));
    let disposition = answer.header("content-disposition").unwrap();
    assert_eq!(disposition, "attachment; filename=\"s.automerge\"");
    let document = AutoCommit::load(&answer.bytes).unwrap();
    let (value, _) = document.get(automerge::ROOT, "n").unwrap().unwrap();
    assert_eq!(value.as_i64(), Some(5));
    let same = api.get("/stores/s/export.automerge", &[("if-none-match", &tag)]).await;
    assert_eq!((same.status, same.bytes.len()), (304, 0));
}

#[tokio::test]
async fn a_large_state_comes_and_goes_whole() {
    let server = Server::with_config("[limits]\nmessage_bytes = 16000000\n");
    let api = Api::of(&server, "w");
    let large = json!({"rows": (0..50_000).map(|n| json!({"id": n, "text": "x".repeat(80)}))
        .collect::<Vec<_>>()});
    assert!(large.to_string().len() > 5_000_000);
    let put = api.put("s", &[], &large).await;
    assert_eq!(put.seq(), 1);
    assert_eq!(api.state("s").await, (large.clone(), put.tag()));
    assert_eq!(api.put("s?path=/rows/49999/text", &[], &json!("y")).await.seq(), 2);
    assert_eq!(api.state("s?at=1").await.0, large);
    let change = api.get("/stores/s/changes?since=1", &[]).await.json();
    let op = json!([{"op": "replace", "path": "/rows/49999/text", "value": "y"}]);
    assert_eq!(change["changes"][0]["patch"], op);
}

async fn exchange(replica: &mut Replica, socket: &mut Socket) {
    if let Some(message) = replica.say("s") {
        socket.send(&message).await;
    }
    while let Some(Heard::Json(heard)) = socket.hear_within(Duration::from_millis(5)).await {
        if heard["type"] == "sync" {
            replica.hear(heard["message"].as_str().unwrap());
        }
    }
}

/// Three kinds of writers at once on one store, and nothing that anyone wrote is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_edits_the_same_store() {
    const EDITS: usize = 25;
    let (server, api) = started();
    api.put("s", &[], &json!({"http": {}, "json": {}, "crdt": {}})).await.seq();
    let over_http = async {
        let mut tag = api.state("s").await.1;
        for n in 0..EDITS {
            let patch = add(&format!("/http/k{n}"), &json!(n));
            // Always on a state that is a little old.
            let done = api.patch("s", &[("if-match", &tag)], &patch).await;
            assert_eq!(done.status, 200, "{done:?}");
            if n % 5 == 0 {
                tag = done.tag();
            }
        }
    };
    let over_json = async {
        let mut socket = Socket::connect(&server.socket("w")).await;
        socket.send(&json!({"type": "hello", "caps": ["ack"]})).await;
        let seq = socket.json().await["seq"].clone();
        for n in 0..EDITS {
            let patch = add(&format!("/json/k{n}"), &json!(n));
            let id = format!("j{n}");
            let edit = json!({"type": "patch", "store": "s", "seq": seq, "id": id, "patch": patch});
            socket.send(&edit).await;
            while socket.json().await["id"] != json!(id) {}
        }
    };
    let over_crdt = async {
        let mut replica = Replica::new();
        let exported = api.get("/stores/s/export.automerge", &[]).await;
        replica.doc = AutoCommit::load(&exported.bytes).unwrap();
        let mut socket = Socket::connect(&server.socket("w")).await;
        socket.send(&replica.hello("s")).await;
        let map = replica.doc.get(automerge::ROOT, "crdt").unwrap().unwrap().1;
        for n in 0..EDITS {
            replica.doc.put(&map, format!("k{n}"), i64::try_from(n).unwrap()).unwrap();
            replica.doc.commit();
            exchange(&mut replica, &mut socket).await;
        }
        let last = format!("s?path=/crdt/k{}", EDITS - 1);
        while api.get(&format!("/stores/{last}"), &[]).await.status == 404 {
            exchange(&mut replica, &mut socket).await;
        }
    };
    tokio::join!(over_http, over_json, over_crdt);
    let state = api.state("s").await.0;
    for who in ["http", "json", "crdt"] {
        for n in 0..EDITS {
            assert_eq!(state[who][format!("k{n}")], json!(n), "{who} {n}: {state}");
        }
    }
    let commits = followed(&api, "s", json!({}), 1_000).await;
    assert_eq!(commits.0, state);
    let by = |dialect: &str| commits.1.iter().filter(|c| c["dialect"] == *dialect).count();
    assert_eq!(by("json"), 2 * EDITS + 1);
    assert!(by("crdt") > 0);
}

fn cors(answer: &Answer) -> Option<&str> {
    answer.header("access-control-allow-origin")
}

#[tokio::test]
async fn pages_of_allowed_origins_may_read_and_others_are_told_nothing() {
    let server = Server::with_config("origins = [\"https://app.example\"]\n");
    let api = Api::of(&server, "w");
    for origin in ["https://app.example", "http://localhost:3000"] {
        let answer = api.get("/stores/s", &[("origin", origin)]).await;
        assert_eq!((answer.status, cors(&answer)), (200, Some(origin)));
        let exposed = answer.header("access-control-expose-headers").unwrap();
        assert!(exposed.contains("etag") && exposed.contains("statehouse-seq"));
        assert_eq!(answer.header("vary"), Some("authorization, origin"));
        let asked = [("origin", origin), ("access-control-request-method", "PATCH")];
        let preflight = api.send(Method::OPTIONS, "/stores/s", &asked, "").await;
        assert_eq!((preflight.status, cors(&preflight)), (204, Some(origin)));
        assert!(preflight.header("access-control-allow-methods").unwrap().contains("PATCH"));
        let headers = preflight.header("access-control-allow-headers").unwrap();
        assert!(headers.contains("if-match") && headers.contains("authorization"));
        // Also of what went wrong.
        let wrong = api.get("/stores/s?at=9", &[("origin", origin)]).await;
        assert_eq!((wrong.status, cors(&wrong)), (404, Some(origin)));
    }
    let evil = [("origin", "https://evil.example"), ("access-control-request-method", "PUT")];
    for method in [Method::GET, Method::OPTIONS] {
        let answer = api.send(method, "/stores/s", &evil, "").await;
        answer.is_problem(403, "bad-origin");
        assert_eq!(cors(&answer), None);
    }
    let plain = api.get("/stores/s", &[]).await;
    assert_eq!(
        (plain.status, cors(&plain), plain.header("vary")),
        (200, None, Some("authorization, origin"))
    );
}
