//! Writing a message to a socket: the head and a small body leave in one write, a large body piece by piece,
//! and nothing more is taken from the body than the socket accepts.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body as _;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::encode;
use super::framing::Framing;
use crate::message::body::{Body, BodyError};

/// A piece of this size or less is copied beside what waits already; a larger one is written from where it is.
const COPY_LIMIT: usize = 8 * 1024;
/// So much may be gathered before it is written.
const GATHER_LIMIT: usize = 16 * 1024;

/// Bytes on their way to a socket.
#[derive(Debug, Default)]
pub struct OutBuffer {
    /// Goes out first: heads, chunk sizes, small pieces.
    pub bytes: BytesMut,
    /// Goes out after it: one large piece.
    large: Bytes,
}

impl OutBuffer {
    /// Whether everything is written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.large.is_empty()
    }

    /// Writes all of it and flushes. Returns how many bytes went out through `written`.
    ///
    /// # Errors
    /// What the socket says.
    pub fn poll_write_all<W: AsyncWrite + Unpin>(
        &mut self,
        io: &mut W,
        written: &mut u64,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let count = if self.large.is_empty() {
                ready!(Pin::new(&mut *io).poll_write(cx, &self.bytes))?
            } else {
                let slices = [IoSlice::new(&self.bytes), IoSlice::new(&self.large)];
                ready!(Pin::new(&mut *io).poll_write_vectored(cx, &slices))?
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *written += count as u64;
            let from_bytes = count.min(self.bytes.len());
            self.bytes.advance(from_bytes);
            self.large.advance(count - from_bytes);
        }
        Pin::new(io).poll_flush(cx)
    }
}

/// Why a message could not be written to its end.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The body's source failed.
    #[error("{0}")]
    Body(#[source] BodyError),
    /// The body was longer or shorter than its head said.
    #[error("body length differs from Content-Length")]
    Length,
}

/// Writes one body in its framing.
#[derive(Debug)]
pub struct BodyWriter {
    framing: Framing,
    finished: bool,
    /// Why the source broke off, until what came before it is written: the other side is to have that.
    failed: Option<BodyError>,
    /// Whether the last poll waits for the body's source, and not for the socket.
    waits_for_source: bool,
    /// A large chunk was queued whose CRLF is still owed.
    owes_line_end: bool,
    /// Bytes that the socket took, heads included.
    pub written: u64,
    /// Bytes of body taken from the source.
    pub body_bytes: u64,
}

impl BodyWriter {
    /// Begins a body.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self {
            framing,
            finished: false,
            failed: None,
            waits_for_source: false,
            owes_line_end: false,
            written: 0,
            body_bytes: 0,
        }
    }

    /// Moves the body on as far as source and socket allow; ready when all of it is written.
    ///
    /// # Errors
    /// The message can't be completed and the connection must be closed.
    pub fn poll<W: AsyncWrite + Unpin>(
        &mut self,
        io: &mut W,
        out: &mut OutBuffer,
        body: &mut Body,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), WriteError>> {
        loop {
            self.waits_for_source = false;
            let mut source_is_pending = false;
            while !self.finished && self.failed.is_none() && out.large.is_empty() && out.bytes.len() < GATHER_LIMIT {
                match Pin::new(&mut *body).poll_frame(cx) {
                    Poll::Pending => {
                        source_is_pending = true;
                        break;
                    }
                    Poll::Ready(None) => self.end(out, None)?,
                    Poll::Ready(Some(Err(error))) => {
                        self.failed = Some(error);
                        break;
                    }
                    Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) => self.data(out, data)?,
                        Err(frame) => self.end(out, frame.into_trailers().ok().as_ref())?,
                    },
                }
            }
            ready!(out.poll_write_all(io, &mut self.written, cx))?;
            if let Some(error) = self.failed.take() {
                return Poll::Ready(Err(WriteError::Body(error)));
            }
            if self.finished {
                return Poll::Ready(Ok(()));
            }
            if source_is_pending {
                self.waits_for_source = true;
                return Poll::Pending;
            }
        }
    }

    /// Whether a poll that is pending waits for the body's source: nothing is left that the socket could take.
    #[must_use]
    pub fn waits_for_source(&self) -> bool {
        self.waits_for_source
    }

    fn data(&mut self, out: &mut OutBuffer, data: Bytes) -> Result<(), WriteError> {
        if data.is_empty() {
            return Ok(());
        }
        self.body_bytes += data.len() as u64;
        match &mut self.framing {
            Framing::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(WriteError::Length)?;
            }
            Framing::Chunked => {
                self.pay_line_end(out);
                encode::chunk_size(&mut out.bytes, data.len());
                self.owes_line_end = true;
            }
            Framing::UntilClose => {}
        }
        if data.len() <= COPY_LIMIT {
            out.bytes.extend_from_slice(&data);
            self.pay_line_end(out);
        } else {
            out.large = data;
        }
        Ok(())
    }

    fn end(&mut self, out: &mut OutBuffer, trailers: Option<&HeaderMap>) -> Result<(), WriteError> {
        self.finished = true;
        match self.framing {
            Framing::Length(0) | Framing::UntilClose => Ok(()),
            Framing::Length(_) => Err(WriteError::Length),
            Framing::Chunked => {
                self.pay_line_end(out);
                encode::last_chunk(&mut out.bytes, trailers);
                Ok(())
            }
        }
    }

    fn pay_line_end(&mut self, out: &mut OutBuffer) {
        if std::mem::take(&mut self.owes_line_end) {
            out.bytes.extend_from_slice(b"\r\n");
        }
    }
}

