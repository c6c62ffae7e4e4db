//! Writing a response: its head with the framing that fits the client, then its body as it comes.

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use http::header::CONTENT_LENGTH;
use http::response::Parts;
use http_body::Body as _;
use tokio::io::AsyncWrite;
use tokio::time::Instant;

use super::Asked;
use crate::message::Body;
use crate::message::http1::framing::has_no_body;
use crate::message::http1::{BodyWriter, Framing, OutBuffer, Version, encode};
use crate::message::timer::Deadline;

/// Writes the head and returns how the body is delimited.
pub(super) fn write_head(out: &mut BytesMut, head: &Parts, body: &Body, asked: &Asked, keep_alive: bool) -> Framing {
    encode::status_line(out, head.status);
    let bodiless = has_no_body(&asked.method, head.status);
    let framing = match body.size_hint().exact() {
        _ if bodiless => Framing::Length(0),
        Some(length) => Framing::Length(length),
        None if asked.version == Version::Http11 => Framing::Chunked,
        None => Framing::UntilClose,
    };
    for (name, value) in &head.headers {
        // A response to HEAD, or 304, tells the length that the body would have had.
        if bodiless || name != CONTENT_LENGTH {
            encode::field(out, name.as_str(), value.as_bytes());
        }
    }
    match framing {
        _ if bodiless => {}
        Framing::Length(length) => encode::content_length(out, length),
        Framing::Chunked => encode::field(out, "transfer-encoding", b"chunked"),
        Framing::UntilClose => {}
    }
    if !keep_alive || framing == Framing::UntilClose {
        encode::field(out, "connection", b"close");
    } else if asked.version == Version::Http10 {
        encode::field(out, "connection", b"keep-alive");
    }
    out.extend_from_slice(b"\r\n");
    framing
}

/// A response on its way out.
pub(super) struct Sending {
    writer: BodyWriter,
    /// How long the client may leave what is offered unread.
    pub(super) patience: Duration,
}

impl Sending {
    pub(super) fn new(framing: Framing, patience: Duration) -> Self {
        Self { writer: BodyWriter::new(framing), patience }
    }

    /// Moves the response on; an error leaves the connection unusable, and says nothing that could be told.
    pub(super) fn poll<W: AsyncWrite + Unpin>(
        &mut self,
        io: &mut W,
        out: &mut OutBuffer,
        body: &mut Body,
        stall: &mut Deadline,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ()>> {
        let before = self.writer.written;
        match self.writer.poll(io, out, body, cx) {
            Poll::Ready(result) => return Poll::Ready(result.map_err(drop)),
            Poll::Pending if self.writer.waits_for_source() => stall.set(None),
            Poll::Pending if self.writer.written > before || stall.at().is_none() => {
                stall.set(Some(Instant::now() + self.patience));
            }
            Poll::Pending => {}
        }
        stall.poll(cx).map(|()| Err(()))
    }
}
