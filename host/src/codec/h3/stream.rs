//! One HTTP/3 request stream: request in, response out, in a task of its own.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes};
use h3::error::{Code, StreamError};
use h3::server::{RequestResolver, RequestStream};
use http::{HeaderMap, Method, Request, Response, Version};
use http_body::Body as _;

use super::body::RequestBody;
use super::transport::{self, RecvStream, SendStream, Stopped};
use crate::codec::activity::InProgress;
use crate::codec::body_guard::{BodyGuard, Pace};
use crate::codec::within::within;
use crate::codec::{Service, Settings, request};
use crate::message::{Body, Connection};

/// A request without content whose end comes in a packet of its own is waited for: it saves the upstream an empty
/// chunked body.
const END_OF_GET: Duration = Duration::from_millis(50);
/// Bytes that are written in one piece; the time limit on a client that does not read applies to each.
const PIECE: usize = 64 * 1024;

/// What the streams of a connection share.
pub(super) struct Shared<S> {
    pub(super) connection: Arc<Connection>,
    pub(super) service: S,
    pub(super) settings: Settings,
}

/// A request that has just been opened.
pub(super) struct Opened {
    pub(super) resolver: RequestResolver<transport::Connection, Bytes>,
    pub(super) stopped: Option<Stopped>,
    /// Whether it came before the handshake was over.
    pub(super) early_data: bool,
    pub(super) in_progress: InProgress,
}

/// The client took the stream, or the whole connection, back. Nobody is left to be told.
struct Gone;

/// Serves one stream from its request's head to the end of the response.
pub(super) async fn serve<S: Service>(opened: Opened, shared: Arc<Shared<S>>) {
    let Opened { resolver, mut stopped, early_data, in_progress } = opened;
    let (request, mut stream) = match within(shared.settings.request_head, pin!(resolver.resolve_request())).await {
        Some(Ok(resolved)) => resolved,
        Some(Err(error)) => return tracing::debug!(%error, "request stream ended before its request"),
        None => return tracing::debug!("a request's head took too long"),
    };
    let (parts, ()) = request.into_parts();
    let length = match request::check(&parts) {
        Ok(length) => length,
        Err(error) => {
            tracing::debug!(%error, "malformed request");
            stream.stop_stream(Code::H3_MESSAGE_ERROR);
            stream.stop_sending(Code::H3_MESSAGE_ERROR);
            return;
        }
    };
    let (send, receive) = stream.split();
    let mut responder = Responder { stream: send, ended: false, stall: shared.settings.write_stall };
    let patient = length.is_none() && matches!(parts.method, Method::GET | Method::HEAD);
    let body = match body(receive, length, patient, &shared.settings).await {
        Ok(body) => body,
        Err(code) => return responder.abort(code),
    };
    let mut handled = pin!(shared.service.handle(&shared.connection, Request::from_parts(parts, body), early_data));
    if let Ok(response) = until_stopped(&mut stopped, handled.as_mut()).await {
        // The client's going away in the middle needs no answer, and every other end was signalled to it.
        let _ = responder.send(response, &mut stopped, &shared.settings).await;
    }
    drop(in_progress);
}

/// Finds out whether there is a body. Most requests have none, and their end is already here: then nothing is
/// left to be read, and the stream won't have to be stopped.
///
/// # Errors
/// The code to abort the stream with.
async fn body(
    mut stream: RequestStream<RecvStream, Bytes>,
    length: Option<u64>,
    patient: bool,
    settings: &Settings,
) -> Result<Body, Code> {
    let mut first = std::future::poll_fn(|cx| Poll::Ready(poll_first(&mut stream, cx))).await;
    if first.is_pending() && patient {
        let waited = tokio::time::timeout(END_OF_GET, std::future::poll_fn(|cx| poll_first(&mut stream, cx))).await;
        first = waited.map_or(Poll::Pending, Poll::Ready);
    }
    let first = match first {
        Poll::Pending => None,
        Poll::Ready(Ok(Some(data))) => Some(data),
        Poll::Ready(Ok(None)) if length.is_some_and(|length| length > 0) => return Err(Code::H3_MESSAGE_ERROR),
        Poll::Ready(Ok(None)) => return Ok(Body::Empty),
        Poll::Ready(Err(_)) => return Err(Code::H3_REQUEST_CANCELLED),
    };
    Ok(Body::stream(BodyGuard::new(RequestBody::new(stream, first, length), Pace::from(settings))))
}

