//! The body of a request in progress, read from the connection as it is wanted.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::io::AsyncRead;

use super::receive::{BodyState, Receiver};
use crate::message::BodyError;
use crate::message::http1::{ChunkedDecoder, Decoded, Framing};

enum Decoder {
    Length(u64),
    Chunked(ChunkedDecoder),
    Ended,
}

/// A request body; its end leaves the connection ready for the next request.
pub(super) struct RequestBody<IO> {
    receiver: Arc<Mutex<Receiver<IO>>>,
    decoder: Decoder,
}

impl<IO: AsyncRead> RequestBody<IO> {
    /// A request's body is never delimited by the end of the connection: that would be a length of zero.
    pub(super) fn new(receiver: Arc<Mutex<Receiver<IO>>>, framing: Framing) -> Self {
        let decoder = match framing {
            Framing::Length(length) => Decoder::Length(length),
            Framing::Chunked => Decoder::Chunked(ChunkedDecoder::default()),
            Framing::UntilClose => Decoder::Ended,
        };
        Self { receiver, decoder }
    }

    /// The next frame from what was read already; `None` where more has to be read.
    fn decode(&mut self) -> Result<Option<Frame<Bytes>>, BodyError> {
        let mut receiver = self.receiver.lock();
        match &mut self.decoder {
            Decoder::Ended => Ok(None),
            Decoder::Length(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(receiver.input.len());
                if take == 0 {
                    return Ok(None);
                }
                *left -= take as u64;
                let data = receiver.input.split_to(take).freeze();
                if *left == 0 {
                    receiver.body = BodyState::Read;
                    self.decoder = Decoder::Ended;
                }
                Ok(Some(Frame::data(data)))
            }
            Decoder::Chunked(chunks) => match chunks.decode(&mut receiver.input) {
                Ok(Decoded::Incomplete) => Ok(None),
                Ok(Decoded::Data(data)) => Ok(Some(Frame::data(data))),
                Ok(Decoded::End(trailers)) => {
                    receiver.body = BodyState::Read;
                    self.decoder = Decoder::Ended;
                    Ok((!trailers.is_empty()).then(|| Frame::trailers(trailers)))
                }
                Err(error) => {
                    receiver.give_up();
                    Err(BodyError::Downstream(error.into()))
                }
            },
        }
    }
}

impl<IO: AsyncRead> Body for RequestBody<IO> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if let Some(frame) = self.decode().transpose() {
                return Poll::Ready(Some(frame));
            }
            if self.is_end_stream() {
                return Poll::Ready(None);
            }
            let read = ready!(self.receiver.lock().poll_body(cx));
            let broken = match read {
                Ok(0) => std::io::ErrorKind::UnexpectedEof.into(),
                Ok(_) => continue,
                Err(error) => error,
            };
            self.decoder = Decoder::Ended;
            self.receiver.lock().give_up();
            return Poll::Ready(Some(Err(BodyError::Downstream(broken.into()))));
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.decoder, Decoder::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        match self.decoder {
            Decoder::Length(left) => SizeHint::with_exact(left),
            Decoder::Chunked(_) => SizeHint::new(),
            Decoder::Ended => SizeHint::with_exact(0),
        }
    }
}
