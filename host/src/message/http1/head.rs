//! Heads: the start line and the header section. Refuses what RFC 9112 lets a lenient parser accept: bare CR
//! and LF, folded lines, spaces around the name, empty names.

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

/// Which HTTP/1 version a message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: no chunked coding, closes by default.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// Bounds of a head, in bytes and fields.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Start line and header section together.
    pub bytes: usize,
    /// Fields.
    pub fields: usize,
    /// Request target.
    pub target: usize,
}

/// Why a head was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// The header section is larger, or has more fields, than the limits.
    #[error("header section is too large")]
    TooLarge,
    /// The request target is longer than the limit.
    #[error("request target is too long")]
    TargetTooLong,
    /// A CR without LF, or an LF without CR.
    #[error("line does not end with CRLF")]
    LineEnd,
    /// The start line is not of its form.
    #[error("malformed start line")]
    StartLine,
    /// The version is not HTTP/1.0 or HTTP/1.1.
    #[error("unsupported HTTP version")]
    Version,
    /// A field line is not of its form.
    #[error("malformed header field")]
    Field,
}

/// A request's start line.
#[derive(Debug)]
pub struct RequestLine {
    /// Method.
    pub method: Method,
    /// Request target as it was sent.
    pub target: Bytes,
    /// Version.
    pub version: Version,
}

/// A response's start line, without the reason.
#[derive(Debug)]
pub struct StatusLine {
    /// Status.
    pub status: StatusCode,
    /// Version.
    pub version: Version,
}

/// Looks for the empty line that ends a head in `buffer`, starting at the line start `*scanned`, and moves
/// `*scanned` on so that no byte is looked at twice.
///
/// Returns the length of the head including the empty line, or `None` while it is incomplete.
///
/// # Errors
/// A line without CRLF, or more bytes than the limit.
pub fn find_end(buffer: &[u8], scanned: &mut usize, limits: &HeadLimits) -> Result<Option<usize>, HeadError> {
    while let Some(offset) = memchr::memchr(b'\n', &buffer[*scanned..]) {
        let line_feed = *scanned + offset;
        if offset == 0 || buffer[line_feed - 1] != b'\r' {
            return Err(HeadError::LineEnd);
        }
        let line_is_empty = offset == 1;
        *scanned = line_feed + 1;
        if *scanned > limits.bytes {
            return Err(HeadError::TooLarge);
        }
        if line_is_empty {
            return Ok(Some(*scanned));
        }
    }
    if buffer.len() > limits.bytes { Err(HeadError::TooLarge) } else { Ok(None) }
}

/// Parses a complete request head, as delimited by [`find_end`].
///
/// # Errors
/// Anything that is not exactly the grammar of RFC 9112 sections 3 and 5.
pub fn parse_request(head: &Bytes, limits: &HeadLimits) -> Result<(RequestLine, HeaderMap), HeadError> {
    let (line, rest) = split_line(head, 0)?;
    let line_bytes = &head[line.clone()];
    let first = memchr::memchr(b' ', line_bytes).ok_or(HeadError::StartLine)?;
    let last = memchr::memrchr(b' ', line_bytes).ok_or(HeadError::StartLine)?;
    let version = match &line_bytes[last + 1..] {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        other if other.starts_with(b"HTTP/") && first != last => return Err(HeadError::Version),
        _ => return Err(HeadError::StartLine),
    };
    if first == last {
        return Err(HeadError::StartLine);
    }
    let target = &line_bytes[first + 1..last];
    if target.len() > limits.target {
        return Err(HeadError::TargetTooLong);
    }
    if target.is_empty() || !target.iter().all(|byte| byte.is_ascii_graphic() || *byte >= 0x80) {
        return Err(HeadError::StartLine);
    }
    let method = &line_bytes[..first];
    if method.len() > 32 {
        return Err(HeadError::StartLine);
    }
    let method = Method::from_bytes(method).map_err(|_| HeadError::StartLine)?;
    let target = head.slice(line.start + first + 1..line.start + last);
    let headers = parse_fields(head, rest, limits)?;
    Ok((RequestLine { method, target, version }, headers))
}

/// Parses a complete response head, as delimited by [`find_end`].
///
/// # Errors
/// Anything that is not exactly the grammar of RFC 9112 sections 4 and 5.
pub fn parse_response(head: &Bytes, limits: &HeadLimits) -> Result<(StatusLine, HeaderMap), HeadError> {
    let (line, rest) = split_line(head, 0)?;
    let line = &head[line];
    let version = match line.get(..9) {
        Some(b"HTTP/1.1 ") => Version::Http11,
        Some(b"HTTP/1.0 ") => Version::Http10,
        _ => return Err(HeadError::Version),
    };
    let code = line.get(9..12).ok_or(HeadError::StartLine)?;
    // The space before an empty reason is required by the grammar and left out by many servers.
    if !matches!(line.get(12), None | Some(b' ')) || line.iter().any(|byte| is_forbidden(*byte)) {
        return Err(HeadError::StartLine);
    }
    let status = StatusCode::from_bytes(code).map_err(|_| HeadError::StartLine)?;
    if status.as_u16() > 599 {
        return Err(HeadError::StartLine);
    }
    let headers = parse_fields(head, rest, limits)?;
    Ok((StatusLine { status, version }, headers))
}

