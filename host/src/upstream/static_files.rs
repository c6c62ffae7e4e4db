//! The target `static`: files of one folder.
//!
//! GET and HEAD, single ranges, validators and conditional requests (RFC 9110), `index.html` for folders. No
//! listing, no hidden files, and no way out of the folder. Everything that touches the disk runs on the blocking
//! pool. (hyper-staticfile was the candidate: its validators are weak, so ranges never resume, `If-None-Match`
//! is not looked at, and symbolic links lead anywhere.)

mod conditional;
mod file_body;
mod open;
mod range;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderValue, LAST_MODIFIED, LOCATION,
};
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;

use crate::message::reply::json_error;
use crate::message::{Body, RequestHead, RequestId, ResponseHead};

use conditional::{Outcome, Validators};
use file_body::FileBody;
use open::{OpenError, Opened};
use range::Selection;

/// Bodies up to this size are read at once, together with opening the file.
const WHOLE: u64 = 64 * 1024;

/// Serves the files of one folder; cheap to clone.
#[derive(Clone)]
pub struct StaticFiles {
    root: Arc<Path>,
}

impl StaticFiles {
    /// Serves the files below `root`. The folder is looked up for every request: it may be replaced, or come
    /// later.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root: root.into() }
    }

    /// Answers a request. `request` went through hygiene; what matters for safety is checked again here.
    pub async fn serve(&self, request: &RequestHead, id: Option<&RequestId>) -> (ResponseHead, Body) {
        if request.method != Method::GET && request.method != Method::HEAD {
            let message = "Only GET and HEAD are served.";
            let (mut head, body) = json_error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message, id);
            head.headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return (head, body);
        }
        let Some(wanted) = Wanted::parse(request.path_and_query.path()) else { return not_found(id) };
        let (root, request_copy) = (Arc::clone(&self.root), request.clone());
        let answered = tokio::task::spawn_blocking(move || answer(&root, &wanted, &request_copy)).await;
        match answered {
            Ok(Ok(reply)) => reply.finish(id),
            Ok(Err(OpenError::NotFound)) => not_found(id),
            Ok(Err(OpenError::Io(error))) => {
                tracing::warn!(component = "routing", %error, path = request.path_and_query.path(), "static file");
                failed(id)
            }
            // The pool is going down, or the closure panicked, which was logged.
            Err(_) => failed(id),
        }
    }
}

fn not_found(id: Option<&RequestId>) -> (ResponseHead, Body) {
    json_error(StatusCode::NOT_FOUND, "not_found", "There is no such file.", id)
}

fn failed(id: Option<&RequestId>) -> (ResponseHead, Body) {
    json_error(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "The file cannot be read.", id)
}

/// The file that a path asks for.
struct Wanted {
    /// Relative to the root; empty for the root itself.
    path: PathBuf,
    /// Whether the path ends in a slash: a folder is wanted.
    folder: bool,
}

impl Wanted {
    /// Decodes a path segment by segment. `None` for whatever cannot be a file that we show: dot segments, an
    /// encoded slash or NUL, empty segments, hidden names (but for RFC 8615's `.well-known`).
    fn parse(path: &str) -> Option<Self> {
        let inner = path.strip_prefix('/')?;
        let (inner, folder) = match inner.strip_suffix('/') {
            Some(inner) => (inner, true),
            None => (inner, inner.is_empty()),
        };
        let mut wanted = PathBuf::new();
        if !(inner.is_empty() && path == "/") {
            for (depth, segment) in inner.split('/').enumerate() {
                let name: Vec<u8> = percent_decode_str(segment).collect();
                let hidden = name.first() == Some(&b'.') && !(depth == 0 && name == b".well-known");
                if name.is_empty() || hidden || name.iter().any(|byte| matches!(byte, b'/' | 0)) {
                    return None;
                }
                wanted.push(OsStr::from_bytes(&name));
            }
        }
        Some(Self { path: wanted, folder })
    }
}

/// An answer without what only error bodies need.
enum Reply {
    File(ResponseHead, Body),
    /// A folder was asked for without the slash; where to go instead.
    Redirect(HeaderValue),
    NotModified(ResponseHead),
    PreconditionFailed,
    /// The range is outside of the file of that size.
    Unsatisfiable(u64),
}

