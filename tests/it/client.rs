//! A WebSocket client that sends and receives text, and a JSON store on top of it.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::contract;

/// How long a message that must come may take; only a failing test waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What comes out of a socket.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Heard {
    /// A text frame that holds JSON.
    Json(Value),
    /// The server closed, with this code; without one, the connection just ended.
    Closed(Option<u16>),
    /// The answer to a ping.
    Pong,
}

/// One WebSocket.
pub(crate) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Heard while waiting for a pong.
    kept: std::collections::VecDeque<Heard>,
    /// Whether what comes is held against the schemas of the messages.
    is_held: bool,
}

impl Socket {
    pub(crate) async fn connect(url: &str) -> Self {
        Self::try_connect(url).await.unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    pub(crate) async fn try_connect(url: &str) -> Result<Self, Error> {
        Self::try_connect_with(url, &[]).await.map(|(socket, _)| socket)
    }

    /// The same with these headers; also gives the answer of the server.
    pub(crate) async fn try_connect_with(
        url: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(Self, Response), Error> {
        let mut request = url.into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        let (stream, response) = connect_async(request).await?;
        Ok((Self { stream, kept: std::collections::VecDeque::new(), is_held: true }, response))
    }

    /// The same, where whatever speaks at the far end is no server of ours.
    pub(crate) fn unheld(self) -> Self {
        Self { is_held: false, ..self }
    }

    /// Sends text as it is. What a dead socket does with it is for `hear` to find out.
    pub(crate) async fn send_text(&mut self, text: &str) -> bool {
        self.stream.send(Message::text(text)).await.is_ok()
    }

    pub(crate) async fn send(&mut self, message: &Value) -> bool {
        self.send_text(&message.to_string()).await
    }

    /// Sends messages in one go, so that they arrive together.
    pub(crate) async fn send_together(&mut self, messages: &[Value]) {
        for message in messages {
            self.stream.feed(Message::text(message.to_string())).await.unwrap();
        }
        self.stream.flush().await.unwrap();
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) -> bool {
        self.stream.send(Message::binary(bytes.to_vec())).await.is_ok()
    }

    /// The next thing that comes.
    pub(crate) async fn hear(&mut self) -> Heard {
        match self.kept.pop_front() {
            Some(heard) => heard,
            None => timeout(PATIENCE, self.read()).await.expect("the server says nothing"),
        }
    }

    /// The next thing that comes, if anything comes so soon.
    pub(crate) async fn hear_within(&mut self, wait: Duration) -> Option<Heard> {
        match self.kept.pop_front() {
            Some(heard) => Some(heard),
            None => timeout(wait, self.read()).await.ok(),
        }
    }

    /// The next JSON message.
    pub(crate) async fn json(&mut self) -> Value {
        match self.hear().await {
            Heard::Json(value) => value,
            other => panic!("a message was due, and {other:?} came"),
        }
    }

    /// Returns when the server has read all that was sent before: it answers a ping only then.
    pub(crate) async fn settle(&mut self) {
        if self.stream.send(Message::Ping(Bytes::new())).await.is_err() {
            return;
        }
        loop {
            match timeout(PATIENCE, self.read()).await.expect("the server answers no ping") {
                Heard::Pong => return,
                heard => {
                    let closed = matches!(heard, Heard::Closed(_));
                    self.kept.push_back(heard);
                    if closed {
                        return;
                    }
                }
            }
        }
    }

    /// Says goodbye and waits for the answer.
    pub(crate) async fn close(mut self) {
        self.settle().await;
        if self.stream.close(None).await.is_ok() {
            while !matches!(self.read().await, Heard::Closed(_)) {}
        }
    }

    async fn read(&mut self) -> Heard {
        loop {
            return match self.stream.next().await {
                Some(Ok(Message::Text(text))) => {
                    let value = serde_json::from_str(&text);
                    let value = value.unwrap_or_else(|error| panic!("{error}: {text}"));
                    if self.is_held {
                        contract::is_heard(&value);
                    }
                    Heard::Json(value)
                }
                Some(Ok(Message::Pong(_))) => Heard::Pong,
                Some(Ok(Message::Ping(_) | Message::Frame(_))) => continue,
                Some(Ok(Message::Binary(_))) => panic!("the server sent a binary frame"),
                Some(Ok(Message::Close(frame))) => {
                    Heard::Closed(frame.map(|frame| frame.code.into()))
                }
                Some(Err(_)) | None => Heard::Closed(None),
            };
        }
    }
}

/// Applies a JSON patch as the server may send one: `add`, `remove` and `replace` only.
///
/// Written here once more, because a client must not share the server's mistakes.
pub(crate) fn apply(state: &mut Value, patch: &Value) {
    for op in patch.as_array().expect("a patch is an array") {
        let (kind, path) = (op["op"].as_str().unwrap(), op["path"].as_str().unwrap());
        let Some((parent, last)) = path.rsplit_once('/') else {
            *state = op["value"].clone();
            continue;
        };
        let last = last.replace("~1", "/").replace("~0", "~");
        let parent = state.pointer_mut(parent).unwrap_or_else(|| panic!("no parent: {op}"));
        match (parent, kind) {
            (Value::Object(members), "remove") => {
                members.remove(&last).unwrap_or_else(|| panic!("nothing to remove: {op}"));
            }
            (Value::Object(members), "add" | "replace") => {
                let old = members.insert(last, op["value"].clone());
                assert!(old.is_some() || kind == "add", "nothing to replace: {op}");
            }
            (Value::Array(items), "remove") => drop(items.remove(last.parse().unwrap())),
            (Value::Array(items), "add") => {
                let at = if last == "-" { items.len() } else { last.parse().unwrap() };
                items.insert(at, op["value"].clone());
            }
            (Value::Array(items), "replace") => {
                items[last.parse::<usize>().unwrap()] = op["value"].clone();
            }
            _ => panic!("not an operation that the server sends: {op}"),
        }
    }
}

/// What a new JSON client sees of a store: its seq and its state.
pub(crate) async fn look(url: &str, store: &str) -> (u64, Value) {
    let mut socket = Socket::connect(url).await;
    socket.send(&json!({"type": "hello", "seqs": {store: -1}, "stores": [store]})).await;
    let snapshot = socket.json().await;
    assert_eq!(snapshot["type"], "snapshot", "{snapshot}");
    assert_eq!(snapshot["store"], store);
    (snapshot["seq"].as_u64().unwrap(), snapshot["state"].clone())
}
