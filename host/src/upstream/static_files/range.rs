//! Which part of a file `Range` selects (RFC 9110 section 14).

use http::HeaderMap;
use http::header::RANGE;

/// What to send.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Selection {
    /// All of it: there is no range, or none that we understand or want to follow.
    Whole,
    /// From the first to the last byte named, both included.
    Part {
        /// Position of the first byte.
        first: u64,
        /// Position of the last byte.
        last: u64,
    },
    /// The range lies outside: 416.
    Unsatisfiable,
}

/// Reads `Range` for a file of that size.
///
/// Several ranges are answered with the whole file, as section 14.2 allows: who asks for many small pieces gains
/// nothing from `multipart/byteranges`, and it is a well-known way to make a server work hard.
pub(super) fn select(headers: &HeaderMap, size: u64) -> Selection {
    let mut values = headers.get_all(RANGE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Selection::Whole };
    let Some(range) = value.to_str().ok().and_then(parse) else { return Selection::Whole };
    match range {
        Range::From { first, .. } if first >= size => Selection::Unsatisfiable,
        Range::From { first, last } => Selection::Part { first, last: last.unwrap_or(u64::MAX).min(size - 1) },
        Range::Last(0) => Selection::Unsatisfiable,
        // "The last five of nothing" is nothing, and `Content-Range` has no word for that.
        Range::Last(_) if size == 0 => Selection::Whole,
        Range::Last(count) => Selection::Part { first: size.saturating_sub(count), last: size - 1 },
    }
}

enum Range {
    From { first: u64, last: Option<u64> },
    Last(u64),
}

/// One range; `None` for several, another unit, or what breaks the grammar.
fn parse(value: &str) -> Option<Range> {
    let (unit, set) = value.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") || set.contains(',') {
        return None;
    }
    let (first, last) = set.trim_matches([' ', '\t']).split_once('-')?;
    match (first, last) {
        ("", count) => Some(Range::Last(position(count)?)),
        (first, "") => Some(Range::From { first: position(first)?, last: None }),
        (first, last) => {
            let (first, last) = (position(first)?, position(last)?);
            (first <= last).then_some(Range::From { first, last: Some(last) })
        }
    }
}

/// `1*DIGIT`; a number too large for us is past the end of every file.
fn position(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::Selection::{Part, Unsatisfiable, Whole};
    use super::*;

    fn of(value: &str, size: u64) -> Selection {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, value.parse().unwrap());
        select(&headers, size)
    }

    #[test]
    fn selections() {
        for (value, size, expected) in [
            ("bytes=0-0", 10, Part { first: 0, last: 0 }),
            ("bytes=0-", 10, Part { first: 0, last: 9 }),
            ("Bytes= 3-5 ", 10, Part { first: 3, last: 5 }),
            ("bytes=3-99", 10, Part { first: 3, last: 9 }),
            ("bytes=9-99999999999999999999999", 10, Part { first: 9, last: 9 }),
            ("bytes=-3", 10, Part { first: 7, last: 9 }),
            ("bytes=-99", 10, Part { first: 0, last: 9 }),
            ("bytes=10-", 10, Unsatisfiable),
            ("bytes=99999999999999999999999-", 10, Unsatisfiable),
            ("bytes=-0", 10, Unsatisfiable),
            ("bytes=0-", 0, Unsatisfiable),
            ("bytes=-1", 0, Whole),
            ("bytes=5-3", 10, Whole),
            ("bytes=0-1,3-4", 10, Whole),
            ("bytes=-", 10, Whole),
            ("bytes=", 10, Whole),
            ("bytes=+1-2", 10, Whole),
            ("bytes=1 - 2", 10, Whole),
            ("bytes=0x1-2", 10, Whole),
            ("lines=0-1", 10, Whole),
            ("0-1", 10, Whole),
        ] {
            assert_eq!(of(value, size), expected, "{value} of {size}");
        }
    }

    #[test]
    fn two_fields_are_not_followed() {
        let mut headers = HeaderMap::new();
        headers.append(RANGE, "bytes=0-1".parse().unwrap());
        headers.append(RANGE, "bytes=0-2".parse().unwrap());
        assert_eq!(select(&headers, 10), Whole);
    }
}
