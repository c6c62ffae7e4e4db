//! A message body: empty, whole, or streamed with back-pressure.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client's side: framing broken, length not kept, connection gone.
    #[error("request body: {0}")]
    Downstream(#[source] Box<dyn Error + Send + Sync>),
    /// The client sent nothing for too long, or too slowly.
    #[error("request body came too slowly")]
    DownstreamTimeout,
    /// The body grew past the limit of `max_request_size`.
    #[error("request body is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The upstream's side: framing broken, length not kept, connection gone.
    #[error("response body: {0}")]
    Upstream(#[source] Box<dyn Error + Send + Sync>),
    /// The proxy's own side, for example a file that shrank while it was served.
    #[error("body: {0}")]
    Internal(#[source] Box<dyn Error + Send + Sync>),
}

type Streamed = Pin<Box<dyn http_body::Body<Data = Bytes, Error = BodyError> + Send>>;

/// The body of a request or response.
///
/// The two common cases, no body and a body that is already here, need no allocation and let a codec write
/// head and body at once.
#[derive(Default)]
pub enum Body {
    /// No body, or nothing left of it.
    #[default]
    Empty,
    /// The whole body in one piece, not yet taken.
    Full(Bytes),
    /// Frames as they come.
    Stream(Streamed),
}

impl Body {
    /// Wraps a streaming body.
    pub fn stream(body: impl http_body::Body<Data = Bytes, Error = BodyError> + Send + 'static) -> Self {
        Self::Stream(Box::pin(body))
    }

    /// Whether nothing will come any more, as far as that is known now.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        http_body::Body::is_end_stream(self)
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Full(bytes) }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match this {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Stream(stream) => stream.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(_) => false,
            Self::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(stream) => stream.size_hint(),
        }
    }
}
