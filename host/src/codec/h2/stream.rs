//! One HTTP/2 stream: request in, response out, in a task of its own. (Requests polled inside the connection's
//! task would flush once per response.)

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response, Version};
use http_body::Body as _;

use super::body::{RequestBody, Rest, linger};
use crate::codec::activity::InProgress;
use crate::codec::body_guard::{BodyGuard, Pace};
use crate::codec::within::within;
use crate::codec::{Service, Settings, request};
use crate::message::{Body, Connection};

/// What the streams of a connection share.
pub(super) struct Shared<S> {
    pub(super) connection: Arc<Connection>,
    pub(super) service: S,
    pub(super) settings: Settings,
}

/// The client took the stream, or the whole connection, back. Nobody is left to be told.
struct Gone;

/// Serves one stream from its request's head to the end of the response.
pub(super) async fn serve<S: Service>(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    shared: Arc<Shared<S>>,
    in_progress: InProgress,
) {
    let (parts, stream) = request.into_parts();
    let length = match request::check(&parts) {
        Ok(length) => length,
        Err(error) => {
            tracing::debug!(%error, "malformed request");
            respond.send_reset(Reason::PROTOCOL_ERROR);
            return;
        }
    };
    let rest = (!stream.is_end_stream()).then(Rest::default);
    let body = rest.as_ref().map_or(Body::Empty, |rest| {
        let body = RequestBody::new(stream, length, Arc::clone(rest));
        Body::stream(BodyGuard::new(body, Pace::from(&shared.settings)))
    });
    let mut handled = pin!(shared.service.handle(&shared.connection, Request::from_parts(parts, body), false));
    if let Ok(response) = until_reset(&mut respond, handled.as_mut()).await {
        // The client's going away in the middle needs no answer, and every other end was signalled to it.
        if send(response, respond, &shared.settings).await.is_ok()
            && let Some(rest) = &rest
        {
            linger(rest).await;
        }
    }
    drop(in_progress);
}

/// Runs `future`, and drops it when the client resets the stream: that cancels the upstream request too.
async fn until_reset<F: Future>(respond: &mut SendResponse<Bytes>, mut future: Pin<&mut F>) -> Result<F::Output, Gone> {
    std::future::poll_fn(|cx| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(value));
        }
        respond.poll_reset(cx).map(|_| Err(Gone))
    })
    .await
}

async fn send(response: Response<Body>, mut respond: SendResponse<Bytes>, settings: &Settings) -> Result<(), Gone> {
    let (mut parts, body) = response.into_parts();
    parts.version = Version::HTTP_2;
    settings.advertise(&mut parts.headers);
    let head = Response::from_parts(parts, ());
    let ended = body.is_end_stream();
    let mut stream = respond.send_response(head, ended).map_err(|_| Gone)?;
    match body {
        Body::Empty => Ok(()),
        Body::Full(bytes) => send_data(&mut stream, bytes, true, settings.write_stall).await,
        Body::Stream(_) if ended => Ok(()),
        streamed @ Body::Stream(_) => send_stream(&mut stream, streamed, settings.write_stall).await,
    }
}

async fn send_stream(stream: &mut SendStream<Bytes>, mut body: Body, stall: Duration) -> Result<(), Gone> {
    loop {
        let frame = std::future::poll_fn(|cx| match Pin::new(&mut body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(Ok(frame)),
            Poll::Pending => stream.poll_reset(cx).map(|_| Err(Gone)),
        })
        .await?;
        match frame {
            None => return stream.send_data(Bytes::new(), true).map_err(|_| Gone),
            Some(Err(error)) => {
                // Never a clean end for a body that was cut.
                tracing::debug!(%error, "response body ended early");
                stream.send_reset(Reason::INTERNAL_ERROR);
                return Err(Gone);
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    let ended = body.is_end_stream();
                    send_data(stream, data, ended, stall).await?;
                    if ended {
                        return Ok(());
                    }
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        return stream.send_trailers(trailers).map_err(|_| Gone);
                    }
                }
            },
        }
    }
}

/// Sends `data` as far as the client's windows allow, waiting for more of them for at most `stall` each time.
/// Nothing is handed to the `h2` crate that has no window: its buffer would keep it for as long as the client
/// likes.
async fn send_data(stream: &mut SendStream<Bytes>, mut data: Bytes, ended: bool, stall: Duration) -> Result<(), Gone> {
    if data.is_empty() && !ended {
        return Ok(());
    }
    stream.reserve_capacity(data.len());
    while stream.capacity() < data.len() {
        let capacity = stream.capacity();
        if capacity > 0 {
            stream.send_data(data.split_to(capacity), false).map_err(|_| Gone)?;
            stream.reserve_capacity(data.len());
            continue;
        }
        match within(stall, pin!(std::future::poll_fn(|cx| stream.poll_capacity(cx)))).await {
            Some(Some(Ok(_))) => {}
            Some(Some(Err(_)) | None) => return Err(Gone),
            None => {
                stream.send_reset(Reason::CANCEL);
                return Err(Gone);
            }
        }
    }
    stream.send_data(data, ended).map_err(|_| Gone)
}
