//! Verdicts: checked as a whole first, then applied, so that an invalid one changes nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderName};
use http::uri::{Authority, PathAndQuery};
use http::{Method, StatusCode};

use crate::message::path::{PathError, normalise_target};
use crate::message::{Body, Exchange, Priority, ResponseHead, Target};
use crate::wasm::{CallError, RequestEdits, ResponseEdits};

use super::fields::{self, Edit};

const MAX_PATH: usize = 16 << 10;
const MAX_NAME: usize = 256;
const MAX_METHOD: usize = 32;
const MAX_TAGS: usize = 32;
const MAX_TAG_BYTES: usize = 4 << 10;
const MAX_URGENCY: u8 = 7;

/// Which rule a verdict breaks.
#[derive(Debug, thiserror::Error)]
pub(super) enum Invalid {
    #[error("more than {limit} {what}")]
    TooMany { what: &'static str, limit: usize },
    #[error("a {what} of more than {limit} bytes")]
    TooLong { what: &'static str, limit: usize },
    #[error("{0:?} is not the name of a header")]
    HeaderName(String),
    #[error("the value of {0} has a character that a header may not have")]
    HeaderValue(HeaderName),
    #[error("{0} is the proxy's own to write")]
    ReservedHeader(HeaderName),
    #[error("{0:?} is not a method that a request may have here")]
    Method(String),
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("{0:?} is not an authority")]
    Authority(String),
    #[error("the {what} is empty or has a control character")]
    Name { what: &'static str },
    #[error("a timeout of 0")]
    Timeout,
    #[error("an urgency of {0}, more than 7")]
    Urgency(u8),
    #[error("the status {0}, not one from 200 to 599")]
    Status(u16),
    #[error("a body with status {0}, which has none")]
    BodyOfStatus(StatusCode),
}

impl From<Invalid> for CallError {
    fn from(invalid: Invalid) -> Self {
        Self::InvalidVerdict { reason: invalid.to_string() }
    }
}

/// Checks and applies what a request filter changes.
pub(super) fn edit_request(exchange: &mut Exchange, edits: RequestEdits) -> Result<(), Invalid> {
    let headers = fields::parse_edits(edits.headers)?;
    let method = edits.method.map(parse_method).transpose()?;
    let path = edits.path.map(parse_path).transpose()?;
    let authority = edits.authority.map(parse_authority).transpose()?;
    let target = edits.backend.map(|name| parse_target(&name)).transpose()?;
    let route = edits.route.map(|route| parse_name("route", &route)).transpose()?;
    let timeout = edits.timeout_ms.map(parse_timeout).transpose()?;
    let priority = match edits.priority {
        Some(priority) if priority.urgency > MAX_URGENCY => return Err(Invalid::Urgency(priority.urgency)),
        Some(priority) => Some(Priority { urgency: priority.urgency, incremental: priority.incremental }),
        None => None,
    };
    check_tags(&edits.tags)?;

    edit_headers(&mut exchange.request.headers, headers)?;
    replace(&mut exchange.request.method, method);
    replace(&mut exchange.request.path_and_query, path);
    replace(&mut exchange.request.authority, authority);
    replace(&mut exchange.priority, priority);
    if target.is_some() {
        exchange.target = target;
    }
    if route.is_some() {
        exchange.route = route;
    }
    if timeout.is_some() {
        exchange.timeout = timeout;
    }
    add_tags(exchange, edits.tags);
    Ok(())
}

/// Checks and applies what a response filter changes.
pub(super) fn edit_response(exchange: &mut Exchange, body: &mut Body, edits: ResponseEdits) -> Result<(), Invalid> {
    let headers = fields::parse_edits(edits.headers)?;
    let status = edits.status.map(parse_status).transpose()?;
    check_tags(&edits.tags)?;
    if let Some(response) = &mut exchange.response {
        edit_headers(&mut response.headers, headers)?;
        if let Some(status) = status {
            set_status(response, body, status);
        }
    }
    add_tags(exchange, edits.tags);
    Ok(())
}

/// Whether a response with this status has no body (RFC 9110 section 6.4.1), and so no length.
pub(super) fn has_no_body(status: StatusCode) -> bool {
    status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

pub(super) fn parse_status(status: u16) -> Result<StatusCode, Invalid> {
    if !(200..=599).contains(&status) {
        return Err(Invalid::Status(status));
    }
    StatusCode::from_u16(status).map_err(|_| Invalid::Status(status))
}

/// Changing a status to one without a body drops the body. A 304 keeps the length of the body that it stands for.
fn set_status(response: &mut ResponseHead, body: &mut Body, status: StatusCode) {
    if has_no_body(status) {
        *body = Body::Empty;
        if status == StatusCode::NO_CONTENT {
            response.headers.remove(CONTENT_LENGTH);
        }
    }
    response.status = status;
}

/// All or nothing, like everything in a verdict: a section can only be too full when it is already enormous, so the
/// copy that going back would need is made in that case alone.
fn edit_headers(headers: &mut http::HeaderMap, edits: Vec<Edit>) -> Result<(), Invalid> {
    const ALMOST_FULL: usize = 8_192;
    if headers.len() < ALMOST_FULL {
        return fields::apply(headers, edits);
    }
    let mut copy = headers.clone();
    fields::apply(&mut copy, edits)?;
    *headers = copy;
    Ok(())
}

fn replace<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

fn parse_method(method: String) -> Result<Method, Invalid> {
    match Method::from_bytes(method.as_bytes()) {
        Ok(parsed) if method.len() <= MAX_METHOD && parsed != Method::CONNECT && parsed != Method::TRACE => Ok(parsed),
        Ok(_) | Err(_) => Err(Invalid::Method(method)),
    }
}

/// The same normal form that a client's path is brought into.
fn parse_path(path: Vec<u8>) -> Result<PathAndQuery, Invalid> {
    if path.len() > MAX_PATH {
        return Err(Invalid::TooLong { what: "path", limit: MAX_PATH });
    }
    // The parser cuts a fragment off; here it is a mistake.
    if path.contains(&b'#') {
        return Err(Invalid::from(PathError::Character));
    }
    let target = PathAndQuery::from_maybe_shared(Bytes::from(path)).map_err(|_| PathError::Character)?;
    Ok(normalise_target(&target)?)
}

fn parse_authority(authority: String) -> Result<Authority, Invalid> {
    let text = authority.clone();
    let parsed = Authority::try_from(authority).map_err(|_| Invalid::Authority(text))?;
    let port = parsed.as_str().strip_prefix(parsed.host());
    let good = !parsed.host().is_empty()
        && parsed.as_str().len() <= MAX_NAME
        && !parsed.as_str().contains('@')
        // Nothing after the host, or a port that is a number.
        && (port == Some("") || parsed.port_u16().is_some());
    if good { Ok(parsed) } else { Err(Invalid::Authority(parsed.as_str().to_owned())) }
}

fn parse_target(name: &str) -> Result<Target, Invalid> {
    match name {
        "static" => Ok(Target::Static),
        "internal" => Ok(Target::Internal),
        // Whether there is a backend of that name, dispatch sees.
        _ => Ok(Target::Backend(parse_name("backend", name)?)),
    }
}

fn parse_name(what: &'static str, name: &str) -> Result<Arc<str>, Invalid> {
    if name.len() > MAX_NAME {
        return Err(Invalid::TooLong { what, limit: MAX_NAME });
    }
    if name.is_empty() || name.contains(char::is_control) {
        return Err(Invalid::Name { what });
    }
    Ok(name.into())
}

fn parse_timeout(milliseconds: u32) -> Result<Duration, Invalid> {
    if milliseconds == 0 {
        return Err(Invalid::Timeout);
    }
    Ok(Duration::from_millis(u64::from(milliseconds)))
}

fn check_tags(tags: &[(String, String)]) -> Result<(), Invalid> {
    if tags.len() > MAX_TAGS {
        return Err(Invalid::TooMany { what: "tags", limit: MAX_TAGS });
    }
    let bytes: usize = tags.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > MAX_TAG_BYTES {
        return Err(Invalid::TooLong { what: "list of tags", limit: MAX_TAG_BYTES });
    }
    let printable = |text: &str| !text.contains(char::is_control);
    if tags.iter().any(|(key, value)| key.is_empty() || !printable(key) || !printable(value)) {
        return Err(Invalid::Name { what: "key or value of a tag" });
    }
    Ok(())
}

fn add_tags(exchange: &mut Exchange, tags: Vec<(String, String)>) {
    exchange.tags.extend(tags.into_iter().map(|(key, value)| (key.into_boxed_str(), value.into_boxed_str())));
}
