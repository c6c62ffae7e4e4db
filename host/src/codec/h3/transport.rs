//! quinn as the `h3` crate wants a QUIC transport. (The `h3-quinn` crate does the same and leaves out what a server
//! that faces the internet needs.) This one
//!
//! - ends an unread request with STOP_SENDING(H3_NO_ERROR) and not with code 0, which makes clients throw away
//!   the whole response (RFC 9114 section 4.1),
//! - bounds the frames that `h3` buffers whole,
//! - counts resets, and closes the connection of a client that does little else,
//! - allocates nothing per read, and hands written data over without another copy.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::error::Code;
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};
use quinn::{ConnectionError, ReadError, VarInt, WriteError};

use super::scan::Scan;
use crate::codec::budget::Budget;

/// Streams that the client may take back at once, and per second.
const RESETS: (u64, u64) = (150, 50);

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
}

impl Shared {
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
    /// `frame_limit` bounds each frame but DATA.
    pub(super) fn new(quic: quinn::Connection, frame_limit: u64, streams: Arc<AtomicU64>) -> Self {
        let resets = parking_lot::Mutex::new(Budget::new(RESETS.0, RESETS.1));
        Self {
            accept_bi: accept_bi(quic.clone()),
            accept_uni: accept_uni(quic.clone()),
            open_uni: None,
            stopped: None,
            shared: Arc::new(Shared { quic, resets, frame_limit, streams }),
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

/// A request stream.
pub(super) struct BidiStream {
    send: SendStream,
    recv: RecvStream,
}

impl quic::BidiStream<Bytes> for BidiStream {
    type SendStream = SendStream;
    type RecvStream = RecvStream;

    fn split(self) -> (SendStream, RecvStream) {
        (self.send, self.recv)
    }
}

impl quic::RecvStream for BidiStream {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.recv.poll_data(cx)
    }

    fn stop_sending(&mut self, error_code: u64) {
        self.recv.stop_sending(error_code);
    }

    fn recv_id(&self) -> StreamId {
        self.recv.recv_id()
    }
}

impl quic::SendStream<Bytes> for BidiStream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.send.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_finish(cx)
    }

    fn reset(&mut self, reset_code: u64) {
        self.send.reset(reset_code);
    }

    fn send_id(&self) -> StreamId {
        self.send.send_id()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Request,
    Unidirectional,
}

/// A stream from the client.
pub(super) struct RecvStream {
    stream: quinn::RecvStream,
    shared: Arc<Shared>,
    scan: Scan,
    kind: Kind,
    /// Bytes of a unidirectional stream's type still to be skipped.
    stream_type: Option<usize>,
    /// Nothing comes any more.
    ended: bool,
}

impl RecvStream {
    fn new(stream: quinn::RecvStream, shared: Arc<Shared>, kind: Kind) -> Self {
        let scan = Scan::new(shared.frame_limit);
        let stream_type = (kind == Kind::Unidirectional).then_some(0);
        Self { stream, shared, scan, kind, stream_type, ended: false }
    }

    /// Looks at the frames; a unidirectional stream's type comes before them.
    fn scan(&mut self, mut bytes: &[u8]) -> bool {
        if let Some(left) = self.stream_type {
            let Some(first) = bytes.first() else { return true };
            let left = if left == 0 { 1 << (first >> 6) } else { left };
            let skipped = left.min(bytes.len());
            bytes = &bytes[skipped..];
            self.stream_type = (skipped < left).then_some(left - skipped);
        }
        self.scan.read(bytes)
    }
}

impl quic::RecvStream for RecvStream {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        // The future holds nothing between two polls; quinn remembers the waker by the stream.
        let read = pin!(self.stream.read_chunk(usize::MAX, true)).poll(cx);
        match ready!(read) {
            Ok(Some(chunk)) => {
                if self.scan(&chunk.bytes) {
                    return Poll::Ready(Ok(Some(chunk.bytes)));
                }
                self.shared.close(Code::H3_EXCESSIVE_LOAD, b"frame too large");
                Poll::Ready(Err(StreamErrorIncoming::ConnectionErrorIncoming {
                    connection_error: ConnectionErrorIncoming::Undefined(Arc::new(ConnectionError::LocallyClosed)),
                }))
            }
            Ok(None) => {
                self.ended = true;
                Poll::Ready(Ok(None))
            }
            Err(error) => {
                self.ended = true;
                if self.kind == Kind::Request && matches!(error, ReadError::Reset(_)) {
                    self.shared.reset();
                }
                Poll::Ready(Err(read_error(error)))
            }
        }
    }

