//! The reading side of a connection: heads in, with their time limits, and the bytes of bodies.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncReadExt, ReadHalf};
use tokio::time::Instant;

use crate::codec::Settings;
use crate::message::http1::head::{find_end, parse_request};
use crate::message::http1::{Framing, HeadError, HeadLimits, RequestLine};
use crate::message::timer::Deadline;
use crate::pipeline::RequestError;

/// How long a closed connection takes in what the client still sends.
pub(super) const LINGER: Duration = Duration::from_secs(2);
/// How much it takes in.
const LINGER_BYTES: usize = 1024 * 1024;
/// Room for one read of a head.
const READ_SIZE: usize = 4 * 1024;
/// Room for one read of a body.
const BODY_READ_SIZE: usize = 64 * 1024;
/// Bytes of following requests that are read while one is in progress.
const PIPELINED: usize = 16 * 1024;
/// The request target, the method and the version come on top of the header section.
const LINE_ROOM: usize = 64;

/// A parsed head.
pub(super) struct Head {
    pub(super) line: RequestLine,
    pub(super) headers: HeaderMap,
}

/// How far the body of the request in progress was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyState {
    /// To its end, or there is none.
    Read,
    /// Not to its end.
    Unread,
}

/// How `100 Continue` stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expectation {
    /// Nobody waits for it.
    None,
    /// The client waits for it before it sends the body.
    Waiting,
    /// Somebody wants the body: it is due.
    Due,
}

/// How a head has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// Not a byte has come.
    Silent,
    /// Bytes have come.
    Begun,
    /// An empty line has come, and was skipped: the only one.
    AfterLine,
}

/// The reading side.
pub(super) struct Receiver<IO> {
    io: ReadHalf<IO>,
    pub(super) input: BytesMut,
    scanned: usize,
    deadline: Deadline,
    limits: HeadLimits,
    request_head: Duration,
    keep_alive: Duration,
    served_before: bool,
    start: Start,
    pub(super) body: BodyState,
    expectation: Expectation,
    /// Nothing more is read as a request.
    given_up: bool,
}

impl<IO: AsyncRead> Receiver<IO> {
    pub(super) fn new(io: ReadHalf<IO>, prefix: Bytes, settings: &Settings) -> Self {
        let limits = HeadLimits {
            bytes: settings.max_header_size + settings.max_uri_length + LINE_ROOM,
            fields: settings.max_header_count,
            target: settings.max_uri_length,
        };
        Self {
            io,
            input: BytesMut::from(prefix),
            scanned: 0,
            deadline: Deadline::default(),
            limits,
            request_head: settings.request_head,
            keep_alive: settings.keep_alive,
            served_before: false,
            start: Start::Silent,
            body: BodyState::Read,
            expectation: Expectation::None,
            given_up: false,
        }
    }

    /// Prepares for the next head.
    pub(super) fn begin_head(&mut self) {
        // A fresh connection that says nothing is given no more time than half a head.
        let patience = if self.served_before { self.keep_alive } else { self.request_head };
        self.deadline.set(Some(Instant::now() + patience));
        self.served_before = true;
        // The head of a pipelined request is here already.
        self.start = if self.is_idle() { Start::Silent } else { Start::Begun };
        self.scanned = 0;
    }

    /// Whether no byte of a request has come.
    pub(super) fn is_idle(&self) -> bool {
        self.input.is_empty()
    }

