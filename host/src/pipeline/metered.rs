//! A request body with its bytes counted and its size bounded.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::record::Record;
use crate::message::headers::clean_trailers;
use crate::message::{Body, BodyError};

/// Wraps a streamed body; one that is already here is only counted.
pub(super) fn meter(body: Body, limit: Option<u64>, record: &mut Record) -> Body {
    match body {
        Body::Empty => Body::Empty,
        Body::Full(bytes) => {
            record.received(bytes.len());
            Body::Full(bytes)
        }
        Body::Stream(_) => Body::stream(Metered { body, limit: limit.unwrap_or(u64::MAX), counter: record.receives() }),
    }
}

struct Metered {
    body: Body,
    limit: u64,
    counter: Arc<AtomicU64>,
}

impl http_body::Body for Metered {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            clean_trailers(trailers);
        }
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            let total = self.counter.fetch_add(data.len() as u64, Ordering::Relaxed) + data.len() as u64;
            if total > self.limit {
                return Poll::Ready(Some(Err(BodyError::TooLarge { limit: self.limit })));
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
