//! Writing heads and chunks. What is written here parses under the strict grammar beside it: values come as
//! `HeaderValue`s, which hold neither CR, LF nor NUL.

use bytes::{BufMut, BytesMut};
use http::header::{HeaderMap, HeaderValue};
use http::{Method, StatusCode};

/// Writes `METHOD target HTTP/1.1` and its line end.
pub fn request_line(out: &mut BytesMut, method: &Method, target: &str) {
    out.reserve(method.as_str().len() + target.len() + 16);
    out.put_slice(method.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(target.as_bytes());
    out.put_slice(b" HTTP/1.1\r\n");
}

/// Writes `HTTP/1.1 status reason` and its line end.
pub fn status_line(out: &mut BytesMut, status: StatusCode) {
    out.reserve(64);
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(status.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.put_slice(b"\r\n");
}

/// Writes one field.
pub fn field(out: &mut BytesMut, name: &str, value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// Writes every field of a section.
pub fn fields(out: &mut BytesMut, headers: &HeaderMap<HeaderValue>) {
    for (name, value) in headers {
        field(out, name.as_str(), value.as_bytes());
    }
}

/// Writes `Content-Length`.
pub fn content_length(out: &mut BytesMut, length: u64) {
    out.reserve(48);
    out.put_slice(b"content-length: ");
    decimal(out, length);
    out.put_slice(b"\r\n");
}

/// Writes the line before a chunk's data.
pub fn chunk_size(out: &mut BytesMut, size: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0u8; 16];
    let mut at = text.len();
    let mut rest = size;
    loop {
        at -= 1;
        text[at] = DIGITS[rest & 15];
        rest >>= 4;
        if rest == 0 {
            break;
        }
    }
    out.put_slice(&text[at..]);
    out.put_slice(b"\r\n");
}

/// Writes the last chunk and the trailer section.
pub fn last_chunk(out: &mut BytesMut, trailers: Option<&HeaderMap>) {
    out.put_slice(b"0\r\n");
    if let Some(trailers) = trailers {
        fields(out, trailers);
    }
    out.put_slice(b"\r\n");
}

fn decimal(out: &mut BytesMut, number: u64) {
    let mut text = [0u8; 20];
    let mut at = text.len();
    let mut rest = number;
    loop {
        at -= 1;
        text[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.put_slice(&text[at..]);
}