    fn stop_sending(&mut self, error_code: u64) {
        self.ended = true;
        // It only fails for a stream that is already over.
        let _ = self.stream.stop(varint(error_code));
    }

    fn recv_id(&self) -> StreamId {
        stream_id(self.stream.id())
    }
}

impl Drop for RecvStream {
    fn drop(&mut self) {
        if !self.ended && self.kind == Kind::Request {
            let _ = self.stream.stop(varint(Code::H3_NO_ERROR.value()));
        }
    }
}

/// A stream to the client.
pub(super) struct SendStream {
    stream: quinn::SendStream,
    /// What is being written.
    writing: Bytes,
    shared: Arc<Shared>,
    /// Dropped as it is, quinn would end the stream as if that were all. That is right for the answer that `h3`
    /// gives to a header section that is too large, and for nothing else.
    reset_on_drop: bool,
}

impl SendStream {
    fn new(stream: quinn::SendStream, shared: Arc<Shared>, kind: Kind) -> Self {
        Self { stream, writing: Bytes::new(), shared, reset_on_drop: kind == Kind::Request }
    }
}

impl Drop for SendStream {
    fn drop(&mut self) {
        if self.reset_on_drop {
            let _ = self.stream.reset(varint(Code::H3_REQUEST_CANCELLED.value()));
        }
    }
}

impl quic::SendStream<Bytes> for SendStream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        while !self.writing.is_empty() {
            let mut chunks = [std::mem::take(&mut self.writing)];
            // As for reading: no state in the future, and it takes from `chunks` only what it has written.
            let written = pin!(self.stream.write_chunks(&mut chunks)).poll(cx);
            let [rest] = chunks;
            self.writing = rest;
            if let Err(error) = ready!(written) {
                self.writing = Bytes::new();
                if matches!(error, WriteError::Stopped(_)) {
                    self.shared.reset();
                }
                return Poll::Ready(Err(write_error(error)));
            }
        }
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        // Frame header and payload in one piece: one copy, one allocation, one lock.
        let mut data: WriteBuf<Bytes> = data.into();
        self.writing = data.copy_to_bytes(data.remaining());
        self.reset_on_drop = false;
        Ok(())
    }

    fn poll_finish(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        // Finishing twice, or after the client stopped the stream, is no error for anyone.
        let _ = self.stream.finish();
        Poll::Ready(Ok(()))
    }

    fn reset(&mut self, reset_code: u64) {
        let _ = self.stream.reset(varint(reset_code));
    }

    fn send_id(&self) -> StreamId {
        stream_id(self.stream.id())
    }
}

fn varint(value: u64) -> VarInt {
    VarInt::from_u64(value).unwrap_or(VarInt::MAX)
}

fn stream_id(id: quinn::StreamId) -> StreamId {
    let value: u64 = id.into();
    StreamId::try_from(value).unwrap_or_else(|_| unreachable!("quinn's stream ids fit into 62 bits"))
}

fn connection_error(error: ConnectionError) -> ConnectionErrorIncoming {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            ConnectionErrorIncoming::ApplicationClose { error_code: close.error_code.into() }
        }
        ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        error @ (ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::Reset
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted) => ConnectionErrorIncoming::Undefined(Arc::new(error)),
    }
}

fn read_error(error: ReadError) -> StreamErrorIncoming {
    match error {
        ReadError::Reset(code) => StreamErrorIncoming::StreamTerminated { error_code: code.into() },
        ReadError::ConnectionLost(error) => {
            StreamErrorIncoming::ConnectionErrorIncoming { connection_error: connection_error(error) }
        }
        error @ (ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected) => {
            StreamErrorIncoming::Unknown(Box::new(error))
        }
    }
}

fn write_error(error: WriteError) -> StreamErrorIncoming {
    match error {
        WriteError::Stopped(code) => StreamErrorIncoming::StreamTerminated { error_code: code.into() },
        WriteError::ConnectionLost(error) => {
            StreamErrorIncoming::ConnectionErrorIncoming { connection_error: connection_error(error) }
        }
        error @ (WriteError::ClosedStream | WriteError::ZeroRttRejected) => {
            StreamErrorIncoming::Unknown(Box::new(error))
        }
    }
}
