//! What a filter decided, as text that can be written down, compared and shown: the expected side of a case and
//! the actual one alike.

use std::fmt::Write as _;

use serde::Deserialize;

use crate::bindings::gpanel::filter::types as raw;
use crate::filter::ConfigError;
use crate::verdict::{RequestVerdict, ResponseVerdict};

/// The result of one case.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing changed.
    Next,
    /// The message goes on, changed.
    Edit(Edit),
    /// The filter answered.
    Respond(Respond),
    /// The configuration was refused.
    Reject(Reject),
}

/// The changes of a request or response; what is not there does not change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Edit {
    /// `set name: value`, `append name: value` or `remove name`, in order; see [`set`], [`append`], [`remove`].
    pub headers: Vec<String>,
    /// New method.
    pub method: Option<String>,
    /// New path and query.
    pub path: Option<String>,
    /// New authority.
    pub authority: Option<String>,
    /// Where the request goes.
    pub backend: Option<String>,
    /// The route label.
    pub route: Option<String>,
    /// Milliseconds until the response's head must be there.
    pub timeout_ms: Option<u32>,
    /// RFC 9218 priority.
    pub priority: Option<Priority>,
    /// `key: value` pairs for the access log.
    pub tags: Vec<String>,
    /// New status of a response.
    pub status: Option<u16>,
}

/// RFC 9218 priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Priority {
    /// 0 to 7.
    pub urgency: u8,
    /// Whether a part is of use before the rest.
    pub incremental: bool,
}

/// A reply of the filter's own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Respond {
    /// The status.
    pub status: u16,
    /// `name: value`, in order.
    #[serde(default)]
    pub headers: Vec<String>,
    /// The body, bytes escaped as in header values.
    #[serde(default)]
    pub body: String,
}

/// A refused configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reject {
    /// Keys and indices, joined by dots: `rules.1.pattern`.
    #[serde(default)]
    pub path: String,
    /// In a case: a part of the message.
    pub message: String,
}

impl Outcome {
    /// Whether `actual` is what this expects: equal, but of a message of refusal only a part need be told.
    #[must_use]
    pub fn is_met_by(&self, actual: &Self) -> bool {
        match (self, actual) {
            (Self::Reject(expected), Self::Reject(actual)) => {
                expected.path == actual.path && actual.message.contains(&expected.message)
            }
            _ => self == actual,
        }
    }
}

impl From<&ConfigError> for Outcome {
    fn from(error: &ConfigError) -> Self {
        Self::Reject(Reject { path: error.path().join("."), message: error.message().to_owned() })
    }
}

impl From<&RequestVerdict> for Outcome {
    fn from(verdict: &RequestVerdict) -> Self {
        match verdict {
            RequestVerdict::Next => Self::Next,
            RequestVerdict::Edit(edits) => {
                let raw = edits.raw();
                Self::Edit(Edit {
                    headers: raw.headers.iter().map(edit).collect(),
                    method: raw.method.clone(),
                    path: raw.path.as_deref().map(escape),
                    authority: raw.authority.clone(),
                    backend: raw.backend.clone(),
                    route: raw.route.clone(),
                    timeout_ms: raw.timeout_ms,
                    priority: raw.priority.map(|raw| Priority { urgency: raw.urgency, incremental: raw.incremental }),
                    tags: raw.tags.iter().map(|(key, value)| format!("{key}: {value}")).collect(),
                    status: None,
                })
            }
            RequestVerdict::Respond(reply) => Self::Respond(respond(reply.raw())),
        }
    }
}

impl From<&ResponseVerdict> for Outcome {
    fn from(verdict: &ResponseVerdict) -> Self {
        match verdict {
            ResponseVerdict::Next => Self::Next,
            ResponseVerdict::Edit(edits) => {
                let raw = edits.raw();
                Self::Edit(Edit {
                    headers: raw.headers.iter().map(edit).collect(),
                    tags: raw.tags.iter().map(|(key, value)| format!("{key}: {value}")).collect(),
                    status: raw.status,
                    ..Edit::default()
                })
            }
            ResponseVerdict::Respond(reply) => Self::Respond(respond(reply.raw())),
        }
    }
}

fn edit(edit: &raw::HeaderEdit) -> String {
    match edit {
        raw::HeaderEdit::Set(header) => set(&header.name, &header.value),
        raw::HeaderEdit::Append(header) => append(&header.name, &header.value),
        raw::HeaderEdit::Remove(name) => remove(name),
    }
}

fn respond(raw: &raw::Reply) -> Respond {
    Respond {
        status: raw.status,
        headers: raw.headers.iter().map(|header| field(&header.name, &header.value)).collect(),
        body: escape(&raw.body),
    }
}

/// The text of an edit that replaces a header.
#[must_use]
pub fn set(name: &str, value: &[u8]) -> String {
    format!("set {name}: {}", escape(value))
}

/// The text of an edit that adds a header.
#[must_use]
pub fn append(name: &str, value: &[u8]) -> String {
    format!("append {name}: {}", escape(value))
}

/// The text of an edit that removes a header.
#[must_use]
pub fn remove(name: &str) -> String {
    format!("remove {name}")
}

/// The text of a header field.
#[must_use]
pub fn field(name: &str, value: &[u8]) -> String {
    format!("{name}: {}", escape(value))
}

/// Bytes as text: UTF-8 as it is, every byte that is not part of any as `\xNN`, a backslash doubled.
#[must_use]
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(&chunk.valid().replace('\\', r"\\"));
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(text, r"\x{byte:02x}");
        }
    }
    text
}

/// The bytes of a text made by [`escape`]; `None` if a backslash is followed by anything else.
#[must_use]
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('\\');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    while let Some(part) = parts.next() {
        if let Some(hex) = part.strip_prefix('x') {
            bytes.push(u8::from_str_radix(hex.get(..2)?, 16).ok()?);
            bytes.extend_from_slice(hex.get(2..)?.as_bytes());
        } else if part.is_empty() {
            bytes.push(b'\\');
            bytes.extend_from_slice(parts.next()?.as_bytes());
        } else {
            return None;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{escape, unescape};

    #[test]
    fn bytes_survive_their_text() {
        for bytes in
            [b"".as_slice(), b"plain", "ü".as_bytes(), b"\xff\xfe", br"a\b", br"\\", b"\\\xff\\x41", b"a\xe2\x28"]
        {
            assert_eq!(unescape(&escape(bytes)).as_deref(), Some(bytes));
        }
        assert_eq!(escape(b"\xffz"), r"\xffz");
        assert_eq!(unescape(r"\n"), None);
        assert_eq!(unescape(r"\x4"), None);
    }
}
