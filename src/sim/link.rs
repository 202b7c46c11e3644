//! A simulated socket: messages both ways, in order, each with a latency of its own.
//!
//! It takes the place of the WebSocket and of everything below it: the server's side is the stream
//! and the sink that a session is served over, and holds as many bytes as a kernel would.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::{sink, stream};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::chance::Chance;
use crate::server::socket::{FrameSink, FrameStream};
use crate::server::wire::FarSide;

/// Bytes on their way to a client before the server must wait.
const KERNEL_BYTES: usize = 4 << 10;

/// Both ends of a socket.
#[derive(Debug, Clone)]
pub(super) struct Link {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Something for the server arrived, or never will.
    up: Notify,
    /// Something for the client arrived, or never will.
    down: Notify,
    /// The client took something.
    taken: Notify,
}

#[derive(Debug)]
struct State {
    chance: Chance,
    latency_ms_max: u64,
    up: Lane,
    down: Lane,
    /// The fragments of a message so far.
    fragments: Option<(Data, Vec<u8>)>,
    /// Bytes that the kernel took for the client.
    written_bytes: u64,
    ends: Ends,
    /// Whether a session of the server is on it.
    is_served: bool,
}

#[derive(Debug)]
struct Lane {
    messages: VecDeque<(Instant, Message)>,
    bytes: usize,
    /// When the newest of them arrives: none overtakes another.
    newest: Instant,
}

/// Who is at the ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    Both,
    /// The client is gone and the server has not heard of it.
    ClientGone,
    /// The server has said all it had to say.
    ServerDone,
    /// Neither hears the other any more.
    Cut,
}

impl Link {
    pub(super) fn new(chance: Chance, latency_ms_max: u64) -> Self {
        let lane = || Lane { messages: VecDeque::new(), bytes: 0, newest: Instant::now() };
        let state = State {
            chance,
            latency_ms_max,
            up: lane(),
            down: lane(),
            fragments: None,
            written_bytes: 0,
            ends: Ends::Both,
            is_served: true,
        };
        let (up, down, taken) = (Notify::new(), Notify::new(), Notify::new());
        Self { shared: Arc::new(Shared { state: Mutex::new(state), up, down, taken }) }
    }

    /// Breaks it at both ends; what was on its way is lost.
    pub(super) fn cut(&self) {
        self.end(Ends::Cut);
    }

    /// The client is done with it, unless it is gone already.
    pub(super) fn leave(&self) {
        if !matches!(self.lock().ends, Ends::ClientGone) {
            self.cut();
        }
    }

    /// The client is gone, and nobody tells the server.
    pub(super) fn forsake(&self) {
        self.end(Ends::ClientGone);
    }

    /// The server is done with it: what it has said still arrives.
    pub(super) fn end_of_server(&self) {
        self.lock().is_served = false;
        self.end(Ends::ServerDone);
    }

    /// Whether the server still waits for a client that is gone.
    pub(super) fn is_haunted(&self) -> bool {
        let state = self.lock();
        state.is_served && matches!(state.ends, Ends::ClientGone)
    }

    /// From now on it is as quick as this.
    pub(super) fn hurry(&self, latency_ms_max: u64) {
        self.lock().latency_ms_max = latency_ms_max;
    }

    fn end(&self, ends: Ends) {
        let mut state = self.lock();
        if state.ends == Ends::Both || ends == Ends::Cut {
            state.ends = ends;
        }
        drop(state);
        self.shared.up.notify_one();
        self.shared.down.notify_one();
        self.shared.taken.notify_one();
    }

    /// Says something to the server.
    pub(super) fn send(&self, message: Message) {
        let mut state = self.lock();
        let State { up, chance, latency_ms_max, .. } = &mut *state;
        up.push(message, chance.time(*latency_ms_max));
        drop(state);
        self.shared.up.notify_one();
    }

