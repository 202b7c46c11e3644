//! One client's WebSocket, joined.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use crate::Outcome;
use crate::frame::{self, Frame};

const JOIN_PATIENCE: Duration = Duration::from_secs(20);

/// What went through a socket: binary frames, and the bytes in them.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Traffic {
    pub(crate) frames_in: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

/// A socket on which client and server know each other's names.
pub(crate) struct Link {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    me: String,
    server: String,
    pub(crate) traffic: Traffic,
}

/// A plain WebSocket, without a limit on messages.
pub(crate) async fn connect(url: &str) -> Outcome<WebSocketStream<MaybeTlsStream<TcpStream>>> {
    let config = WebSocketConfig::default()
        .read_buffer_size(8 << 10)
        .max_message_size(None)
        .max_frame_size(None);
    let connecting = timeout(JOIN_PATIENCE, connect_async_with_config(url, Some(config), true));
    let connected = connecting.await.map_err(|_elapsed| "no answer to a connect".to_owned())?;
    Ok(connected.map_err(|error| format!("connect: {error}"))?.0)
}

impl Link {
    /// Connects, joins by this name, and waits for the server's.
    pub(crate) async fn open(url: &str, me: &str) -> Outcome<Self> {
        let stream = connect(url).await?;
        let (me, server) = (me.to_owned(), String::new());
        let mut link = Self { stream, me, server, traffic: Traffic::default() };
        let join = frame::join(&link.me);
        link.send_bytes(join).await?;
        let answer = timeout(JOIN_PATIENCE, link.next()).await;
        let answer = answer.map_err(|_elapsed| "no answer to join".to_owned())??;
        if answer.kind != "peer" {
            return Err(format!("join was answered with {} {}", answer.kind, answer.message));
        }
        link.server = answer.sender;
        Ok(link)
    }

    /// Sends a sync message in a frame of this kind.
    pub(crate) async fn send(&mut self, kind: &str, document: &str, data: &[u8]) -> Outcome<()> {
        let bytes = frame::sync(kind, [&self.me, &self.server], document, data);
        self.send_bytes(bytes).await
    }

    async fn send_bytes(&mut self, bytes: Vec<u8>) -> Outcome<()> {
        self.traffic.bytes_out += bytes.len() as u64;
        let sent = self.stream.send(Message::binary(bytes)).await;
        sent.map_err(|error| format!("send: {error}"))
    }

    /// The next frame. May be dropped while it waits; nothing is lost.
    pub(crate) async fn next(&mut self) -> Outcome<Frame> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Binary(bytes))) => {
                    self.traffic.frames_in += 1;
                    self.traffic.bytes_in += bytes.len() as u64;
                    let frame = frame::read(&bytes)?;
                    if frame.kind == "error" {
                        return Err(format!("the server says: {}", frame.message));
                    }
                    return Ok(frame);
                }
                Some(Ok(Message::Close(reason))) => {
                    let code = reason.map(|reason| u16::from(reason.code));
                    return Err(format!("the server closed the socket ({code:?})"));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(format!("receive: {error}")),
                None => return Err("the socket ended".to_owned()),
            }
        }
    }
}
