//! The life of a client: it connects, speaks, is cut off or goes, and comes again.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_tungstenite::{WebSocketStream, client_async};
use turmoil::net::TcpStream;

use crate::chance::Chance;
use crate::witness::{STORE, Stage, Standing, WORKSPACE, Witness};

/// Where the server is.
pub(crate) const SERVER: &str = "server";
pub(crate) const PORT: u16 = 4600;
/// Close code of a server that stops.
const RESTART: u16 = 1012;
/// How long a client waits for a connection, and for what it writes to be taken.
pub(crate) const CONNECT: Duration = Duration::from_secs(2);
/// How long a client takes silence for a dead line.
pub(crate) const DEAD: Duration = Duration::from_secs(5);
/// Edits that are made at once by who waits for no answer.
const BURST: u32 = 40;
/// Silence after which a client asks for a sign of life.
const ASK: Duration = Duration::from_secs(1);

/// What a client says and makes of what it hears.
pub(crate) trait Speaker {
    /// The last part of the address of its sockets.
    fn path(&self) -> &'static str;
    /// What a new socket begins with.
    fn hello(&mut self) -> Vec<Value>;
    /// An edit, if it can make one now.
    fn edit(&mut self) -> Option<Value>;
    /// Takes a message; what it has to say to that.
    fn hear(&mut self, message: &Value) -> Option<Value>;
    /// How it stands.
    fn standing(&mut self) -> Standing;
}

type Socket = WebSocketStream<TcpStream>;

/// How a socket ended.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    /// The server closed it, or it broke.
    Closed(Option<u16>),
    /// Nothing was heard for too long.
    Dead,
    /// The client let go of it.
    Left,
}

/// One client.
pub(crate) struct Client<S> {
    pub(crate) name: String,
    pub(crate) chance: Chance,
    pub(crate) witness: Witness,
    pub(crate) speaker: S,
}

impl<S: Speaker> Client<S> {
    /// Lives until it hears that the server stops for good.
    pub(crate) async fn live(mut self) {
        loop {
            if let Some(mut socket) = connect(self.speaker.path()).await {
                self.witness.note(&self.name, "connected");
                let end = self.converse(&mut socket).await;
                self.witness.note(&self.name, &format!("{end:?}"));
                if self.witness.stage() == Stage::Stopping {
                    assert_eq!(end, End::Closed(Some(RESTART)), "{}", self.name);
                    return self.witness.told_of_stop(&self.name);
                }
                if self.chance.one_in(2) {
                    // Some say goodbye, if they can.
                    drop(timeout(CONNECT, socket.close(None)).await);
                }
            }
            sleep(self.chance.millis(20, 600)).await;
        }
    }

    async fn say(&self, socket: &mut Socket, message: Value) -> Result<(), End> {
        let text = message.to_string();
        self.witness.note(&self.name, &format!("> {text:.400}"));
        match timeout(CONNECT, socket.send(Message::text(text))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Closed(None)),
            Err(_) => Err(End::Dead),
        }
    }

    async fn converse(&mut self, socket: &mut Socket) -> End {
        let ended = async {
            for message in self.speaker.hello() {
                self.say(socket, message).await?;
            }
            let (mut heard_at, mut asked_at) = (Instant::now(), Instant::now());
            loop {
                let wait = self.chance.millis(20, 400);
                match timeout(wait, socket.next()).await {
                    Ok(message) => {
                        heard_at = Instant::now();
                        self.take(socket, message.and_then(Result::ok)).await?;
                    }
                    Err(_) if self.witness.stage() == Stage::Busy => self.act(socket).await?,
                    Err(_) => {}
                }
                let standing = self.speaker.standing();
                self.witness.stands(&self.name, standing);
                if heard_at.elapsed() > DEAD {
                    return Err(End::Dead);
                }
                if heard_at.elapsed() > ASK && asked_at.elapsed() > ASK {
                    asked_at = Instant::now();
                    let ping = socket.send(Message::Ping(Bytes::new()));
                    if timeout(CONNECT, ping).await.is_err() {
                        return Err(End::Dead);
                    }
                }
            }
        };
        let ended: Result<std::convert::Infallible, End> = ended.await;
        let Err(end) = ended;
        end
    }

    async fn take(&mut self, socket: &mut Socket, message: Option<Message>) -> Result<(), End> {
        match message {
            Some(Message::Text(text)) => {
                self.witness.note(&self.name, &format!("< {text:.400}"));
                let answer = self.speaker.hear(&serde_json::from_str(&text).unwrap());
                match answer {
                    Some(answer) => self.say(socket, answer).await,
                    None => Ok(()),
                }
            }
            Some(Message::Close(frame)) => Err(End::Closed(frame.map(|frame| frame.code.into()))),
            Some(Message::Binary(_)) => panic!("{}: a binary frame", self.name),
            Some(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Ok(()),
            None => Err(End::Closed(None)),
        }
    }

    /// Edits, goes, or sleeps over what it is told. An edit is not always possible.
    async fn act(&mut self, socket: &mut Socket) -> Result<(), End> {
        match self.chance.below(60) {
            0 => Err(End::Left),
            1 => {
                sleep(self.chance.millis(500, 9_000)).await;
                Ok(())
            }
            // More than a slow reader has room for.
            2 => {
                for _ in 0..BURST {
                    let Some(edit) = self.speaker.edit() else { break };
                    self.say(socket, edit).await?;
                }
                Ok(())
            }
            3..=20 => match self.speaker.edit() {
                Some(edit) => self.say(socket, edit).await,
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

/// A WebSocket, if there is one to be had soon.
pub(crate) async fn connect(path: &str) -> Option<Socket> {
    let url = format!("ws://{SERVER}:{PORT}/v1/workspaces/{WORKSPACE}/{path}");
    let connecting = async {
        let stream = TcpStream::connect((SERVER, PORT)).await.ok()?;
        client_async(url, stream).await.ok()
    };
    timeout(CONNECT, connecting).await.ok()?.map(|(socket, _)| socket)
}

/// What a newcomer is told of the store: its seq and its state.
pub(crate) async fn look() -> (u64, Value) {
    let mut socket = connect("socket").await.expect("the server is there");
    let hello = serde_json::json!({"type": "hello", "seqs": {STORE: -1}, "stores": [STORE]});
    socket.send(Message::text(hello.to_string())).await.unwrap();
    let text = timeout(DEAD, socket.next()).await.unwrap().unwrap().unwrap();
    let snapshot: Value = serde_json::from_str(text.to_text().unwrap()).unwrap();
    assert_eq!(snapshot["type"], "snapshot", "{snapshot}");
    (snapshot["seq"].as_u64().unwrap(), snapshot["state"].clone())
}
