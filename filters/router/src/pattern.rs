//! A path pattern: `/x` matches that path alone, `/x/*` matches `/x`, `/x/` and everything below, not `/xfoo`.

use gpanel_filter::ConfigError;

/// How much of a path a pattern covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// The path alone.
    Exact,
    /// The path and everything below.
    Below,
}

/// A parsed pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    text: String,
    pub(crate) extent: Extent,
}

impl Pattern {
    /// Checks that a normalised path can match: anything else would be a rule that never applies.
    pub(crate) fn parse(text: String) -> Result<Self, ConfigError> {
        let (path, extent) = match text.strip_suffix("/*") {
            Some(path) => (path, Extent::Below),
            None => (text.as_str(), Extent::Exact),
        };
        let fault = if !text.starts_with('/') {
            "must start with `/`"
        } else if path.contains('*') {
            "may have a `*` only as its last segment"
        } else if path.bytes().any(|byte| !byte.is_ascii_graphic() || matches!(byte, b'?' | b'#')) {
            "is a path: no query, no fragment, anything but visible ASCII percent-encoded"
        } else if !has_normal_segments(path) {
            "would never match: paths come without `//`, `.` and `..`"
        } else if !has_normal_encoding(path) {
            "would never match: paths come with `%2F` in upper case, and letters, digits and `-._~` not encoded"
        } else {
            return Ok(Self { text, extent });
        };
        Err(ConfigError::new(format!("pattern \"{text}\" {fault}")))
    }

    /// As it was written; also the route label.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The path without `/*`; empty for `/*` itself.
    pub(crate) fn base(&self) -> &[u8] {
        let base = match self.extent {
            Extent::Exact => self.text.as_str(),
            Extent::Below => self.text.strip_suffix("/*").unwrap_or_default(),
        };
        base.as_bytes()
    }

    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        match (path.strip_prefix(self.base()), self.extent) {
            (Some(rest), Extent::Exact) => rest.is_empty(),
            (Some(rest), Extent::Below) => matches!(rest, [] | [b'/', ..]),
            (None, _) => false,
        }
    }
}

fn has_normal_segments(path: &str) -> bool {
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        // An empty last segment is a trailing slash.
        if matches!(segment, "." | "..") || (segment.is_empty() && segments.peek().is_some()) {
            return false;
        }
    }
    true
}

/// RFC 3986 section 6.2.2.
fn has_normal_encoding(path: &str) -> bool {
    path.split('%').skip(1).all(|part| {
        let Some(pair) = part.get(..2) else { return false };
        let Ok(value) = u8::from_str_radix(pair, 16) else { return false };
        let unreserved = value.is_ascii_alphanumeric() || matches!(value, b'-' | b'.' | b'_' | b'~');
        !unreserved && !pair.bytes().any(|digit| digit.is_ascii_lowercase() || digit == b'+')
    })
}
