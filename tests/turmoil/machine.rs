//! A machine in the simulation: its network, clock and chance, and work that takes its time.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::future::BoxFuture;
use statehouse::hub::Host;
use statehouse::hub::host::Work;
use statehouse::ids::Millis;
use statehouse::server::wire::{Carrier, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::sleep;
use turmoil::net::{TcpListener, TcpStream};

use crate::chance::Chance;

/// Longest time that the disk and a blocking thread take, in milliseconds.
const WORK_MS_MAX: u64 = 30;

/// One life of a machine.
#[derive(Debug)]
pub(crate) struct Machine(Mutex<Chance>);

impl Machine {
    pub(crate) fn new(chance: Chance) -> Self {
        Self(Mutex::new(chance))
    }

    fn chance(&self) -> Chance {
        self.0.lock().unwrap().split()
    }
}

impl Host for Machine {
    fn now(&self) -> Millis {
        let since = turmoil::since_epoch().unwrap();
        Millis(u64::try_from(since.as_millis()).unwrap())
    }

    fn random(&self) -> [u8; 16] {
        self.chance().bytes()
    }

    fn parallelism(&self) -> NonZeroUsize {
        NonZeroUsize::new(2).unwrap()
    }

    fn run_writer(&self, writer: BoxFuture<'static, ()>) {
        drop(tokio::spawn(slowly(writer, self.chance())));
    }

    fn run_blocking(&self, work: Work) {
        let delay = self.chance().millis(0, WORK_MS_MAX);
        drop(tokio::spawn(async move {
            sleep(delay).await;
            work();
        }));
    }
}

struct Alarm(Notify);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

/// Runs a future that lets some time pass between being woken and going on.
async fn slowly(mut future: BoxFuture<'static, ()>, mut chance: Chance) {
    let alarm = Arc::new(Alarm(Notify::new()));
    let waker = Waker::from(Arc::clone(&alarm));
    loop {
        let step = |_: &mut Context<'_>| {
            Poll::Ready(future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready())
        };
        if poll_fn(step).await {
            return;
        }
        alarm.0.notified().await;
        sleep(chance.millis(0, WORK_MS_MAX)).await;
    }
}

/// Where the server listens.
#[derive(Debug)]
pub(crate) struct Port {
    address: SocketAddr,
    listener: Quiet<TcpListener>,
}

/// Something of which nothing is worth to be printed.
struct Quiet<T>(T);

impl<T> std::fmt::Debug for Quiet<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("..")
    }
}

impl Port {
    pub(crate) async fn bind(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind(("0.0.0.0", port)).await?;
        Ok(Self { address: listener.local_addr()?, listener: Quiet(listener) })
    }
}

impl Listener for Port {
    type Stream = Line;

    async fn accept(&mut self) -> io::Result<Line> {
        let (stream, _address) = self.listener.0.accept().await?;
        Ok(Line(stream))
    }

    fn address(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// The server's end of a simulated TCP stream.
#[derive(Debug)]
pub(crate) struct Line(TcpStream);

impl Carrier for Line {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
