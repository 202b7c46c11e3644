//! One client's WebSocket.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::header::{AUTHORIZATION, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, handshake::client::Request};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::{Outcome, words};
use crate::ids::Secret;

/// Time to connect.
const CONNECT: Duration = Duration::from_secs(30);

/// What the kernel keeps for a client that never reads, in bytes.
const DEAF_BYTES: u32 = 4 << 10;

/// What went through a socket: messages, and the bytes in them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// Messages received.
    pub frames_in: u64,
    /// Bytes in them.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
}

/// A connected WebSocket, without a limit on messages.
#[derive(Debug)]
pub struct Socket {
    stream: WebSocketStream<TcpStream>,
    /// What went through it so far.
    pub traffic: Traffic,
}

/// How a client connects.
#[derive(Debug, Clone)]
pub struct Way {
    /// Where to, with `ws:`.
    pub url: String,
    /// What a server is shown that asks who one is.
    pub token: Option<Secret>,
    /// Whether the kernel is to take in as little as it can for a client that does not read.
    pub deaf: bool,
}

impl Way {
    /// To this URL, showing nothing.
    pub fn to(url: String) -> Self {
        Self { url, token: None, deaf: false }
    }

    fn request(&self) -> Outcome<Request> {
        let mut request = self.url.as_str().into_client_request().map_err(words)?;
        if let Some(token) = &self.token {
            let value = HeaderValue::try_from(format!("Bearer {}", token.expose()));
            let mut value = value.map_err(|_error| "the token is none".to_owned())?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        Ok(request)
    }
}

impl Socket {
    /// Connects.
    pub async fn connect(way: &Way) -> Outcome<Self> {
        let connected = timeout(CONNECT, Self::connecting(way)).await;
        connected.map_err(|_elapsed| "no answer to a connect".to_owned())?
    }

    async fn connecting(way: &Way) -> Outcome<Self> {
        let failed = |error: &dyn std::fmt::Display| format!("connect: {error}");
        let request = way.request()?;
        let host = request.uri().host().ok_or("the address has no host")?.to_owned();
        let port = request.uri().port_u16().unwrap_or(80);
        let mut found = lookup_host((host.trim_matches(['[', ']']), port)).await.map_err(words)?;
        let address = found.next().ok_or("the host has no address")?;
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let socket = socket.map_err(|error| failed(&error))?;
        if way.deaf {
            socket.set_recv_buffer_size(DEAF_BYTES).map_err(|error| failed(&error))?;
        }
        let stream = socket.connect(address).await.map_err(|error| failed(&error))?;
        stream.set_nodelay(true).map_err(|error| failed(&error))?;
        let config = WebSocketConfig::default()
            .read_buffer_size(8 << 10)
            .max_message_size(None)
            .max_frame_size(None);
        let shaken = client_async_with_config(request, stream, Some(config)).await;
        let (stream, _response) = shaken.map_err(|error| failed(&error))?;
        Ok(Self { stream, traffic: Traffic::default() })
    }

    /// Sends a message.
    pub async fn say(&mut self, message: Message) -> Outcome<()> {
        self.traffic.bytes_out += message.len() as u64;
        self.stream.send(message).await.map_err(|error| format!("send: {error}"))
    }

    /// The next message with data in it. May be dropped while it waits; nothing is lost.
    pub async fn hear(&mut self) -> Outcome<Message> {
        loop {
            match self.stream.next().await {
                Some(Ok(message @ (Message::Binary(_) | Message::Text(_)))) => {
                    self.traffic.frames_in += 1;
                    self.traffic.bytes_in += message.len() as u64;
                    return Ok(message);
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
