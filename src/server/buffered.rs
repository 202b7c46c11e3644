//! What lies between a socket and its codec, and holds no memory while nothing is under way.
//!
//! The codec never gives back the memory of the largest frame it has met. So it is shown small
//! frames only: a client's large ones are [cut](super::pieces) on their way in, and what goes out
//! is gathered here and not there. Most sockets are idle most of the time, and what they hold
//! then is what they cost.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pieces::Cutter;
use super::wire::{Carrier, Wire};
use crate::limits;

/// A socket with buffers that come and go.
#[derive(Debug)]
pub(super) struct Buffered<C: Carrier> {
    wire: Wire<C>,
    cutter: Cutter,
    /// What was read and the codec has not taken yet.
    ahead: Passing,
    /// What the codec has written and the kernel has not taken yet.
    gathered: Passing,
}

/// Bytes on their way through.
#[derive(Debug, Default)]
struct Passing {
    bytes: Vec<u8>,
    /// How many of them are through.
    taken: usize,
}

impl Passing {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.taken..).unwrap_or_default()
    }

    /// Gives the memory back with the last byte.
    fn take(&mut self, bytes: usize) {
        self.taken += bytes;
        if self.rest().is_empty() {
            *self = Self::default();
        }
    }
}

impl<C: Carrier> Buffered<C> {
    /// Takes over a socket from which `already` was read.
    pub(super) fn new(wire: Wire<C>, already: &[u8], frame_bytes_max: usize) -> Self {
        let (mut cutter, mut ahead) = (Cutter::new(frame_bytes_max), Passing::default());
        cutter.cut(already, &mut ahead.bytes);
        Self { wire, cutter, ahead, gathered: Passing::default() }
    }

    /// Ready when the kernel has taken all that was gathered.
    fn poll_empty(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.rest().is_empty() {
            let written = ready!(Pin::new(&mut self.wire).poll_write(cx, self.gathered.rest()))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gathered.take(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<C: Carrier> AsyncRead for Buffered<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // A cut may hold back the beginning of a head: then there is nothing to show yet.
        while this.ahead.rest().is_empty() {
            let mut chunk = [MaybeUninit::uninit(); limits::READ_BYTES];
            let mut chunk = ReadBuf::uninit(&mut chunk);
            ready!(Pin::new(&mut this.wire).poll_read(cx, &mut chunk))?;
            if chunk.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.cutter.cut(chunk.filled(), &mut this.ahead.bytes);
        }
        let rest = this.ahead.rest();
        let shown = rest.len().min(buffer.remaining());
        buffer.put_slice(rest.get(..shown).unwrap_or_default());
        this.ahead.take(shown);
        Poll::Ready(Ok(()))
    }
}

impl<C: Carrier> AsyncWrite for Buffered<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.gathered.bytes.len().saturating_add(bytes.len()) > limits::WRITE_BYTES {
            ready!(self.poll_empty(cx))?;
        }
        if bytes.len() > limits::WRITE_BYTES {
            return Pin::new(&mut self.wire).poll_write(cx, bytes);
        }
        self.gathered.bytes.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_empty(cx))?;
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_empty(cx))?;
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}

impl<C: Carrier> Drop for Buffered<C> {
    fn drop(&mut self) {
        // The codec does not flush its answer to a client's close frame.
        self.wire.write_now(self.gathered.rest());
    }
}
