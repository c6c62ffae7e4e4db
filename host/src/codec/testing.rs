//! A service for tests of listeners and codecs: answers by a closure, and speaks just enough HTTP/1.1 to be seen.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Prefixed, Service, Settings};
use crate::message::{Body, BodyError, Connection, Drain, Protocol, WorkerId};

pub(crate) type Reply = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
type Handler = dyn Fn(Request<Body>, bool) -> Reply + Send + Sync;

/// Answers by a closure.
#[derive(Clone)]
pub(crate) struct Stub {
    worker: WorkerId,
    handler: Arc<Handler>,
}

impl Stub {
    pub(crate) fn new(handler: impl Fn(Request<Body>, bool) -> Reply + Send + Sync + 'static) -> Self {
        Self { worker: WorkerId(0), handler: Arc::new(handler) }
    }

    pub(crate) fn on(mut self, worker: WorkerId) -> Self {
        self.worker = worker;
        self
    }

    /// `/echo`: the request's body, trailers included. `/bytes/N`: so many bytes, streamed. `/cut`: a body that
    /// breaks off. `/read`: reads the body to the end, says how many bytes, or 400. `/never`: no answer. Anything
    /// else: `ok`. Early data is marked by `x-early`.
    pub(crate) fn echo() -> Self {
        Self::new(|request, early| Box::pin(answer(request, early)))
    }
}

async fn answer(request: Request<Body>, early: bool) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let mut response = Response::new(Body::Empty);
    if early {
        response.headers_mut().insert("x-early", HeaderValue::from_static("1"));
    }
    *response.body_mut() = if let Some(count) = path.strip_prefix("/bytes/") {
        bytes(count.parse().unwrap())
    } else {
        match path.as_str() {
            "/echo" => request.into_body(),
            "/cut" => cut(),
            "/never" => std::future::pending().await,
            "/read" => match request.into_body().collect().await {
                Ok(read) => Body::from(Bytes::from(read.to_bytes().len().to_string())),
                Err(error) => {
                    *response.status_mut() = match error {
                        BodyError::DownstreamTimeout => StatusCode::REQUEST_TIMEOUT,
                        _ => StatusCode::BAD_REQUEST,
                    };
                    Body::Empty
                }
            },
            _ => Body::from(Bytes::from_static(b"ok")),
        }
    };
    response
}

/// A body out of an iterator of frames.
struct Frames<I>(I);

impl<I> http_body::Body for Frames<I>
where
    I: Iterator<Item = Result<Frame<Bytes>, BodyError>> + Unpin,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(self.0.next())
    }
}

/// A stream of so many bytes, in pieces.
fn bytes(mut left: usize) -> Body {
    static PIECE: &[u8] = &[b'x'; 16 * 1024];
    Body::stream(Frames(std::iter::from_fn(move || {
        let length = left.min(PIECE.len());
        left -= length;
        (length > 0).then(|| Ok(Frame::data(Bytes::from_static(&PIECE[..length]))))
    })))
}

fn cut() -> Body {
    let frames = [Ok(Frame::data(Bytes::from_static(b"begun"))), Err(BodyError::Internal("cut by the test".into()))];
    Body::stream(Frames(frames.into_iter()))
}

impl Service for Stub {
    fn worker(&self) -> WorkerId {
        self.worker
    }

    fn handle(
        &self,
        _connection: &Arc<Connection>,
        request: Request<Body>,
        early_data: bool,
    ) -> impl Future<Output = Response<Body>> + Send {
        (self.handler)(request, early_data)
    }

    /// Answers every head with the protocol's name and closes.
    async fn http1<IO>(self, io: IO, prefix: Bytes, _: Arc<Connection>, settings: Settings, _: Drain)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut io = Prefixed::new(prefix, io);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match io.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let alt_svc = settings.alt_svc.as_ref().and_then(|value| value.to_str().ok()).unwrap_or("none");
        let reply =
            format!("HTTP/1.1 200 OK\r\nconnection: close\r\nalt-svc: {alt_svc}\r\ncontent-length: 2\r\n\r\nok");
        let _ = io.write_all(reply.as_bytes()).await;
        let _ = io.shutdown().await;
    }
}

/// The facts of a connection that does not exist.
pub(crate) fn connection(protocol: Protocol) -> Arc<Connection> {
    Arc::new(Connection {
        peer: ([192, 0, 2, 1], 1234).into(),
        local: ([192, 0, 2, 2], 443).into(),
        protocol,
        tls: None,
        rtt: None,
    })
}

/// The settings that the configuration has by default.
pub(crate) fn settings() -> Settings {
    use std::time::Duration;
    Settings {
        request_head: Duration::from_secs(10),
        keep_alive: Duration::from_mins(1),
        body_grace: Duration::from_secs(10),
        body_min_rate: 500,
        write_stall: Duration::from_secs(30),
        max_header_size: 32 * 1024,
        max_header_count: 100,
        max_uri_length: 8 * 1024,
        h2_max_streams: super::H2_MAX_CONCURRENT_STREAMS,
        h2_stream_window: 256 * 1024,
        h2_connection_window: 1024 * 1024,
        alt_svc: None,
    }
}
