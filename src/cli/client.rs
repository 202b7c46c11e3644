//! A client of a running server: one socket, one store.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use statehouse::json::{Json, JsonLimits};
use statehouse::protocol::{ClientMessage, Hello, ServerMessage, Whole};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::http::header::{AUTHORIZATION, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::{Failure, Place};

/// Time to connect, and to hear the answer to a hello or an edit.
const ANSWER: Duration = Duration::from_secs(30);
/// Pause before the first attempt to connect again; it doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Runs a client command to its end.
pub(super) fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start: {error}")))?
        .block_on(command)
}

/// What a value from the server may be: whatever the server let in.
pub(super) fn no_limits() -> JsonLimits {
    JsonLimits {
        depth_max: usize::MAX,
        key_bytes_max: usize::MAX,
        document_bytes_max: usize::MAX,
        patch_ops_max: usize::MAX,
        forbid_prototype_keys: false,
    }
}

/// Why nothing more can be heard on this socket.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    /// Connecting again may help.
    #[error("the connection was lost: {0}")]
    Connection(String),
    /// It would not.
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl From<Lost> for Failure {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Connection(_) => Self::Unreachable(lost.to_string()),
            Lost::Failure(failure) => failure,
        }
    }
}

/// The state of a store at a seq.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) seq: u64,
    pub(super) state: Json,
}

/// A socket on which the state of one store is spoken of.
#[derive(Debug)]
pub(super) struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    store: String,
}

impl Client {
    /// Connects, and tells the server nothing yet.
    pub(super) async fn connect(place: &Place) -> Result<Self, Failure> {
        let (workspace, store) = &place.at;
        let url = socket_url(&place.server, workspace.as_str())?;
        let unreachable =
            |error: &str| Failure::Unreachable(format!("cannot reach {}: {error}", place.server));
        // A state may be larger than what a library takes by default: the server is trusted.
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let mut request = url
            .into_client_request()
            .map_err(|error| Failure::Usage(format!("--server {}: {error}", place.server)))?;
        if let Some(token) = &place.token {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose()))
                .map_err(|_error| Failure::Usage("--token: it is not a token".to_owned()))?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let connecting = connect_async_with_config(request, Some(config), true);
        let (socket, _response) = match timeout(ANSWER, connecting).await {
            Err(_elapsed) => return Err(unreachable("no answer")),
            Ok(Err(tungstenite::Error::Http(response))) if is_about_rights(response.status()) => {
                return Err(turned_away(response.status()));
            }
            Ok(Err(tungstenite::Error::Http(response))) => {
                return Err(unreachable(&format!("it answers {}", response.status())));
            }
            Ok(Err(error)) => return Err(unreachable(&error.to_string())),
            Ok(Ok(connected)) => connected,
        };
        Ok(Self { socket, store: store.to_string() })
    }

    /// Says where this client stands; `None`: it holds nothing.
    pub(super) async fn hello(&mut self, seq: Option<u64>) -> Result<(), Lost> {
        let seq = seq.map_or(-1, |seq| i64::try_from(seq).unwrap_or(i64::MAX));
        let caps = ["ack", "ready"].map(str::to_owned).to_vec();
        let hello = Hello {
            seqs: Some(BTreeMap::from([(self.store.clone(), Whole(seq))])),
            stores: Some(vec![self.store.clone()]),
            caps: Some(caps),
            client: Some(concat!("statehouse/", env!("CARGO_PKG_VERSION")).into()),
            ..Hello::default()
        };
        self.say(&ClientMessage::Hello(hello)).await
    }

    pub(super) async fn say(&mut self, message: &ClientMessage<'_>) -> Result<(), Lost> {
        let text = serde_json::to_string(message)
            .map_err(|error| Failure::Failed(format!("cannot write the message: {error}")))?;
        self.socket.send(Message::text(text)).await.map_err(|error| lost(&error))
    }

    /// What the server says next about this store. What it refuses is an error.
    pub(super) async fn hear(&mut self) -> Result<ServerMessage<'static>, Lost> {
        loop {
            let frame = match self.socket.next().await {
                None => return Err(Lost::Connection("the server hung up".to_owned())),
                Some(Err(error)) => return Err(lost(&error)),
                Some(Ok(frame)) => frame,
            };
            match frame {
                Message::Text(text) => {
                    let message: ServerMessage<'static> =
                        serde_json::from_str(&text).map_err(|error| {
                            Failure::Failed(format!("cannot understand the server: {error}"))
                        })?;
                    if let ServerMessage::Error { code, message, .. } = message {
                        let (code, message) = (code.into_owned(), message.into_owned());
                        return Err(Failure::Refused { code, message }.into());
                    }
                    return Ok(message);
                }
                Message::Close(frame) => {
                    let code = frame.as_ref().map(|frame| u16::from(frame.code));
                    // Of the close codes for tokens: who comes again is sent away again.
                    if let (Some(frame), Some(4003 | 4004)) = (&frame, code) {
                        let code = frame.reason.to_string();
                        let message = "the token is not taken any more".to_owned();
                        return Err(Failure::Refused { code, message }.into());
                    }
                    let why = frame.map_or_else(String::new, |frame| frame.to_string());
                    return Err(Lost::Connection(format!("the server closed it ({why})")));
                }
                _ => {}
            }
        }
    }

    /// As [`hear`](Self::hear), for answers that are due.
    pub(super) async fn hear_soon(&mut self) -> Result<ServerMessage<'static>, Lost> {
        timeout(ANSWER, self.hear())
            .await
            .unwrap_or_else(|_elapsed| Err(Lost::Connection("no answer".to_owned())))
    }

    /// The state of the store now.
    pub(super) async fn fetch(&mut self) -> Result<Snapshot, Lost> {
        self.hello(None).await?;
        let mut version = None;
        loop {
            match self.hear_soon().await? {
                ServerMessage::Snapshot { seq, state, .. } => {
                    version = Some(Snapshot { seq, state: state.into_owned() });
                }
                ServerMessage::Ready { .. } => {
                    let none = || Failure::Failed("the server did not send the store".to_owned());
                    return Ok(version.ok_or_else(none)?);
                }
                _ => {}
            }
        }
    }

    /// Says goodbye. What was to be said is said, so nothing hangs on the answer.
    pub(super) async fn close(mut self) {
        drop(timeout(PAUSE, self.socket.close(None)).await);
    }
}

