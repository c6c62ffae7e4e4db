//! The HTTP/2 codec against the `h2` crate's client and against raw frames, over a pipe.

use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

use super::*;
use crate::codec::testing::{self, Stub};
use crate::message::drain::{DrainControl, drain};
use crate::message::{Body, Protocol};

type Served = JoinHandle<Result<(), Error>>;

fn serve_with(service: Stub, settings: Settings) -> (DuplexStream, Served, DrainControl) {
    let (client, pipe) = tokio::io::duplex(64 * 1024);
    let (control, drain) = drain();
    let connection = testing::connection(Protocol::Http2);
    let served = tokio::spawn(serve(pipe, Bytes::new(), connection, service, settings, drain));
    (client, served, control)
}

async fn connect(service: Stub, settings: Settings) -> (SendRequest<Bytes>, Served, DrainControl) {
    let (client, served, control) = serve_with(service, settings);
    let (send, connection) = h2::client::Builder::new().initial_window_size(1 << 20).handshake(client).await.unwrap();
    tokio::spawn(connection);
    (send.ready().await.unwrap(), served, control)
}

fn request(method: Method, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(format!("https://example.org{path}"))
}

async fn read(response: Response<RecvStream>) -> Result<(Bytes, Option<HeaderMap>), h2::Error> {
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
    }
    Ok((bytes.into(), body.trailers().await?))
}

async fn get(send: &mut SendRequest<Bytes>, path: &str) -> Result<Response<RecvStream>, h2::Error> {
    send.send_request(request(Method::GET, path).body(()).unwrap(), true)?.0.await
}

#[tokio::test]
async fn a_request_gets_its_answer_and_alt_svc() {
    let alt_svc = Some(HeaderValue::from_static("h3=\":9443\""));
    let (mut send, _served, _control) = connect(Stub::echo(), Settings { alt_svc, ..testing::settings() }).await;
    let response = get(&mut send, "/").await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["alt-svc"], "h3=\":9443\"");
    assert_eq!(read(response).await.unwrap().0, "ok");
}

#[tokio::test]
async fn body_and_trailers_go_both_ways() {
    let (mut send, _served, _control) = connect(Stub::echo(), testing::settings()).await;
    let (response, mut body) = send.send_request(request(Method::POST, "/echo").body(()).unwrap(), false).unwrap();
    body.send_data(Bytes::from_static(b"one "), false).unwrap();
    body.send_data(Bytes::from_static(b"two"), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("7"));
    body.send_trailers(trailers.clone()).unwrap();
    let (bytes, got) = read(response.await.unwrap()).await.unwrap();
    assert_eq!((bytes, got), (Bytes::from_static(b"one two"), Some(trailers)));
}

#[tokio::test]
async fn large_bodies_pass_with_back_pressure() {
    const SIZE: usize = 64 * 1024 * 1024;
    let (mut send, _served, _control) = connect(Stub::echo(), testing::settings()).await;
    let response = get(&mut send, &format!("/bytes/{SIZE}")).await.unwrap();
    assert_eq!(read(response).await.unwrap().0.len(), SIZE);

    let (response, mut body) = send.send_request(request(Method::POST, "/read").body(()).unwrap(), false).unwrap();
    let mut left = SIZE;
    while left > 0 {
        body.reserve_capacity(left.min(1 << 16));
        let capacity = std::future::poll_fn(|cx| body.poll_capacity(cx)).await.unwrap().unwrap();
        left -= capacity.min(left);
        body.send_data(Bytes::from(vec![0; capacity]), left == 0).unwrap();
    }
    assert_eq!(read(response.await.unwrap()).await.unwrap().0, SIZE.to_string());
}

