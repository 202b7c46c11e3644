//! One WebSocket is one session, from the upgrade to the last byte.
//!
//! Reading and writing are two loops in one task. The reader waits for the workspace's mailbox,
//! and so does the client, through TCP; the writer waits for the client, and nobody waits for the
//! writer but the reader, once the [outbox](super::outbox) runs full.

mod arrival;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

use super::Phase;
use super::auth::{Entry, Guard};
use super::buffered::Buffered;
use super::metrics::SocketMeter;
use super::outbox::{Batch, Outbox};
use super::rates::Pace;
use super::tongue::{Heard, Tongue};
use super::wire::{Carrier, FarSide, Wire};
use crate::hub::{Attached, Channel, Hub, HubError, Outgoing};
use crate::ids::{Secret, SessionId, WorkspaceId};
use crate::limits;
use crate::protocol::codes::{self, Closing};
use crate::workspace::{Refusal, Request, WorkspaceConfig, WorkspaceLimits};
use arrival::{arrive, expired, turn_away};

/// Time that a close may take.
const CLOSE: Duration = Duration::from_millis(limits::CLOSE_MS_MAX);

/// A socket that speaks WebSocket.
type WebSocket<C> = WebSocketStream<Buffered<C>>;

/// Where the messages of a client come from.
pub(crate) trait FrameStream: Stream<Item = Result<Message, Error>> + Unpin {}

impl<S: Stream<Item = Result<Message, Error>> + Unpin> FrameStream for S {}

/// Where messages to a client go.
pub(crate) trait FrameSink: Sink<Message, Error = Error> + Unpin {}

impl<K: Sink<Message, Error = Error> + Unpin> FrameSink for K {}

/// How long a client is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Silence after which the client is asked for a sign of life.
    pub(crate) ping: Duration,
    /// Time in which the client must take some of what is written.
    pub(crate) stall: Duration,
}

/// What a socket is served with.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) hub: Hub,
    pub(crate) rules: Arc<WorkspaceConfig>,
    pub(crate) workspace: WorkspaceId,
    pub(crate) entry: Entry,
    pub(crate) tongue: Tongue,
    pub(crate) outbox_bytes_max: usize,
    pub(crate) frame_bytes_max: usize,
    pub(crate) message_bytes_max: usize,
    pub(crate) patience: Patience,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) meter: SocketMeter,
    pub(crate) messages_per_s: u32,
}

/// How the reading of a socket ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The client is no longer there, or said goodbye.
    Gone,
    /// It is told why, after what was to be told before.
    Close(Closing),
}

/// Speaks WebSocket over a socket from which `already` was read.
async fn speak<C: Carrier>(wire: Wire<C>, already: Bytes, seat: &Seat) -> WebSocket<C> {
    let config = WebSocketConfig::default()
        .read_buffer_size(limits::PIECE_BYTES)
        // What goes out is gathered below.
        .write_buffer_size(0)
        .max_frame_size(Some(seat.frame_bytes_max))
        .max_message_size(Some(seat.message_bytes_max));
    let buffered = Buffered::new(wire, &already, seat.frame_bytes_max);
    // What hyper has read shares memory with the request.
    drop(already);
    WebSocket::from_raw_socket(buffered, Role::Server, Some(config)).await
}

/// Serves one WebSocket until it ends. `already` was read from it with the request.
pub(super) async fn serve<C: Carrier>(wire: Wire<C>, already: Bytes, seat: Seat) {
    let far_end = wire.far_end();
    let (sink, stream) = speak(wire, already, &seat).await.split();
    converse(sink, stream, &far_end, seat).await;
}

/// Serves one client over messages, whatever carries them, until it ends.
pub(crate) async fn converse<K: FrameSink, S: FrameStream>(
    mut sink: K,
    mut stream: S,
    far_end: &impl FarSide,
    seat: Seat,
) {
    let arrival = match arrive(&mut stream, &seat).await {
        Ok(arrival) => arrival,
        Err(End::Gone) => return,
        Err(End::Close(closing)) => return turn_away(&mut sink, &mut stream, closing).await,
    };
    let (mut phase, _counted) = (seat.phase.clone(), seat.meter.count(&seat.tongue));
    let outbox = Arc::new(Outbox::new(seat.outbox_bytes_max, seat.tongue).counting(&seat.meter));
    let channel: Arc<dyn Channel> = Arc::<Outbox>::clone(&outbox);
    let (user, rights) = (&arrival.user, Arc::clone(&arrival.rights));
    let attached = match seat.hub.attach_as(&seat.workspace, user, rights, channel).await {
        Ok(attached) => attached,
        Err(error) => {
            tracing::warn!(workspace = %seat.workspace, %error, "could not attach a session");
            return turn_away(&mut sink, &mut stream, closing_of(&error)).await;
        }
    };
    let session = attached.session();
    tracing::debug!(workspace = %seat.workspace, %session, "session attached");
    let guard = watch::Sender::new(arrival.guard);
    let guarding = guard.subscribe();

    let mut reader = Reader {
        stream: &mut stream,
        outbox: &outbox,
        attached: &attached,
        limits: &seat.rules.limits,
        ping: seat.patience.ping,
        guard,
        meter: &seat.meter,
        pace: Pace::new(seat.messages_per_s),
        garbled: 0,
    };
    let reading = async {
        let end = reader.run_until(&mut phase, guarding, arrival.first).await;
        if let End::Close(closing) = end {
            outbox.end(closing);
            // The writer has the last word.
            std::future::pending::<()>().await;
        }
    };
    let writer = Writer {
        sink: &mut sink,
        outbox: &outbox,
        attached: &attached,
        far_end,
        stall: seat.patience.stall,
    };
    let ended = tokio::select! {
        biased;
        ended = writer.run() => ended,
        () = reading => Ended::ByClient,
    };
    let garbled_frames = reader.garbled;
    drop(attached);
    ended.note(&seat.workspace, session, garbled_frames);
    if let Ended::ByServer(_) = ended {
        far_end.linger();
        await_goodbye(&mut stream).await;
    }
}

