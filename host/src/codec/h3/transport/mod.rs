//! quinn as the `h3` crate wants a QUIC transport. (The `h3-quinn` crate does the same and leaves out what a server
//! that faces the internet needs.) This one
//!
//! - ends an unread request with STOP_SENDING(H3_NO_ERROR) and not with code 0, which makes clients throw away
//!   the whole response (RFC 9114 section 4.1),
//! - bounds the frames that `h3` buffers whole,
//! - counts resets, and closes the connection of a client that does little else,
//! - lets quinn buffer as much of the responses as the client's acknowledgements have earned,
//! - allocates nothing per read, and hands written data over without another copy.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h3::error::Code;
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming};
use quinn::{ConnectionError, VarInt};

use crate::codec::budget::Budget;
use errors::{connection_error, varint};
use streams::Kind;
pub(super) use streams::{BidiStream, RecvStream, SendStream};

mod errors;
mod streams;

/// Streams that the client may take back at once, and per second.
const RESETS: (u64, u64) = (150, 50);

/// Bytes of responses that quinn may hold for a connection at first, and at most.
pub(crate) const SEND_WINDOW: std::ops::RangeInclusive<u64> = 256 * 1024..=8 * 1024 * 1024;
/// Bytes after which the window is looked at again.
const ADJUST_AFTER: usize = 256 * 1024;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send + Sync>>;
/// Resolves when the client no longer wants the response, when it has all of it, or when it is gone.
pub(super) type Stopped = Boxed<Result<Option<VarInt>, quinn::StoppedError>>;

/// What the streams of a connection share.
#[derive(Debug)]
struct Shared {
    quic: quinn::Connection,
    resets: parking_lot::Mutex<Budget>,
    frame_limit: u64,
    /// Streams opened by either side.
    streams: Arc<AtomicU64>,
    /// Bytes written since the send window was adjusted.
    written: AtomicUsize,
}

impl Shared {
    /// Keeps the send window at twice the congestion window: enough to fill the path, and a client that asks for
    /// much and acknowledges nothing is held to the little that it starts with.
    fn wrote(&self, bytes: usize) {
        let written = self.written.fetch_add(bytes, Relaxed) + bytes;
        if written >= ADJUST_AFTER {
            self.written.store(0, Relaxed);
            let window = 2 * self.quic.stats().path.cwnd;
            self.quic.set_send_window(window.clamp(*SEND_WINDOW.start(), *SEND_WINDOW.end()));
        }
    }

    /// The client took a stream back.
    fn reset(&self) {
        if !self.resets.lock().take() {
            self.close(Code::H3_EXCESSIVE_LOAD, b"too many resets");
        }
    }

    fn close(&self, code: Code, reason: &[u8]) {
        self.quic.close(varint(code.value()), reason);
    }
}

/// A QUIC connection.
pub(super) struct Connection {
    shared: Arc<Shared>,
    accept_bi: Boxed<Result<(quinn::SendStream, quinn::RecvStream), ConnectionError>>,
    accept_uni: Boxed<Result<quinn::RecvStream, ConnectionError>>,
    open_uni: Option<Boxed<Result<quinn::SendStream, ConnectionError>>>,
    stopped: Option<Stopped>,
}

impl Connection {
    /// `frame_limit` bounds each frame but DATA; `streams` counts those that either side opens.
    pub(super) fn new(quic: quinn::Connection, frame_limit: u64, streams: Arc<AtomicU64>) -> Self {
        let resets = parking_lot::Mutex::new(Budget::new(RESETS.0, RESETS.1));
        Self {
            accept_bi: accept_bi(quic.clone()),
            accept_uni: accept_uni(quic.clone()),
            open_uni: None,
            stopped: None,
            shared: Arc::new(Shared { quic, resets, frame_limit, streams, written: AtomicUsize::new(0) }),
        }
    }

