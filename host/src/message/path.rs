//! One normal form for paths, so that the filters that decide and the upstream that acts see the same bytes.
//!
//! RFC 3986 section 6.2.2: dot segments are removed, percent-encodings of unreserved characters decoded, the
//! others written in upper case; repeated slashes become one. An encoded slash or backslash stays as it is and
//! separates nothing, unless decoding it further along would make a dot segment: that is refused.

use std::borrow::Cow;

use bytes::Bytes;
use http::uri::PathAndQuery;

/// Why a request target was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with a slash.
    #[error("the path must begin with a slash")]
    NotAbsolute,
    /// A character that RFC 3986 does not allow, a backslash, or a fragment.
    #[error("the path has a character that is not allowed")]
    Character,
    /// A `%` without two hexadecimal digits.
    #[error("the path has a malformed percent-encoding")]
    Encoding,
    /// A NUL, encoded.
    #[error("the path has an encoded NUL")]
    Nul,
    /// An encoded separator, or a parameter, that hides a dot segment.
    #[error("the path hides a dot segment")]
    HiddenDotSegment,
}

/// Normalises a request target in origin form, path and query; the query stays as it came.
///
/// # Errors
/// See [`PathError`].
pub fn normalise_target(target: &PathAndQuery) -> Result<PathAndQuery, PathError> {
    if target.query().is_some_and(|query| query.bytes().any(|byte| !is_query_byte(byte))) {
        return Err(PathError::Character);
    }
    match normalise(target.path().as_bytes())? {
        Cow::Borrowed(_) => Ok(target.clone()),
        Cow::Owned(mut whole) => {
            if let Some(query) = target.query() {
                whole.push(b'?');
                whole.extend_from_slice(query.as_bytes());
            }
            PathAndQuery::from_maybe_shared(Bytes::from(whole)).map_err(|_| PathError::Character)
        }
    }
}

/// Normalises a path. Idempotent; borrows where nothing had to change.
///
/// # Errors
/// See [`PathError`].
pub fn normalise(path: &[u8]) -> Result<Cow<'_, [u8]>, PathError> {
    if path.first() != Some(&b'/') {
        return Err(PathError::NotAbsolute);
    }
    let mut suspicious = false;
    let mut previous = 0;
    for byte in path {
        if !is_path_byte(*byte) {
            return Err(PathError::Character);
        }
        suspicious |= *byte == b'%' || *byte == b';' || (previous == b'/' && matches!(*byte, b'/' | b'.'));
        previous = *byte;
    }
    if !suspicious {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode_unreserved(path)?;
    let normal = remove_dot_segments(&decoded)?;
    Ok(if normal == path { Cow::Borrowed(path) } else { Cow::Owned(normal) })
}

/// Decodes `%41` to `A` and writes `%2f` as `%2F`.
fn decode_unreserved(path: &[u8]) -> Result<Vec<u8>, PathError> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        let value = decode_pair(rest).ok_or(PathError::Encoding)?;
        rest = &rest[2..];
        match value {
            0 => return Err(PathError::Nul),
            b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => out.push(value),
            _ => out.extend_from_slice(&[b'%', upper_hex(value >> 4), upper_hex(value & 15)]),
        }
    }
    Ok(out)
}

/// RFC 3986 section 5.2.4, repeated slashes merged.
fn remove_dot_segments(path: &[u8]) -> Result<Vec<u8>, PathError> {
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut ends_in_folder = false;
    for segment in path.split(|byte| *byte == b'/').skip(1) {
        ends_in_folder = true;
        match segment {
            b"" | b"." => {}
            b".." => {
                segments.pop();
            }
            segment if hides_dot_segment(segment) => return Err(PathError::HiddenDotSegment),
            segment => {
                segments.push(segment);
                ends_in_folder = false;
            }
        }
    }
    let mut out = Vec::with_capacity(path.len());
    for segment in segments {
        out.push(b'/');
        out.extend_from_slice(segment);
    }
    if ends_in_folder {
        out.push(b'/');
    }
    Ok(out)
}