/// Waits until the server has come to this phase.
async fn reached(phase: &mut watch::Receiver<Phase>, wanted: Phase) {
    // The sender goes away only when the whole server is dropped: that is a stop, too.
    let _gone = phase.wait_for(|phase| *phase >= wanted).await.is_err();
}

/// Reads on until the client answers the close frame, so that the close is clean on both sides.
async fn await_goodbye(stream: &mut impl FrameStream) {
    let rest = async { while let Some(Ok(_)) = stream.next().await {} };
    if timeout(CLOSE, rest).await.is_err() {
        tracing::trace!("a client did not answer the close frame");
    }
}

async fn close(sink: &mut impl FrameSink, closing: Closing) -> Result<(), Error> {
    let frame = CloseFrame { code: closing.code.into(), reason: closing.reason.into() };
    sink.send(Message::Close(Some(frame))).await
}

struct Reader<'a, S> {
    stream: &'a mut S,
    outbox: &'a Outbox,
    attached: &'a Attached,
    limits: &'a WorkspaceLimits,
    ping: Duration,
    /// What the client has shown to be let in.
    guard: watch::Sender<Option<Guard>>,
    meter: &'a SocketMeter,
    pace: Pace,
    /// Frames that were not understood.
    garbled: u64,
}

impl<S: FrameStream> Reader<'_, S> {
    /// Reads until the client ends it, or the server stops, or the client may not stay.
    async fn run_until(
        &mut self,
        phase: &mut watch::Receiver<Phase>,
        guard: watch::Receiver<Option<Guard>>,
        first: Option<(Request, usize)>,
    ) -> End {
        tokio::select! {
            // A client that says very much must not keep the stop from being heard.
            biased;
            () = reached(phase, Phase::Stopping) => {
                // What the client was promised is still saved and answered.
                reached(phase, Phase::Stopped).await;
                End::Close(Closing::RESTART)
            }
            closing = expired(guard) => End::Close(closing),
            end = self.run(first) => end,
        }
    }

    async fn run(&mut self, first: Option<(Request, usize)>) -> End {
        if let Some((request, bytes)) = first
            && let Err(end) = self.say(request, bytes).await
        {
            return end;
        }
        let mut pings_missed = 0;
        loop {
            self.outbox.has_room().await;
            let message = match timeout(self.ping, self.stream.next()).await {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(error))) => return end_of(&error),
                Ok(None) => return End::Gone,
                Err(_) if self.outbox.is_writing() => {
                    // A ping would wait behind what is being written; the writer has its own way
                    // to tell a slow client from a dead one.
                    continue;
                }
                #[cfg(planted)]
                Err(_) if crate::planted::is("half-open-forever") => continue,
                Err(_) if pings_missed == limits::PINGS_MISSED_MAX => return End::Gone,
                Err(_) => {
                    pings_missed += 1;
                    self.outbox.ping();
                    continue;
                }
            };
            pings_missed = 0;
            self.pace.next().await;
            if let Err(end) = self.take(message).await {
                return end;
            }
        }
    }

    async fn take(&mut self, frame: Message) -> Result<(), End> {
        let answer = |said| self.outbox.deliver(&Arc::new(Outgoing::new(said)));
        let request = match self.outbox.tongue().hear(&frame, self.limits) {
            Heard::Request(request) => request,
            Heard::Hello(request, token) => {
                self.renew(token).await?;
                request
            }
            Heard::Answer(said) => {
                answer(said);
                return Ok(());
            }
            Heard::Nothing => return Ok(()),
            Heard::End(said, closing) => {
                said.into_iter().for_each(answer);
                return Err(End::Close(closing));
            }
        };
        let bytes = length(&frame);
        // What it says was copied: while the workspace is busy, one copy is enough.
        drop(frame);
        if let Request::Garbled { reason } = &request {
            self.garbled += 1;
            self.meter.garbled.inc();
            // The text of the refusal may quote the client's document; the code does not.
            let session = self.attached.session();
            let code = codes::error_code(&reason.refusal);
            tracing::debug!(%session, code, bytes, "frame not understood");
        }
        self.say(request, bytes).await
    }

    async fn say(&mut self, request: Request, bytes: usize) -> Result<(), End> {
        self.attached.say_long(request, bytes).await.map_err(|error| End::Close(closing_of(&error)))
    }

    /// The client shows another token: from here on it may do what that one gives. One that is not
    /// valid ends the socket, whatever the one before said.
    async fn renew(&mut self, token: Secret) -> Result<(), End> {
        let shown = self.guard.borrow().clone();
        let Some(shown) = shown else { return Ok(()) };
        let session = self.attached.session();
        let guard = shown.renew(token).await.map_err(|error| {
            tracing::debug!(%session, %error, "a token is not taken in place of another");
            End::Close(error.closing())
        })?;
        let rights = Arc::clone(guard.rights());
        let entitled = self.attached.entitle(rights).await;
        entitled.map_err(|error| End::Close(closing_of(&error)))?;
        self.guard.send_replace(Some(guard));
        Ok(())
    }
}

