//! The JSON that a reply of the proxy's own carries. Deciding the status is `pipeline::local_reply`'s.

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};

use super::body::Body;
use super::exchange::RequestId;
use super::head::ResponseHead;

/// `Proxy-Status` (RFC 9209).
pub const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Makes a JSON error reply.
///
/// `code` is one word of the vocabulary shared by access log, metrics and `Proxy-Status`: an error type of
/// RFC 9209 section 2.3, or one of our own. `message` is for the client: no inner detail.
#[must_use]
pub fn json_error(status: StatusCode, code: &str, message: &str, id: Option<&RequestId>) -> (ResponseHead, Body) {
    let mut error = serde_json::json!({ "status": status.as_u16(), "code": code, "message": message });
    if let (Some(id), Some(object)) = (id, error.as_object_mut()) {
        object.insert("request_id".into(), id.0.as_ref().into());
    }
    let mut text = serde_json::json!({ "error": error }).to_string();
    text.push('\n');
    let body = Bytes::from(text);
    let mut head = ResponseHead::new(status);
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    if let Ok(value) = HeaderValue::from_str(&format!("gpanel-proxy; error={code}")) {
        head.headers.insert(PROXY_STATUS, value);
    }
    (head, Body::from(body))
}
