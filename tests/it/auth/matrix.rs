//! Every right, in every dialect: what is seen, what may be changed, and that nothing else was.

use automerge::transaction::Transactable as _;
use automerge::{AutoSerde, ROOT};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use reqwest::Client;
use serde_json::{Value, json};
use statehouse::ids::DocumentId;
use statehouse::protocol::repo::{PROTOCOL, RepoMessage, RepoMetadata};
use tokio::time::timeout;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::guest::{Line, grant, start, token};
use super::{A_WHILE, assert_discreet};
use crate::client::{Heard, PATIENCE, Socket};
use crate::crdt::Replica;
use crate::server::Server;

/// What somebody may do with the store of a case, and what follows from it.
#[derive(Debug, Clone)]
struct Right {
    name: &'static str,
    /// The grants, for a store of this name.
    grants: fn(&str) -> Value,
    /// What a JSON client sees.
    seen: Seen,
    /// Whether an Automerge client sees it.
    followed: bool,
    /// Whether a JSON client may change `/a/v`, and `/b`.
    changes: (bool, bool),
    /// Whether an Automerge client may change anything.
    brings: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Nothing,
    Part,
    Whole,
}

const RIGHTS: [Right; 8] = [
    Right {
        name: "for another store",
        grants: |_| grant("elsewhere", true),
        seen: Seen::Nothing,
        followed: false,
        changes: (false, false),
        brings: false,
    },
    Right {
        name: "reads",
        grants: |store| grant(store, false),
        seen: Seen::Whole,
        followed: true,
        changes: (false, false),
        brings: false,
    },
    Right {
        name: "reads and writes",
        grants: |store| grant(store, true),
        seen: Seen::Whole,
        followed: true,
        changes: (true, true),
        brings: true,
    },
    Right {
        name: "reads a part",
        grants: |store| json!([{"workspaces": ["acme"], "stores": [store], "paths": ["/a"]}]),
        seen: Seen::Part,
        followed: false,
        changes: (false, false),
        brings: false,
    },
    Right {
        name: "reads and writes a part",
        grants: |store| {
            let (workspaces, stores, paths) = (["acme"], [store], ["/a"]);
            json!([{"workspaces": workspaces, "stores": stores, "write": true, "paths": paths}])
        },
        seen: Seen::Part,
        followed: false,
        changes: (true, false),
        brings: false,
    },
    Right {
        name: "reads all and writes a part",
        grants: |store| {
            json!([
                {"workspaces": ["acme"], "stores": [store]},
                {"workspaces": ["*"], "read": false, "write": true, "paths": ["/a"]},
            ])
        },
        seen: Seen::Whole,
        followed: true,
        changes: (true, false),
        brings: false,
    },
    Right {
        name: "may only write",
        grants: |store| {
            let (workspaces, stores) = (["acme"], [store]);
            json!([{"workspaces": workspaces, "stores": stores, "read": false, "write": true}])
        },
        seen: Seen::Nothing,
        followed: false,
        changes: (false, false),
        brings: false,
    },
    Right {
        name: "in another workspace too",
        grants: |_| {
            json!([
                {"workspaces": ["acme"], "stores": []},
                {"workspaces": ["other"], "stores": ["*"], "write": true},
            ])
        },
        seen: Seen::Nothing,
        followed: false,
        changes: (false, false),
        brings: false,
    },
];

const CANARY: &str = "CANARY";

fn initial() -> Value {
    json!({"a": {"v": 0}, "b": CANARY})
}

/// One right in one dialect, with a store of its own, and with somebody who may do everything.
struct Case<'a> {
    server: &'a Server,
    right: &'a Right,
    token: String,
    store: String,
    owner: Line,
}

impl<'a> Case<'a> {
    async fn new(server: &'a Server, right: &'a Right, number: usize) -> Self {
        let store = format!("case{number}");
        let mut owner = Line::json(server, &token("owner", &grant("*", true)), &[&store]).await;
        owner.edit(&store, "", initial()).await;
        let token = token("guest", &(right.grants)(&store));
        Self { server, right, token, store, owner }
    }

    /// What it looks like now, with all done that was said before.
    async fn now(&mut self) -> Value {
        self.owner.edit(&self.store, "/mark", json!(1)).await;
        let mut state = self.owner.state(&self.store).await;
        state.as_object_mut().unwrap().remove("mark");
        state
    }

    fn seen(&self) -> Value {
        match self.right.seen {
            Seen::Nothing => Value::Null,
            Seen::Part => json!({"a": {"v": 0}}),
            Seen::Whole => initial(),
        }
    }

    /// What is left after the guest has tried to set `/a/v` to 1 and `/b` to "guest".
    fn left(changes: (bool, bool)) -> Value {
        let a = i32::from(changes.0);
        let b = if changes.1 { "guest" } else { CANARY };
        json!({"a": {"v": a}, "b": b})
    }

    fn replace(path: &str, value: &Value) -> Value {
        json!([{"op": "replace", "path": path, "value": value}])
    }

    fn refusal(&self) -> &'static str {
        if self.right.seen == Seen::Nothing { "no-store" } else { "forbidden" }
    }
}

