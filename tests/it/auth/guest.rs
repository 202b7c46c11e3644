//! Somebody with a token, and his sockets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::A_WHILE;
use crate::client::{Heard, Socket};
use crate::server::Server;

pub(super) const SECRET: &str = "the secret of the tests over real sockets";

pub(super) const CONFIG: &str = "[auth]\n\
    algorithms = [\"HS256\"]\n\
    secret = \"the secret of the tests over real sockets\"\n\
    issuer = \"tests\"\n";

/// A server that asks for tokens, and logs all that it does.
pub(super) fn start() -> Server {
    Server::with_variables(CONFIG, &[("STATEHOUSE_LOG", "trace")])
}

/// These stores of the workspace of the tests.
pub(super) fn grant(stores: &str, write: bool) -> Value {
    json!([{"workspaces": ["acme"], "stores": [stores], "write": write}])
}

/// A token that counts as long as a test runs.
pub(super) fn token(user: &str, grants: &Value) -> String {
    token_for(user, grants, 3_600)
}

/// A token that counts for so many seconds.
#[expect(clippy::disallowed_methods, reason = "the server's clock is the real one here")]
pub(super) fn token_for(user: &str, grants: &Value, seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let expires = i64::try_from(now).unwrap() + seconds;
    let claims = json!({"sub": user, "iss": "tests", "exp": expires, "statehouse": grants});
    encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// Edits of all lines: an id is never used twice.
static EDITS: AtomicU64 = AtomicU64::new(0);

/// A JSON socket that is told what becomes of its edits.
pub(super) struct Line {
    pub(super) socket: Socket,
    heard: Vec<Value>,
    states: std::collections::BTreeMap<String, (u64, Value)>,
}

impl Line {
    pub(super) async fn open_in(server: &Server, workspace: &str, token: &str) -> Self {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", &*bearer)];
        let opened = Socket::try_connect_with(&server.socket(workspace), &headers).await;
        let (socket, _) = opened.unwrap();
        let states = std::collections::BTreeMap::new();
        Self { socket, heard: Vec::new(), states }
    }

    pub(super) async fn json(server: &Server, token: &str, stores: &[&str]) -> Self {
        Self::json_in(server, "acme", token, stores).await
    }

    /// A line on which these stores are spoken of.
    pub(super) async fn json_in(
        server: &Server,
        workspace: &str,
        token: &str,
        stores: &[&str],
    ) -> Self {
        let mut line = Self::open_in(server, workspace, token).await;
        line.greet(stores).await;
        line
    }

    pub(super) async fn greet(&mut self, stores: &[&str]) {
        let hello = json!({"type": "hello", "stores": stores, "caps": ["ack", "ready"]});
        self.socket.send(&hello).await;
        self.until("ready").await;
    }

    /// Hears until a message of this type has come, and keeps all that came.
    pub(super) async fn until(&mut self, kind: &str) -> Value {
        loop {
            let said = self.socket.json().await;
            self.take(&said);
            if said["type"] == kind {
                return said;
            }
        }
    }

    fn take(&mut self, said: &Value) {
        self.heard.push(said.clone());
        let store = said["store"].as_str().unwrap_or_default().to_owned();
        let seq = said["seq"].as_u64().unwrap_or_default();
        if said["type"] == "snapshot" {
            self.states.insert(store, (seq, said["state"].clone()));
        }
    }

    /// What a store looks like from here, as it is now.
    pub(super) async fn state(&mut self, store: &str) -> Value {
        let seqs = json!({store: -1});
        let hello =
            json!({"type": "hello", "seqs": seqs, "stores": [store], "caps": ["ack", "ready"]});
        self.states.remove(store);
        self.socket.send(&hello).await;
        self.until("ready").await;
        self.states.get(store).map_or(Value::Null, |(_, state)| state.clone())
    }

    /// Puts a value somewhere; gives the answer.
    pub(super) async fn edit(&mut self, store: &str, path: &str, value: Value) -> Value {
        self.patch(store, &json!([{"op": "add", "path": path, "value": value}])).await
    }

    pub(super) async fn patch(&mut self, store: &str, ops: &Value) -> Value {
        let seq = self.states.get(store).map_or(0, |(seq, _)| *seq);
        let id = format!("edit {}", EDITS.fetch_add(1, Ordering::Relaxed));
        let patch = json!({"type": "patch", "store": store, "seq": seq, "id": id, "patch": ops});
        self.socket.send(&patch).await;
        loop {
            let said = self.socket.json().await;
            self.take(&said);
            if said["id"] == id {
                return said;
            }
        }
    }

    /// All that was heard, and what still comes.
    pub(super) async fn all(&mut self) -> Vec<Value> {
        self.socket.settle().await;
        while let Some(Heard::Json(said)) = self.socket.hear_within(A_WHILE).await {
            self.take(&said);
        }
        self.heard.clone()
    }
}
