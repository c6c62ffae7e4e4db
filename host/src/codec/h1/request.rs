//! From a head to a request: its target's form, its framing, whether the connection goes on after it.

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT, HeaderMap};
use http::uri::PathAndQuery;
use http::{Method, Request, Uri};

use super::receive::Head;
use crate::message::http1::{Framing, FramingError, Version, framing};
use crate::pipeline::RequestError;

/// A request without its body, and what the connection has to know of it.
pub(super) struct Parsed {
    pub(super) request: Request<()>,
    pub(super) version: Version,
    pub(super) framing: Framing,
    pub(super) keep_alive: bool,
    pub(super) expects_continue: bool,
}

/// Parses a head that is well-formed by itself.
pub(super) fn parse(head: Head) -> Result<Parsed, RequestError> {
    let Head { line, headers } = head;
    let version = line.version;
    let framing = framing::of_request(version, &headers).map_err(|error| match error {
        FramingError::UnknownCoding => RequestError::TransferCoding,
        FramingError::Both => RequestError::Malformed("both Content-Length and Transfer-Encoding"),
        FramingError::Length => RequestError::Malformed("invalid Content-Length"),
        FramingError::TransferEncoding => RequestError::Malformed("invalid Transfer-Encoding"),
    })?;
    if line.method == Method::CONNECT {
        return Err(RequestError::Method);
    }
    let expects_continue = version == Version::Http11
        && headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let keep_alive = match version {
        Version::Http11 => !says(&headers, b"close"),
        Version::Http10 => says(&headers, b"keep-alive") && !says(&headers, b"close"),
    };
    let mut request = Request::new(());
    *request.method_mut() = line.method;
    *request.uri_mut() = uri(&line.target)?;
    *request.version_mut() = match version {
        Version::Http10 => http::Version::HTTP_10,
        Version::Http11 => http::Version::HTTP_11,
    };
    *request.headers_mut() = headers;
    Ok(Parsed { request, version, framing, keep_alive, expects_continue })
}

/// Origin, absolute or asterisk form (RFC 9112 section 3.2); the last belongs to CONNECT, which is not served.
fn uri(target: &Bytes) -> Result<Uri, RequestError> {
    const MALFORMED: RequestError = RequestError::Malformed("malformed request target");
    if memchr::memchr(b'#', target).is_some() {
        return Err(MALFORMED);
    }
    if target.first() == Some(&b'/') || target.as_ref() == b"*" {
        return PathAndQuery::from_maybe_shared(target.clone()).map(Uri::from).map_err(|_| MALFORMED);
    }
    let uri = Uri::from_maybe_shared(target.clone()).map_err(|_| MALFORMED)?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.authority().is_some() => Ok(uri),
        _ => Err(MALFORMED),
    }
}

fn says(headers: &HeaderMap, word: &[u8]) -> bool {
    headers.get_all(CONNECTION).iter().any(|value| {
        value.as_bytes().split(|byte| *byte == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(word))
    })
}
