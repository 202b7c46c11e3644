//! Tokens over real sockets: who comes in, what he may do, and what he never hears.

mod guest;
mod matrix;
mod paths;

use std::time::Duration;

use reqwest::{Client, StatusCode, header};
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Error;

use crate::api::Api;
use crate::client::{Heard, PATIENCE, Socket};
use crate::server::{Server, statehouse};
use guest::{CONFIG, Line, SECRET, grant, start, token, token_for};

/// The status with which a socket is refused.
async fn refused(url: &str, headers: &[(&'static str, &str)]) -> u16 {
    match Socket::try_connect_with(url, headers).await {
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(error) => panic!("{url}: {error}"),
        Ok(_) => panic!("{url} was opened"),
    }
}

async fn ticket(server: &Server, token: &str) -> String {
    let asked = Client::new().post(format!("{}/v1/tickets", server.url())).bearer_auth(token);
    let answer = asked.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()[header::CACHE_CONTROL], "no-store");
    let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    assert_eq!(answer["expires_ms"], 30_000);
    answer["ticket"].as_str().unwrap().to_owned()
}

/// No part of a token or a ticket is in what the server wrote.
fn assert_discreet(server: &Server, secrets: &[String]) {
    let log = server.log();
    assert!(log.contains("session ended"), "it logs everything: {log}");
    for secret in secrets {
        for part in secret.split('.').filter(|part| part.len() > 30) {
            let line = log.lines().find(|line| line.contains(part));
            assert_eq!(line, None, "the log holds a part of a token");
        }
    }
}

#[tokio::test]
async fn there_are_four_ways_in() {
    let server = start();
    let url = server.socket("acme");
    let (good, hello) =
        (token("ann", &grant("*", true)), json!({"type": "hello", "stores": ["s"]}));
    let bearer = format!("Bearer {good}");
    let (mut socket, _) =
        Socket::try_connect_with(&url, &[("authorization", &bearer)]).await.unwrap();
    socket.send(&hello).await;
    assert_eq!(socket.json().await["type"], "snapshot");

    let mut with_token = hello.clone();
    with_token["token"] = json!(good);
    let mut socket = Socket::connect(&url).await;
    socket.send(&with_token).await;
    assert_eq!(socket.json().await["type"], "snapshot");

    let offered = format!("statehouse.v1, bearer.{good}");
    let headers = [("sec-websocket-protocol", &*offered)];
    let (mut socket, answer) = Socket::try_connect_with(&url, &headers).await.unwrap();
    assert_eq!(answer.headers()["sec-websocket-protocol"], "statehouse.v1");
    socket.send(&hello).await;
    assert_eq!(socket.json().await["type"], "snapshot");

    let ticket = ticket(&server, &good).await;
    let with_ticket = format!("{url}?ticket={ticket}");
    let (mut socket, _) = Socket::try_connect_with(&with_ticket, &[]).await.unwrap();
    socket.send(&hello).await;
    assert_eq!(socket.json().await["type"], "snapshot");
    assert_eq!(refused(&with_ticket, &[]).await, 401, "a ticket is burnt");
    let repo = format!("{}?ticket={ticket}", server.automerge("acme"));
    assert_eq!(refused(&repo, &[]).await, 401, "wherever it is shown");
    socket.close().await;
    assert_discreet(&server, &[good, ticket]);
}

#[tokio::test]
async fn others_are_kept_out() {
    let server = start();
    let good = token("ann", &grant("*", true));
    let expired = token_for("ann", &grant("*", true), -60);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", signature.chars().rev().collect::<String>());
    let elsewhere = token("ann", &json!([{"workspaces": ["other"], "write": true}]));
    for url in [server.socket("acme"), server.automerge("acme")] {
        for (token, status) in [
            (&*expired, 401),
            (&*forged, 401),
            ("", 401),
            ("x", 401),
            (&*"x".repeat(9_000), 401),
            (&*elsewhere, 403),
        ] {
            let bearer = format!("Bearer {token}");
            assert_eq!(refused(&url, &[("authorization", &bearer)]).await, status, "{token}");
            let offered = format!("statehouse.v1, bearer.{token}");
            let headers = [("sec-websocket-protocol", &*offered)];
            // An empty name is no subprotocol, so nothing is shown.
            if !token.is_empty() {
                assert_eq!(refused(&url, &headers).await, status, "{token}");
            }
        }
        let basic = [("authorization", "Basic YTpi")];
        assert_eq!(refused(&url, &basic).await, 401);
        let bearer = format!("Bearer {good}");
        let twice = [("authorization", &*bearer), ("authorization", &*bearer)];
        assert_eq!(refused(&url, &twice).await, 401);
        for query in ["ticket=", "ticket=AAAA", "ticket=a&ticket=b"] {
            assert_eq!(refused(&format!("{url}?{query}"), &[]).await, 401, "{query}");
        }
        let both = format!("{url}?ticket=AAAA");
        assert_eq!(refused(&both, &[("authorization", &bearer)]).await, 401);
    }
    // A token in a URL is none, and this dialect has no word for one.
    assert_eq!(refused(&format!("{}?token={good}", server.automerge("acme")), &[]).await, 401);
    for path in ["", "/stores/s/genesis"] {
        let get = Client::new().get(format!("{}/v1/workspaces/acme{path}", server.url()));
        let answer = get.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(answer.headers()[header::WWW_AUTHENTICATE], "Bearer");
        let problem: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(problem["code"], "unauthorized");
    }
    for token in [&*expired, &*forged] {
        let asked = Client::new().post(format!("{}/v1/tickets", server.url())).bearer_auth(token);
        assert_eq!(asked.send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    }
    let alive = Client::new().get(format!("{}/livez", server.url())).send().await.unwrap();
    assert_eq!(alive.status(), StatusCode::OK, "that is for everybody");
}

#[tokio::test]
async fn nothing_is_heard_before_a_good_hello() {
    let server = start();
    let good = token("ann", &grant("*", true));
    let expired = token_for("ann", &grant("*", true), -60);
    let elsewhere = token("ann", &json!([{"workspaces": ["other"]}]));
    let edit = json!([{"op": "add", "path": "/x", "value": 1}]);
    for (first, code) in [
        (json!({"type": "hello"}), 4004),
        (json!({"type": "hello", "token": ""}), 4004),
        (json!({"type": "hello", "token": 7}), 4004),
        (json!({"type": "hello", "token": "a.b.c"}), 4004),
        (json!({"type": "hello", "token": expired}), 4003),
        (json!({"type": "hello", "token": elsewhere}), 4004),
        (json!({"type": "hello", "token": good, "seqs": 7}), 4004),
        (json!({"type": "patch", "store": "s", "seq": 0, "patch": edit, "token": good}), 4004),
        (json!({"type": "presence", "data": 1}), 4004),
        (json!("what"), 4004),
    ] {
        let mut socket = Socket::connect(&server.socket("acme")).await;
        // What comes after goes the same way.
        socket.send_together(&[first.clone(), json!({"type": "hello", "token": good})]).await;
        assert_eq!(socket.hear().await, Heard::Closed(Some(code)), "{first}");
    }
    // Who says nothing is not waited for.
    let mut silent = Socket::connect(&server.socket("acme")).await;
    assert_eq!(silent.hear().await, Heard::Closed(Some(4004)));
    let mut ann = Line::json(&server, &good, &["s"]).await;
    assert_eq!(ann.state("s").await, json!({}), "and nothing was changed");
}

#[tokio::test]
async fn a_socket_ends_with_its_token_unless_it_is_renewed() {
    let server = start();
    // The leeway is 5 s: these two expire in about 2.
    let brief = || token_for("ann", &grant("*", true), -3);
    let mut ends = Line::json(&server, &brief(), &["s"]).await;
    let mut stays = Line::json(&server, &brief(), &["s"]).await;
    let mut other = Line::json(&server, &brief(), &["s"]).await;
    let hello = |token: &str| {
        let caps = ["ack", "ready"];
        json!({"type": "hello", "stores": ["s"], "caps": caps, "token": token})
    };
    stays.socket.send(&hello(&token("ann", &grant("*", true)))).await;
    stays.until("ready").await;
    // Another user's token is none, and a wrong one is none either.
    other.socket.send(&hello(&token("bob", &grant("*", true)))).await;
    assert_eq!(other.socket.hear().await, Heard::Closed(Some(4004)));
    assert_eq!(ends.socket.hear().await, Heard::Closed(Some(4003)));
    assert_eq!(stays.edit("s", "/x", json!(1)).await["type"], "ack");
    // Less is given: from now on it reads, and what it may not see is not there.
    stays.socket.send(&hello(&token("ann", &grant("s", false)))).await;
    stays.until("ready").await;
    assert_eq!(stays.edit("s", "/x", json!(2)).await["code"], "forbidden");
    stays.socket.send(&hello(&token("ann", &grant("t", true)))).await;
    stays.until("ready").await;
    assert_eq!(stays.edit("s", "/x", json!(3)).await["code"], "no-store");
    // Nobody is let out by a token that is not good.
    stays.socket.send(&hello("a.b.c")).await;
    assert_eq!(stays.socket.hear().await, Heard::Closed(Some(4004)));
}

#[tokio::test]
async fn who_is_revoked_is_sent_away() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("revoked");
    std::fs::write(&list, "").unwrap();
    let config = format!("{CONFIG}revoked_file = {:?}\n", list.to_str().unwrap());
    let server = Server::with_config(&config);
    let (ann, bob) = (token("ann", &grant("*", true)), token("bob", &grant("*", true)));
    let mut ann_here = Line::json(&server, &ann, &["s"]).await;
    let mut bob_here = Line::json(&server, &bob, &["s"]).await;
    std::fs::write(&list, "# away\nsub: ann\n").unwrap();
    assert_eq!(ann_here.socket.hear().await, Heard::Closed(Some(4004)));
    assert_eq!(bob_here.edit("s", "/x", json!(1)).await["type"], "ack");
    let bearer = format!("Bearer {ann}");
    assert_eq!(refused(&server.socket("acme"), &[("authorization", &bearer)]).await, 401);
}

/// Asks the server to shut somebody out, and says with which code the command ended.
/// Holds that an answer is a problem with this status and code.
async fn problem(answer: reqwest::Response, status: u16, code: &str) {
    assert_eq!(answer.status(), status, "{code}");
    assert_eq!(answer.headers()["content-type"], "application/problem+json", "{code}");
    let told: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!((&told["status"], &told["code"]), (&json!(status), &json!(code)), "{told}");
}

fn revoke(admin: &str, arguments: &[&str]) -> (Option<i32>, Value) {
    let mut command = statehouse();
    // What is for those who run the server goes past nobody.
    command.env("http_proxy", "http://127.0.0.1:9");
    let output = command.args(["token", "revoke", "--admin", admin]).args(arguments).output();
    let output = output.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), serde_json::from_str(&said).unwrap_or_default())
}

