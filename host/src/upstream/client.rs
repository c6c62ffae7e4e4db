//! One request over one connection, all in the task of the request: no channel and no second task between the
//! one who asks and the socket.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use http::header::{CONNECTION, HeaderMap};
use http::{Method, StatusCode};
use http_body::Body as _;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use super::backend::{Endpoint, InFlight};
use super::connect::connect;
use super::error::{AttemptError, Progress, UpstreamError};
use super::pool::Connection;
use super::response_body::{Home, ResponseBody, Upload};
use crate::message::http1::head::{find_end, parse_response};
use crate::message::http1::{BodyWriter, Framing, HeadLimits, StatusLine, Version, WriteError, encode, framing};
use crate::message::{Body, BodyError, ResponseHead, WorkerId};
use crate::telemetry::BackendCounters;

/// Bounds of a response's head, all informational ones before it included.
const LIMITS: HeadLimits = HeadLimits { bytes: 64 * 1024, fields: 256, target: 0 };
/// Informational responses before the real one.
const MAX_INFORMATIONAL: usize = 16;
/// Room for a head in one read.
const READ_SIZE: usize = 8 * 1024;

/// A request as it leaves, apart from its body.
pub struct Outgoing<'a> {
    /// Method.
    pub method: &'a Method,
    /// Path and query.
    pub target: &'a str,
    /// Value of `Host`.
    pub host: &'a str,
    /// End-to-end fields.
    pub headers: &'a HeaderMap,
    /// Writes the fields that the proxy adds.
    pub extra: &'a (dyn Fn(&mut BytesMut) + Send + Sync),
    /// Where connections opened and reused are counted.
    pub counters: &'a BackendCounters,
}

/// Bounds of one attempt.
#[derive(Clone, Copy, Debug)]
pub struct AttemptLimits {
    /// Time to connect.
    pub connect: Duration,
    /// Time from the last byte of the request sent to the response's head.
    pub response: Duration,
    /// Bytes of the response that one read may bring.
    pub read: usize,
}

/// Sends a request to an endpoint, over an idle connection where there is one, and reads the response's head.
///
/// `body` is only touched once the connection is made, and is left empty where the response came before its end:
/// the response's body then goes on sending it.
///
/// # Errors
/// See [`AttemptError`]; the connection is closed then.
pub async fn send(
    endpoint: Arc<Endpoint>,
    in_flight: Option<InFlight>,
    worker: WorkerId,
    request: &Outgoing<'_>,
    body: &mut Body,
    limits: AttemptLimits,
) -> Result<(ResponseHead, Body), AttemptError> {
    let not_sent = |error| AttemptError::Upstream { error, progress: Progress::NotSent };
    let mut connection = if let Some(connection) = endpoint.pool.checkout(worker) {
        request.counters.connection_reused();
        connection
    } else {
        let io = connect(&endpoint, limits.connect).await.map_err(not_sent)?;
        request.counters.connection_opened();
        Box::new(Connection::new(io))
    };
    let framing = request_framing(body);
    write_head(&mut connection.output.bytes, request, framing);
    connection.deadline.set(Some(Instant::now() + limits.response));

    let mut attempt =
        Attempt { writer: BodyWriter::new(framing), upload: State::Sending, informational: 0, scanned: 0 };
    let answer = poll_fn(|cx| attempt.poll(&mut connection, body, request.method, limits.response, cx)).await?;

    let Answer { status, headers, framing, keep } = answer;
    let home = Home { endpoint, worker, keep, _in_flight: in_flight };
    let upload = attempt.into_upload(body);
    let head = ResponseHead { status, headers };
    Ok((head, ResponseBody::begin(connection, home, framing, upload, limits.read)))
}

fn request_framing(body: &Body) -> Framing {
    body.size_hint().exact().map_or(Framing::Chunked, Framing::Length)
}

fn write_head(out: &mut BytesMut, request: &Outgoing<'_>, framing: Framing) {
    encode::request_line(out, request.method, request.target);
    encode::field(out, "host", request.host.as_bytes());
    encode::fields(out, request.headers);
    (request.extra)(out);
    match framing {
        Framing::Length(0) if !expects_body(request.method) => {}
        Framing::Length(length) => encode::content_length(out, length),
        Framing::Chunked | Framing::UntilClose => encode::field(out, "transfer-encoding", b"chunked"),
    }
    out.extend_from_slice(b"\r\n");
}

/// Methods that say something by an empty body (RFC 9110 section 8.6).
fn expects_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    framing: Framing,
    keep: bool,
}

/// How far sending has come.
enum State {
    Sending,
    Sent,
    /// The endpoint takes no more; it may have answered before it closed.
    Refused(io::Error),
}

