//! The IO under an HTTP/2 connection, with what the `h2` crate leaves out: time limits on half-open states and on
//! a client that does not read, and an end to floods of control frames.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::frames::Frames;

/// Set once the client floods; the connection's task then says GOAWAY.
#[derive(Clone, Debug, Default)]
pub(super) struct Flood(Arc<AtomicBool>);

impl Flood {
    pub(super) fn seen(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// A timer that runs only while something is awaited.
#[derive(Debug, Default)]
struct Deadline {
    sleep: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

impl Deadline {
    fn arm(&mut self, after: Duration) {
        if !self.armed {
            self.armed = true;
            let deadline = Instant::now() + after;
            match &mut self.sleep {
                Some(sleep) => sleep.as_mut().reset(deadline),
                None => self.sleep = Some(Box::pin(tokio::time::sleep_until(deadline))),
            }
        }
    }

    fn disarm(&mut self) {
        self.armed = false;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.sleep {
            Some(sleep) if self.armed => sleep.as_mut().poll(cx),
            _ => Poll::Pending,
        }
    }
}

/// Wraps the connection's IO.
#[derive(Debug)]
pub(super) struct Guard<IO> {
    io: IO,
    frames: Frames,
    flood: Flood,
    head_timeout: Duration,
    write_timeout: Duration,
    head: Deadline,
    write: Deadline,
}

impl<IO> Guard<IO> {
    /// `head_timeout` bounds the wait for SETTINGS and for the end of a header block, `write_timeout` the time
    /// that the socket may take no bytes while there are some for it.
    pub(super) fn new(io: IO, head_timeout: Duration, write_timeout: Duration) -> Self {
        Self {
            io,
            frames: Frames::new(),
            flood: Flood::default(),
            head_timeout,
            write_timeout,
            head: Deadline::default(),
            write: Deadline::default(),
        }
    }

    pub(super) fn flood(&self) -> Flood {
        self.flood.clone()
    }

    fn poll_head_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let waiting = self.frames.waiting();
        if !waiting.settings && !waiting.headers {
            self.head.disarm();
            return Poll::Pending;
        }
        self.head.arm(self.head_timeout);
        self.head.poll(cx).map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the client left a frame unfinished")))
    }

    /// Settles the result of a write: progress stops the clock, a full socket starts it.
    fn wrote<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.write.disarm();
            return result;
        }
        self.write.arm(self.write_timeout);
        self.write.poll(cx).map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Guard<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.flood.seen() {
            // The task that polls looks at the flag right after; nothing else has to wake it.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        match Pin::new(&mut self.io).poll_read(cx, buf) {
            Poll::Pending => self.poll_head_deadline(cx),
            Poll::Ready(result) => {
                if !self.frames.read(&buf.filled()[before..]) {
                    self.flood.0.store(true, Relaxed);
                }
                Poll::Ready(result)
            }
        }
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Guard<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, buf);
        if let Poll::Ready(Ok(length)) = result {
            self.frames.wrote(length);
        }
        self.wrote(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(length)) = result {
            self.frames.wrote(length);
        }
        self.wrote(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_flush(cx);
        self.wrote(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_shutdown(cx);
        self.wrote(cx, result)
    }
}