async fn with_acks(mut case: Case<'_>) {
    let right = case.right;
    let mut guest = Line::json(case.server, &case.token, &[&case.store]).await;
    assert_eq!(guest.state(&case.store).await, case.seen(), "{right:?}");
    let a = guest.patch(&case.store, &Case::replace("/a/v", &json!(1))).await;
    let expected = if right.changes.0 { Value::Null } else { json!(case.refusal()) };
    assert_eq!(a["code"], expected, "{right:?}");
    let b = guest.patch(&case.store, &json!([{"op": "add", "path": "/b", "value": "guest"}])).await;
    let expected = if right.changes.1 { Value::Null } else { json!(case.refusal()) };
    assert_eq!(b["code"], expected, "{right:?}");
    assert_eq!(case.now().await, Case::left(right.changes), "{right:?}");
    if right.changes == (true, false) {
        let before = case.now().await;
        let add = |path, value| json!({"op": "add", "path": path, "value": value});
        for beyond in [
            json!([{"op": "replace", "path": "", "value": {"a": {"v": 1}, "b": "x"}}]),
            json!([add("", json!({"a": 1})), add("/c", json!(1))]),
            json!([{"op": "move", "from": "/a", "path": "/z"}]),
            json!([{"op": "copy", "from": "/a", "path": "/b"}]),
            json!([add("/a/v", json!(9)), add("/b", json!(9))]),
        ] {
            let answer = guest.patch(&case.store, &beyond).await;
            assert_eq!(answer["code"], "forbidden", "{right:?} {beyond}");
        }
        assert_eq!(case.now().await, before, "{right:?}");
        // Named, and left as it is: a whole state that differs only where it may.
        let mut whole = guest.state(&case.store).await;
        whole["a"] = json!({"v": 2, "more": []});
        let answer = guest.patch(&case.store, &Case::replace("", &whole)).await;
        assert_eq!(answer["type"], "ack", "{right:?}");
        let mut after = before;
        after["a"] = whole["a"].clone();
        assert_eq!(case.now().await, after, "{right:?}");
    }
    let heard = guest.all().await;
    if right.seen != Seen::Whole {
        assert!(heard.iter().all(|said| !said.to_string().contains(CANARY)), "{right:?} {heard:?}");
    }
}

async fn by_count(mut case: Case<'_>) {
    let right = case.right;
    let bearer = format!("Bearer {}", case.token);
    let url = case.server.socket("acme");
    let (mut socket, _) =
        Socket::try_connect_with(&url, &[("authorization", &bearer)]).await.unwrap();
    socket.send(&json!({"type": "hello", "seqs": {}, "stores": [case.store]})).await;
    let mut seq = 1;
    if right.seen != Seen::Nothing {
        let snapshot = socket.json().await;
        assert_eq!(snapshot["state"], case.seen(), "{right:?}");
        seq = snapshot["seq"].as_u64().unwrap();
    }
    for (path, value) in [("/a/v", json!(1)), ("/b", json!("guest"))] {
        let op = json!([{"op": "add", "path": path, "value": value}]);
        socket.send(&json!({"type": "patch", "store": case.store, "seq": seq, "patch": op})).await;
        seq += 1;
    }
    socket.settle().await;
    assert_eq!(case.now().await, Case::left(right.changes), "{right:?}");
    while let Some(Heard::Json(said)) = socket.hear_within(A_WHILE).await {
        let word = said.to_string();
        assert!(right.seen == Seen::Whole || !word.contains(CANARY), "{right:?} {word}");
        assert!(right.seen != Seen::Nothing, "{right:?} {word}");
    }
}

async fn in_crdt(mut case: Case<'_>) {
    let right = case.right;
    let mut guest = Line::open_in(case.server, "acme", &case.token).await;
    let mut replica = Replica::new();
    guest.socket.send(&replica.hello(&case.store)).await;
    let mut refused = Vec::new();
    let store = case.store.clone();
    let mut tell = async |guest: &mut Line, replica: &mut Replica| {
        guest.socket.settle().await;
        while let Some(Heard::Json(said)) = guest.socket.hear_within(A_WHILE).await {
            match said["type"].as_str() {
                Some("sync") => replica.hear(said["message"].as_str().unwrap()),
                Some("error") => refused.push(said["code"].clone()),
                Some("ready") => {}
                _ => panic!("{said}"),
            }
            while let Some(said) = replica.say(&store) {
                guest.socket.send(&said).await;
            }
        }
    };
    tell(&mut guest, &mut replica).await;
    let state =
        |replica: &mut Replica| serde_json::to_value(AutoSerde::from(&replica.doc)).unwrap();
    let seen = if right.followed { initial() } else { json!({}) };
    assert_eq!(state(&mut replica), seen, "{right:?}");
    replica.doc.put(ROOT, "b", "guest").unwrap();
    if let Some(said) = replica.say(&case.store) {
        guest.socket.send(&said).await;
    }
    tell(&mut guest, &mut replica).await;
    assert_eq!(case.now().await, Case::left((false, right.brings)), "{right:?}");
    // What it may read goes on.
    tell(&mut guest, &mut replica).await;
    let goes_on = state(&mut replica)["mark"] == 1;
    assert_eq!(goes_on, right.followed, "{right:?}");
    let expected = if right.seen == Seen::Nothing { "no-store" } else { "forbidden" };
    assert_eq!(refused.is_empty(), right.brings, "{right:?}");
    assert!(refused.iter().all(|code| code == expected), "{right:?} {refused:?}");
}

