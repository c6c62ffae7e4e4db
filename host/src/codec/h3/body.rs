//! A request body from an HTTP/3 stream. QUIC's flow control opens as the body is taken, so a slow upstream holds
//! the client back.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::error::Code;
use h3::server::RequestStream;
use http_body::{Body, Frame, SizeHint};

use super::transport::RecvStream;
use crate::codec::request::Malformed;
use crate::message::BodyError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Data,
    Trailers,
    Ended,
}

/// The receiving half of a stream.
pub(super) struct RequestBody {
    stream: RequestStream<RecvStream, Bytes>,
    /// Read before anybody asked, to see whether there is a body at all.
    first: Option<Bytes>,
    /// What `Content-Length` leaves: `h3` does not hold the client to it.
    left: Option<u64>,
    state: State,
}

impl RequestBody {
    pub(super) fn new(stream: RequestStream<RecvStream, Bytes>, first: Option<Bytes>, length: Option<u64>) -> Self {
        Self { stream, first, left: length, state: State::Data }
    }

    fn received(&mut self, data: Bytes) -> Result<Frame<Bytes>, BodyError> {
        if let Some(left) = &mut self.left {
            match left.checked_sub(data.len() as u64) {
                Some(rest) => *left = rest,
                None => return Err(self.malformed()),
            }
        }
        Ok(Frame::data(data))
    }

    fn malformed(&mut self) -> BodyError {
        self.state = State::Ended;
        self.stream.stop_sending(Code::H3_MESSAGE_ERROR);
        BodyError::Downstream(Box::new(Malformed::Length))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(data) = self.first.take() {
            return Poll::Ready(Some(self.received(data)));
        }
        if self.state == State::Data {
            match ready!(self.stream.poll_recv_data(cx)) {
                Ok(Some(mut data)) => {
                    let data = data.copy_to_bytes(data.remaining());
                    return Poll::Ready(Some(self.received(data)));
                }
                Ok(None) if self.left.is_some_and(|left| left > 0) => return Poll::Ready(Some(Err(self.malformed()))),
                Ok(None) => self.state = State::Trailers,
                Err(error) => {
                    self.state = State::Ended;
                    return Poll::Ready(Some(Err(BodyError::Downstream(error.into()))));
                }
            }
        }
        if self.state == State::Ended {
            return Poll::Ready(None);
        }
        let trailers = ready!(self.stream.poll_recv_trailers(cx));
        self.state = State::Ended;
        Poll::Ready(match trailers {
            Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            Err(error) => Some(Err(BodyError::Downstream(error.into()))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.state == State::Ended
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