/// Writes all of `out`, then shuts the sending side down.
///
/// # Errors
/// What the socket says.
pub async fn finish<W: AsyncWrite + Unpin>(io: &mut W, out: &mut OutBuffer) -> io::Result<()> {
    let mut written = 0;
    poll_fn(|cx| out.poll_write_all(io, &mut written, cx)).await?;
    io.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, StreamBody};

    async fn written(framing: Framing, pieces: Vec<usize>) -> Result<Vec<u8>, WriteError> {
        let frames = pieces.into_iter().map(|size| Ok(http_body::Frame::data(Bytes::from(vec![b'x'; size]))));
        let stream = StreamBody::new(futures_stream(frames.collect()));
        let mut body = Body::stream(stream.map_err(|never: BodyError| never));
        let (mut near, mut far) = tokio::io::duplex(64);
        let reader = tokio::spawn(async move {
            let mut all = Vec::new();
            tokio::io::AsyncReadExt::read_to_end(&mut far, &mut all).await.unwrap();
            all
        });
        let mut writer = BodyWriter::new(framing);
        let mut out = OutBuffer::default();
        out.bytes.extend_from_slice(b"head ");
        let result = poll_fn(|cx| writer.poll(&mut near, &mut out, &mut body, cx)).await;
        drop(near);
        let all = reader.await.unwrap();
        result.map(|()| all)
    }

    type Frames = Vec<Result<http_body::Frame<Bytes>, BodyError>>;

    fn futures_stream(frames: Frames) -> impl futures_core::Stream<Item = Result<http_body::Frame<Bytes>, BodyError>> {
        struct Iter(std::vec::IntoIter<Result<http_body::Frame<Bytes>, BodyError>>);
        impl futures_core::Stream for Iter {
            type Item = Result<http_body::Frame<Bytes>, BodyError>;
            fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
                Poll::Ready(self.0.next())
            }
        }
        Iter(frames.into_iter())
    }

    #[tokio::test]
    async fn frames_small_and_large_pieces() {
        let all = written(Framing::Length(100_003), vec![3, 100_000]).await.unwrap();
        assert_eq!(all.len(), 5 + 100_003);
        let all = written(Framing::Chunked, vec![3, 100_000, 0, 2, 9_000]).await.unwrap();
        let mut decoder = super::super::ChunkedDecoder::default();
        let mut buffer = BytesMut::from(&all[5..]);
        let mut size = 0;
        loop {
            match decoder.decode(&mut buffer).unwrap() {
                super::super::Decoded::Data(data) => size += data.len(),
                super::super::Decoded::End(_) => break,
                super::super::Decoded::Incomplete => panic!("incomplete"),
            }
        }
        assert_eq!((size, buffer.len()), (109_005, 0));
    }

    #[tokio::test]
    async fn a_wrong_length_is_an_error() {
        assert!(matches!(written(Framing::Length(4), vec![3]).await, Err(WriteError::Length)));
        assert!(matches!(written(Framing::Length(2), vec![3]).await, Err(WriteError::Length)));
    }
}