async fn in_repo(mut case: Case<'_>) {
    let right = case.right;
    let mut request = case.server.automerge("acme").into_client_request().unwrap();
    let bearer = format!("Bearer {}", case.token).parse().unwrap();
    request.headers_mut().insert("authorization", bearer);
    let (mut socket, _) = connect_async(request).await.unwrap();
    let sender = format!("guest of {}", case.store);
    let versions = vec![PROTOCOL.into()];
    let metadata = RepoMetadata::default();
    let join = RepoMessage::Join { sender: (&*sender).into(), metadata, versions };
    socket.send(Message::binary(join.encode())).await.unwrap();
    let document = DocumentId::of(&"acme".parse().unwrap(), &case.store.parse().unwrap());
    let mut replica = Replica::new();
    let bytes = |said: &Value| BASE64_STANDARD.decode(said.as_str().unwrap()).unwrap();
    let first = bytes(&replica.hello("s")["sync"]["s"]);
    let say = |data: Vec<u8>| {
        let (sender, target) = ((&*sender).into(), "server".into());
        Message::binary(RepoMessage::Sync { sender, target, document, data: data.into() }.encode())
    };
    socket.send(say(first)).await.unwrap();
    let (mut refused, mut unavailable) = (Vec::new(), false);
    for round in 0..3 {
        if round == 1 {
            replica.doc.put(ROOT, "b", "guest").unwrap();
            if let Some(said) = replica.say("s") {
                socket.send(say(bytes(&said["message"]))).await.unwrap();
            }
        }
        while let Ok(Some(Ok(frame))) = timeout(A_WHILE, socket.next()).await {
            let Message::Binary(frame) = frame else { continue };
            match RepoMessage::decode(&frame).unwrap() {
                RepoMessage::Sync { data, .. } => replica.hear(&BASE64_STANDARD.encode(&*data)),
                RepoMessage::Error { message, .. } => refused.push(message.to_string()),
                RepoMessage::DocUnavailable { .. } => unavailable = true,
                RepoMessage::Peer { .. } => {}
                other => panic!("{other:?}"),
            }
            while let Some(said) = replica.say("s") {
                socket.send(say(bytes(&said["message"]))).await.unwrap();
            }
        }
        let state = serde_json::to_value(AutoSerde::from(&replica.doc)).unwrap();
        match round {
            0 => {
                let seen = if right.followed { initial() } else { json!({}) };
                assert_eq!(state, seen, "{right:?}");
            }
            1 => assert_eq!(case.now().await, Case::left((false, right.brings)), "{right:?}"),
            _ => assert_eq!(state["mark"] == 1, right.followed, "{right:?}"),
        }
    }
    assert_eq!(unavailable, !right.followed, "{right:?}");
    let forbidden = refused.iter().any(|why| why.starts_with("forbidden"));
    assert_eq!(forbidden, right.followed && !right.brings, "{right:?} {refused:?}");
}

async fn over_http(mut case: Case<'_>) {
    let right = case.right;
    let url = format!("{}/v1/workspaces/acme", case.server.url());
    let get =
        |path: &str| Client::new().get(format!("{url}{path}")).bearer_auth(&case.token).send();
    let listing = timeout(PATIENCE, get("")).await.unwrap().unwrap();
    let listing: Value = serde_json::from_str(&listing.text().await.unwrap()).unwrap();
    let stores = listing["stores"].as_array().unwrap();
    let entry = stores.iter().find(|entry| entry["name"] == case.store);
    let bytes = entry.map(|entry| entry["bytes"].as_u64().unwrap());
    let seen = case.seen();
    let expected = (right.seen != Seen::Nothing).then(|| seen.to_string().len() as u64);
    assert_eq!(bytes, expected, "{right:?}");
    let genesis = get(&format!("/stores/{}/genesis", case.store)).await.unwrap();
    assert_eq!(genesis.status().is_success(), right.followed, "{right:?}");
    assert_eq!(case.now().await, Case::left((false, false)), "{right:?}");
}

#[tokio::test]
async fn every_right_in_every_dialect() {
    let server = start();
    let mut tokens = Vec::new();
    for (number, right) in RIGHTS.iter().enumerate() {
        for dialect in 0..5 {
            let case = Case::new(&server, right, number * 5 + dialect).await;
            tokens.push(case.token.clone());
            match dialect {
                0 => with_acks(case).await,
                1 => by_count(case).await,
                2 => in_crdt(case).await,
                3 => in_repo(case).await,
                _ => over_http(case).await,
            }
        }
    }
    assert_eq!(tokens.len(), RIGHTS.len() * 5, "{:?}", RIGHTS.map(|right| right.name));
    assert_discreet(&server, &tokens);
}