    /// The end of the response half of the stream that was accepted last.
    pub(super) fn take_stopped(&mut self) -> Option<Stopped> {
        self.stopped.take()
    }
}

fn accept_bi(quic: quinn::Connection) -> Boxed<Result<(quinn::SendStream, quinn::RecvStream), ConnectionError>> {
    Box::pin(async move { quic.accept_bi().await })
}

fn accept_uni(quic: quinn::Connection) -> Boxed<Result<quinn::RecvStream, ConnectionError>> {
    Box::pin(async move { quic.accept_uni().await })
}

impl quic::Connection<Bytes> for Connection {
    type RecvStream = RecvStream;
    type OpenStreams = Opener;

    fn poll_accept_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<RecvStream, ConnectionErrorIncoming>> {
        let stream = ready!(self.accept_uni.as_mut().poll(cx)).map_err(connection_error)?;
        self.accept_uni = accept_uni(self.shared.quic.clone());
        self.shared.streams.fetch_add(1, Relaxed);
        Poll::Ready(Ok(RecvStream::new(stream, Arc::clone(&self.shared), Kind::Unidirectional)))
    }

    fn poll_accept_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<BidiStream, ConnectionErrorIncoming>> {
        let (send, recv) = ready!(self.accept_bi.as_mut().poll(cx)).map_err(connection_error)?;
        self.accept_bi = accept_bi(self.shared.quic.clone());
        self.shared.streams.fetch_add(1, Relaxed);
        let (stopped, shared) = (send.stopped(), Arc::clone(&self.shared));
        self.stopped = Some(Box::pin(async move {
            let stopped = stopped.await;
            if let Ok(Some(_)) = stopped {
                shared.reset();
            }
            stopped
        }));
        Poll::Ready(Ok(BidiStream {
            send: SendStream::new(send, Arc::clone(&self.shared), Kind::Request),
            recv: RecvStream::new(recv, Arc::clone(&self.shared), Kind::Request),
        }))
    }

    fn opener(&self) -> Opener {
        Opener(Arc::clone(&self.shared))
    }
}

impl quic::OpenStreams<Bytes> for Connection {
    type BidiStream = BidiStream;
    type SendStream = SendStream;

    fn poll_open_bidi(&mut self, _cx: &mut Context<'_>) -> Poll<Result<BidiStream, StreamErrorIncoming>> {
        Poll::Ready(Err(no_server_requests()))
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<SendStream, StreamErrorIncoming>> {
        let quic = &self.shared.quic;
        let open = self.open_uni.get_or_insert_with(|| {
            let quic = quic.clone();
            Box::pin(async move { quic.open_uni().await })
        });
        let opened = ready!(open.as_mut().poll(cx));
        self.open_uni = None;
        let stream = opened.map_err(|error| StreamErrorIncoming::ConnectionErrorIncoming {
            connection_error: connection_error(error),
        })?;
        self.shared.streams.fetch_add(1, Relaxed);
        Poll::Ready(Ok(SendStream::new(stream, Arc::clone(&self.shared), Kind::Unidirectional)))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.shared.close(code, reason);
    }
}

/// Required by the trait; a server opens no streams later on.
pub(super) struct Opener(Arc<Shared>);

impl quic::OpenStreams<Bytes> for Opener {
    type BidiStream = BidiStream;
    type SendStream = SendStream;

    fn poll_open_bidi(&mut self, _cx: &mut Context<'_>) -> Poll<Result<BidiStream, StreamErrorIncoming>> {
        Poll::Ready(Err(no_server_requests()))
    }

    fn poll_open_send(&mut self, _cx: &mut Context<'_>) -> Poll<Result<SendStream, StreamErrorIncoming>> {
        Poll::Ready(Err(no_server_requests()))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.0.close(code, reason);
    }
}

fn no_server_requests() -> StreamErrorIncoming {
    StreamErrorIncoming::Unknown("a server opens no such streams".into())
}
