//! HTTP/1.1 downstream (RFC 9112): one task a connection, one request after the other.
//!
//! The grammar is strict (`message::http1`): whatever two parsers could read in two ways is answered with an error
//! and the connection closed, because nobody can say where the next request would begin.

mod body;
mod receive;
mod request;
mod respond;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use http::{Method, Request, Response};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, WriteHalf};
use tokio::time::Instant;

use super::Settings;
use super::body_guard::{BodyGuard, Pace};
use crate::message::http1::writer::finish;
use crate::message::http1::{Framing, OutBuffer, Version};
use crate::message::timer::Deadline;
use crate::message::{Body, Connection, Drain};
use crate::pipeline::{Pipeline, RequestError};
use body::RequestBody;
use receive::{BodyState, Head, Receiver};

/// What follows a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Another request.
    Request,
    /// The end, once the client has had time to read.
    Close,
    /// The end at once: the connection is broken, or the response was cut.
    Abort,
}

/// The facts of a request that its response depends on.
struct Asked {
    method: Method,
    version: Version,
    keep_alive: bool,
}

/// Serves a connection until it ends. `prefix` holds what was read from it already.
pub async fn serve<IO>(
    io: IO,
    prefix: Bytes,
    connection: Arc<Connection>,
    pipeline: Pipeline,
    settings: Settings,
    drain: Drain,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (reader, writer) = tokio::io::split(io);
    let receiver = Arc::new(Mutex::new(Receiver::new(reader, prefix, &settings)));
    let output = OutBuffer::default();
    let mut session =
        Session { receiver, writer, output, stall: Deadline::default(), connection, pipeline, settings, drain };
    loop {
        match session.serve_one().await {
            Next::Request => {}
            Next::Close => return session.close().await,
            Next::Abort => return,
        }
    }
}

/// One connection.
struct Session<IO> {
    /// The reading side; a request's body reads from it too.
    receiver: Arc<Mutex<Receiver<IO>>>,
    writer: WriteHalf<IO>,
    output: OutBuffer,
    /// When a client that does not read is given up.
    stall: Deadline,
    connection: Arc<Connection>,
    pipeline: Pipeline,
    settings: Settings,
    drain: Drain,
}

impl<IO> Session<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    /// Reads one request, has it answered, writes the response.
    async fn serve_one(&mut self) -> Next {
        let head = match self.read_head().await {
            Ok(Some(head)) => head,
            Ok(None) => return Next::Close,
            Err(None) => return Next::Abort,
            Err(Some(error)) => return self.refuse(&error).await,
        };
        let parsed = match request::parse(head) {
            Ok(parsed) => parsed,
            Err(error) => return self.refuse(&error).await,
        };
        let asked =
            Asked { method: parsed.request.method().clone(), version: parsed.version, keep_alive: parsed.keep_alive };
        let request = parsed.request.map(|()| self.body(parsed.framing, parsed.expects_continue));
        let Some(response) = self.answer(request).await else { return Next::Abort };
        self.respond(response, &asked).await
    }

    async fn read_head(&mut self) -> Result<Option<Head>, Option<RequestError>> {
        let receiver = &self.receiver;
        let mut drained = pin!(self.drain.reached(crate::message::Phase::Draining));
        receiver.lock().begin_head();
        poll_fn(|cx| {
            let mut receiver = receiver.lock();
            match receiver.poll_head(cx) {
                Poll::Ready(head) => Poll::Ready(head),
                // A connection without a request in progress ends when the drain begins.
                Poll::Pending if receiver.is_idle() => drained.as_mut().poll(cx).map(|()| Ok(None)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    fn body(&self, framing: Framing, expects_continue: bool) -> Body {
        if framing == Framing::Length(0) {
            return Body::Empty;
        }
        let mut receiver = self.receiver.lock();
        if let Some(whole) = receiver.take_whole(framing, expects_continue) {
            return Body::Full(whole);
        }
        receiver.begin_body(expects_continue);
        let body = RequestBody::new(Arc::clone(&self.receiver), framing);
        Body::stream(BodyGuard::new(body, Pace::from(&self.settings)))
    }

    /// Has the request answered; `None` when the client left meanwhile.
    async fn answer(&mut self, request: Request<Body>) -> Option<Response<Body>> {
        let Self { receiver, writer, output, pipeline, connection, .. } = self;
        let mut handler = pin!(pipeline.handle(connection, request, false));
        let mut written = 0;
        poll_fn(|cx| {
            if let Poll::Ready(response) = handler.as_mut().poll(cx) {
                return Poll::Ready(Some(response));
            }
            if receiver.lock().poll_client_left(cx) {
                return Poll::Ready(None);
            }
            if receiver.lock().take_continue() {
                output.bytes.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            if !output.is_empty()
                && let Poll::Ready(Err(_)) = output.poll_write_all(writer, &mut written, cx)
            {
                return Poll::Ready(None);
            }
            Poll::Pending
        })
        .await
    }

    /// Answers what can't be read any further, and ends the connection.
    async fn refuse(&mut self, error: &RequestError) -> Next {
        let response = self.pipeline.refuse(&self.connection, error);
        self.receiver.lock().give_up();
        let asked = Asked { method: Method::GET, version: Version::Http11, keep_alive: false };
        self.respond(response, &asked).await
    }

    async fn respond(&mut self, mut response: Response<Body>, asked: &Asked) -> Next {
        self.settings.advertise(response.headers_mut());
        let keep_alive = asked.keep_alive && !self.drain.is_draining() && self.receiver.lock().may_go_on();
        let (head, mut body) = response.into_parts();
        let framing = respond::write_head(&mut self.output.bytes, &head, &body, asked, keep_alive);
        let mut sending = respond::Sending::new(framing, self.settings.write_stall);
        let Self { receiver, writer, output, stall, .. } = self;
        stall.set(Some(Instant::now() + sending.patience));
        let sent = poll_fn(|cx| {
            let sent = sending.poll(writer, output, &mut body, stall, cx);
            if sent.is_pending() && receiver.lock().poll_client_left(cx) {
                return Poll::Ready(Err(()));
            }
            sent
        })
        .await;
        stall.set(None);
        match sent {
            Err(()) => Next::Abort,
            Ok(()) if framing == Framing::UntilClose || !keep_alive => Next::Close,
            Ok(()) if self.receiver.lock().body == BodyState::Unread => Next::Close,
            Ok(()) => Next::Request,
        }
    }

    /// Ends the sending side and takes in what the client still sends for a moment: closing at once would reset
    /// the connection and might destroy the response before the client has read it (RFC 9112 section 9.6).
    async fn close(mut self) {
        let closing = async {
            if finish(&mut self.writer, &mut self.output).await.is_ok() {
                let mut taken = 0;
                poll_fn(|cx| self.receiver.lock().poll_discard(&mut taken, cx)).await;
            }
        };
        // A client that neither reads nor closes has had its chance.
        let _ = tokio::time::timeout(receive::LINGER, closing).await;
    }
}