/// The first piece of the body; `None` when there is neither a body nor trailers, and the end is reached.
fn poll_first(
    stream: &mut RequestStream<RecvStream, Bytes>,
    cx: &mut std::task::Context<'_>,
) -> Poll<Result<Option<Bytes>, StreamError>> {
    match stream.poll_recv_data(cx) {
        Poll::Ready(Ok(Some(mut data))) => Poll::Ready(Ok(Some(data.copy_to_bytes(data.remaining())))),
        Poll::Ready(Ok(None)) => {
            // A request of a head and trailers is legal and useless: what counts is that nothing follows.
            stream.poll_recv_trailers(cx).map_ok(|_: Option<HeaderMap>| None)
        }
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        Poll::Pending => Poll::Pending,
    }
}

/// Runs `future`, and drops it when the client stops the stream: that cancels the upstream request too.
async fn until_stopped<F: Future>(stopped: &mut Option<Stopped>, mut future: Pin<&mut F>) -> Result<F::Output, Gone> {
    std::future::poll_fn(|cx| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(value));
        }
        match stopped {
            Some(stopped) => stopped.as_mut().poll(cx).map(|_| Err(Gone)),
            None => Poll::Pending,
        }
    })
    .await
}

/// The sending half of a stream. Whatever happens, it ends in one of two ways: complete, or visibly aborted.
struct Responder {
    stream: RequestStream<SendStream, Bytes>,
    ended: bool,
    stall: Duration,
}

impl Responder {
    fn abort(&mut self, code: Code) {
        self.ended = true;
        self.stream.stop_stream(code);
    }

    async fn send(
        &mut self,
        response: Response<Body>,
        stopped: &mut Option<Stopped>,
        settings: &Settings,
    ) -> Result<(), Gone> {
        let (mut parts, body) = response.into_parts();
        parts.version = Version::HTTP_3;
        let head = self.stream.send_response(Response::from_parts(parts, ()));
        let sent = within(settings.write_stall, pin!(head)).await;
        self.settle(sent)?;
        match body {
            Body::Empty => {}
            Body::Full(bytes) => self.send_data(bytes).await?,
            streamed @ Body::Stream(_) => self.send_stream(streamed, stopped).await?,
        }
        let finished = within(self.stall, pin!(self.stream.finish())).await;
        self.settle(finished)?;
        self.ended = true;
        Ok(())
    }

    async fn send_stream(&mut self, mut body: Body, stopped: &mut Option<Stopped>) -> Result<(), Gone> {
        loop {
            let next = pin!(std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)));
            let frame = until_stopped(stopped, next).await;
            let Ok(frame) = frame else {
                self.abort(Code::H3_REQUEST_CANCELLED);
                return Err(Gone);
            };
            match frame {
                None => return Ok(()),
                Some(Err(error)) => {
                    // Never a clean end for a body that was cut.
                    tracing::debug!(%error, "response body ended early");
                    self.abort(Code::H3_INTERNAL_ERROR);
                    return Err(Gone);
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.send_data(data).await?,
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            let sent = within(self.stall, pin!(self.stream.send_trailers(trailers))).await;
                            return self.settle(sent);
                        }
                    }
                },
            }
        }
    }

    async fn send_data(&mut self, mut data: Bytes) -> Result<(), Gone> {
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(PIECE));
            let sent = within(self.stall, pin!(self.stream.send_data(piece))).await;
            self.settle(sent)?;
        }
        Ok(())
    }

    /// Turns the result of a write into the end of the stream, if it is one.
    fn settle(&mut self, sent: Option<Result<(), StreamError>>) -> Result<(), Gone> {
        let code = match sent {
            Some(Ok(())) => return Ok(()),
            Some(Err(StreamError::HeaderTooBig { .. })) => {
                tracing::debug!("the response's head is larger than the client takes");
                Code::H3_INTERNAL_ERROR
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "response not sent");
                Code::H3_REQUEST_CANCELLED
            }
            None => {
                tracing::debug!("the client does not read its response");
                Code::H3_REQUEST_CANCELLED
            }
        };
        self.abort(code);
        Err(Gone)
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if !self.ended {
            self.stream.stop_stream(Code::H3_INTERNAL_ERROR);
        }
    }
}
