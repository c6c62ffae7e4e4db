//! The chunked transfer coding (RFC 9112 section 7.1): a decoder that accepts exactly the grammar.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::head::{self, HeadError, HeadLimits};
use crate::message::headers::clean_trailers;

/// Bytes of chunk extensions in one body, all chunks together.
const MAX_EXTENSIONS: usize = 16 * 1024;
/// Bounds of a trailer section.
const TRAILERS: HeadLimits = HeadLimits { bytes: 16 * 1024, fields: 100, target: 0 };

/// Why a chunked body was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// The line with the size is not of its form.
    #[error("malformed chunk size")]
    Size,
    /// The data is not followed by CRLF.
    #[error("chunk data does not end with CRLF")]
    Terminator,
    /// More chunk extensions than the bound.
    #[error("chunk extensions are too large")]
    Extensions,
    /// The trailer section was refused.
    #[error("trailers: {0}")]
    Trailers(#[from] HeadError),
}

/// What the decoder found next.
#[derive(Debug)]
pub enum Decoded {
    /// More input is needed.
    Incomplete,
    /// Some of the body.
    Data(Bytes),
    /// The end, with the trailer section, often empty.
    End(HeaderMap),
}

#[derive(Debug)]
enum State {
    Size,
    Data(u64),
    Terminator,
    Trailers { scanned: usize },
    Done,
}

/// Decodes one chunked body.
#[derive(Debug)]
pub struct ChunkedDecoder {
    state: State,
    extensions: usize,
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self { state: State::Size, extensions: 0 }
    }
}

impl ChunkedDecoder {
    /// Takes what it can from the front of `buffer`.
    ///
    /// # Errors
    /// Anything that is not exactly the grammar; the connection can't be used any more.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Decoded, ChunkError> {
        loop {
            match &mut self.state {
                State::Size => match self.take_size(buffer)? {
                    None => return Ok(Decoded::Incomplete),
                    Some(0) => self.state = State::Trailers { scanned: 0 },
                    Some(size) => self.state = State::Data(size),
                },
                State::Data(left) => {
                    if buffer.is_empty() {
                        return Ok(Decoded::Incomplete);
                    }
                    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                    *left -= take as u64;
                    if *left == 0 {
                        self.state = State::Terminator;
                    }
                    return Ok(Decoded::Data(buffer.split_to(take).freeze()));
                }
                State::Terminator => {
                    if !b"\r\n".starts_with(&buffer[..buffer.len().min(2)]) {
                        return Err(ChunkError::Terminator);
                    }
                    if buffer.len() < 2 {
                        return Ok(Decoded::Incomplete);
                    }
                    buffer.advance(2);
                    self.state = State::Size;
                }
                State::Trailers { scanned } => {
                    let Some(end) = head::find_end(buffer, scanned, &TRAILERS)? else {
                        return Ok(Decoded::Incomplete);
                    };
                    let mut trailers = head::parse_fields(&buffer.split_to(end).freeze(), 0, &TRAILERS)?;
                    clean_trailers(&mut trailers);
                    self.state = State::Done;
                    return Ok(Decoded::End(trailers));
                }
                State::Done => return Ok(Decoded::End(HeaderMap::new())),
            }
        }
    }

    /// `chunk-size [ chunk-ext ] CRLF`.
    fn take_size(&mut self, buffer: &mut BytesMut) -> Result<Option<u64>, ChunkError> {
        let digits = buffer.iter().take(17).take_while(|byte| byte.is_ascii_hexdigit()).count();
        if digits > 16 || (digits == 0 && !buffer.is_empty()) {
            return Err(ChunkError::Size);
        }
        let rest = &buffer[digits..];
        if !matches!(rest.first(), None | Some(b'\r' | b';')) {
            return Err(ChunkError::Size);
        }
        let Some(line_feed) = memchr::memchr(b'\n', rest) else {
            // The only CR may be the one that waits for its LF.
            let body = rest.strip_suffix(b"\r").unwrap_or(rest);
            if rest.len() + self.extensions > MAX_EXTENSIONS {
                return Err(ChunkError::Extensions);
            }
            return if body.iter().any(|byte| is_control(*byte)) { Err(ChunkError::Size) } else { Ok(None) };
        };
        let Some(extension) = rest[..line_feed].strip_suffix(b"\r") else { return Err(ChunkError::Size) };
        if extension.iter().any(|byte| is_control(*byte)) {
            return Err(ChunkError::Size);
        }
        self.extensions += extension.len();
        if self.extensions > MAX_EXTENSIONS {
            return Err(ChunkError::Extensions);
        }
        let size = buffer[..digits]
            .iter()
            .fold(0u64, |size, digit| size << 4 | u64::from(char::from(*digit).to_digit(16).unwrap_or(0)));
        if size > i64::MAX as u64 {
            return Err(ChunkError::Size);
        }
        buffer.advance(digits + line_feed + 1);
        Ok(Some(size))
    }
}

fn is_control(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\t') || byte == 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(input: &[u8], step: usize) -> Result<Option<(Vec<u8>, HeaderMap)>, ChunkError> {
        let mut decoder = ChunkedDecoder::default();
        let mut buffer = BytesMut::new();
        let mut body = Vec::new();
        for piece in input.chunks(step) {
            buffer.extend_from_slice(piece);
            loop {
                match decoder.decode(&mut buffer)? {
                    Decoded::Incomplete => break,
                    Decoded::Data(data) => body.extend_from_slice(&data),
                    Decoded::End(trailers) => return Ok(Some((body, trailers))),
                }
            }
        }
        Ok(None)
    }

    #[test]
    fn the_same_body_under_any_division() {
        let input = b"5;a=\"b\"\r\nhello\r\n0010\r\n0123456789abcdef\r\n000\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n";
        for step in 1..input.len() {
            let (body, trailers) = decode(input, step).unwrap().unwrap();
            assert_eq!(body, b"hello0123456789abcdef");
            assert_eq!(trailers.len(), 1);
            assert_eq!(trailers["x-sum"], "1");
        }
    }

    #[test]
    fn refuses_what_is_not_the_grammar() {
        for (input, error) in [
            (&b"+5\r\nhello\r\n0\r\n\r\n"[..], ChunkError::Size),
            (b"0x5\r\nhello\r\n", ChunkError::Size),
            (b" 5\r\nhello\r\n", ChunkError::Size),
            (b"5 \r\nhello\r\n", ChunkError::Size),
            (b"\r\nhello\r\n", ChunkError::Size),
            (b"5\nhello\r\n", ChunkError::Size),
            (b"5;a\rb\r\nhello\r\n", ChunkError::Size),
            (b"5;a\0\r\nhello\r\n", ChunkError::Size),
            (b"00000000000000005\r\nhello\r\n", ChunkError::Size),
            (b"ffffffffffffffff\r\n", ChunkError::Size),
            (b"5\r\nhelloX\n", ChunkError::Terminator),
            (b"5\r\nhello\n0\r\n\r\n", ChunkError::Terminator),
            (b"0\r\nA : b\r\n\r\n", ChunkError::Trailers(HeadError::Field)),
            (b"0\r\n\n", ChunkError::Trailers(HeadError::LineEnd)),
        ] {
            for step in 1..=input.len() {
                assert_eq!(decode(input, step).unwrap_err(), error, "{input:?} in steps of {step}");
            }
        }
        let flood: Vec<u8> = b"1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n".repeat(600);
        assert_eq!(decode(&flood, 100).unwrap_err(), ChunkError::Extensions);
    }
}