impl Reply {
    fn finish(self, id: Option<&RequestId>) -> (ResponseHead, Body) {
        match self {
            Self::File(head, body) => (head, body),
            Self::NotModified(head) => (head, Body::Empty),
            Self::Redirect(location) => {
                let mut head = ResponseHead::new(StatusCode::MOVED_PERMANENTLY);
                head.headers.insert(LOCATION, location);
                head.headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
                (head, Body::Empty)
            }
            Self::PreconditionFailed => {
                let message = "The file is not the one that the request is about.";
                json_error(StatusCode::PRECONDITION_FAILED, "precondition_failed", message, id)
            }
            Self::Unsatisfiable(size) => {
                let message = "The range is outside of the file.";
                let (mut head, body) =
                    json_error(StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", message, id);
                head.headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
                if let Ok(value) = HeaderValue::from_str(&format!("bytes */{size}")) {
                    head.headers.insert(CONTENT_RANGE, value);
                }
                (head, body)
            }
        }
    }
}

/// Everything that may wait for the disk: runs on the blocking pool.
fn answer(root: &Path, wanted: &Wanted, request: &RequestHead) -> Result<Reply, OpenError> {
    let mut name = wanted.path.clone();
    let mut opened = open::beneath(root, &name)?;
    if opened.is_folder {
        if !wanted.folder {
            return redirect(&request.path_and_query).map(Reply::Redirect).ok_or(OpenError::NotFound);
        }
        name.push("index.html");
        opened = open::beneath(root, &name)?;
        if opened.is_folder {
            return Err(OpenError::NotFound);
        }
    } else if wanted.folder {
        return Err(OpenError::NotFound);
    }
    deliver(opened, &name, request)
}

/// Where a folder is that was asked for without its slash: relative to the path as the client sent it, because
/// the chain may have stripped a prefix from the one that is seen here.
fn redirect(asked: &http::uri::PathAndQuery) -> Option<HeaderValue> {
    let last = asked.path().rsplit('/').next()?;
    let query = asked.query().map(|query| format!("?{query}")).unwrap_or_default();
    // The dot keeps a colon in the name from making it a scheme (RFC 3986 section 4.2).
    HeaderValue::from_str(&format!("./{last}/{query}")).ok()
}

fn deliver(opened: Opened, name: &Path, request: &RequestHead) -> Result<Reply, OpenError> {
    let size = opened.size;
    let validators = Validators::new(etag(size, opened.modified), opened.modified);
    let mut head = ResponseHead::new(StatusCode::OK);
    if let Ok(value) = HeaderValue::from_str(&validators.etag) {
        head.headers.insert(ETAG, value);
    }
    if let Some(date) = validators.date().and_then(|date| HeaderValue::from_str(&date).ok()) {
        head.headers.insert(LAST_MODIFIED, date);
    }
    match conditional::evaluate(&request.headers, &validators) {
        Outcome::Proceed => {}
        Outcome::NotModified => {
            head.status = StatusCode::NOT_MODIFIED;
            return Ok(Reply::NotModified(head));
        }
        Outcome::PreconditionFailed => return Ok(Reply::PreconditionFailed),
    }
    head.headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    head.headers.insert(CONTENT_TYPE, content_type(name));

    // Ranges are defined for GET only (RFC 9110 section 14.2).
    let selection = if request.method == Method::GET && conditional::range_applies(&request.headers, &validators) {
        range::select(&request.headers, size)
    } else {
        Selection::Whole
    };
    let (start, length) = match selection {
        Selection::Whole => (0, size),
        Selection::Unsatisfiable => return Ok(Reply::Unsatisfiable(size)),
        Selection::Part { first, last } => {
            head.status = StatusCode::PARTIAL_CONTENT;
            if let Ok(value) = HeaderValue::from_str(&format!("bytes {first}-{last}/{size}")) {
                head.headers.insert(CONTENT_RANGE, value);
            }
            (first, last - first + 1)
        }
    };
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    let body = if request.method == Method::HEAD || length == 0 {
        Body::Empty
    } else if length <= WHOLE {
        Body::Full(Bytes::from(open::read_at(&opened.file, start, length)?))
    } else {
        Body::stream(FileBody::new(opened.file, start, length))
    };
    Ok(Reply::File(head, body))
}

/// A strong validator: it changes with the size and with the time of change, which counts nanoseconds.
fn etag(size: u64, modified: Option<SystemTime>) -> String {
    let nanos = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default().as_nanos();
    format!("\"{nanos:x}-{size:x}\"")
}

fn content_type(name: &Path) -> HeaderValue {
    let guess = mime_guess::from_path(name).first_raw().unwrap_or("application/octet-stream");
    let text = guess.starts_with("text/") || guess == "application/javascript";
    let value = if text { format!("{guess}; charset=utf-8") } else { guess.into() };
    HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

#[cfg(test)]
mod tests;