#[tokio::test]
async fn a_body_that_breaks_off_is_no_clean_end() {
    let (mut send, _served, _control) = connect(Stub::echo(), testing::settings()).await;
    // The reset may overtake the head.
    let error = match get(&mut send, "/cut").await {
        Ok(response) => read(response).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
}

#[tokio::test]
async fn the_body_must_be_as_long_as_its_content_length() {
    let (mut send, _served, _control) = connect(Stub::echo(), testing::settings()).await;
    for (sent, declared) in [("short", "6"), ("longer", "5")] {
        let head = request(Method::POST, "/read").header("content-length", declared).body(()).unwrap();
        let (response, mut body) = send.send_request(head, false).unwrap();
        body.send_data(Bytes::from(sent), true).unwrap();
        let refused = match response.await {
            Ok(response) => response.status() == StatusCode::BAD_REQUEST,
            Err(error) => error.reason() == Some(Reason::PROTOCOL_ERROR),
        };
        assert!(refused, "{sent} under content-length {declared}");
    }
    let head = request(Method::POST, "/read").header("content-length", "5").body(()).unwrap();
    let error = send.send_request(head, true).unwrap().0.await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::PROTOCOL_ERROR), "no body at all");
    let head = request(Method::POST, "/read").header("content-length", "+5").body(()).unwrap();
    assert_eq!(send.send_request(head, true).unwrap().0.await.unwrap_err().reason(), Some(Reason::PROTOCOL_ERROR));
}

