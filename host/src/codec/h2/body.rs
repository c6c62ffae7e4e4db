//! A request body from an HTTP/2 stream. The flow-control window opens as the body is taken, so a slow upstream
//! holds the client back.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;

use crate::message::BodyError;

/// Where the rest of a body that nobody wanted is left.
pub(super) type Rest = Arc<Mutex<Option<RecvStream>>>;

/// Time that a client gets to notice an answer that came before its upload had ended, and bytes that it may still
/// send meanwhile.
const LINGER: (Duration, usize) = (Duration::from_secs(2), 16 * 1024 * 1024);

/// The receiving half of a stream.
#[derive(Debug)]
pub(super) struct RequestBody {
    /// `None` once it was left to `rest`.
    stream: Option<RecvStream>,
    rest: Rest,
    /// What `Content-Length` leaves; the `h2` crate holds the client to it.
    left: Option<u64>,
    data_done: bool,
}

impl RequestBody {
    pub(super) fn new(stream: RecvStream, length: Option<u64>, rest: Rest) -> Self {
        Self { stream: Some(stream), rest, left: length, data_done: false }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        *self.rest.lock() = self.stream.take().filter(|stream| !stream.is_end_stream());
    }
}

/// Takes in what is left of an upload after its answer, within bounds. Dropped at once, it would end by a reset, and
/// some clients throw the answer away with it (RFC 9113 section 8.1 forbids that, and they do it).
pub(super) async fn linger(rest: &Rest) {
    let Some(mut stream) = rest.lock().take() else { return };
    let mut taken = 0;
    let discard = std::future::poll_fn(|cx| {
        while taken < LINGER.1 {
            match ready!(stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    taken += data.len();
                    let _ = stream.flow_control().release_capacity(data.len());
                }
                Some(Err(_)) | None => break,
            }
        }
        Poll::Ready(())
    });
    // Whoever goes on after that is reset.
    let _ = tokio::time::timeout(LINGER.0, discard).await;
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Self { stream, left, data_done, .. } = &mut *self;
        let Some(stream) = stream else { return Poll::Ready(None) };
        if !*data_done {
            match ready!(stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // Only fails for a stream that is already gone, which the next poll will say.
                    let _ = stream.flow_control().release_capacity(data.len());
                    *left = left.map(|left| left.saturating_sub(data.len() as u64));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(BodyError::Downstream(error.into())))),
                None => *data_done = true,
            }
        }
        match ready!(stream.poll_trailers(cx)) {
            Ok(Some(trailers)) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            Ok(None) => Poll::Ready(None),
            Err(error) => Poll::Ready(Some(Err(BodyError::Downstream(error.into())))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.as_ref().is_none_or(RecvStream::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