/// Parses field lines from `start` to the empty line.
///
/// # Errors
/// Anything that is not exactly the grammar of RFC 9112 section 5, or more fields than the limit.
pub fn parse_fields(head: &Bytes, start: usize, limits: &HeadLimits) -> Result<HeaderMap, HeadError> {
    let mut headers = HeaderMap::with_capacity(16);
    let mut position = start;
    let mut count = 0;
    loop {
        let (line, next) = split_line(head, position)?;
        if line.is_empty() {
            return Ok(headers);
        }
        count += 1;
        if count > limits.fields {
            return Err(HeadError::TooLarge);
        }
        let bytes = &head[line.clone()];
        let colon = memchr::memchr(b':', bytes).ok_or(HeadError::Field)?;
        // Refuses whatever is no token: an empty name, a folded line, a space before the colon.
        let name = HeaderName::from_bytes(&bytes[..colon]).map_err(|_| HeadError::Field)?;
        let value = trim(&bytes[colon + 1..]);
        let from = line.start + colon + 1 + value.start;
        let value = head.slice(from..from + value.len());
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| HeadError::Field)?;
        headers.append(name, value);
        position = next;
    }
}

/// The range of the line that begins at `start`, without its CRLF, and where the next one begins.
fn split_line(head: &[u8], start: usize) -> Result<(std::ops::Range<usize>, usize), HeadError> {
    let end = memchr::memchr(b'\n', &head[start..]).ok_or(HeadError::LineEnd)? + start;
    if end == start || head[end - 1] != b'\r' {
        return Err(HeadError::LineEnd);
    }
    let line = start..end - 1;
    if memchr::memchr(b'\r', &head[line.clone()]).is_some() {
        return Err(HeadError::LineEnd);
    }
    Ok((line, end + 1))
}

/// The range of `value` without optional white space around it.
fn trim(value: &[u8]) -> std::ops::Range<usize> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !is_space(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    start..end
}

fn is_forbidden(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\t') || byte == 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { bytes: 1024, fields: 4, target: 64 };

    fn request(text: &str) -> Result<(RequestLine, HeaderMap), HeadError> {
        let mut scanned = 0;
        let end = find_end(text.as_bytes(), &mut scanned, &LIMITS)?.ok_or(HeadError::LineEnd)?;
        parse_request(&Bytes::copy_from_slice(&text.as_bytes()[..end]), &LIMITS)
    }

    #[test]
    fn reads_a_request() {
        let (line, headers) = request("GET /a?b HTTP/1.1\r\nHost: x\r\nA: \t b c \t\r\nA:\r\n\r\nrest").unwrap();
        assert_eq!((line.method, line.target.as_ref()), (Method::GET, b"/a?b".as_slice()));
        assert_eq!(headers["host"], "x");
        assert_eq!(headers.get_all("a").iter().collect::<Vec<_>>(), ["b c", ""]);
    }

    #[test]
    fn refuses_what_is_not_the_grammar() {
        for (text, error) in [
            ("GET / HTTP/1.1\nHost: x\n\n", HeadError::LineEnd),
            ("GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", HeadError::LineEnd),
            ("GET / HTTP/1.1\r\n\n", HeadError::LineEnd),
            ("GET /\r\n\r\n", HeadError::StartLine),
            ("GET  / HTTP/1.1\r\n\r\n", HeadError::StartLine),
            ("GET / x HTTP/1.1\r\n\r\n", HeadError::StartLine),
            (" GET / HTTP/1.1\r\n\r\n", HeadError::StartLine),
            ("G@T / HTTP/1.1\r\n\r\n", HeadError::StartLine),
            ("GET /\0 HTTP/1.1\r\n\r\n", HeadError::StartLine),
            ("GET / HTTP/2.0\r\n\r\n", HeadError::Version),
            ("GET / HTTP/1.1 \r\n\r\n", HeadError::StartLine),
            ("GET / http/1.1\r\n\r\n", HeadError::StartLine),
            ("GET / HTTP/1.1\r\nA : b\r\n\r\n", HeadError::Field),
            ("GET / HTTP/1.1\r\n: b\r\n\r\n", HeadError::Field),
            ("GET / HTTP/1.1\r\nA\r\n\r\n", HeadError::Field),
            ("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", HeadError::Field),
            ("GET / HTTP/1.1\r\nA: b\0\r\n\r\n", HeadError::Field),
            ("GET / HTTP/1.1\r\nA: 1\r\nA: 1\r\nA: 1\r\nA: 1\r\nA: 1\r\n\r\n", HeadError::TooLarge),
        ] {
            assert_eq!(request(text).unwrap_err(), error, "{text:?}");
        }
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(64));
        assert_eq!(request(&long).unwrap_err(), HeadError::TargetTooLong);
        assert_eq!(find_end(&[b'a'; 1025], &mut 0, &LIMITS).unwrap_err(), HeadError::TooLarge);
    }

    #[test]
    fn reads_a_response_and_refuses_others() {
        let parse = |text: &'static str| parse_response(&Bytes::from_static(text.as_bytes()), &LIMITS);
        assert_eq!(parse("HTTP/1.1 200 OK\r\n\r\n").unwrap().0.status, 200);
        assert_eq!(parse("HTTP/1.0 404\r\n\r\n").unwrap().0.version, Version::Http10);
        for text in
            ["HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 2000\r\n\r\n", "HTTP/1.1 999 x\r\n\r\n", "HTTP/1.1 200 a\0\r\n\r\n"]
        {
            assert_eq!(parse(text).unwrap_err(), HeadError::StartLine, "{text:?}");
        }
        assert_eq!(parse("200 OK\r\n\r\n").unwrap_err(), HeadError::Version);
    }
}
