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
        } else if !is_normal(path) {
            "is not in normal form and would never match (`//`, `.` or `..`)"
        } else {
            return Ok(Self { extent, text });
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

fn is_normal(path: &str) -> bool {
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        // An empty last segment is a trailing slash.
        if matches!(segment, "." | "..") || (segment.is_empty() && segments.peek().is_some()) {
            return false;
        }
    }
    true
}