fn is_about_rights(status: StatusCode) -> bool {
    status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN
}

/// The server does not let this client in, however often it asks.
fn turned_away(status: StatusCode) -> Failure {
    let (code, message) = if status == StatusCode::FORBIDDEN {
        ("forbidden", "this may not be done in this workspace")
    } else {
        ("unauthorized", "the server asks who you are: show a valid --token")
    };
    Failure::Refused { code: code.to_owned(), message: message.to_owned() }
}

/// Pauses between attempts to connect, each longer than the one before.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: PAUSE }
    }

    pub(super) async fn pause(&mut self) {
        tokio::time::sleep(self.next).await;
        self.next = self.next.saturating_mul(2).min(PAUSE_MAX);
    }
}

fn lost(error: &tungstenite::Error) -> Lost {
    Lost::Connection(error.to_string())
}

fn socket_url(server: &str, workspace: &str) -> Result<String, Failure> {
    let usage = |message: &str| Failure::Usage(format!("--server {server}: {message}"));
    let (scheme, rest) = server.split_once("://").unwrap_or(("http", server));
    match scheme {
        "http" | "ws" => {}
        "https" | "wss" => return Err(usage("this client does not speak TLS yet")),
        _ => return Err(usage("the address begins with http:// or ws://")),
    }
    Ok(format!("ws://{}/v1/workspaces/{workspace}/socket", rest.trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_becomes_the_url_of_a_socket() {
        let url = |server| socket_url(server, "acme").ok();
        let expected = Some("ws://localhost:4600/v1/workspaces/acme/socket".to_owned());
        for server in ["http://localhost:4600", "ws://localhost:4600/", "localhost:4600"] {
            assert_eq!(url(server), expected, "{server}");
        }
        assert_eq!(url("https://localhost"), None);
        assert_eq!(url("ftp://localhost"), None);
    }
}
