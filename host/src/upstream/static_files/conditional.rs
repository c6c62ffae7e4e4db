//! Conditional requests (RFC 9110 section 13), for a file that exists, asked for with GET or HEAD.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use http::header::{HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE};

/// What tells one version of a file from another.
pub(super) struct Validators {
    /// Strong, with its quotes.
    pub(super) etag: String,
    /// Time of change in whole seconds, as HTTP dates have it.
    modified: Option<SystemTime>,
}

impl Validators {
    pub(super) fn new(etag: String, modified: Option<SystemTime>) -> Self {
        // Times before 1970 are a broken clock's, and cannot be written down.
        let since = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let modified = since.map(|since| UNIX_EPOCH + Duration::from_secs(since.as_secs()));
        Self { etag, modified }
    }

    /// The value of `Last-Modified`.
    pub(super) fn date(&self) -> Option<String> {
        self.modified.map(httpdate::fmt_http_date)
    }
}

/// What the conditions say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Answer as if there were none.
    Proceed,
    /// 304.
    NotModified,
    /// 412.
    PreconditionFailed,
}

/// Evaluates the conditions in the order of section 13.2.2.
pub(super) fn evaluate(headers: &HeaderMap, validators: &Validators) -> Outcome {
    if headers.contains_key(IF_MATCH) {
        if !any_matches(headers, &IF_MATCH, |tag| tag == validators.etag) {
            return Outcome::PreconditionFailed;
        }
    } else if let (Some(date), Some(modified)) = (date(headers, &IF_UNMODIFIED_SINCE), validators.modified)
        && modified > date
    {
        return Outcome::PreconditionFailed;
    }
    if headers.contains_key(IF_NONE_MATCH) {
        // Compared weakly (section 8.8.3.2).
        if any_matches(headers, &IF_NONE_MATCH, |tag| tag.strip_prefix("W/").unwrap_or(tag) == validators.etag) {
            return Outcome::NotModified;
        }
    } else if let (Some(date), Some(modified)) = (date(headers, &IF_MODIFIED_SINCE), validators.modified)
        && modified <= date
    {
        return Outcome::NotModified;
    }
    Outcome::Proceed
}

/// Whether `Range` is to be followed: `If-Range` is absent or names this very version (section 13.1.5).
pub(super) fn range_applies(headers: &HeaderMap, validators: &Validators) -> bool {
    let mut values = headers.get_all(IF_RANGE).iter();
    match (values.next(), values.next()) {
        (None, _) => true,
        (Some(value), None) => {
            let value = value.to_str().unwrap_or_default();
            // A weak tag never equals ours; a date must be exactly ours.
            value == validators.etag || validators.date().is_some_and(|date| value == date)
        }
        (Some(_), Some(_)) => false,
    }
}

/// A date; one that cannot be read is ignored (sections 13.1.3 and 13.1.4).
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

/// Whether a list of entity tags is `*` or has one that `matches`.
fn any_matches(headers: &HeaderMap, name: &HeaderName, matches: impl Fn(&str) -> bool) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.trim() == "*" || EntityTags(value).any(&matches))
}

/// The tags of a list. A tag may hold commas, so the list is not simply split at them; reading ends at whatever
/// is no tag.
struct EntityTags<'a>(&'a str);

impl<'a> Iterator for EntityTags<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.0.trim_start_matches([' ', '\t', ',']);
        let open = if rest.starts_with("W/") { 2 } else { 0 };
        let opaque = rest.get(open..)?.strip_prefix('"')?;
        let end = open + 1 + opaque.find('"')? + 1;
        let (tag, rest) = rest.split_at(end);
        self.0 = rest;
        Some(tag)
    }
}

#[cfg(test)]
mod tests {
    use super::Outcome::{NotModified, PreconditionFailed, Proceed};
    use super::*;

    const DATE: &str = "Fri, 13 Feb 2009 23:31:30 GMT";
    const EARLIER: &str = "Fri, 13 Feb 2009 23:31:29 GMT";
    const LATER: &str = "Fri, 13 Feb 2009 23:31:31 GMT";

    fn validators() -> Validators {
        Validators::new("\"a,b\"".into(), Some(UNIX_EPOCH + Duration::from_millis(1_234_567_890_900)))
    }

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn conditions() {
        let table: [(&[(&'static str, &str)], Outcome); 20] = [
            (&[], Proceed),
            (&[("if-none-match", "\"a,b\"")], NotModified),
            (&[("if-none-match", "W/\"a,b\"")], NotModified),
            (&[("if-none-match", "\"x\", \"y,z\" ,W/\"a,b\"")], NotModified),
            (&[("if-none-match", "\"x\""), ("if-none-match", "\"a,b\"")], NotModified),
            (&[("if-none-match", " *")], NotModified),
            (&[("if-none-match", "\"a\", b\"")], Proceed),
            (&[("if-none-match", "a,b")], Proceed),
            // If-None-Match makes If-Modified-Since void.
            (&[("if-none-match", "\"x\""), ("if-modified-since", DATE)], Proceed),
            (&[("if-modified-since", DATE)], NotModified),
            (&[("if-modified-since", LATER)], NotModified),
            (&[("if-modified-since", EARLIER)], Proceed),
            (&[("if-modified-since", "yesterday")], Proceed),
            (&[("if-match", "\"a,b\"")], Proceed),
            (&[("if-match", "*")], Proceed),
            (&[("if-match", "W/\"a,b\"")], PreconditionFailed),
            (&[("if-match", "\"x\"")], PreconditionFailed),
            (&[("if-unmodified-since", EARLIER)], PreconditionFailed),
            (&[("if-unmodified-since", DATE)], Proceed),
            (&[("if-match", "\"a,b\""), ("if-unmodified-since", EARLIER)], Proceed),
        ];
        for (fields, expected) in table {
            assert_eq!(evaluate(&headers(fields), &validators()), expected, "{fields:?}");
        }
    }

    #[test]
    fn if_range() {
        for (value, applies) in [
            ("\"a,b\"", true),
            ("W/\"a,b\"", false),
            ("\"x\"", false),
            (DATE, true),
            (LATER, false),
            (EARLIER, false),
            ("nonsense", false),
        ] {
            assert_eq!(range_applies(&headers(&[("if-range", value)]), &validators()), applies, "{value}");
        }
        assert!(range_applies(&headers(&[]), &validators()));
        assert!(!range_applies(&headers(&[("if-range", "\"a,b\""), ("if-range", "\"a,b\"")]), &validators()));
    }
}
