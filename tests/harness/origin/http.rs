//! A well-behaved HTTP/1.1 origin on hyper that records what it sees. Its paths are the tools of the tests:
//!
//! | path | answer |
//! |---|---|
//! | `/bytes/N`, `/chunked/N` | N bytes of the pattern, with and without `Content-Length` |
//! | `/sink` | reads the body, says what it was as JSON |
//! | `/echo` | the body and its trailers, as they come |
//! | `/trailers` | a body with a trailer |
//! | `/gate` | the head at once, the body when the test opens the gate |
//! | `/hold` | everything when the test opens the gate |
//! | `/status/N` | that status |
//! | anything else | `hello from NAME` |

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::client::BoxError;
use crate::payload::{self, Length, Payload};

/// The body of an origin's answer.
pub type OriginBody = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// One request as the origin saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Method.
    pub method: http::Method,
    /// Path and query as sent.
    pub target: String,
    /// Header section.
    pub headers: HeaderMap,
}

/// Holds back the answers of `/gate` and `/hold`.
#[derive(Clone)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    /// Lets everything through that waits and that will come.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Holds back what comes from now on.
    pub fn close(&self) {
        self.0.send_replace(false);
    }

    async fn opened(&self) {
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

struct State {
    name: String,
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    requests: AtomicUsize,
    aborted: AtomicUsize,
    gate: Gate,
}

/// A running origin; it ends when it is dropped.
pub struct Origin {
    address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl Origin {
    /// Starts an origin that calls itself `name`.
    pub async fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            name: name.to_owned(),
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            aborted: AtomicUsize::new(0),
            gate: Gate(watch::Sender::new(false)),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&state)));
        Self { address, state, task }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests so far (the first thousand of them).
    pub fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.state.seen.lock().unwrap().clear();
    }

    /// The last request.
    pub fn last(&self) -> Seen {
        self.seen().pop().expect("the origin saw a request")
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Requests counted so far, all of them.
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// Request bodies that broke off.
    pub fn aborted(&self) -> usize {
        self.state.aborted.load(Ordering::SeqCst)
    }

    /// What holds back `/gate` and `/hold`.
    pub fn gate(&self) -> Gate {
        self.state.gate.clone()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    // Connections live in the set, so that they end with the origin.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        state.connections.fetch_add(1, Ordering::SeqCst);
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&state), request));
            let _ = hyper::server::conn::http1::Builder::new()
                .preserve_header_case(true)
                .max_buf_size(256 * 1024)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<OriginBody>, Infallible> {
    state.requests.fetch_add(1, Ordering::SeqCst);
    {
        let mut seen = state.seen.lock().unwrap();
        if seen.len() < 1000 {
            seen.push(Seen {
                method: request.method().clone(),
                target: request.uri().to_string(),
                headers: request.headers().clone(),
            });
        }
    }
    let path = request.uri().path().to_owned();
    let tool = path.trim_start_matches('/').split('/').collect::<Vec<_>>();
    Ok(match tool.as_slice() {
        ["bytes", count] => pattern(count, Length::Announced),
        ["chunked", count] => pattern(count, Length::Unknown),
        ["status", code] => Response::builder().status(*code).body(full("as asked")).unwrap(),
        ["sink"] => sink(&state, request).await,
        ["echo"] => echo(request),
        ["trailers"] => with_trailers(),
        ["gate"] => gated(&state),
        ["hold"] => {
            state.gate.opened().await;
            Response::new(full("held"))
        }
        _ => hello(&state),
    })
}

fn full(text: impl Into<Bytes>) -> OriginBody {
    Full::new(text.into()).map_err(|never| match never {}).boxed_unsync()
}

fn hello(state: &State) -> Response<OriginBody> {
    let mut response = Response::new(full(format!("hello from {}", state.name)));
    response.headers_mut().insert("content-type", HeaderValue::from_static("text/plain"));
    response.headers_mut().insert("x-origin", HeaderValue::from_str(&state.name).unwrap());
    response
}

fn pattern(count: &str, length: Length) -> Response<OriginBody> {
    let body = Payload::new(count.parse().unwrap(), length).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/octet-stream"));
    response
}

async fn sink(state: &State, request: Request<Incoming>) -> Response<OriginBody> {
    let text = match payload::verify(request.into_body()).await {
        Ok(verified) => {
            let trailer = verified.trailers.as_ref().and_then(|fields| fields.get("x-sum")).cloned();
            let trailer = trailer.map(|value| value.to_str().unwrap_or("not text").to_owned());
            serde_json::json!({ "bytes": verified.bytes, "trailer": trailer })
        }
        Err(error) => {
            state.aborted.fetch_add(1, Ordering::SeqCst);
            serde_json::json!({ "error": error })
        }
    };
    Response::new(full(text.to_string()))
}

fn echo(request: Request<Incoming>) -> Response<OriginBody> {
    let kind = request.headers().get("content-type").cloned();
    let mut response = Response::new(request.into_body().map_err(Into::into).boxed_unsync());
    if let Some(kind) = kind {
        response.headers_mut().insert("content-type", kind);
    }
    response.headers_mut().insert("trailer", HeaderValue::from_static("x-sum"));
    response
}

fn with_trailers() -> Response<OriginBody> {
    let mut fields = HeaderMap::new();
    fields.insert("x-sum", HeaderValue::from_static("42"));
    let frames: [Result<_, BoxError>; 2] = [Ok(Frame::data(Bytes::from_static(b"body"))), Ok(Frame::trailers(fields))];
    let mut response = Response::new(BodyExt::boxed_unsync(StreamBody::new(stream::iter(frames))));
    response.headers_mut().insert("trailer", HeaderValue::from_static("x-sum"));
    response
}

fn gated(state: &State) -> Response<OriginBody> {
    let gate = state.gate.clone();
    let frames = stream::unfold(0, move |step| {
        let gate = gate.clone();
        async move {
            match step {
                0 => Some((Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"first "))), 1)),
                1 => {
                    gate.opened().await;
                    Some((Ok(Frame::data(Bytes::from_static(b"last"))), 2))
                }
                _ => None,
            }
        }
    });
    Response::new(BodyExt::boxed_unsync(StreamBody::new(frames)))
}