    /// The next thing the server says; `None` if there will be none.
    pub(super) async fn hear(&self) -> Option<Message> {
        loop {
            let arrives = {
                let mut state = self.lock();
                if matches!(state.ends, Ends::Cut | Ends::ClientGone) {
                    return None;
                }
                match state.down.take() {
                    Taken::Message(message) => {
                        drop(state);
                        self.shared.taken.notify_one();
                        return Some(message);
                    }
                    Taken::Nothing if state.ends == Ends::ServerDone => return None,
                    Taken::Nothing => None,
                    Taken::Later(at) => Some(at),
                }
            };
            wait(&self.shared.down, arrives).await;
        }
    }

    /// The server's end, to read from.
    pub(super) fn stream(&self) -> impl FrameStream + use<> {
        let next = |link: Self| async move { link.next().await.map(|said| (Ok(said), link)) };
        stream::unfold(self.clone(), next).boxed()
    }

    /// The server's end, to write to.
    pub(super) fn sink(&self) -> impl FrameSink + use<> {
        let put = |link: Self, message: Message| async move {
            link.put(message).await?;
            Ok(link)
        };
        Box::pin(sink::unfold(self.clone(), put))
    }

    async fn next(&self) -> Option<Message> {
        loop {
            let arrives = {
                let mut state = self.lock();
                match state.ends {
                    Ends::Cut => return None,
                    // Nothing comes any more, and nothing says so.
                    Ends::ClientGone => None,
                    Ends::Both | Ends::ServerDone => match state.up.take() {
                        Taken::Message(message) => return Some(message),
                        Taken::Later(at) => Some(at),
                        Taken::Nothing => None,
                    },
                }
            };
            wait(&self.shared.up, arrives).await;
        }
    }

    async fn put(&self, message: Message) -> Result<(), Error> {
        loop {
            {
                let mut state = self.lock();
                if state.ends == Ends::Cut {
                    return Err(Error::ConnectionClosed);
                }
                if state.down.bytes < KERNEL_BYTES {
                    state.put(message);
                    drop(state);
                    self.shared.down.notify_one();
                    return Ok(());
                }
            }
            self.shared.taken.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FarSide for Link {
    fn written_bytes(&self) -> u64 {
        self.lock().written_bytes
    }

    fn linger(&self) {}
}

/// Waits until something is said, or until what was said arrives.
async fn wait(bell: &Notify, arrives: Option<Instant>) {
    match arrives {
        None => bell.notified().await,
        Some(at) => tokio::select! {
            biased;
            () = bell.notified() => {}
            () = sleep_until(at) => {}
        },
    }
}

impl State {
    /// Takes a message, or a fragment of one.
    fn put(&mut self, message: Message) {
        self.written_bytes = self.written_bytes.saturating_add(message.len() as u64);
        let whole = match message {
            Message::Frame(frame) => {
                let header = frame.header();
                let (is_final, opcode) = (header.is_final, header.opcode);
                if let OpCode::Data(kind @ (Data::Text | Data::Binary)) = opcode {
                    self.fragments = Some((kind, Vec::new()));
                }
                if let Some((_, bytes)) = &mut self.fragments {
                    bytes.extend_from_slice(frame.payload());
                }
                if !is_final {
                    return;
                }
                match self.fragments.take() {
                    Some((Data::Text, bytes)) => match String::from_utf8(bytes) {
                        Ok(text) => Message::text(text),
                        Err(error) => Message::binary(error.into_bytes()),
                    },
                    Some((_, bytes)) => Message::binary(bytes),
                    None => return,
                }
            }
            message => message,
        };
        let latency = self.chance.time(self.latency_ms_max);
        self.down.push(whole, latency);
    }
}

enum Taken {
    Message(Message),
    Later(Instant),
    Nothing,
}

impl Lane {
    fn push(&mut self, message: Message, latency: Duration) {
        self.newest = self.newest.max(Instant::now() + latency);
        self.bytes = self.bytes.saturating_add(message.len());
        self.messages.push_back((self.newest, message));
    }

    fn take(&mut self) -> Taken {
        match self.messages.front() {
            None => Taken::Nothing,
            Some((at, _)) if *at > Instant::now() => Taken::Later(*at),
            Some(_) => match self.messages.pop_front() {
                None => Taken::Nothing,
                Some((_, message)) => {
                    self.bytes = self.bytes.saturating_sub(message.len());
                    Taken::Message(message)
                }
            },
        }
    }
}
