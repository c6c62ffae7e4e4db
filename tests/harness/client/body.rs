//! Request bodies for tests.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use tokio::sync::mpsc;

use super::{BoxError, ClientBody};
use crate::payload::{Length, Payload};

/// No body.
pub fn empty() -> ClientBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body in one piece, with its length.
pub fn full(bytes: impl Into<Bytes>) -> ClientBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// `len` bytes of the pattern.
pub fn payload(len: u64, length: Length) -> ClientBody {
    Payload::new(len, length).map_err(|never| match never {}).boxed_unsync()
}

/// Those pieces, each in a frame of its own, then those trailers.
pub fn with_trailers(parts: Vec<Bytes>, trailers: Option<HeaderMap>) -> ClientBody {
    let mut frames: Vec<Result<Frame<Bytes>, BoxError>> = parts.into_iter().map(|part| Ok(Frame::data(part))).collect();
    frames.extend(trailers.map(|fields| Ok(Frame::trailers(fields))));
    StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync()
}

/// A body that the test feeds piece by piece.
pub struct Pieces(mpsc::Sender<Result<Frame<Bytes>, BoxError>>);

impl Pieces {
    /// Sends a piece, as soon as there is room; false when nobody reads the body any more.
    pub async fn send(&self, data: impl Into<Bytes>) -> bool {
        self.0.send(Ok(Frame::data(data.into()))).await.is_ok()
    }

    /// Breaks the body off, as a client that dies does.
    pub async fn fail(self) {
        let _ = self.0.send(Err("the test broke the body off".into())).await;
    }
}

struct Fed(mpsc::Receiver<Result<Frame<Bytes>, BoxError>>);

impl http_body::Body for Fed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.poll_recv(cx)
    }
}

/// A body and the hand that feeds it; it ends when the hand is dropped.
pub fn pieces() -> (Pieces, ClientBody) {
    let (sender, receiver) = mpsc::channel(1);
    (Pieces(sender), Fed(receiver).boxed_unsync())
}
