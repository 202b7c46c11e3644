//! Data that has decayed, given to the real server: every store is right, or refused with the
//! reason; never empty, and never something else. Stores that are whole go on.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::client::{Heard, Socket};
use crate::server::{Server, statehouse};

const STORES: [(&str, &str); 4] = [("w", "a"), ("w", "b"), ("w", "c"), ("v", "a")];

/// What SQL makes of the data of a server that has ended.
pub(crate) fn damage(data: &Path, sql: &str) {
    let database = Connection::open(data.join("statehouse.db")).unwrap();
    database.execute_batch(sql).unwrap();
}

/// What a client is told of a store.
#[derive(Debug, PartialEq)]
enum Told {
    State(Value),
    /// It is refused, with this code.
    Refused(String),
    Closed(Option<u16>),
}

async fn ask(server: &Server, workspace: &str, store: &str) -> Told {
    let mut socket = Socket::connect(&server.socket(workspace)).await;
    let caps = ["ack", "ready"];
    let hello = json!({"type": "hello", "seqs": {store: -1}, "stores": [store], "caps": caps});
    socket.send(&hello).await;
    let mut state = None;
    loop {
        match socket.hear().await {
            Heard::Closed(code) => return Told::Closed(code),
            Heard::Pong => panic!("nobody asked"),
            Heard::Json(message) => match message["type"].as_str() {
                Some("snapshot") => state = Some(message["state"].clone()),
                Some("error") => {
                    return Told::Refused(message["code"].as_str().unwrap().to_owned());
                }
                Some("ready") => {
                    if let Some(state) = state {
                        return Told::State(state);
                    }
                    let stores = message["stores"].as_array().unwrap();
                    let refused = stores.iter().all(|store| store["unavailable"] == true);
                    assert!(refused, "{message}");
                    return Told::Refused("unavailable".to_owned());
                }
                _ => panic!("{message}"),
            },
        }
    }
}

/// A server with a few stores that has ended, and what is in them.
async fn furnished() -> (Server, BTreeMap<(&'static str, &'static str), Value>) {
    let mut server = Server::start();
    let mut states = BTreeMap::new();
    for (number, place) in (1_u64..).zip(STORES) {
        let (workspace, store) = place;
        let mut socket = Socket::connect(&server.socket(workspace)).await;
        let hello = json!({
            "type": "hello", "seqs": {store: -1}, "stores": [store], "caps": ["ack"],
        });
        socket.send(&hello).await;
        assert_eq!(socket.json().await["type"], "snapshot");
        for seq in 0..4 {
            let patch = json!([{"op": "add", "path": format!("/k{seq}"), "value": number}]);
            let id = format!("id {seq}");
            let edit =
                json!({"type": "patch", "store": store, "seq": seq, "id": id, "patch": patch});
            socket.send(&edit).await;
            assert_eq!(socket.json().await["type"], "ack");
        }
        states.insert(place, json!({"k0": number, "k1": number, "k2": number, "k3": number}));
    }
    assert!(server.terminate().success());
    (server, states)
}

#[tokio::test]
async fn damage_of_one_store_is_no_harm_to_the_others() {
    let (mut server, states) = furnished().await;
    let file = server.data().join("statehouse.db");
    let whole = std::fs::read(&file).unwrap();
    let of_a = "store = (SELECT id FROM stores WHERE workspace = 'w' AND name = 'a')";
    for sql in [
        format!("UPDATE commits SET changes = zeroblob(9) WHERE seq = 2 AND {of_a}"),
        format!("UPDATE commits SET heads = zeroblob(32) WHERE seq = 4 AND {of_a}"),
        format!("DELETE FROM commits WHERE seq = 4 AND {of_a}"),
        format!("DELETE FROM commits WHERE {of_a}"),
    ] {
        damage(&server.data(), &sql);
        server.start_again(None);
        for (place, state) in &states {
            let told = ask(&server, place.0, place.1).await;
            if *place == ("w", "a") {
                assert_eq!(told, Told::Refused("unavailable".to_owned()), "{sql}");
            } else {
                assert_eq!(told, Told::State(state.clone()), "{sql}: {place:?}");
            }
        }
        assert!(server.terminate().success());
        let examined = statehouse().arg("doctor").arg(server.data()).output().unwrap();
        assert_eq!(examined.status.code(), Some(6), "{sql}");
        std::fs::write(&file, &whole).unwrap();
    }
    // The rows of stores say what a workspace has: where one is not to be trusted, all of the
    // workspace is refused, and the others go on.
    for sql in [
        "UPDATE stores SET newest = 3 WHERE workspace = 'w' AND name = 'a'",
        "DELETE FROM stores WHERE workspace = 'w' AND name = 'a'",
    ] {
        damage(&server.data(), sql);
        server.start_again(None);
        for (place, state) in &states {
            let told = ask(&server, place.0, place.1).await;
            if place.0 == "w" {
                assert_eq!(told, Told::Closed(Some(4000)), "{sql}: {place:?}");
            } else {
                assert_eq!(told, Told::State(state.clone()), "{sql}: {place:?}");
            }
        }
        assert!(server.terminate().success());
        std::fs::write(&file, &whole).unwrap();
    }
}

/// Some bytes of the file, all over it.
#[tokio::test]
async fn no_byte_of_the_file_makes_the_server_lie() {
    let (mut server, states) = furnished().await;
    let file = server.data().join("statehouse.db");
    let whole = std::fs::read(&file).unwrap();
    let says: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    let (mut right, mut refused, mut not_started) = (0, 0, 0);
    for at in says.iter().copied().step_by(says.len() / 60) {
        let mut changed = whole.clone();
        changed[at] = !changed[at];
        std::fs::write(&file, &changed).unwrap();
        if let Err(said) = server.try_start_again(&[]) {
            assert!(said.contains("cannot open") && !said.contains("panicked"), "{at}: {said}");
            assert_eq!(std::fs::read(&file).unwrap(), changed, "byte {at}");
            not_started += 1;
            continue;
        }
        for (place, state) in &states {
            match ask(&server, place.0, place.1).await {
                Told::State(found) => {
                    assert_eq!(found, *state, "byte {at}: {place:?}");
                    right += 1;
                }
                Told::Refused(_) | Told::Closed(_) => refused += 1,
            }
        }
        server.kill();
        for left in ["statehouse.db-wal", "statehouse.db-shm"] {
            drop(std::fs::remove_file(server.data().join(left)));
        }
    }
    assert!(
        right > 20 && refused > 5,
        "{right} right, {refused} refused, {not_started} not started"
    );
}