    /// The next head: `Ok(None)` when the connection ends between requests, `Err(None)` when it breaks.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Head>, Option<RequestError>>> {
        loop {
            // RFC 9112 section 2.2: one empty line before the request line is ignored.
            if self.scanned == 0 && self.start != Start::AfterLine && self.input.starts_with(b"\r\n") {
                self.start = Start::AfterLine;
                self.input.advance(2);
            }
            match find_end(&self.input, &mut self.scanned, &self.limits) {
                Ok(Some(end)) => return Poll::Ready(self.take_head(end).map(Some).map_err(Some)),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(Some(self.explain(error)))),
            }
            match self.poll_read(cx, READ_SIZE) {
                Poll::Ready(Ok(0)) if self.is_idle() => return Poll::Ready(Ok(None)),
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(None)),
                Poll::Ready(Ok(_)) if self.start == Start::Silent => {
                    // Counted from the first byte, whatever it is: what drips in afterwards moves nothing.
                    self.start = Start::Begun;
                    self.deadline.set(Some(Instant::now() + self.request_head));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => {
                    ready!(self.deadline.poll(cx));
                    let error = (!self.is_idle()).then_some(RequestError::RequestTimeout);
                    return Poll::Ready(error.map_or(Ok(None), |error| Err(Some(error))));
                }
            }
        }
    }

    fn take_head(&mut self, end: usize) -> Result<Head, RequestError> {
        self.scanned = 0;
        self.deadline.set(None);
        let head = self.input.split_to(end).freeze();
        let (line, headers) = parse_request(&head, &self.limits).map_err(|error| self.explain(error))?;
        Ok(Head { line, headers })
    }

    /// A head that is too large may be so by its target.
    fn explain(&self, error: HeadError) -> RequestError {
        match error {
            HeadError::TooLarge if memchr::memchr(b'\n', &self.input).is_none() && !self.input.is_empty() => {
                RequestError::TargetTooLong
            }
            HeadError::TooLarge => RequestError::HeadersTooLarge,
            HeadError::TargetTooLong => RequestError::TargetTooLong,
            HeadError::Version => RequestError::Version,
            HeadError::LineEnd => RequestError::Malformed("a line does not end with CRLF"),
            HeadError::StartLine => RequestError::Malformed("malformed request line"),
            HeadError::Field => RequestError::Malformed("malformed header field"),
        }
    }

    /// A body that has arrived together with its head.
    pub(super) fn take_whole(&mut self, framing: Framing, expects_continue: bool) -> Option<Bytes> {
        let Framing::Length(length) = framing else { return None };
        let length = usize::try_from(length).ok().filter(|length| *length <= self.input.len() && !expects_continue)?;
        Some(self.input.split_to(length).freeze())
    }

    /// Marks a body as still to be read.
    pub(super) fn begin_body(&mut self, expects_continue: bool) {
        self.body = BodyState::Unread;
        // Whoever has begun to send does not wait.
        let waits = expects_continue && self.input.is_empty();
        self.expectation = if waits { Expectation::Waiting } else { Expectation::None };
    }

    /// Reads more of a body, telling a waiting client first that it is wanted.
    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.expectation == Expectation::Waiting {
            self.expectation = Expectation::Due;
        }
        self.poll_read(cx, BODY_READ_SIZE)
    }

    /// Whether `100 Continue` is due now.
    pub(super) fn take_continue(&mut self) -> bool {
        let due = self.expectation == Expectation::Due;
        if due {
            self.expectation = Expectation::None;
        }
        due
    }

    /// Whether the client has closed while its response is made or written; reads ahead a little to find out.
    pub(super) fn poll_client_left(&mut self, cx: &mut Context<'_>) -> bool {
        while !self.given_up && self.body == BodyState::Read && self.input.len() < PIPELINED {
            match self.poll_read(cx, READ_SIZE) {
                Poll::Pending => return false,
                Poll::Ready(Ok(0) | Err(_)) => return true,
                Poll::Ready(Ok(_)) => {}
            }
        }
        false
    }

    /// Whether another request may follow the one in progress.
    pub(super) fn may_go_on(&self) -> bool {
        // A client that was never told to continue may send the body or the next request: nobody can tell.
        !self.given_up && self.expectation != Expectation::Waiting
    }

    /// What comes now is no request.
    pub(super) fn give_up(&mut self) {
        self.given_up = true;
    }

    /// Takes in and forgets what the client sends until it closes or has sent too much.
    pub(super) fn poll_discard(&mut self, taken: &mut usize, cx: &mut Context<'_>) -> Poll<()> {
        while *taken < LINGER_BYTES {
            self.input.clear();
            match ready!(self.poll_read(cx, BODY_READ_SIZE)) {
                Ok(count) if count > 0 => *taken += count,
                _ => break,
            }
        }
        Poll::Ready(())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        if self.input.capacity() - self.input.len() < room / 4 {
            self.input.reserve(room);
        }
        pin!(self.io.read_buf(&mut self.input)).poll(cx)
    }
}
