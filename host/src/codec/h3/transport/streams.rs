//! The streams of a QUIC connection as `h3` wants them.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::error::Code;
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};
use quinn::{ConnectionError, ReadError, WriteError};

use super::Shared;
use super::errors::{read_error, stream_id, varint, write_error};
use crate::codec::h3::scan::Scan;

/// A request stream.
pub(in crate::codec::h3) struct BidiStream {
    pub(super) send: SendStream,
    pub(super) recv: RecvStream,
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
pub(super) enum Kind {
    Request,
    Unidirectional,
}

/// What is known of a stream's frames.
enum Frames {
    /// A unidirectional stream whose type has not come yet.
    Unknown,
    /// Frames: a request, or the control stream.
    Scanned(Scan),
    /// Instructions for a dynamic table that we do not have.
    Encoder,
    /// Acknowledgements for a dynamic table that nobody has.
    Decoder,
    /// Types that nobody knows, and what needs no further look.
    None,
}

const TOO_LARGE: (Code, &str) = (Code::H3_EXCESSIVE_LOAD, "frame too large");
/// "Set Dynamic Table Capacity" to zero (RFC 9204 section 4.3.1).
const NO_CAPACITY: u8 = 0x20;
/// The first bits of "Stream Cancellation" (RFC 9204 section 4.4.2).
const CANCELLATION: u8 = 0b01;

/// A stream from the client.
pub(in crate::codec::h3) struct RecvStream {
    stream: quinn::RecvStream,
    shared: Arc<Shared>,
    frames: Frames,
    kind: Kind,
    /// Nothing comes any more.
    ended: bool,
}

impl RecvStream {
    pub(super) fn new(stream: quinn::RecvStream, shared: Arc<Shared>, kind: Kind) -> Self {
        let frames = match kind {
            Kind::Request => Frames::Scanned(Scan::new(shared.frame_limit)),
            Kind::Unidirectional => Frames::Unknown,
        };
        Self { stream, shared, frames, kind, ended: false }
    }

    /// Looks at what `h3` does not.
    fn scan(&mut self, mut bytes: &[u8]) -> Result<(), (Code, &'static str)> {
        if let (Frames::Unknown, Some((first, rest))) = (&self.frames, bytes.split_first()) {
            // The types of RFC 9114 section 6.2 and RFC 9204 section 4.2; nobody writes them in more than one byte.
            self.frames = match *first {
                0 => Frames::Scanned(Scan::new(self.shared.frame_limit)),
                1 => return Err((Code::H3_STREAM_CREATION_ERROR, "clients do not push")),
                2 => Frames::Encoder,
                3 => Frames::Decoder,
                _ => Frames::None,
            };
            bytes = rest;
        }
        // There is no dynamic table on either side: its capacity can only be zero, and only a stream can be cancelled.
        match &mut self.frames {
            Frames::Scanned(scan) => scan.read(bytes).then_some(()).ok_or(TOO_LARGE),
            Frames::Encoder => {
                let idle = bytes.iter().all(|byte| *byte == NO_CAPACITY);
                idle.then_some(()).ok_or((Code::QPACK_ENCODER_STREAM_ERROR, "there is no dynamic table"))
            }
            Frames::Decoder => {
                let Some(first) = bytes.first() else { return Ok(()) };
                let cancels = first >> 6 == CANCELLATION;
                self.frames = Frames::None;
                cancels.then_some(()).ok_or((Code::QPACK_DECODER_STREAM_ERROR, "there is no dynamic table"))
            }
            Frames::Unknown | Frames::None => Ok(()),
        }
    }

    /// Closes the connection, and says so to `h3`.
    fn refuse(&mut self, code: Code, reason: &'static str) -> StreamErrorIncoming {
        self.ended = true;
        self.shared.close(code, reason.as_bytes());
        StreamErrorIncoming::ConnectionErrorIncoming {
            connection_error: ConnectionErrorIncoming::Undefined(Arc::new(ConnectionError::LocallyClosed)),
        }
    }
}

impl quic::RecvStream for RecvStream {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        // The future holds nothing between two polls; quinn remembers the waker by the stream.
        let read = pin!(self.stream.read_chunk(usize::MAX, true)).poll(cx);
        match ready!(read) {
            Ok(Some(chunk)) => {
                if let Err((code, reason)) = self.scan(&chunk.bytes) {
                    return Poll::Ready(Err(self.refuse(code, reason)));
                }
                Poll::Ready(Ok(Some(chunk.bytes)))
            }
            Ok(None) => {
                if let Frames::Scanned(scan) = &self.frames
                    && !scan.between_frames()
                {
                    // `h3` takes the end in the middle of a DATA frame for the end of the body.
                    return Poll::Ready(Err(self.refuse(Code::H3_FRAME_ERROR, "the stream ends within a frame")));
                }
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
pub(in crate::codec::h3) struct SendStream {
    stream: quinn::SendStream,
    /// What is being written.
    writing: Bytes,
    shared: Arc<Shared>,
    /// Dropped as it is, quinn would end the stream as if that were all. That is right for the answer that `h3`
    /// gives to a header section that is too large, and for nothing else.
    reset_on_drop: bool,
}

impl SendStream {
    pub(super) fn new(stream: quinn::SendStream, shared: Arc<Shared>, kind: Kind) -> Self {
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
            match ready!(written) {
                Ok(written) => self.shared.wrote(written.bytes),
                Err(error) => {
                    self.writing = Bytes::new();
                    if matches!(error, WriteError::Stopped(_)) {
                        self.shared.reset();
                    }
                    return Poll::Ready(Err(write_error(error)));
                }
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
