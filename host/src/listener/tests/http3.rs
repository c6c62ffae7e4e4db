//! HTTP/3 through the QUIC listener: requests, cancellation, limits, early data, drain.

use bytes::{Buf, Bytes};
use h3::client::SendRequest;
use h3::error::{Code, StreamError};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use quinn::crypto::rustls::QuicClientConfig;

use super::*;
use crate::message::{Body, Phase, Protocol};

type Send3 = SendRequest<h3_quinn::OpenStreams, Bytes>;

/// A client's endpoint; drop it last.
pub(super) fn endpoint(tls: ClientConfig) -> quinn::Endpoint {
    let mut endpoint = quinn::Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let mut tls = tls;
    tls.enable_early_data = true;
    let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    endpoint.set_default_client_config(config);
    endpoint
}

pub(super) async fn connect(running: &Running) -> (quinn::Endpoint, quinn::Connection, Send3) {
    let endpoint = endpoint(running.client_tls(&[b"h3"]));
    let quic = endpoint.connect(running.addresses.quic.unwrap(), "localhost").unwrap().await.unwrap();
    let send = speak(&quic).await;
    (endpoint, quic, send)
}

/// Starts HTTP/3 on a connection.
pub(super) async fn speak(quic: &quinn::Connection) -> Send3 {
    let (mut driver, send) = h3::client::new(h3_quinn::Connection::new(quic.clone())).await.unwrap();
    tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
    send
}

fn request(method: Method, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(format!("https://localhost{path}"))
}

pub(super) async fn exchange(
    send: &mut Send3,
    request: Request<()>,
    body: &[Bytes],
    trailers: Option<HeaderMap>,
) -> Result<(Response<()>, Vec<u8>, Option<HeaderMap>), StreamError> {
    let mut stream = send.send_request(request).await?;
    for piece in body {
        stream.send_data(piece.clone()).await?;
    }
    if let Some(trailers) = trailers {
        stream.send_trailers(trailers).await?;
    }
    stream.finish().await?;
    let response = stream.recv_response().await?;
    let mut bytes = Vec::new();
    while let Some(mut data) = stream.recv_data().await? {
        bytes.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    let trailers = stream.recv_trailers().await?;
    Ok((response, bytes, trailers))
}

pub(super) async fn get(running: &Running, path: &str) -> (StatusCode, Vec<u8>) {
    let (_endpoint, _quic, mut send) = connect(running).await;
    let (response, bytes, _) =
        exchange(&mut send, request(Method::GET, path).body(()).unwrap(), &[], None).await.unwrap();
    (response.status(), bytes)
}

#[tokio::test]
async fn a_request_gets_its_answer_and_no_alt_svc() {
    let running = start(&config(1), Stub::echo());
    let (_endpoint, _quic, mut send) = connect(&running).await;
    let head = request(Method::GET, "/").body(()).unwrap();
    let (response, body, _) = exchange(&mut send, head, &[], None).await.unwrap();
    assert_eq!((response.status(), body.as_slice()), (StatusCode::OK, &b"ok"[..]));
    assert!(!response.headers().contains_key("alt-svc"), "who is here knows");
    assert_eq!(active(&running, Protocol::Http3), 1);
}

#[tokio::test]
async fn body_and_trailers_go_both_ways() {
    let running = start(&config(1), Stub::echo());
    let (_endpoint, _quic, mut send) = connect(&running).await;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("7"));
    let head = request(Method::POST, "/echo").body(()).unwrap();
    let pieces = [Bytes::from_static(b"one "), Bytes::from_static(b"two")];
    let (_, body, got) = exchange(&mut send, head, &pieces, Some(trailers.clone())).await.unwrap();
    assert_eq!((body.as_slice(), got), (&b"one two"[..], Some(trailers)));
}

#[tokio::test]
async fn large_bodies_pass_with_back_pressure() {
    const SIZE: usize = 64 * 1024 * 1024;
    let running = start(&config(1), Stub::echo());
    let (_endpoint, _quic, mut send) = connect(&running).await;
    let head = request(Method::GET, &format!("/bytes/{SIZE}")).body(()).unwrap();
    let (_, body, _) = exchange(&mut send, head, &[], None).await.unwrap();
    assert_eq!(body.len(), SIZE);
    let pieces = vec![Bytes::from(vec![0; 1 << 20]); 64];
    let head = request(Method::POST, "/read").header("content-length", SIZE).body(()).unwrap();
    let (_, body, _) = exchange(&mut send, head, &pieces, None).await.unwrap();
    assert_eq!(body, SIZE.to_string().into_bytes());
}

