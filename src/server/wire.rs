//! Streams of bytes as the server wants them: counted, watched, and closed so that the last word
//! arrives.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

use super::metrics::Counted;
use crate::limits;

/// Time that a closed socket waits for the client to take the last word.
const LINGER: Duration = Duration::from_millis(limits::LINGER_MS_MAX);
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(limits::ACCEPT_PAUSE_MS);

/// Where sockets come from: TCP, or whatever carries bytes in both directions in order.
pub trait Listener: Send + 'static {
    /// One accepted socket.
    type Stream: Carrier;

    /// Waits for the next socket. Dropped, it loses none.
    fn accept(&mut self) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Where it listens.
    fn address(&self) -> io::Result<SocketAddr>;
}

/// A stream of bytes in both directions, with a far end that may be gone.
pub trait Carrier: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin + 'static {
    /// Writes what is taken at once, without waiting, and returns how many bytes that was.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// The address at the far end. Who has none is not told from others, and held to no rate.
    fn peer(&self) -> Option<IpAddr> {
        None
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<TcpStream> {
        let (stream, _address) = Self::accept(self).await?;
        // Patches are small and somebody waits for each.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "could not switch off Nagle's algorithm");
        }
        Ok(stream)
    }

    fn address(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }
}

impl Carrier for TcpStream {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        Self::try_write(self, bytes)
    }

    fn peer(&self) -> Option<IpAddr> {
        self.peer_addr().ok().map(|address| address.ip())
    }
}

/// Accepts no more sockets than there are places; the others wait in the kernel's backlog.
#[derive(Debug)]
pub(super) struct Gate<L> {
    listener: L,
    places: Arc<Semaphore>,
    /// Counts the sockets that are open: a place is taken before one comes.
    open: Gauge,
    stall: Duration,
}

impl<L: Listener> Gate<L> {
    /// A gate for `sockets_max` at a time. A socket that takes nothing of what is written to it
    /// for `stall` is given up.
    pub(super) fn new(listener: L, sockets_max: usize, stall: Duration) -> Self {
        let places = Arc::new(Semaphore::new(sockets_max.min(Semaphore::MAX_PERMITS)));
        Self { listener, places, open: Gauge::default(), stall }
    }

    /// Counts its sockets here.
    pub(super) fn counting(self, open: &Gauge) -> Self {
        Self { open: open.clone(), ..self }
    }

    /// The next socket, as soon as there is one, and a place for it.
    pub(super) async fn accept(&mut self) -> Wire<L::Stream> {
        // The semaphore is never closed; if it were, an uncounted socket beats none.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        loop {
            match self.listener.accept().await {
                Ok(stream) => {
                    return Wire {
                        stream: Some(stream),
                        pulse: Arc::default(),
                        stall: self.stall,
                        stalled: None,
                        _place: place,
                        _counted: Counted::new(&self.open),
                    };
                }
                Err(error) if is_of_one_socket(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "could not accept a socket");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Whether the error says that the client hung up before it was accepted.
fn is_of_one_socket(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// What the layers above may know of a socket and ask of it.
pub(crate) trait FarSide {
    /// Bytes that the kernel took so far. A slow client and a dead one differ in whether this
    /// rises, not in how long one message takes.
    fn written_bytes(&self) -> u64;

    /// Asks that the socket, when it is dropped, still reads for a while what the client sends.
    /// Otherwise the kernel answers the unread bytes with a reset, and the reset can overtake the
    /// close frame that says what was wrong with them.
    fn linger(&self);
}

/// The far side of a socket.
#[derive(Debug, Clone, Default)]
pub(super) struct FarEnd {
    pulse: Arc<Pulse>,
}

impl FarSide for FarEnd {
    fn written_bytes(&self) -> u64 {
        self.pulse.written_bytes.load(Ordering::Relaxed)
    }

    fn linger(&self) {
        self.pulse.linger.store(true, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Pulse {
    written_bytes: AtomicU64,
    linger: AtomicBool,
}

/// One accepted socket.
#[derive(Debug)]
pub(super) struct Wire<C: Carrier> {
    /// There until the wire is dropped.
    stream: Option<C>,
    pulse: Arc<Pulse>,
    stall: Duration,
    /// Runs out when the kernel has long taken nothing; there while it takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    _place: Option<OwnedSemaphorePermit>,
    _counted: Counted,
}

impl<C: Carrier> Wire<C> {
    /// The address at the far end.
    pub(super) fn peer(&self) -> Option<IpAddr> {
        self.stream.as_ref().and_then(Carrier::peer)
    }

    pub(super) fn far_end(&self) -> FarEnd {
        FarEnd { pulse: Arc::clone(&self.pulse) }
    }

    /// Writes what the kernel takes at once; the rest is lost.
    pub(super) fn write_now(&mut self, bytes: &[u8]) {
        if let Some(stream) = &self.stream
            && !bytes.is_empty()
            && let Err(error) = stream.try_write(bytes)
        {
            tracing::trace!(%error, "the last bytes of a socket were not taken");
        }
    }

    fn stream(&mut self) -> io::Result<Pin<&mut C>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Counts what the kernel took, and for how long it took nothing.
    fn note(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let Poll::Ready(written) = written else {
            let stall = self.stall;
            let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
            return stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()));
        };
        self.stalled = None;
        if let Ok(bytes) = written {
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            self.pulse.written_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        Poll::Ready(written)
    }
}

impl<C: Carrier> AsyncRead for Wire<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(cx, buffer)
    }
}

impl<C: Carrier> AsyncWrite for Wire<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream()?.poll_write(cx, bytes);
        self.note(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream()?.poll_write_vectored(cx, slices);
        self.note(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}

impl<C: Carrier> Drop for Wire<C> {
    fn drop(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        if self.pulse.linger.load(Ordering::Relaxed)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            // Holds no place: a client that makes trouble does not keep others out.
            drop(runtime.spawn(tokio::time::timeout(LINGER, drain(stream))));
        }
    }
}

/// Says that nothing more comes, and waits until the client says the same.
async fn drain(mut stream: impl Carrier) {
    let ended = stream.shutdown().await;
    if ended.is_ok() {
        let mut rest = stream.take(limits::LINGER_BYTES_MAX);
        let read = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await;
        tracing::trace!(?read, "socket drained");
    }
}
