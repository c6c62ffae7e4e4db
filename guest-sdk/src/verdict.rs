//! What a filter decides. Thin shells around the contract's records, so that a verdict crosses without a copy.

use serde::Serialize;

use crate::bindings::gpanel::filter::types as raw;

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum RequestVerdict {
    /// On to the next filter, unchanged.
    Next,
    /// On to the next filter, changed.
    Edit(RequestEdits),
    /// No further: this is the answer. It still passes the response side of the filters further out.
    Respond(Reply),
}

impl RequestVerdict {
    /// On to the next filter, unchanged.
    pub const fn next() -> Self {
        Self::Next
    }

    /// The edits, if that is the verdict.
    #[must_use]
    pub fn edits(&self) -> Option<&RequestEdits> {
        if let Self::Edit(edits) = self { Some(edits) } else { None }
    }

    /// The reply, if that is the verdict.
    #[must_use]
    pub fn reply(&self) -> Option<&Reply> {
        if let Self::Respond(reply) = self { Some(reply) } else { None }
    }

    /// The contract's form.
    #[doc(hidden)]
    #[must_use]
    pub fn into_raw(self) -> raw::RequestVerdict {
        match self {
            Self::Next => raw::RequestVerdict::Next,
            Self::Edit(edits) => raw::RequestVerdict::Edit(edits.0),
            Self::Respond(reply) => raw::RequestVerdict::Respond(reply.0),
        }
    }
}

impl From<RequestEdits> for RequestVerdict {
    fn from(edits: RequestEdits) -> Self {
        Self::Edit(edits)
    }
}

impl From<Reply> for RequestVerdict {
    fn from(reply: Reply) -> Self {
        Self::Respond(reply)
    }
}

/// What happens to a response.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum ResponseVerdict {
    /// Out to the filter around this one, unchanged.
    Next,
    /// Out to the filter around this one, changed.
    Edit(ResponseEdits),
    /// The response is dropped; this one goes out in its place.
    Respond(Reply),
}

impl ResponseVerdict {
    /// Out to the filter around this one, unchanged.
    pub const fn next() -> Self {
        Self::Next
    }

    /// The edits, if that is the verdict.
    #[must_use]
    pub fn edits(&self) -> Option<&ResponseEdits> {
        if let Self::Edit(edits) = self { Some(edits) } else { None }
    }

    /// The reply, if that is the verdict.
    #[must_use]
    pub fn reply(&self) -> Option<&Reply> {
        if let Self::Respond(reply) = self { Some(reply) } else { None }
    }

    /// The contract's form.
    #[doc(hidden)]
    #[must_use]
    pub fn into_raw(self) -> raw::ResponseVerdict {
        match self {
            Self::Next => raw::ResponseVerdict::Next,
            Self::Edit(edits) => raw::ResponseVerdict::Edit(edits.0),
            Self::Respond(reply) => raw::ResponseVerdict::Respond(reply.0),
        }
    }
}

impl From<ResponseEdits> for ResponseVerdict {
    fn from(edits: ResponseEdits) -> Self {
        Self::Edit(edits)
    }
}

impl From<Reply> for ResponseVerdict {
    fn from(reply: Reply) -> Self {
        Self::Respond(reply)
    }
}

/// What changes in a request. Header edits apply in the order of the calls.
///
/// ```
/// # use gpanel_filter::{RequestEdits, RequestVerdict};
/// let verdict: RequestVerdict = RequestEdits::new().backend("bolt").set_header("x-team", "blue").into();
/// # assert!(verdict.edits().is_some());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestEdits(raw::RequestEdits);

