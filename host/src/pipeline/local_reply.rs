//! The only place where an error becomes a response.

use http::StatusCode;
use http::header::{ALLOW, HeaderValue, RETRY_AFTER};

use super::error::{RequestError, Side};
use super::record::Record;
use crate::message::reply::json_error;
use crate::message::{Body, ResponseHead};

/// What the proxy passes on; a backend may know more.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// Makes the response for an error and notes the error in the record, which logs it once.
pub(super) fn make(error: &RequestError, record: &mut Record) -> (ResponseHead, Body) {
    record.failed(error.label());
    if matches!(error.side(), Side::Upstream | Side::Internal) {
        // The detail that the client must not see; the access log has the label and the request's id.
        tracing::warn!(component = "backend", id = %record.id(), code = error.label(), %error, "request failed");
    }
    let status = error.status();
    let (mut head, body) = json_error(status, error.label(), &error.public_message(), Some(record.id()));
    match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            head.headers.insert(ALLOW, METHODS);
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            head.headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    (head, body)
}

/// Answers `OPTIONS *`.
pub(super) fn allow() -> ResponseHead {
    let mut head = ResponseHead::new(StatusCode::NO_CONTENT);
    head.headers.insert(ALLOW, METHODS);
    head
}

/// Stands in for a head that a filter's reply lost; can't happen unless the chain breaks its word.
pub(super) fn empty() -> ResponseHead {
    ResponseHead::new(StatusCode::INTERNAL_SERVER_ERROR)
}