#[tokio::test]
async fn an_unread_request_is_stopped_without_an_error() {
    let running = start(&config(1), Stub::echo());
    let (_endpoint, quic, mut send) = connect(&running).await;
    // The answer comes while the upload has no end, and nobody reads it.
    let mut stream = send.send_request(request(Method::POST, "/").body(()).unwrap()).await.unwrap();
    let response = stream.recv_response().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut data = stream.recv_data().await.unwrap().unwrap();
    assert_eq!(data.copy_to_bytes(data.remaining()), "ok");
    assert!(stream.recv_data().await.unwrap().is_none());
    let piece = Bytes::from(vec![0; 1 << 20]);
    let stopped = loop {
        if let Err(error) = stream.send_data(piece.clone()).await {
            break error;
        }
    };
    assert!(matches!(stopped, StreamError::RemoteTerminate { code: Code::H3_NO_ERROR, .. }), "{stopped:?}");
    assert!(quic.close_reason().is_none());
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_clean_end() {
    let running = start(&config(1), Stub::echo());
    let (_endpoint, _quic, mut send) = connect(&running).await;
    let head = request(Method::GET, "/cut").body(()).unwrap();
    let error = exchange(&mut send, head, &[], None).await.unwrap_err();
    assert!(matches!(error, StreamError::RemoteTerminate { code: Code::H3_INTERNAL_ERROR, .. }), "{error:?}");
}

#[tokio::test]
async fn malformed_requests_are_stream_errors() {
    let running = start(&config(1), Stub::echo());
    let (_endpoint, _quic, mut send) = connect(&running).await;
    let body = [Bytes::from_static(b"five5")];
    for (name, value, body) in [
        ("content-length", "+5", &body[..]),
        ("content-length", "5", &[]),
        ("transfer-encoding", "chunked", &body),
        ("connection", "close", &[]),
        ("te", "gzip", &[]),
    ] {
        let head = request(Method::POST, "/read").header(name, value).body(()).unwrap();
        let error = exchange(&mut send, head, body, None).await.unwrap_err();
        assert!(
            matches!(error, StreamError::RemoteTerminate { code: Code::H3_MESSAGE_ERROR, .. }),
            "{name}: {error:?}"
        );
    }
    for declared in ["4", "6"] {
        let head = request(Method::POST, "/read").header("content-length", declared).body(()).unwrap();
        let refused = match exchange(&mut send, head, &body, None).await {
            Ok((response, ..)) => response.status() == StatusCode::BAD_REQUEST,
            Err(error) => matches!(error, StreamError::RemoteTerminate { code: Code::H3_MESSAGE_ERROR, .. }),
        };
        assert!(refused, "content-length: {declared}");
    }
    let head = request(Method::GET, "/").body(()).unwrap();
    assert!(exchange(&mut send, head, &[], None).await.is_ok(), "the connection goes on");
}

#[tokio::test]
async fn a_header_section_over_the_limit_is_431_and_one_without_end_closes() {
    let running = start(&config(1), Stub::echo());
    let (_endpoint, quic, mut send) = connect(&running).await;
    let head = request(Method::GET, "/").header("x-long", "x".repeat(30_000)).header("y-long", "y".repeat(30_000));
    let head = head.body(()).unwrap();
    let (response, ..) = exchange(&mut send, head, &[], None).await.unwrap();
    assert_eq!(response.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);

    // HEADERS of a gigabyte: refused at its header, long before it is here.
    let (mut raw, _recv) = quic.open_bi().await.unwrap();
    raw.write_all(&[0x01, 0xc0, 0, 0, 0, 0x40, 0, 0, 0]).await.unwrap();
    let reason = quic.closed().await;
    let expected = quinn::VarInt::from_u64(Code::H3_EXCESSIVE_LOAD.value()).unwrap();
    assert!(
        matches!(&reason, quinn::ConnectionError::ApplicationClosed(close) if close.error_code == expected),
        "{reason:?}"
    );
}

/// `POST /read` with one field section of static entries: `:method`, `:scheme`, `:path` and `:authority`.
const HEAD: &[u8] = &[0x01, 8, 0x00, 0x00, 0xd4, 0xd7, 0xc1, 0x50, 0x01, b'a'];

async fn closed_with(quic: &quinn::Connection) -> u64 {
    let reason = tokio::time::timeout(Duration::from_secs(5), quic.closed()).await.unwrap();
    match reason {
        quinn::ConnectionError::ApplicationClosed(close) => close.error_code.into(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn broken_framing_closes_the_connection_with_its_code() {
    let running = start(&config(1), Stub::new(|request, _| Box::pin(read_all(request))));
    let data_cut_short = [HEAD, &[0x00, 10, 1, 2, 3]].concat();
    let headers_cut_short = HEAD[..5].to_vec();
    let after_trailers = [HEAD, &[0x00, 1, 1], &[0x01, 2, 0, 0], &[0x00, 1, 1]].concat();
    let settings_on_a_request = vec![0x04, 0];
    let http2_priority = vec![0x02, 0];
    for (what, bytes, code) in [
        ("DATA cut short", data_cut_short, Code::H3_FRAME_ERROR),
        ("HEADERS cut short", headers_cut_short, Code::H3_FRAME_ERROR),
        ("DATA after trailers", after_trailers, Code::H3_FRAME_UNEXPECTED),
        ("SETTINGS", settings_on_a_request, Code::H3_FRAME_UNEXPECTED),
        ("a frame of HTTP/2", http2_priority, Code::H3_FRAME_UNEXPECTED),
    ] {
        let (_endpoint, quic, _send) = connect(&running).await;
        let (mut raw, _recv) = quic.open_bi().await.unwrap();
        raw.write_all(&bytes).await.unwrap();
        raw.finish().unwrap();
        assert_eq!(closed_with(&quic).await, code.value(), "{what}");
    }
}

async fn read_all(request: Request<Body>) -> Response<Body> {
    let _ = http_body_util::BodyExt::collect(request.into_body()).await;
    Response::new(Body::Empty)
}

#[tokio::test]
async fn unidirectional_streams_without_frames_are_left_alone() {
    let running = start(&config(1), Stub::echo());
    let (_endpoint, quic, mut send) = connect(&running).await;
    // A type that nobody knows, with what would be a huge frame.
    let mut raw = quic.open_uni().await.unwrap();
    raw.write_all(&[0x21, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).await.unwrap();
    let head = request(Method::GET, "/").body(()).unwrap();
    assert!(exchange(&mut send, head, &[], None).await.is_ok());
    assert!(quic.close_reason().is_none());
}

/// Tells when it is dropped.
struct Told(mpsc::UnboundedSender<()>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[tokio::test]
async fn a_client_that_stops_or_leaves_cancels_the_request() {
    let (sender, mut cancelled) = mpsc::unbounded_channel();
    let (started, mut begun) = mpsc::unbounded_channel();
    let service = Stub::new(move |_, _| {
        let _ = started.send(());
        let told = Told(sender.clone());
        Box::pin(async move {
            let _told = told;
            std::future::pending().await
        })
    });
    let running = start(&config(1), service);
    let (_endpoint, quic, mut send) = connect(&running).await;
    let mut stream = send.send_request(request(Method::GET, "/").body(()).unwrap()).await.unwrap();
    stream.finish().await.unwrap();
    begun.recv().await.unwrap();
    stream.stop_sending(Code::H3_REQUEST_CANCELLED);
    tokio::time::timeout(Duration::from_secs(5), cancelled.recv()).await.unwrap().unwrap();

    let mut stream = send.send_request(request(Method::GET, "/").body(()).unwrap()).await.unwrap();
    stream.finish().await.unwrap();
    begun.recv().await.unwrap();
    quic.close(quinn::VarInt::from_u32(0x100), b"");
    tokio::time::timeout(Duration::from_secs(5), cancelled.recv()).await.unwrap().unwrap();
}

#[tokio::test]
async fn rapid_reset_closes_the_connection() {
    let running = start(&config(1), Stub::new(|_, _| Box::pin(std::future::pending())));
    let (_endpoint, quic, mut send) = connect(&running).await;
    for _ in 0..1_000 {
        let Ok(mut stream) = send.send_request(request(Method::GET, "/").body(()).unwrap()).await else { break };
        stream.stop_stream(Code::H3_REQUEST_CANCELLED);
        stream.stop_sending(Code::H3_REQUEST_CANCELLED);
    }
    let reason = tokio::time::timeout(Duration::from_secs(10), quic.closed()).await.unwrap();
    let expected = quinn::VarInt::from_u64(Code::H3_EXCESSIVE_LOAD.value()).unwrap();
    assert!(
        matches!(&reason, quinn::ConnectionError::ApplicationClosed(close) if close.error_code == expected),
        "{reason:?}"
    );
    eventually("the failure is counted", || running.failed(Listener::Quic, ConnectionFailure::Protocol) == 1).await;
}

#[tokio::test]
async fn early_data_is_served_and_marked() {
    let mut config = config(2);
    config.quic.early_data = true;
    let running = start(&config, Stub::echo());
    let endpoint = endpoint(running.client_tls(&[b"h3"]));
    let address = running.addresses.quic.unwrap();
    let first = endpoint.connect(address, "localhost").unwrap().await.unwrap();
    let mut send = speak(&first).await;
    let head = || request(Method::GET, "/").body(()).unwrap();
    let (response, ..) = exchange(&mut send, head(), &[], None).await.unwrap();
    assert!(!response.headers().contains_key("x-early"));

    let (second, accepted) = endpoint.connect(address, "localhost").unwrap().into_0rtt().map_err(|_| ()).unwrap();
    let mut send = speak(&second).await;
    let (response, ..) = exchange(&mut send, head(), &[], None).await.unwrap();
    assert!(accepted.await, "0-RTT was accepted");
    assert_eq!(response.headers()["x-early"], "1");
    let (response, ..) = exchange(&mut send, head(), &[], None).await.unwrap();
    assert!(!response.headers().contains_key("x-early"), "after the handshake");
}

#[tokio::test]
async fn without_early_data_none_is_accepted() {
    let running = start(&config(1), Stub::echo());
    let endpoint = endpoint(running.client_tls(&[b"h3"]));
    let address = running.addresses.quic.unwrap();
    let first = endpoint.connect(address, "localhost").unwrap().await.unwrap();
    let mut send = speak(&first).await;
    exchange(&mut send, request(Method::GET, "/").body(()).unwrap(), &[], None).await.unwrap();
    assert!(endpoint.connect(address, "localhost").unwrap().into_0rtt().is_err());
}

#[tokio::test]
async fn draining_says_goaway_and_lets_requests_finish() {
    let (release, gate) = tokio::sync::watch::channel(false);
    let (started, mut begun) = mpsc::unbounded_channel();
    let service = Stub::new(move |_, _| {
        let (mut gate, started) = (gate.clone(), started.clone());
        Box::pin(async move {
            let _ = started.send(());
            let _ = gate.wait_for(|open| *open).await;
            Response::new(Body::from(Bytes::from(vec![b'x'; 1 << 20])))
        })
    });
    let running = start(&config(2), service);
    let (endpoint, quic, mut send) = connect(&running).await;
    let mut again = send.clone();
    let waiting =
        tokio::spawn(async move { exchange(&mut send, request(Method::GET, "/").body(()).unwrap(), &[], None).await });
    begun.recv().await.unwrap();
    running.control.enter(Phase::Draining);
    // New connections are refused, new requests too.
    assert!(endpoint.connect(running.addresses.quic.unwrap(), "localhost").unwrap().await.is_err());
    while again.send_request(request(Method::GET, "/").body(()).unwrap()).await.is_ok() {
        tokio::task::yield_now().await;
    }
    release.send(true).unwrap();
    let (response, body, _) = waiting.await.unwrap().unwrap();
    assert_eq!((response.status(), body.len()), (StatusCode::OK, 1 << 20));
    let reason = tokio::time::timeout(Duration::from_secs(5), quic.closed()).await.unwrap();
    let no_error = quinn::VarInt::from_u32(0x100);
    assert!(
        matches!(&reason, quinn::ConnectionError::ApplicationClosed(close) if close.error_code == no_error),
        "{reason:?}"
    );
    running.ended().await;
}