impl RequestEdits {
    /// No change yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(raw::RequestEdits {
            headers: Vec::new(),
            method: None,
            path: None,
            authority: None,
            backend: None,
            route: None,
            timeout_ms: None,
            priority: None,
            tags: Vec::new(),
        })
    }

    /// Replaces every field of that name.
    #[must_use]
    pub fn set_header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.0.headers.push(raw::HeaderEdit::Set(header(name, value)));
        self
    }

    /// Adds a field beside those of the same name.
    #[must_use]
    pub fn append_header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.0.headers.push(raw::HeaderEdit::Append(header(name, value)));
        self
    }

    /// Removes every field of that name.
    #[must_use]
    pub fn remove_header(mut self, name: impl Into<String>) -> Self {
        self.0.headers.push(raw::HeaderEdit::Remove(field_name(name)));
        self
    }

    /// The method that the upstream sees.
    #[must_use]
    pub fn method(mut self, method: impl Into<String>) -> Self {
        self.0.method = Some(method.into());
        self
    }

    /// Path and query that the upstream sees, in origin form: `/a/b?c=d`.
    #[must_use]
    pub fn path(mut self, path: impl Into<Vec<u8>>) -> Self {
        self.0.path = Some(path.into());
        self
    }

    /// The authority that the upstream sees in `Host`.
    #[must_use]
    pub fn authority(mut self, authority: impl Into<String>) -> Self {
        self.0.authority = Some(authority.into());
        self
    }

    /// Where the request goes: a backend of the configuration, `static` or `internal`.
    #[must_use]
    pub fn backend(mut self, name: impl Into<String>) -> Self {
        self.0.backend = Some(name.into());
        self
    }

    /// The route label of metrics and access log. Keep their number small: no ids, no client's data.
    #[must_use]
    pub fn route(mut self, label: impl Into<String>) -> Self {
        self.0.route = Some(label.into());
        self
    }

    /// Milliseconds until the response's head must be there.
    #[must_use]
    pub fn timeout_ms(mut self, milliseconds: u32) -> Self {
        self.0.timeout_ms = Some(milliseconds);
        self
    }

    /// How soon the response is wanted (RFC 9218): urgency 0 (first) to 7 (last), and whether a part of it is
    /// of use before the rest.
    #[must_use]
    pub fn priority(mut self, urgency: u8, incremental: bool) -> Self {
        self.0.priority = Some(raw::Priority { urgency, incremental });
        self
    }

    /// A key and value for the access log.
    #[must_use]
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.tags.push((key.into(), value.into()));
        self
    }

    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::new()
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn raw(&self) -> &raw::RequestEdits {
        &self.0
    }
}

impl Default for RequestEdits {
    fn default() -> Self {
        Self::new()
    }
}

/// What changes in a response's head. Header edits apply in the order of the calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseEdits(raw::ResponseEdits);

impl ResponseEdits {
    /// No change yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(raw::ResponseEdits { status: None, headers: Vec::new(), tags: Vec::new() })
    }

    /// The status, 200 to 599.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.0.status = Some(status);
        self
    }

    /// Replaces every field of that name.
    #[must_use]
    pub fn set_header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.0.headers.push(raw::HeaderEdit::Set(header(name, value)));
        self
    }

    /// Adds a field beside those of the same name.
    #[must_use]
    pub fn append_header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.0.headers.push(raw::HeaderEdit::Append(header(name, value)));
        self
    }

    /// Removes every field of that name.
    #[must_use]
    pub fn remove_header(mut self, name: impl Into<String>) -> Self {
        self.0.headers.push(raw::HeaderEdit::Remove(field_name(name)));
        self
    }

    /// A key and value for the access log.
    #[must_use]
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.tags.push((key.into(), value.into()));
        self
    }

    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::new()
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn raw(&self) -> &raw::ResponseEdits {
        &self.0
    }
}

impl Default for ResponseEdits {
    fn default() -> Self {
        Self::new()
    }
}

/// A complete response of the filter's own. The proxy adds its length.
///
/// ```
/// # use gpanel_filter::{Reply, RequestVerdict};
/// let verdict: RequestVerdict = Reply::new(401).header("www-authenticate", "Bearer").into();
/// # assert!(verdict.reply().is_some());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply(raw::Reply);

impl Reply {
    /// A response with that status, 200 to 599, no headers and no body.
    #[must_use]
    pub const fn new(status: u16) -> Self {
        Self(raw::Reply { status, headers: Vec::new(), body: Vec::new() })
    }

    /// A response of plain text in UTF-8.
    #[must_use]
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        Self::new(status).header("content-type", "text/plain; charset=utf-8").body(text.into())
    }

    /// A response of JSON. A value that has no JSON form (a map whose keys are no strings) becomes `null`.
    #[must_use]
    pub fn json(status: u16, value: &(impl Serialize + ?Sized)) -> Self {
        let body = serde_json::to_vec(value).unwrap_or_else(|_| b"null".to_vec());
        Self::new(status).header("content-type", "application/json").body(body)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.0.headers.push(header(name, value));
        self
    }

    /// The body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.0.body = body.into();
        self
    }

    /// The status that was set.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.0.status
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn raw(&self) -> &raw::Reply {
        &self.0
    }
}

fn header(name: impl Into<String>, value: impl Into<Vec<u8>>) -> raw::Header {
    raw::Header { name: field_name(name), value: value.into() }
}

/// The contract wants names in lower case.
fn field_name(name: impl Into<String>) -> String {
    let mut name = name.into();
    name.make_ascii_lowercase();
    name
}
