//! The body of an upstream's response. At its end the connection goes back to the pool, if it can serve again.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::io::AsyncReadExt;

use super::backend::{Endpoint, InFlight};
use super::error::UpstreamError;
use super::pool::Connection;
use crate::message::http1::{BodyWriter, ChunkedDecoder, Decoded, Framing, WriteError};
use crate::message::{Body, BodyError, WorkerId};

/// A read is at least this large; it grows to the limit while the upstream fills it.
const FIRST_READ: usize = 16 * 1024;

#[derive(Debug)]
enum Decoder {
    Length(u64),
    Chunked(ChunkedDecoder),
    UntilClose,
}

/// Where a connection goes when its response has ended.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) worker: WorkerId,
    /// Whether the connection may serve again.
    pub(super) keep: bool,
    /// Counts the request as in progress until its response has ended.
    pub(super) _in_flight: Option<InFlight>,
}

impl Home {
    /// Puts the connection back, or closes it.
    fn take_back(self, connection: Box<Connection>, upload: &Upload) {
        // What stands behind the response was not asked for, and its connection is not to be trusted.
        if self.keep && matches!(upload, Upload::Done) && connection.input.is_empty() {
            self.endpoint.pool.checkin(self.worker, connection);
        }
    }
}

/// What became of the request's body.
pub(super) enum Upload {
    /// All of it was sent.
    Done,
    /// The response came before its end; it goes on while the response's body is read.
    Running(Box<(BodyWriter, Body)>),
    /// The endpoint took no more of it.
    Abandoned,
}

/// A response body that is read from its connection as it is wanted.
pub(super) struct ResponseBody {
    /// `None` once the end was reached.
    source: Option<(Box<Connection>, Home)>,
    upload: Upload,
    decoder: Decoder,
    read_size: usize,
    read_limit: usize,
}

impl ResponseBody {
    /// The body that follows a head: nothing or whole where it has arrived with the head, else a stream.
    pub(super) fn begin(
        mut connection: Box<Connection>,
        home: Home,
        framing: Framing,
        upload: Upload,
        read_limit: usize,
    ) -> Body {
        let decoder = match framing {
            Framing::Length(length) => {
                if let Ok(length) = usize::try_from(length)
                    && length <= connection.input.len()
                {
                    let data = connection.input.split_to(length).freeze();
                    home.take_back(connection, &upload);
                    return Body::from(data);
                }
                Decoder::Length(length)
            }
            Framing::Chunked => Decoder::Chunked(ChunkedDecoder::default()),
            Framing::UntilClose => Decoder::UntilClose,
        };
        let read_limit = read_limit.max(FIRST_READ);
        Body::stream(Self { source: Some((connection, home)), upload, decoder, read_size: FIRST_READ, read_limit })
    }

    fn finish(&mut self) {
        if let Some((connection, home)) = self.source.take() {
            home.take_back(connection, &self.upload);
        }
    }

    /// Sends on what the endpoint had not read when it answered.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), BodyError> {
        let (Upload::Running(upload), Some((connection, _))) = (&mut self.upload, &mut self.source) else {
            return Ok(());
        };
        let (writer, body) = &mut **upload;
        let Connection { io, output, .. } = &mut **connection;
        match writer.poll(io, output, body, cx) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(())) => self.upload = Upload::Done,
            Poll::Ready(Err(WriteError::Io(_))) => self.upload = Upload::Abandoned,
            Poll::Ready(Err(WriteError::Body(error))) => return Err(error),
            Poll::Ready(Err(error @ WriteError::Length)) => return Err(BodyError::Downstream(error.into())),
        }
        Ok(())
    }

    fn fail(&mut self, error: UpstreamError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.source = None;
        Poll::Ready(Some(Err(BodyError::Upstream(error.into()))))
    }

    /// The next frame from what was read already.
    fn decode(&mut self) -> Result<Option<Frame<Bytes>>, UpstreamError> {
        let Some((connection, _)) = &mut self.source else { return Ok(None) };
        let input = &mut connection.input;
        match &mut self.decoder {
            Decoder::Length(left) => {
                if input.is_empty() {
                    return Ok(None);
                }
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= take as u64;
                let data = input.split_to(take).freeze();
                if *left == 0 {
                    self.finish();
                }
                Ok(Some(Frame::data(data)))
            }
            Decoder::Chunked(chunks) => match chunks.decode(input)? {
                Decoded::Incomplete => Ok(None),
                Decoded::Data(data) => Ok(Some(Frame::data(data))),
                Decoded::End(trailers) => {
                    self.finish();
                    Ok((!trailers.is_empty()).then(|| Frame::trailers(trailers)))
                }
            },
            Decoder::UntilClose => Ok((!input.is_empty()).then(|| Frame::data(input.split().freeze()))),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some((connection, _)) = &mut self.source else { return Poll::Ready(Ok(0)) };
        let Connection { io, input, .. } = &mut **connection;
        input.reserve(self.read_size);
        let wanted = input.capacity() - input.len();
        let count = ready!(pin!(io.read_buf(input)).poll(cx))?;
        if count == wanted {
            self.read_size = (self.read_size * 2).min(self.read_limit);
        }
        Poll::Ready(Ok(count))
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Err(error) = self.poll_upload(cx) {
            self.source = None;
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            match self.decode() {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) if self.source.is_none() => return Poll::Ready(None),
                Ok(None) => {}
                Err(error) => return self.fail(error),
            }
            match ready!(self.poll_read(cx)) {
                Ok(0) if matches!(self.decoder, Decoder::UntilClose) => {
                    self.source = None;
                    return Poll::Ready(None);
                }
                Ok(0) => return self.fail(UpstreamError::Incomplete),
                Ok(_) => {}
                Err(error) => return self.fail(UpstreamError::Closed(error)),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.decoder {
            Decoder::Length(left) => SizeHint::with_exact(left),
            Decoder::Chunked(_) | Decoder::UntilClose => SizeHint::new(),
        }
    }
}
