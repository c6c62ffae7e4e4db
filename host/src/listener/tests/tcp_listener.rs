//! The TCP listeners: protocol choice on both, limits, half-open states, early data, drain.

use std::io::Write as _;

use bytes::Bytes;
use http::{Request, StatusCode};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::*;
use crate::message::{Phase, Protocol};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

async fn tls(running: &Running, alpn: &[&[u8]]) -> tokio_rustls::client::TlsStream<TcpStream> {
    let stream = TcpStream::connect(running.addresses.tls).await.unwrap();
    let connector = TlsConnector::from(Arc::new(running.client_tls(alpn)));
    connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
}

async fn get_h1(mut io: impl AsyncRead + AsyncWrite + Unpin) -> String {
    io.write_all(GET).await.unwrap();
    let mut text = String::new();
    io.read_to_string(&mut text).await.unwrap();
    text
}

async fn get_h2(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> http::Response<h2::RecvStream> {
    let (mut send, connection) = h2::client::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://localhost/").body(()).unwrap();
    send.send_request(request, true).unwrap().0.await.unwrap()
}

#[tokio::test]
async fn tls_speaks_what_alpn_chose_and_advertises_http3() {
    let running = start(&config(2), Stub::echo());
    let alt_svc = format!("h3=\":{}\"; ma=86400", running.addresses.tls.port());
    assert!(get_h1(tls(&running, &[b"http/1.1"]).await).await.contains(&format!("alt-svc: {alt_svc}")));
    assert!(get_h1(tls(&running, &[]).await).await.starts_with("HTTP/1.1 200"));
    let response = get_h2(tls(&running, &[b"h2", b"http/1.1"]).await).await;
    assert_eq!(
        (response.status(), response.headers()["alt-svc"].to_str().unwrap()),
        (StatusCode::OK, alt_svc.as_str())
    );
    // The kernel chose the worker.
    let opened = |worker| running.telemetry.worker(crate::message::WorkerId(worker)).opened(Protocol::Http2);
    assert_eq!(opened(0) + opened(1), 1);
}

#[tokio::test]
async fn cleartext_speaks_http1_and_http2_with_prior_knowledge() {
    let running = start(&config(1), Stub::echo());
    let connect = || TcpStream::connect(running.addresses.http);
    assert!(get_h1(connect().await.unwrap()).await.contains("alt-svc: none"));
    let response = get_h2(connect().await.unwrap()).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(!response.headers().contains_key("alt-svc"));

    // Byte by byte, a request that begins like the preface.
    let mut stream = connect().await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in b"PRI * HTTP/1.1\r\nhost: localhost\r\n\r\n" {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}

#[tokio::test]
async fn plain_text_on_the_tls_port_is_a_failed_handshake() {
    let running = start(&config(1), Stub::echo());
    let mut stream = TcpStream::connect(running.addresses.tls).await.unwrap();
    stream.write_all(GET).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));
    eventually("it is counted", || running.failed(Listener::Tls, ConnectionFailure::Handshake) == 1).await;
}

#[tokio::test]
async fn silent_clients_are_closed_and_stall_nobody() {
    let mut config = config(1);
    config.timeouts.tls_handshake = Duration::from_millis(300);
    config.timeouts.request_head = Duration::from_millis(300);
    let running = start(&config, Stub::echo());
    let mut silent = Vec::new();
    for address in [running.addresses.tls, running.addresses.http] {
        for _ in 0..50 {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
    }
    let mut half = TcpStream::connect(running.addresses.tls).await.unwrap();
    half.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap();
    silent.push(half);
    let mut half = TcpStream::connect(running.addresses.http).await.unwrap();
    half.write_all(b"PRI * HT").await.unwrap();
    silent.push(half);
    assert!(get_h1(tls(&running, &[b"http/1.1"]).await).await.starts_with("HTTP/1.1 200"));
    for mut stream in silent {
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await.unwrap();
    }
    eventually("all are gone", || running.connections.open() == 0).await;
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_at_once() {
    let mut config = config(1);
    config.proxy.max_connections = 1;
    let running = start(&config, Stub::echo());
    let first = TcpStream::connect(running.addresses.http).await.unwrap();
    eventually("the first is in", || running.connections.open() == 1).await;
    let mut second = TcpStream::connect(running.addresses.http).await.unwrap();
    let mut nothing = Vec::new();
    let _ = second.read_to_end(&mut nothing).await;
    assert!(nothing.is_empty());
    assert!(get_h1(first).await.starts_with("HTTP/1.1 200"));
    eventually("its place is free", || running.connections.open() == 0).await;
    assert!(get_h1(TcpStream::connect(running.addresses.http).await.unwrap()).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn sessions_resume_at_any_worker_and_early_data_is_taken() {
    let mut config = config(4);
    config.quic.early_data = true;
    let running = start(&config, Stub::echo());
    let mut client = running.client_tls(&[b"http/1.1"]);
    client.enable_early_data = true;
    let connector = TlsConnector::from(Arc::new(client)).early_data(true);
    let name = ServerName::try_from("localhost").unwrap();
    let mut accepted = 0;
    for _ in 0..12 {
        let stream = TcpStream::connect(running.addresses.tls).await.unwrap();
        let mut stream = connector.connect(name.clone(), stream).await.unwrap();
        stream.write_all(GET).await.unwrap();
        stream.flush().await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        accepted += usize::from(stream.get_ref().1.is_early_data_accepted());
    }
    assert_eq!(accepted, 11, "all but the first");
}

#[tokio::test]
async fn draining_serves_what_is_in_and_takes_no_more() {
    let running = start(&config(1), Stub::echo());
    // In the kernel's queue, with their request, when the drain begins.
    let mut queued = Vec::new();
    for _ in 0..10 {
        let mut stream = std::net::TcpStream::connect(running.addresses.http).unwrap();
        stream.write_all(GET).unwrap();
        stream.set_nonblocking(true).unwrap();
        queued.push(TcpStream::from_std(stream).unwrap());
    }
    running.control.enter(Phase::Draining);
    for mut stream in queued {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    }
    let address = running.addresses.http;
    running.ended().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn an_h2_connection_is_told_to_go_away_when_idle() {
    let mut config = config(1);
    config.timeouts.keep_alive = Duration::from_millis(200);
    let running = start(&config, Stub::echo());
    let (send, connection) = h2::client::handshake(tls(&running, &[b"h2"]).await).await.unwrap();
    let send: h2::client::SendRequest<Bytes> = send;
    tokio::time::timeout(Duration::from_secs(5), connection).await.unwrap().unwrap();
    drop(send);
    eventually("it is gone", || running.connections.open() == 0).await;
}