#[tokio::test]
async fn a_call_revokes_at_once_and_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("revoked");
    std::fs::write(&list, "sub:eve").unwrap();
    let config = format!("{CONFIG}revoked_file = {:?}\n", list.to_str().unwrap());
    let config = format!("{config}[admin]\nlisten = \"127.0.0.1:0\"\n");
    let mut server = Server::with_config(&config);
    let admin = crate::metrics::admin(&server);
    let (ann, bob) = (token("ann", &grant("*", true)), token("bob", &grant("*", true)));
    let mut ann_here = Line::json(&server, &ann, &["s"]).await;
    let mut bob_here = Line::json(&server, &bob, &["s"]).await;
    let bearer = format!("Bearer {ann}");
    let events = format!("{}/v1/workspaces/acme/events?stores=s", server.url());
    let stream = Client::new().get(events).header("authorization", &bearer);
    let mut stream = stream.send().await.unwrap();

    // The tokens of the tests do not say when they were made, so they count as old.
    let done = json!({"revoked": true, "durable": true});
    assert_eq!(revoke(&admin, &["--sub", "ann", "--up-to", "now"]), (Some(0), done.clone()));
    assert_eq!(ann_here.socket.hear().await, Heard::Closed(Some(4004)));
    let mut told = Vec::new();
    while let Some(piece) = stream.chunk().await.unwrap() {
        told.extend_from_slice(&piece);
    }
    let told = String::from_utf8(told).unwrap();
    assert!(told.contains(r#""code":4004,"reason":"revoked""#), "{told}");
    assert_eq!(bob_here.edit("s", "/x", json!(1)).await["type"], "ack");
    assert_eq!(revoke(&admin, &["--jti", "some-token"]), (Some(0), done));
    let written = std::fs::read_to_string(&list).unwrap();
    let lines: Vec<&str> = written.lines().collect();
    assert!(matches!(*lines, ["sub:eve", made, "jti:some-token"] if made.ends_with(":ann")));

    // What cannot be meant changes nothing.
    let post = |body: Value, kind: &str| {
        let request = Client::new().post(format!("{admin}/revoke"));
        request.header("content-type", kind).body(body.to_string()).send()
    };
    let json_type = "application/json";
    for body in [json!({}), json!({"sub": "a", "jti": "b"}), json!({"sub": "a\nsub:bob"})] {
        assert_eq!(post(body, json_type).await.unwrap().status(), 400);
    }
    assert_eq!(post(json!({"sub": "bob"}), "text/plain").await.unwrap().status(), 415);
    let long = json!({"sub": "a".repeat(20_000)});
    problem(post(long, json_type).await.unwrap(), 413, "too-large").await;
    let get = |path: &str| Client::new().get(format!("{admin}{path}")).send();
    for (path, status, code) in [
        ("/revoke", 405, "method-not-allowed"),
        ("/nothing", 404, "no-such-resource"),
        ("/webhooks/given-up?after=x", 400, "bad-query"),
        ("/webhooks/given-up?before=1", 400, "bad-query"),
    ] {
        problem(get(path).await.unwrap(), status, code).await;
    }
    for (id, status, code) in [("x", 400, "bad-name"), ("1", 404, "no-such-call")] {
        let url = format!("{admin}/webhooks/given-up/{id}/retry");
        problem(Client::new().post(url).send().await.unwrap(), status, code).await;
    }
    let livez = Client::new().post(format!("{}/livez", server.url())).send().await.unwrap();
    problem(livez, 405, "method-not-allowed").await;
    let elsewhere = format!("{}/revoke", server.url());
    let elsewhere = Client::new().post(elsewhere).body("{}").send().await.unwrap();
    assert_eq!(elsewhere.status(), 404, "not where clients are");
    assert_eq!(std::fs::read_to_string(&list).unwrap(), written);

    server.kill();
    server.start_again(None);
    assert_eq!(refused(&server.socket("acme"), &[("authorization", &bearer)]).await, 401);
    let mut bob_again = Line::json(&server, &bob, &["s"]).await;
    assert_eq!(bob_again.edit("s", "/x", json!(2)).await["type"], "ack");
}

#[tokio::test]
async fn without_a_file_a_revocation_says_that_it_ends_with_the_server() {
    let server = Server::with_config(&format!("{CONFIG}[admin]\nlisten = \"127.0.0.1:0\"\n"));
    let admin = crate::metrics::admin(&server);
    let ann = token("ann", &grant("*", true));
    let mut ann_here = Line::json(&server, &ann, &["s"]).await;
    let done = json!({"revoked": true, "durable": false});
    assert_eq!(revoke(&admin, &["--sub", "ann"]), (Some(0), done));
    assert_eq!(ann_here.socket.hear().await, Heard::Closed(Some(4004)));

    let open = Server::with_config("[admin]\nlisten = \"127.0.0.1:0\"\n");
    assert_eq!(revoke(&crate::metrics::admin(&open), &["--sub", "ann"]).0, Some(5));
}

/// What one tenant's stores hold is nowhere in what anybody of another hears.
#[tokio::test]
async fn nobody_hears_of_another_tenant() {
    let server = start();
    let of = |workspace: &str, stores: &str| {
        let (workspaces, stores) = ([workspace], [stores]);
        json!([{"workspaces": workspaces, "stores": stores, "write": true}])
    };
    let (canary, secret) = ("CANARY", "secret-store");
    let mut owner =
        Line::json_in(&server, "acme", &token("ann", &of("acme", "secret*")), &[secret]).await;
    let mut lines = Vec::new();
    for (workspace, rights) in [("other", of("other", "*")), ("acme", of("acme", "open*"))] {
        let eve = token("eve", &rights);
        let all = json!({"type": "hello", "caps": ["ack", "ready", "presence", "cursor"]});
        let mut json = Line::open_in(&server, workspace, &eve).await;
        json.socket.send(&all).await;
        json.until("ready").await;
        let mut crdt = Line::json_in(&server, workspace, &eve, &["open"]).await;
        for name in [secret, "secret-2"] {
            let patch = json!([{"op": "add", "path": "/x", "value": 1}]);
            for seq in [0, 1] {
                let edit = json!({"type": "patch", "store": name, "seq": seq, "patch": patch});
                if workspace == "acme" {
                    crdt.socket.send(&edit).await;
                }
            }
        }
        lines.extend([json, crdt]);
    }
    for n in 0..3 {
        let said = owner.edit(secret, "/x", json!(format!("{canary} {n}"))).await;
        assert_eq!(said["type"], "ack", "{said}");
    }
    owner.socket.send(&json!({"type": "presence", "data": canary})).await;
    owner.edit(secret, "/y", json!(canary)).await;
    for line in &mut lines {
        let heard = line.all().await;
        assert!(!heard.iter().any(|said| said.to_string().contains(canary)), "{heard:?}");
        let named = |said: &&Value| said.to_string().contains(secret) && said["code"] != "no-store";
        assert_eq!(heard.iter().find(named), None);
    }
    for (workspace, rights, mine) in
        [("other", of("other", "*"), false), ("acme", of("acme", "*"), true)]
    {
        let get = Client::new().get(format!("{}/v1/workspaces/{workspace}", server.url()));
        let answer = get.bearer_auth(token("eve", &rights)).send().await.unwrap();
        assert_eq!(answer.text().await.unwrap().contains(secret), mine);
    }
    let get = Client::new().get(format!("{}/v1/workspaces/acme", server.url()));
    let answer = get.bearer_auth(token("eve", &of("acme", "open*"))).send().await.unwrap();
    let listing: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let names: Vec<_> = listing["stores"].as_array().unwrap().iter().collect();
    assert!(names.iter().all(|store| store["name"] == "open"), "{listing}");
}

/// Over HTTP a part is a part: no tag of the whole says anything of it, and none leads to the rest.
#[tokio::test]
async fn a_part_of_a_store_is_not_the_whole_over_http() {
    let server = start();
    let api = Api::of(&server, "acme");
    let mut part = grant("s", true);
    part[0]["paths"] = json!(["/a"]);
    let bearer = |token: &str| format!("Bearer {token}");
    let (ann, eve) = (bearer(&token("ann", &grant("*", true))), bearer(&token("eve", &part)));
    let (ann, eve) = (("authorization", &*ann), ("authorization", &*eve));
    let done = api.put("s", &[ann], &json!({"a": 1, "b": "CANARY"})).await;
    assert_eq!(done.status, 200);
    let tag = done.tag();
    assert_eq!(api.get("/stores/s", &[ann, ("if-none-match", &tag)]).await.status, 304);
    for more in [vec![eve], vec![eve, ("if-none-match", &tag)]] {
        let seen = api.get("/stores/s", &more).await;
        assert_eq!((seen.status, seen.json(), seen.header("etag")), (200, json!({"a": 1}), None));
    }
    let matching = [eve, ("if-match", &*tag)];
    let edit = json!([{"op": "replace", "path": "", "value": {"a": 2}}]);
    api.patch("s", &matching, &edit).await.is_problem(412, "precondition-failed");
    let done = api.patch("s", &[eve], &edit).await;
    assert_eq!((done.status, done.header("etag")), (200, None));
    let whole = api.get("/stores/s", &[ann]).await.json();
    assert_eq!(whole, json!({"a": 2, "b": "CANARY"}), "what he does not see, he does not take out");
    let changes = api.get("/stores/s/changes?since=0", &[eve]).await;
    assert!(!String::from_utf8(changes.bytes).unwrap().contains("CANARY"));
    api.get("/stores/s/export.automerge", &[eve]).await.is_problem(403, "forbidden");
    api.get("/stores/s/changes?since=0", &[]).await.is_problem(401, "unauthorized");
}

#[tokio::test]
async fn an_event_stream_ends_with_its_token() {
    let server = start();
    let part = json!([{"workspaces": ["acme"], "stores": ["s"], "paths": ["/a"]}]);
    let api = Api::of(&server, "acme");
    let owner = format!("Bearer {}", token("ann", &grant("*", true)));
    let state = json!({"a": "seen", "b": "CANARY"});
    assert_eq!(api.put("s", &[("authorization", &owner)], &state).await.status, 200);
    // What counts beyond its end is the leeway of the server's clock.
    let short = token_for("eve", &part, -3);
    let get = Client::new().get(api.url("/events?stores=s")).bearer_auth(short);
    let mut stream = get.send().await.unwrap();
    assert_eq!(stream.status(), StatusCode::OK);
    let mut heard = String::new();
    let all = async {
        while let Ok(Some(piece)) = stream.chunk().await {
            heard.push_str(std::str::from_utf8(&piece).unwrap());
        }
    };
    timeout(PATIENCE, all).await.expect("the stream ends");
    assert!(heard.contains("seen") && !heard.contains("CANARY"), "{heard}");
    assert!(heard.contains(r#""code":4003"#), "{heard}");
}

/// With tokens the network need not be trusted; without, it must be.
#[test]
fn a_server_with_tokens_may_be_reached() {
    let server = Server::with_config(&format!("listen = \"0.0.0.0:0\"\n{CONFIG}"));
    drop(server);
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("statehouse.toml");
    let serve = |text: &str| {
        std::fs::write(&config, text).unwrap();
        let mut command = statehouse();
        command.args(["serve", "--listen", "0.0.0.0:0", "--config"]).arg(&config);
        command.arg("--data").arg(folder.path().join("data"));
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = serve("");
    assert_eq!(code, Some(2));
    assert!(said.contains("[auth]"), "{said}");
    let (code, said) = serve("[auth]\nalgorithms = [\"HS256\"]\nsecret = \"short-but-secret\"\n");
    assert_eq!(code, Some(2));
    assert!(said.contains("at least 32 bytes") && !said.contains("short-but-secret"), "{said}");
}

/// What the command line makes, the server takes, and the command line shows it.
#[test]
fn the_command_line_makes_tokens_and_shows_them() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
    let keys = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
    let (private, public) = (keys.join("ed25519.pem"), keys.join("ed25519.pub.pem"));
    let by_key = format!("[auth]\nalgorithms = [\"EdDSA\"]\nkey_file = {public:?}\n");
    for (config, key, file) in
        [(CONFIG, "--secret-file", &secret), (&*by_key, "--key-file", &private)]
    {
        let server = Server::with_config(config);
        let run = |token: Option<&str>, args: &[&str]| {
            let mut command = statehouse();
            command.args(args).env("STATEHOUSE_SERVER", server.url());
            if let Some(token) = token {
                command.env("STATEHOUSE_TOKEN", token);
            }
            let output = command.output().unwrap();
            let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            (output.status.code(), said.trim().to_owned())
        };
        let new = |more: &[&str]| {
            let file = file.to_str().unwrap();
            let args = ["token", "new", key, file, "--sub", "ann", "--issuer", "tests"];
            let (code, token) = run(None, &[&args, more].concat());
            assert_eq!(code, Some(0), "{token}");
            token
        };
        let writes = new(&["--workspace", "acme", "--store", "notes*"]);
        let reads = new(&["--workspace", "acme", "--read-only", "--path", "/a"]);
        let (set, get) =
            (["set", "acme/notes", r#"{"a":1,"b":2}"#], ["get", "acme/notes", "--raw"]);
        assert_eq!(run(None, &set).0, Some(5));
        assert_eq!(run(Some("a.b.c"), &set).0, Some(5));
        assert_eq!(run(Some(&reads), &set).0, Some(5));
        assert_eq!(run(Some(&writes), &set).0, Some(0));
        assert_eq!(run(Some(&writes), &get), (Some(0), r#"{"a":1,"b":2}"#.to_owned()));
        assert_eq!(run(Some(&reads), &get), (Some(0), r#"{"a":1}"#.to_owned()));
        assert_eq!(run(Some(&writes), &["get", "other/notes"]).0, Some(5));
        assert_eq!(run(Some(&writes), &["get", "acme/board"]).0, Some(5));
        let (code, said) = run(Some(&reads), &["token", "inspect"]);
        let said: Value = serde_json::from_str(&said).unwrap();
        let grant = json!([
            {"workspaces": ["acme"], "stores": ["*"], "read": true, "write": false, "paths": ["/a"]}
        ]);
        assert_eq!((code, &said["claims"]["statehouse"]), (Some(0), &grant));
        let help = run(Some(&reads), &["get", "--help"]).1;
        assert!(help.contains("STATEHOUSE_TOKEN") && !help.contains(&reads), "{help}");
    }
}

/// How long a line is listened to for what should not come.
const A_WHILE: Duration = Duration::from_millis(300);
