//! The last step: the fields that every response carries, and a body that takes the record along.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, DATE, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body::{Frame, SizeHint};

use super::error::RequestError;
use super::record::Record;
use crate::message::headers::clean_trailers;
use crate::message::{Body, BodyError, ResponseHead};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Makes the response that the codec writes.
pub(super) fn respond(mut head: ResponseHead, body: Body, mut record: Record) -> Response<Body> {
    record.status(head.status);
    if let Ok(id) = HeaderValue::from_str(&record.id().0) {
        head.headers.insert(REQUEST_ID, id);
    }
    if !head.headers.contains_key(DATE) {
        head.headers.insert(DATE, date());
    }
    let body = match body {
        _ if *record.method() == Method::HEAD || head.status == StatusCode::NOT_MODIFIED => Body::Empty,
        _ if head.status == StatusCode::NO_CONTENT => {
            head.headers.remove(CONTENT_LENGTH);
            Body::Empty
        }
        body => body,
    };
    let body = match body {
        Body::Stream(_) => Body::stream(Recorded { body, record }),
        Body::Full(bytes) => {
            record.bytes_out = bytes.len() as u64;
            record.complete = true;
            Body::Full(bytes)
        }
        Body::Empty => {
            record.complete = true;
            Body::Empty
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}

/// The date as RFC 9110 section 5.6.7 writes it, made once a second.
fn date() -> HeaderValue {
    thread_local! {
        static LAST: RefCell<(u64, HeaderValue)> = const { RefCell::new((0, HeaderValue::from_static(""))) };
    }
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    LAST.with_borrow_mut(|(at, value)| {
        if *at != second
            && let Ok(text) = HeaderValue::from_str(&httpdate::fmt_http_date(now))
        {
            *at = second;
            *value = text;
        }
        value.clone()
    })
}

/// A streamed response body that carries the record of its request to its end.
struct Recorded {
    body: Body,
    record: Record,
}

impl http_body::Body for Recorded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            None => {
                self.record.complete = true;
                return Poll::Ready(None);
            }
            Some(Err(error)) => {
                let error = RequestError::Body(error);
                tracing::debug!(component = "backend", id = %self.record.id(), %error, "response broke off");
                self.record.failed(error.label());
                let RequestError::Body(error) = error else { return Poll::Ready(None) };
                return Poll::Ready(Some(Err(error)));
            }
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    clean_trailers(trailers);
                }
                frame
            }
        };
        if let Some(data) = frame.data_ref() {
            self.record.bytes_out += data.len() as u64;
        }
        // A codec may stop asking once it knows that nothing follows.
        self.record.complete |= self.body.is_end_stream();
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