/// Whether a lenient server further along would read a dot segment out of `segment`: `..%2F`, `..;x`, `%252e`
/// decoded twice is beyond what can be guessed and stays as it is.
fn hides_dot_segment(segment: &[u8]) -> bool {
    let mut pieces = Vec::new();
    let mut piece = Vec::new();
    let mut rest = segment;
    let mut in_parameter = false;
    while let Some((byte, tail)) = rest.split_first() {
        let separator = rest.starts_with(b"%2F") || rest.starts_with(b"%5C");
        if separator {
            pieces.push(std::mem::take(&mut piece));
            in_parameter = false;
            rest = &rest[3..];
            continue;
        }
        in_parameter |= *byte == b';';
        if !in_parameter {
            piece.push(*byte);
        }
        rest = tail;
    }
    pieces.push(piece);
    pieces.iter().any(|piece| piece == b"." || piece == b"..")
}

fn decode_pair(digits: &[u8]) -> Option<u8> {
    let high = char::from(*digits.first()?).to_digit(16)?;
    let low = char::from(*digits.get(1)?).to_digit(16)?;
    u8::try_from(high << 4 | low).ok()
}

fn upper_hex(nibble: u8) -> u8 {
    b"0123456789ABCDEF"[usize::from(nibble & 15)]
}

/// `pchar` and `/` (RFC 3986 section 3.3); a few that browsers leave bare are let through as they are.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'/' | b'%' | b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')')
        || matches!(byte, b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@' | b'|' | b'[' | b']' | b'{' | b'}' | b'^')
}

fn is_query_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'#'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(path: &str) -> Result<String, PathError> {
        normalise(path.as_bytes()).map(|path| String::from_utf8(path.into_owned()).unwrap())
    }

    #[test]
    fn one_form_for_every_spelling() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a//b///", "/a/b/"),
            ("/a/./b/.", "/a/b/"),
            ("/a/../b/..", "/"),
            ("/../../a", "/a"),
            ("/a/%2e%2E/b", "/b"),
            ("/%61%2d%7e", "/a-~"),
            ("/a%2fb%5cc", "/a%2Fb%5Cc"),
            ("/a/...", "/a/..."),
            ("/.well-known/x", "/.well-known/x"),
            ("/a;b=c/d", "/a;b=c/d"),
            ("/%e4%bd%a0", "/%E4%BD%A0"),
            ("/a%252e%252e", "/a%252e%252e"),
        ] {
            assert_eq!(normal(path).as_deref(), Ok(expected), "{path}");
            assert_eq!(normal(expected).as_deref(), Ok(expected), "{path}: not idempotent");
        }
    }

    #[test]
    fn refuses_what_has_no_normal_form() {
        for (path, error) in [
            ("a", PathError::NotAbsolute),
            ("*", PathError::NotAbsolute),
            ("/a\\b", PathError::Character),
            ("/a#b", PathError::Character),
            ("/ä", PathError::Character),
            ("/a%", PathError::Encoding),
            ("/a%4", PathError::Encoding),
            ("/a%zz", PathError::Encoding),
            ("/a%00b", PathError::Nul),
            ("/a/..%2fb", PathError::HiddenDotSegment),
            ("/a/%2e%2e%5cb", PathError::HiddenDotSegment),
            ("/a%2f..%2fb", PathError::HiddenDotSegment),
            ("/a/..;/b", PathError::HiddenDotSegment),
            ("/a/.;x=1/b", PathError::HiddenDotSegment),
        ] {
            assert_eq!(normal(path), Err(error), "{path}");
        }
    }

    #[test]
    fn the_query_stays_as_it_came() {
        let target = PathAndQuery::from_static("/a/../b?x=%2e./%41&y=/../");
        assert_eq!(normalise_target(&target).unwrap().as_str(), "/b?x=%2e./%41&y=/../");
    }
}