fn length(frame: &Message) -> usize {
    match frame {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.len(),
        Message::Close(_) | Message::Frame(_) => 0,
    }
}

/// How a session ends that the hub cannot serve any more.
fn closing_of(error: &HubError) -> Closing {
    match error {
        HubError::Refused(refusal) => Closing::of(refusal),
        HubError::Storage(error) => Closing::of(&Refusal::Unavailable(error.to_string())),
        HubError::Closed => Closing::RESTART,
    }
}

/// What the failure to read says about the client.
fn end_of(error: &Error) -> End {
    match error {
        Error::Capacity(_) => End::Close(Closing::TOO_LARGE),
        Error::Utf8(_) => End::Close(Closing::NOT_UTF8),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Gone,
        Error::Protocol(_) => End::Close(Closing::PROTOCOL),
        _ => End::Gone,
    }
}

/// Who ended a session.
#[derive(Debug)]
enum Ended {
    ByClient,
    ByServer(Closing),
    /// The socket took nothing for too long.
    Stalled,
    Broken,
}

impl Ended {
    fn note(&self, workspace: &WorkspaceId, session: SessionId, garbled_frames: u64) {
        let (by, code) = match self {
            Self::ByClient => ("client", None),
            Self::ByServer(closing) => ("server", Some(closing.code)),
            Self::Stalled => ("stall", None),
            Self::Broken => ("broken socket", None),
        };
        tracing::debug!(%workspace, %session, by, code, garbled_frames, "session ended");
    }
}

struct Writer<'a, K, F> {
    sink: &'a mut K,
    outbox: &'a Outbox,
    attached: &'a Attached,
    far_end: &'a F,
    stall: Duration,
}

impl<K: FrameSink, F: FarSide> Writer<'_, K, F> {
    async fn run(self) -> Ended {
        loop {
            let mut batch = self.outbox.batch().await;
            let (resync, closing) = (batch.resync.take(), batch.close);
            match unstalled(self.far_end, self.stall, write(self.sink, self.outbox, batch)).await {
                None => return Ended::Stalled,
                Some(Err(_)) => return Ended::Broken,
                Some(Ok(())) => {}
            }
            if let Some(closing) = closing {
                return Ended::ByServer(closing);
            }
            if let Some(missed) = resync {
                let session = self.attached.session();
                tracing::info!(%session, "a slow client is given fresh state");
                if let Err(error) = self.attached.resync(missed).await {
                    self.outbox.end(closing_of(&error));
                }
            }
            self.outbox.batch_done();
        }
    }
}

/// Writes all of the batch before it flushes once: messages that waited together travel together.
async fn write(sink: &mut impl FrameSink, outbox: &Outbox, batch: Batch) -> Result<(), Error> {
    if batch.ping {
        sink.feed(Message::Ping(Bytes::new())).await?;
    }
    for waiting in batch.messages {
        if let Some((kind, message)) = outbox.tongue().say(&waiting.message) {
            feed(sink, kind, message).await?;
        }
        outbox.written(&waiting);
    }
    match batch.close {
        Some(closing) => close(sink, closing).await,
        None => sink.flush().await,
    }
}

/// Writes a message in fragments, so that the codec needs no room for a large one.
async fn feed(sink: &mut impl FrameSink, mut kind: Data, mut message: Bytes) -> Result<(), Error> {
    let len = message.len().div_ceil(limits::FRAGMENTS_MAX).max(limits::FRAGMENT_BYTES);
    loop {
        let fragment = message.split_to(len.min(message.len()));
        let is_final = message.is_empty();
        let frame = Frame::message(fragment, OpCode::Data(kind), is_final);
        sink.feed(Message::Frame(frame)).await?;
        if is_final {
            return Ok(());
        }
        kind = Data::Continue;
    }
}

/// Waits for the writing as long as the kernel takes some of it in every `stall`.
async fn unstalled<T>(
    far_end: &impl FarSide,
    stall: Duration,
    writing: impl Future<Output = T>,
) -> Option<T> {
    let mut writing = pin!(writing);
    loop {
        let before = far_end.written_bytes();
        match timeout(stall, &mut writing).await {
            Ok(written) => return Some(written),
            Err(_) if far_end.written_bytes() > before => {}
            Err(_) => return None,
        }
    }
}
