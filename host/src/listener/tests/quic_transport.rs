//! QUIC below HTTP/3: clients that move between workers, Retry, limits, statistics, half-open handshakes.

use bytes::Bytes;
use http::{Method, Request};

use super::http3::{connect, endpoint, exchange, speak};
use super::*;
use crate::message::{Phase, WorkerId};

fn hello() -> Request<()> {
    Request::builder().method(Method::POST).uri("https://localhost/echo").body(()).unwrap()
}

#[tokio::test]
async fn a_connection_survives_its_client_moving_to_other_addresses() {
    let running = start(&config(2), Stub::echo());
    let (endpoint, quic, mut send) = connect(&running).await;
    for round in 0..40 {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        endpoint.rebind(socket).unwrap();
        let text = Bytes::from(format!("round {round}").repeat(1000));
        let exchanged = exchange(&mut send, hello(), std::slice::from_ref(&text), None);
        let (_, body, _) = tokio::time::timeout(Duration::from_secs(10), exchanged).await.unwrap().unwrap();
        assert_eq!(body, text);
    }
    assert!(quic.close_reason().is_none());
    let counters = running.connections.counters();
    assert!(counters.quic_forwarded.load(Relaxed) > 10, "half of the addresses belong to the other worker");
    assert_eq!(counters.quic_forward_drops.load(Relaxed), 0);
}

#[tokio::test]
async fn above_the_threshold_clients_prove_their_address() {
    let mut config = config(1);
    config.quic.retry_threshold = 0;
    let running = start(&config, Stub::echo());
    let (_endpoint, _quic, mut send) = connect(&running).await;
    assert!(exchange(&mut send, hello(), &[], None).await.is_ok());
    assert_eq!(running.connections.counters().quic_retries.load(Relaxed), 1);
}

#[tokio::test]
async fn connections_over_the_limit_are_refused_and_counted() {
    let mut config = config(1);
    config.limits.max_connections_per_ip = Some(1);
    let running = start(&config, Stub::echo());
    let (first, quic, mut send) = connect(&running).await;
    let second = endpoint(running.client_tls(&[b"h3"]));
    let address = running.addresses.quic.unwrap();
    assert!(second.connect(address, "localhost").unwrap().await.is_err());
    assert!(exchange(&mut send, hello(), &[], None).await.is_ok());
    assert_eq!(running.failed(Listener::Quic, ConnectionFailure::Limit), 1);
    quic.close(quinn::VarInt::from_u32(0x100), b"");
    first.wait_idle().await;
    eventually("the place is free again", || running.connections.open() == 0).await;
    assert!(second.connect(address, "localhost").unwrap().await.is_ok());
}

#[tokio::test]
async fn transport_statistics_cover_live_and_ended_connections() {
    let running = start(&config(1), Stub::echo());
    let (endpoint, quic, mut send) = connect(&running).await;
    exchange(&mut send, hello(), &[Bytes::from(vec![0; 100_000])], None).await.unwrap();
    let registry = running.connections.counters().quic(WorkerId(0)).unwrap();
    let live = registry.snapshot();
    assert_eq!(live.live, 1);
    assert!(live.totals.bytes_received > 100_000 && live.totals.bytes_sent > 100_000 && live.mean_rtt.is_some());
    quic.close(quinn::VarInt::from_u32(0x100), b"");
    endpoint.wait_idle().await;
    eventually("the connection has ended", || registry.snapshot().live == 0).await;
    assert!(registry.snapshot().totals.bytes_received >= live.totals.bytes_received);
}

#[tokio::test]
async fn a_handshake_that_does_not_go_on_ends() {
    let mut config = config(1);
    config.timeouts.tls_handshake = Duration::from_millis(200);
    for early_data in [false, true] {
        config.quic.early_data = early_data;
        let running = start(&config, Stub::echo());
        // A ClientHello, and never anything again: the client's socket is lost.
        let client = endpoint(running.client_tls(&[b"h3"]));
        let connecting = client.connect(running.addresses.quic.unwrap(), "localhost").unwrap();
        let counters = running.connections.counters();
        eventually("the ClientHello has come", || running.connections.open() == 1 || client.open_connections() == 0)
            .await;
        client.rebind(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        drop((connecting, client));
        eventually("the handshake is given up", || running.connections.open() == 0).await;
        assert_eq!(counters.quic_handshakes.load(Relaxed), 0);
    }
}

#[tokio::test]
async fn stopping_ends_connections_at_once() {
    let running = start(&config(2), Stub::echo());
    let (_endpoint, quic, _send) = connect(&running).await;
    running.control.enter(Phase::Stopping);
    running.ended().await;
    tokio::time::timeout(Duration::from_secs(5), quic.closed()).await.unwrap();
}

#[tokio::test]
async fn ipv6_and_ipv4_reach_a_dual_stack_listener() {
    let mut config = config(1);
    config.proxy.quic_addr = "[::]:0".parse().unwrap();
    config.proxy.http_addr = "[::]:0".parse().unwrap();
    let running = start(&config, Stub::echo());
    let port = running.addresses.quic.unwrap().port();
    for (bind, address) in [("127.0.0.1:0", format!("127.0.0.1:{port}")), ("[::1]:0", format!("[::1]:{port}"))] {
        let client = endpoint(running.client_tls(&[b"h3"]));
        client.rebind(std::net::UdpSocket::bind(bind).unwrap()).unwrap();
        let quic = client.connect(address.parse().unwrap(), "localhost").unwrap().await.unwrap();
        let mut send = speak(&quic).await;
        assert!(exchange(&mut send, hello(), &[], None).await.is_ok());
    }
}