/// Tells when it is dropped.
struct Told(tokio::sync::mpsc::UnboundedSender<()>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[tokio::test]
async fn a_reset_cancels_the_request() {
    let (sender, mut cancelled) = tokio::sync::mpsc::unbounded_channel();
    let service = Stub::new(move |_, _| {
        let told = Told(sender.clone());
        Box::pin(async move {
            let _told = told;
            std::future::pending().await
        })
    });
    let (mut send, _served, _control) = connect(service, testing::settings()).await;
    let (response, mut body) = send.send_request(request(Method::GET, "/").body(()).unwrap(), false).unwrap();
    body.send_reset(Reason::CANCEL);
    drop(response);
    tokio::time::timeout(Duration::from_secs(5), cancelled.recv()).await.unwrap().unwrap();
}

#[tokio::test]
async fn draining_says_goaway_and_lets_requests_finish() {
    let (release, gate) = tokio::sync::watch::channel(false);
    let (started, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let service = Stub::new(move |_, _| {
        let (mut gate, started) = (gate.clone(), started.clone());
        Box::pin(async move {
            let _ = started.send(());
            let _ = gate.wait_for(|open| *open).await;
            Response::new(Body::from(Bytes::from_static(b"late")))
        })
    });
    let (mut send, served, control) = connect(service, testing::settings()).await;
    let (response, _) = send.send_request(request(Method::GET, "/").body(()).unwrap(), true).unwrap();
    begun.recv().await.unwrap();
    control.enter(Phase::Draining);
    release.send(true).unwrap();
    assert_eq!(read(response.await.unwrap()).await.unwrap().0, "late");
    tokio::time::timeout(Duration::from_secs(5), served).await.unwrap().unwrap().unwrap();
    assert!(get(&mut send, "/").await.is_err());
}

#[tokio::test]
async fn stopping_waits_for_nobody() {
    let (mut send, served, control) = connect(Stub::echo(), testing::settings()).await;
    let (_response, _) = send.send_request(request(Method::GET, "/never").body(()).unwrap(), true).unwrap();
    control.enter(Phase::Stopping);
    tokio::time::timeout(Duration::from_secs(5), served).await.unwrap().unwrap().unwrap();
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// Everything that the server says until it closes; how long that took.
async fn until_closed(mut client: DuplexStream) -> (Vec<u8>, Duration) {
    let start = Instant::now();
    let mut said = Vec::new();
    let _ = client.read_to_end(&mut said).await;
    (said, start.elapsed())
}

/// The codes of the GOAWAY frames in what the server said.
fn goaways(mut said: &[u8]) -> Vec<u32> {
    let mut codes = Vec::new();
    while let Some((header, rest)) = said.split_at_checked(9) {
        let length = usize::from(header[1]) << 8 | usize::from(header[2]);
        let Some((payload, rest)) = rest.split_at_checked(length) else { break };
        if header[3] == 7 {
            codes.push(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
        said = rest;
    }
    codes
}

#[tokio::test(start_paused = true)]
async fn half_open_states_end() {
    // A header block that does not end: HEADERS on stream 1 without END_HEADERS.
    let open_block = [&[0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82][..]].concat();
    for (what, sent, limit) in [
        ("nothing", Vec::new(), 10),
        ("half a preface", PREFACE[..10].to_vec(), 10),
        ("no SETTINGS", PREFACE.to_vec(), 10),
        ("an open header block", [PREFACE, SETTINGS, &open_block].concat(), 10),
        ("no request", [PREFACE, SETTINGS].concat(), 61),
    ] {
        let (mut client, served, _control) = serve_with(Stub::echo(), testing::settings());
        client.write_all(&sent).await.unwrap();
        let (_, elapsed) = until_closed(client).await;
        let limit = Duration::from_secs(limit);
        assert!(
            elapsed + Duration::from_secs(1) >= limit && elapsed <= limit + Duration::from_secs(1),
            "{what}: {elapsed:?}"
        );
        let _ = served.await.unwrap();
    }
}

#[tokio::test]
async fn floods_are_told_to_calm_down() {
    const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    const UNKNOWN: &[u8] = &[0, 0, 0, 0xbb, 0, 0, 0, 0, 0];
    for (what, frame) in [("pings", PING), ("settings", SETTINGS), ("unknown frames", UNKNOWN)] {
        let (client, served, _control) = serve_with(Stub::echo(), testing::settings());
        let (reader, mut writer) = tokio::io::split(client);
        let writing = tokio::spawn(async move {
            writer.write_all(&[PREFACE, SETTINGS].concat()).await.unwrap();
            for _ in 0..20_000 {
                if writer.write_all(frame).await.is_err() {
                    return;
                }
            }
        });
        let mut said = Vec::new();
        let mut reader = reader;
        let _ = reader.read_to_end(&mut said).await;
        assert!(matches!(served.await.unwrap(), Err(Error::Flood)), "{what}");
        assert_eq!(goaways(&said), [u32::from(Reason::ENHANCE_YOUR_CALM)], "{what}");
        writing.await.unwrap();
    }
}

#[tokio::test]
async fn rapid_reset_ends_the_connection_and_starts_few_requests() {
    let started = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = Arc::clone(&started);
    let service = Stub::new(move |_, _| {
        counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Box::pin(std::future::pending())
    });
    let (client, served, _control) = serve_with(service, testing::settings());
    let (mut reader, mut writer) = tokio::io::split(client);
    tokio::spawn(async move {
        writer.write_all(&[PREFACE, SETTINGS].concat()).await.unwrap();
        for stream in (1..4_000u32).step_by(2) {
            // :method GET, :scheme https, :path /, :authority a; then RST_STREAM.
            let mut frames = vec![0, 0, 6, 1, 5];
            frames.extend(stream.to_be_bytes());
            frames.extend([0x82, 0x87, 0x84, 0x41, 0x01, b'a']);
            frames.extend([0, 0, 4, 3, 0]);
            frames.extend(stream.to_be_bytes());
            frames.extend(8u32.to_be_bytes());
            if writer.write_all(&frames).await.is_err() {
                return;
            }
        }
    });
    let mut said = Vec::new();
    let _ = reader.read_to_end(&mut said).await;
    assert!(served.await.unwrap().is_err());
    assert_eq!(goaways(&said), [u32::from(Reason::ENHANCE_YOUR_CALM)]);
    assert!(started.load(std::sync::atomic::Ordering::Relaxed) <= 200);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_cut() {
    let (client, _served, _control) = serve_with(Stub::echo(), testing::settings());
    // Not one byte of window for responses.
    let (send, connection) =
        h2::client::Builder::new().initial_window_size(0).handshake::<_, Bytes>(client).await.unwrap();
    tokio::spawn(connection);
    let mut send = send.ready().await.unwrap();
    let start = Instant::now();
    let response = get(&mut send, "/").await.unwrap();
    assert_eq!(read(response).await.unwrap_err().reason(), Some(Reason::CANCEL));
    assert!(start.elapsed() >= Duration::from_secs(30) && start.elapsed() < Duration::from_secs(31));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_comes_is_cut() {
    let (mut send, _served, _control) = connect(Stub::echo(), testing::settings()).await;
    let (response, _body) = send.send_request(request(Method::POST, "/read").body(()).unwrap(), false).unwrap();
    assert_eq!(response.await.unwrap().status(), StatusCode::REQUEST_TIMEOUT);
}

#[tokio::test]
async fn a_header_section_over_the_limit_is_refused() {
    let (mut send, _served, _control) = connect(Stub::echo(), testing::settings()).await;
    let head = request(Method::GET, "/").header("x-long", "x".repeat(40 * 1024)).body(()).unwrap();
    let refused = match send.send_request(head, true).unwrap().0.await {
        Ok(response) => response.status() == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Err(_) => true,
    };
    assert!(refused);
}
