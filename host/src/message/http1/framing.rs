//! Where a message's body ends (RFC 9112 section 6), refusing every ambiguity instead of resolving it.

use http::header::{CONTENT_LENGTH, HeaderMap, TRANSFER_ENCODING};
use http::{Method, StatusCode};

use super::head::Version;

/// How the body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// That many bytes.
    Length(u64),
    /// Chunked coding, trailers possible.
    Chunked,
    /// Until the connection closes; responses only.
    UntilClose,
}

/// Why the framing was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// `Content-Length` beside `Transfer-Encoding`.
    #[error("both Content-Length and Transfer-Encoding")]
    Both,
    /// `Content-Length` is no number up to 2^63-1, or several that differ.
    #[error("invalid Content-Length")]
    Length,
    /// `Transfer-Encoding` is not exactly `chunked`, or comes with HTTP/1.0.
    #[error("invalid Transfer-Encoding")]
    TransferEncoding,
    /// A transfer coding that nobody registered.
    #[error("unknown transfer coding")]
    UnknownCoding,
}

/// How the body of a request is delimited.
///
/// # Errors
/// Anything but one unambiguous answer.
pub fn of_request(version: Version, headers: &HeaderMap) -> Result<Framing, FramingError> {
    Ok(explicit(version, headers)?.unwrap_or(Framing::Length(0)))
}

/// How the body of a response to `method` is delimited.
///
/// # Errors
/// Anything but one unambiguous answer.
pub fn of_response(
    method: &Method,
    status: StatusCode,
    version: Version,
    headers: &HeaderMap,
) -> Result<Framing, FramingError> {
    let explicit = explicit(version, headers)?;
    if has_no_body(method, status) {
        return Ok(Framing::Length(0));
    }
    Ok(explicit.unwrap_or(Framing::UntilClose))
}

/// Whether a response has no body whatever its fields say (RFC 9112 section 6.3).
#[must_use]
pub fn has_no_body(method: &Method, status: StatusCode) -> bool {
    *method == Method::HEAD
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

fn explicit(version: Version, headers: &HeaderMap) -> Result<Option<Framing>, FramingError> {
    let length = content_length(headers)?;
    if !headers.contains_key(TRANSFER_ENCODING) {
        return Ok(length.map(Framing::Length));
    }
    if length.is_some() {
        return Err(FramingError::Both);
    }
    if version == Version::Http10 {
        return Err(FramingError::TransferEncoding);
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (Some(only), None) if only.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(Some(Framing::Chunked)),
        (Some(only), None) if is_unknown_coding(only.as_bytes()) => Err(FramingError::UnknownCoding),
        _ => Err(FramingError::TransferEncoding),
    }
}

fn is_unknown_coding(value: &[u8]) -> bool {
    const REGISTERED: [&[u8]; 7] =
        [b"chunked", b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress", b"identity"];
    !value.is_empty()
        && value.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && !REGISTERED.iter().any(|coding| value.eq_ignore_ascii_case(coding))
}

/// The value of `Content-Length`, equal repetitions merged (RFC 9110 section 8.6).
///
/// # Errors
/// Anything but digits up to 2^63-1, or values that differ.
pub fn content_length(headers: &HeaderMap) -> Result<Option<u64>, FramingError> {
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        for part in value.as_bytes().split(|byte| *byte == b',') {
            let number = parse_length(part.trim_ascii())?;
            if length.is_some_and(|known| known != number) {
                return Err(FramingError::Length);
            }
            length = Some(number);
        }
    }
    Ok(length)
}

fn parse_length(digits: &[u8]) -> Result<u64, FramingError> {
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(FramingError::Length);
    }
    let number = digits.iter().fold(0u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    if number > i64::MAX as u64 { Err(FramingError::Length) } else { Ok(number) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn framing(fields: &[(&'static str, &'static str)], version: Version) -> Result<Framing, FramingError> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        of_request(version, &headers)
    }

    #[test]
    fn only_one_answer_is_accepted() {
        const TE: &str = "transfer-encoding";
        const CL: &str = "content-length";
        for (fields, expected) in [
            (&[][..], Ok(Framing::Length(0))),
            (&[(CL, "5")], Ok(Framing::Length(5))),
            (&[(CL, "5, 5")], Ok(Framing::Length(5))),
            (&[(CL, "5"), (CL, "5")], Ok(Framing::Length(5))),
            (&[(CL, "9223372036854775807")], Ok(Framing::Length(i64::MAX as u64))),
            (&[(CL, "9223372036854775808")], Err(FramingError::Length)),
            (&[(CL, "5, 6")], Err(FramingError::Length)),
            (&[(CL, "+5")], Err(FramingError::Length)),
            (&[(CL, "-1")], Err(FramingError::Length)),
            (&[(CL, "0x5")], Err(FramingError::Length)),
            (&[(CL, "5 5")], Err(FramingError::Length)),
            (&[(CL, "")], Err(FramingError::Length)),
            (&[(TE, "Chunked")], Ok(Framing::Chunked)),
            (&[(TE, "chunked"), (CL, "5")], Err(FramingError::Both)),
            (&[(TE, "chunked, chunked")], Err(FramingError::TransferEncoding)),
            (&[(TE, "chunked"), (TE, "chunked")], Err(FramingError::TransferEncoding)),
            (&[(TE, "gzip, chunked")], Err(FramingError::TransferEncoding)),
            (&[(TE, "identity")], Err(FramingError::TransferEncoding)),
            (&[(TE, ",chunked")], Err(FramingError::TransferEncoding)),
            (&[(TE, "")], Err(FramingError::TransferEncoding)),
            (&[(TE, "xchunked")], Err(FramingError::UnknownCoding)),
        ] {
            assert_eq!(framing(fields, Version::Http11), expected, "{fields:?}");
        }
        assert_eq!(framing(&[(TE, "chunked")], Version::Http10), Err(FramingError::TransferEncoding));
    }
}