/// Sending and waiting at once: an endpoint may answer before it has read everything.
struct Attempt {
    writer: BodyWriter,
    upload: State,
    informational: usize,
    scanned: usize,
}

impl Attempt {
    fn poll(
        &mut self,
        connection: &mut Connection,
        body: &mut Body,
        method: &Method,
        patience: Duration,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Answer, AttemptError>> {
        if matches!(self.upload, State::Sending) {
            self.poll_upload(connection, body, patience, cx)?;
        }
        match self.poll_head(connection, method, cx) {
            Poll::Ready(Ok(answer)) => return Poll::Ready(Ok(answer)),
            Poll::Ready(Err(error)) => return Poll::Ready(Err(self.fail(connection, error))),
            Poll::Pending => {}
        }
        match connection.deadline.poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(self.fail(connection, UpstreamError::ResponseTimeout))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_upload(
        &mut self,
        connection: &mut Connection,
        body: &mut Body,
        patience: Duration,
        cx: &mut Context<'_>,
    ) -> Result<(), AttemptError> {
        let before = self.writer.written;
        let Connection { io, output, .. } = connection;
        match self.writer.poll(io, output, body, cx) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) => self.upload = State::Sent,
            Poll::Ready(Err(WriteError::Io(error))) => self.upload = State::Refused(error),
            Poll::Ready(Err(WriteError::Body(error))) => return Err(AttemptError::RequestBody(error)),
            Poll::Ready(Err(WriteError::Length)) => {
                return Err(AttemptError::RequestBody(BodyError::Downstream(WriteError::Length.into())));
            }
        }
        // A long upload is no reason to give up: the time to the response counts from its last progress. The
        // first write happens at once, when the deadline is fresh.
        if before > 0 && self.writer.written > before {
            connection.deadline.set(Some(Instant::now() + patience));
        }
        Ok(())
    }

    fn poll_head(
        &mut self,
        connection: &mut Connection,
        method: &Method,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Answer, UpstreamError>> {
        loop {
            while let Some(end) = find_end(&connection.input, &mut self.scanned, &LIMITS)? {
                let head = connection.input.split_to(end).freeze();
                self.scanned = 0;
                let (line, headers) = parse_response(&head, &LIMITS)?;
                if !line.status.is_informational() {
                    return Poll::Ready(answer(&line, headers, method));
                }
                self.informational += 1;
                // Nothing was upgraded, so nothing may switch protocols.
                if line.status == StatusCode::SWITCHING_PROTOCOLS || self.informational > MAX_INFORMATIONAL {
                    return Poll::Ready(Err(UpstreamError::Unexpected));
                }
            }
            if connection.input.capacity() - connection.input.len() < READ_SIZE / 4 {
                connection.input.reserve(READ_SIZE);
            }
            match pin!(connection.io.read_buf(&mut connection.input)).poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.closed(io::ErrorKind::UnexpectedEof.into()))),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.closed(error))),
            }
        }
    }

    /// What a refused write said tells more than the end of the stream behind it.
    fn closed(&mut self, error: io::Error) -> UpstreamError {
        match std::mem::replace(&mut self.upload, State::Sent) {
            State::Refused(first) => UpstreamError::Closed(first),
            State::Sending | State::Sent => UpstreamError::Closed(error),
        }
    }

    fn fail(&self, connection: &Connection, error: UpstreamError) -> AttemptError {
        let progress = match (self.writer.written, &error) {
            (0, _) if self.writer.body_bytes == 0 => Progress::NotSent,
            (_, UpstreamError::Closed(_)) if connection.reused && connection.input.is_empty() => Progress::SentOnReused,
            _ => Progress::Sent,
        };
        AttemptError::Upstream { error, progress }
    }

    fn into_upload(self, body: &mut Body) -> Upload {
        match self.upload {
            State::Sent => Upload::Done,
            State::Sending => Upload::Running(Box::new((self.writer, std::mem::take(body)))),
            State::Refused(_) => Upload::Abandoned,
        }
    }
}

fn answer(line: &StatusLine, headers: HeaderMap, method: &Method) -> Result<Answer, UpstreamError> {
    let framing = framing::of_response(method, line.status, line.version, &headers)?;
    let keep = framing != Framing::UntilClose && keeps_alive(line.version, &headers);
    Ok(Answer { status: line.status, headers, framing, keep })
}

fn keeps_alive(version: Version, headers: &HeaderMap) -> bool {
    let says = |word: &str| {
        headers.get_all(CONNECTION).iter().any(|value| {
            value
                .as_bytes()
                .split(|byte| *byte == b',')
                .any(|token| token.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
        })
    };
    match version {
        Version::Http11 => !says("close"),
        Version::Http10 => says("keep-alive"),
    }
}
