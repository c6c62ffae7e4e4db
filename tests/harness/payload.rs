//! Bodies of any size that are made and verified on the fly: a pseudo-random block, repeated. The block's length
//! is prime, so no buffer size divides it and a lost, doubled or swapped buffer shows.

use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

/// Prime.
const BLOCK: usize = 1_048_583;

static PATTERN: LazyLock<Bytes> = LazyLock::new(|| {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut block = Vec::with_capacity(BLOCK + 8);
    while block.len() < BLOCK {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        block.extend_from_slice(&state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_le_bytes());
    }
    block.truncate(BLOCK);
    Bytes::from(block)
});

/// The piece of the pattern that starts at `offset`, at most `limit` bytes, maybe fewer.
pub fn piece(offset: u64, limit: usize) -> Bytes {
    let start = usize::try_from(offset % BLOCK as u64).unwrap();
    PATTERN.slice(start..(start + limit).min(BLOCK))
}

/// The first `len` bytes of the pattern.
pub fn whole(len: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        bytes.extend_from_slice(&piece(bytes.len() as u64, len - bytes.len()));
    }
    Bytes::from(bytes)
}

/// Whether a body announces its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// `Content-Length`.
    Announced,
    /// Chunked, or until the end of the stream.
    Unknown,
}

/// A body of `remaining` pattern bytes.
pub struct Payload {
    offset: u64,
    end: u64,
    length: Length,
    frame: usize,
}

impl Payload {
    /// `len` bytes in frames of 64 KiB.
    pub fn new(len: u64, length: Length) -> Self {
        Self { offset: 0, end: len, length, frame: 64 * 1024 }
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let left = self.end - self.offset;
        if left == 0 {
            return Poll::Ready(None);
        }
        let limit = usize::try_from(left).unwrap_or(usize::MAX).min(self.frame);
        let data = piece(self.offset, limit);
        self.offset += data.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.offset == self.end
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Length::Announced => SizeHint::with_exact(self.end - self.offset),
            Length::Unknown => SizeHint::new(),
        }
    }
}

/// What a verified body was.
#[derive(Debug)]
pub struct Verified {
    /// Bytes that arrived, all of them as they should be.
    pub bytes: u64,
    /// Trailers, if any came.
    pub trailers: Option<HeaderMap>,
}

/// Reads `body` to its end and compares it with the pattern.
///
/// # Errors
/// What was wrong, and at which byte.
pub async fn verify<B>(body: B) -> Result<Verified, String>
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let mut body = std::pin::pin!(body);
    let mut offset = 0_u64;
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("after {offset} bytes: {error}"))?;
        match frame.into_data() {
            Ok(data) => offset = compare(offset, &data)?,
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok(Verified { bytes: offset, trailers })
}

fn compare(mut offset: u64, data: &[u8]) -> Result<u64, String> {
    let mut rest = data;
    while !rest.is_empty() {
        let expected = piece(offset, rest.len());
        let (now, later) = rest.split_at(expected.len());
        if now != expected {
            let at = now.iter().zip(&expected).position(|(a, b)| a != b).unwrap_or(0);
            return Err(format!("wrong byte at {}", offset + at as u64));
        }
        offset += now.len() as u64;
        rest = later;
    }
    Ok(offset)
}
