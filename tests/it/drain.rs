//! SIGTERM: nothing new is taken, clients are told, what is in flight ends, then the process exits with 0.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use harness::client::{Client, Protocol, empty};
use harness::h2_frames::{END_STREAM, GET, H2Frames, kind};
use harness::{Origin, Proxy, RawClient, eventually, within};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tokio::net::TcpStream;

#[tokio::test]
async fn an_idle_proxy_ends_at_once() {
    let app = Origin::start("app").await;
    let mut proxy = Proxy::builder().backend("app", app.address()).start().await;
    let mut kept = Vec::new();
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        client.get("/").await;
        kept.push(client);
    }
    let begun = Instant::now();
    proxy.terminate();
    let status = proxy.ended().await;
    assert_eq!(status.code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "idle connections held it up for {:?}", begun.elapsed());
    for mut client in kept {
        within(Duration::from_secs(5), "idle connections are closed", client.closed()).await;
    }
}

#[tokio::test]
async fn what_is_in_flight_ends() {
    let app = Origin::start("app").await;
    let mut proxy = Proxy::builder().backend("app", app.address()).start().await;
    let mut waiting = Vec::new();
    let mut streaming = Vec::new();
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        waiting.push((protocol, tokio::spawn(async move { client.get("/hold").await })));
        let mut client = proxy.client(protocol).await;
        let response = client.send(Request::get("/gate").body(empty()).unwrap()).await.unwrap();
        streaming.push((client, response));
    }
    eventually(Duration::from_secs(10), "the requests are at the origin", || async {
        (app.requests() == 10).then_some(())
    })
    .await;
    proxy.terminate();
    eventually(Duration::from_secs(5), "nothing new is accepted", || async {
        TcpStream::connect(proxy.address(Protocol::H1)).await.is_err().then_some(())
    })
    .await;
    proxy.assert_running();
    app.gate().open();
    for (protocol, request) in waiting {
        assert_eq!(request.await.unwrap().text(), "held", "{protocol:?}");
    }
    for (client, response) in streaming {
        let body =
            response.into_body().collect().await.unwrap_or_else(|error| panic!("{:?}: {error}", client.protocol()));
        assert_eq!(body.to_bytes(), "first last", "{:?}", client.protocol());
    }
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn http1_clients_are_told_by_connection_close() {
    let app = Origin::start("app").await;
    let mut proxy = Proxy::builder().backend("app", app.address()).start().await;
    let mut plain = proxy.raw().await;
    let mut tls = RawClient::connect_tls(proxy.address(Protocol::H1Tls), &[b"http/1.1"]).await;
    for client in [&mut plain, &mut tls] {
        client.send("GET /hold HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    }
    eventually(Duration::from_secs(10), "the requests are at the origin", || async {
        (app.requests() == 2).then_some(())
    })
    .await;
    proxy.terminate();
    eventually(Duration::from_secs(5), "nothing new is accepted", || async {
        TcpStream::connect(proxy.address(Protocol::H1)).await.is_err().then_some(())
    })
    .await;
    app.gate().open();
    for client in [&mut plain, &mut tls] {
        let reply = client.reply().await.expect("an answer");
        assert_eq!(reply.body, b"held");
        assert!(reply.closes(), "no Connection: close in {}", reply.head);
        assert!(client.rest().await.is_empty());
    }
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn http2_clients_are_told_by_goaway() {
    let app = Origin::start("app").await;
    let mut proxy = Proxy::builder().backend("app", app.address()).start().await;
    let mut h2 = H2Frames::connect(proxy.address(Protocol::H2c)).await;
    let fields = GET.map(|(name, value)| if name == ":path" { (name, "/hold") } else { (name, value) });
    h2.headers(1, END_STREAM, &fields).await;
    eventually(Duration::from_secs(10), "the request is at the origin", || async {
        (app.requests() == 1).then_some(())
    })
    .await;
    proxy.terminate();
    let mut goaway = None;
    let mut answered = false;
    within(Duration::from_secs(15), "GOAWAY, then the answer", async {
        while let Some(frame) = h2.next().await {
            match frame.kind {
                kind::GOAWAY => {
                    goaway = Some(u32::from_be_bytes(frame.payload[4..8].try_into().unwrap()));
                    app.gate().open();
                }
                kind::PING if frame.flags == 0 => h2.send(kind::PING, 1, 0, &frame.payload).await,
                kind::SETTINGS if frame.flags == 0 => h2.send(kind::SETTINGS, 1, 0, &[]).await,
                kind::HEADERS => answered = true,
                _ => {}
            }
        }
    })
    .await;
    assert_eq!(goaway, Some(0), "a graceful GOAWAY");
    assert!(answered, "the request in flight got no answer");
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn the_limit_is_kept() {
    let app = Origin::start("app").await;
    let mut proxy = Proxy::builder().config("[proxy]\ndrain_timeout = 1").backend("app", app.address()).start().await;
    let mut waiting = Vec::new();
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        waiting.push(tokio::spawn(async move {
            client.try_fetch(Request::get("/hold").body(empty()).unwrap()).await.is_ok()
        }));
    }
    eventually(Duration::from_secs(10), "the requests are at the origin", || async {
        (app.requests() == 5).then_some(())
    })
    .await;
    let begun = Instant::now();
    proxy.terminate();
    let status = proxy.ended().await;
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(6), "ended after {took:?}");
    assert_eq!(status.code(), Some(0));
    for request in waiting {
        assert!(!request.await.unwrap(), "a request that was cut off looked whole");
    }
}

#[tokio::test]
async fn readiness_ends_with_sigterm() {
    let app = Origin::start("app").await;
    let mut proxy = Proxy::builder().backend("app", app.address()).start().await;
    let mut client = proxy.h1().await;
    let waiting = tokio::spawn(async move { client.get("/hold").await });
    eventually(Duration::from_secs(10), "the request is at the origin", || async {
        (app.requests() == 1).then_some(())
    })
    .await;
    assert_eq!(proxy.admin("/ready").await.status, StatusCode::OK);
    proxy.terminate();
    eventually(Duration::from_secs(5), "/ready says 503", || async {
        (proxy.admin("/ready").await.status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    assert_eq!(proxy.admin("/health").await.status, StatusCode::OK, "alive it is");
    app.gate().open();
    waiting.await.unwrap();
    assert_eq!(proxy.ended().await.code(), Some(0));
}

/// Requests over one connection until it is closed in an orderly way; a failed one is a request that had reached the
/// origin, or that was refused otherwise than by the closing of an idle connection.
async fn load(protocol: Protocol, address: std::net::SocketAddr, shared: Arc<Shared>) {
    let Ok(mut client) = Client::connect(protocol, address).await else { return };
    while !shared.stopped.load(Ordering::Relaxed) {
        match client.send(Request::get("/bytes/20000").body(empty()).unwrap()).await {
            Ok(response) => {
                let status = response.status();
                match response.into_body().collect().await.map(|body| body.to_bytes().len()) {
                    Ok(20_000) if status == StatusCode::OK => {
                        shared.whole.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(_) => shared.wrong.lock().unwrap().push(format!("{protocol:?}: {status}")),
                    Err(error) => shared.wrong.lock().unwrap().push(format!("{protocol:?}: body: {error}")),
                }
            }
            Err(_) if shared.terminated.load(Ordering::Relaxed) => {
                // Never answered: an idle HTTP/1.1 connection that closes, or a stream above the GOAWAY's limit.
                shared.refused.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Err(error) => shared.wrong.lock().unwrap().push(format!("{protocol:?}: before SIGTERM: {error}")),
        }
    }
}

#[derive(Default)]
struct Shared {
    terminated: AtomicBool,
    stopped: AtomicBool,
    whole: AtomicUsize,
    refused: AtomicUsize,
    wrong: std::sync::Mutex<Vec<String>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_nothing_in_flight_fails() {
    let app = Origin::start("app").await;
    let mut proxy =
        Proxy::builder().config("[logging]\naccess_log = false").backend("app", app.address()).alone().start().await;
    let shared = Arc::new(Shared::default());
    let mut tasks = Vec::new();
    for number in 0..40 {
        let protocol = Protocol::ALL[number % 5];
        tasks.push(tokio::spawn(load(protocol, proxy.address(protocol), Arc::clone(&shared))));
    }
    eventually(Duration::from_secs(20), "there is load", || async {
        (shared.whole.load(Ordering::Relaxed) > 2000).then_some(())
    })
    .await;
    shared.terminated.store(true, Ordering::Relaxed);
    proxy.terminate();
    assert_eq!(proxy.ended().await.code(), Some(0));
    shared.stopped.store(true, Ordering::Relaxed);
    for task in tasks {
        within(Duration::from_secs(30), "the clients notice", task).await.unwrap();
    }
    let wrong = shared.wrong.lock().unwrap();
    assert!(wrong.is_empty(), "{} requests failed: {:?}", wrong.len(), &wrong[..wrong.len().min(10)]);
    // What reached the origin was answered whole: each connection's last request may have been refused unseen.
    let (whole, seen) = (shared.whole.load(Ordering::Relaxed), app.requests());
    assert!(seen <= whole, "{seen} requests reached the origin, {whole} came back whole");
}
