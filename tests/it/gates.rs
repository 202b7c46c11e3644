//! Stores with a schema, over the real server, in every dialect. What JSON clients are told stands
//! in `tests/transcripts/schema.txt`.

use std::time::Duration;

use automerge::transaction::Transactable as _;
use automerge::{ROOT, ReadDoc as _};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::api::{Api, JSON, JSON_PATCH, MERGE_PATCH};
use crate::client::{Heard, PATIENCE, Socket, look};
use crate::crdt::Replica;
use crate::node::{available, play};
use crate::server::Server;
use crate::webhooks::Receiver;

const CONFIG: &str = "
[[store]]
name = \"ruled\"
initial = { n = 1, list = [] }
[store.schema]
required = [\"n\"]
properties.n = { type = \"integer\", minimum = 0 }
properties.list = { items = { required = [\"n\"] } }
";

#[tokio::test]
async fn http_refuses_what_breaks_a_rule_and_says_which() {
    let server = Server::with_config(CONFIG);
    let api = Api::of(&server, "w");
    let path = "/stores/ruled";
    let patch = json!([{"op": "replace", "path": "/n", "value": -1}]).to_string();
    let merge = json!({"n": null}).to_string();
    let put = json!({"n": 1, "list": [{}]}).to_string();
    for (method, kind, body, said) in [
        (Method::PATCH, JSON_PATCH, &patch, "\"/n\" breaks the rule \"/properties/n/minimum\""),
        (Method::PATCH, MERGE_PATCH, &merge, "\"\" breaks the rule \"/required\""),
        (Method::PUT, JSON, &put, "\"/list/0\" breaks the rule"),
    ] {
        let answer = api.send(method, path, &[("content-type", kind)], body.as_str()).await;
        answer.is_problem(422, "schema-violation");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(said), "{detail}");
    }
    assert_eq!(api.state("ruled").await.0, json!({"n": 1, "list": []}));
}

/// Hears until the server has all that the replica has, and the other way round.
async fn settle(socket: &mut Socket, replica: &mut Replica) -> Vec<Value> {
    let mut errors = Vec::new();
    let settled = timeout(PATIENCE, async {
        loop {
            while let Some(said) = replica.say("ruled") {
                socket.send(&said).await;
            }
            let Some(heard) = socket.hear_within(Duration::from_millis(300)).await else {
                return;
            };
            let Heard::Json(heard) = heard else { panic!("{heard:?}") };
            match heard["type"].as_str().unwrap() {
                "sync" => replica.hear(heard["message"].as_str().unwrap()),
                "error" => errors.push(heard),
                _ => {}
            }
        }
    });
    settled.await.unwrap();
    errors
}

#[tokio::test]
async fn an_automerge_change_that_breaks_a_rule_is_put_back_with_a_reason() {
    let receiver = Receiver::start().await;
    let server = Server::with_config(&format!("{}{CONFIG}", receiver.config("")));
    let mut socket = Socket::connect(&server.socket("w")).await;
    let mut replica = Replica::new();
    socket.send(&replica.hello("ruled")).await;
    assert_eq!(settle(&mut socket, &mut replica).await, Vec::<Value>::new());

    replica.doc.put(ROOT, "n", -1).unwrap();
    replica.doc.put(ROOT, "kept", true).unwrap();
    replica.doc.commit();
    let errors = settle(&mut socket, &mut replica).await;
    let [error] = &*errors else { panic!("{errors:?}") };
    assert_eq!((&error["code"], &error["store"]), (&json!("schema-violation"), &json!("ruled")));
    let reason = "\"/n\" breaks the rule \"/properties/n/minimum\"";
    assert!(error["message"].as_str().unwrap().starts_with(reason), "{error}");

    // The client has what the server has, and in its document stands why.
    let (value, _) = replica.doc.get(ROOT, "n").unwrap().unwrap();
    assert_eq!(value.as_i64(), Some(1));
    let (seq, state) = look(&server.socket("w"), "ruled").await;
    assert_eq!((seq, &state), (2, &json!({"n": 1, "list": [], "kept": true})));
    let changes = replica.doc.get_changes(&[]);
    let message = changes.last().unwrap().message().unwrap();
    assert!(message.starts_with(&format!("put back: {reason}")), "{message}");

    // Whoever is told of commits is told of both, in their order.
    assert_eq!(receiver.seqs("ruled", 2).await, [1, 1, 2]);
    let told = receiver.told();
    let of_n: Vec<_> = told.iter().filter(|told| told["path"] == "/ruled/n").collect();
    assert_eq!((&of_n[0]["old"], &of_n[0]["new"]), (&json!(1), &json!(-1)));
    assert_eq!((&of_n[1]["old"], &of_n[1]["new"]), (&json!(-1), &json!(1)));
    assert_eq!((&of_n[1]["user"], &of_n[1]["dialect"]), (&json!("server"), &json!("server")));
    let log = server.log();
    assert!(log.contains("a change was put back"), "{log}");
}

#[tokio::test]
async fn a_session_that_is_mended_again_and_again_is_closed() {
    let server = Server::with_config(CONFIG);
    let mut socket = Socket::connect(&server.socket("w")).await;
    let mut replica = Replica::new();
    socket.send(&replica.hello("ruled")).await;
    settle(&mut socket, &mut replica).await;
    let closed = timeout(PATIENCE, async {
        let mut n = 0;
        loop {
            n += 1;
            replica.doc.put(ROOT, "n", -n).unwrap();
            replica.doc.commit();
            if let Some(said) = replica.say("ruled") {
                socket.send(&said).await;
            }
            match socket.hear().await {
                Heard::Json(heard) if heard["type"] == "sync" => {
                    replica.hear(heard["message"].as_str().unwrap());
                }
                Heard::Closed(code) => return code,
                _ => {}
            }
        }
    });
    assert_eq!(closed.await.unwrap(), Some(1008));
    // The store is as it has to be, and the next one is let in.
    let (_, state) = look(&server.socket("w"), "ruled").await;
    assert!(state["n"].as_i64().unwrap() >= 0, "{state}");
}

#[test]
fn stock_repo_clients_see_put_back_what_they_break() {
    if !available("repo/schema.mjs") {
        return;
    }
    for pair in [["2", "2"], ["1", "2"]] {
        let mut server = Server::with_config(CONFIG);
        let facts = play("repo/schema.mjs", &pair, &mut server);
        let state = json!({
            "n": 1, "list": [{"id": "good", "n": 1}], "sound": "kept", "other": "kept too",
        });
        assert_eq!(facts["state"], state);
        assert_eq!(facts["last"]["n"], 2);
    }
}
