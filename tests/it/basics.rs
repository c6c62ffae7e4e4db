//! A request goes through, over every protocol, and the listeners say what they should.

use std::time::Duration;

use harness::client::{Client, Protocol, empty};
use harness::{Origin, Proxy, within};
use http::{Method, Request, StatusCode};

#[tokio::test]
async fn a_page_over_every_protocol() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).start().await;
    for protocol in Protocol::ALL {
        let reply = proxy.client(protocol).await.get("/page?a=1&b=%20x").await;
        assert_eq!(reply.status, StatusCode::OK, "{protocol:?}");
        assert_eq!(reply.text(), "hello from app", "{protocol:?}");
        assert_eq!(reply.header("x-origin"), Some("app"), "{protocol:?}");
        assert_eq!(app.last().target, "/page?a=1&b=%20x", "{protocol:?}");
    }
}

#[tokio::test]
async fn many_requests_on_one_connection() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).start().await;
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        for number in 0..50 {
            let reply = client.get(&format!("/page/{number}")).await;
            assert_eq!((reply.status, reply.text().as_str()), (StatusCode::OK, "hello from app"), "{protocol:?}");
        }
    }
    assert_eq!(app.requests(), 50 * Protocol::ALL.len());
    assert!(app.connections() <= 2 * Protocol::ALL.len(), "{} upstream connections: not reused", app.connections());
}

#[tokio::test]
async fn concurrent_requests_do_not_wait_for_each_other() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).start().await;
    for protocol in [Protocol::H2, Protocol::H2c, Protocol::H3] {
        app.gate().close();
        let mut client = proxy.client(protocol).await;
        let mut held = client.multiplex().unwrap();
        let waiting = tokio::spawn(async move { held.get("/hold").await });
        for _ in 0..20 {
            assert_eq!(client.get("/page").await.status, StatusCode::OK, "{protocol:?}");
        }
        assert!(!waiting.is_finished(), "{protocol:?}");
        app.gate().open();
        assert_eq!(waiting.await.unwrap().text(), "held", "{protocol:?}");
    }
}

#[tokio::test]
async fn every_method_goes_through() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).start().await;
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "X-OWN"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let reply = client.fetch(Request::builder().method(&method).uri("/x").body(empty()).unwrap()).await;
            assert_eq!(reply.status, StatusCode::OK, "{protocol:?} {method}");
            assert_eq!(app.last().method, method, "{protocol:?}");
            assert_eq!(reply.body.is_empty(), method == Method::HEAD, "{protocol:?} {method}");
        }
    }
}

#[tokio::test]
async fn head_keeps_the_length() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).start().await;
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        let reply = client.fetch(Request::head("/bytes/1234").body(empty()).unwrap()).await;
        assert_eq!(reply.header("content-length"), Some("1234"), "{protocol:?}");
        assert!(reply.body.is_empty(), "{protocol:?}");
        assert_eq!(client.get("/page").await.status, StatusCode::OK, "{protocol:?}: the connection goes on");
    }
}

#[tokio::test]
async fn ipv6_listeners() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder()
        .config("[proxy]\nquic_addr = \"[::1]:0\"\nhttp_addr = \"[::1]:0\"")
        .backend("app", app.address())
        .start()
        .await;
    for protocol in Protocol::ALL {
        assert!(proxy.address(protocol).is_ipv6());
        let reply = proxy.client(protocol).await.get("/").await;
        assert_eq!(reply.status, StatusCode::OK, "{protocol:?}");
        let forwarded = app.last().headers["forwarded"].to_str().unwrap().to_owned();
        assert!(forwarded.contains("\"[::1]"), "{protocol:?}: {forwarded}");
    }
}

#[tokio::test]
async fn an_ipv6_backend() {
    let listener = std::net::TcpListener::bind("[::1]:0").expect("IPv6 on loopback");
    let address = listener.local_addr().unwrap();
    let answer = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nsix").unwrap();
    });
    let proxy = Proxy::builder().backend("app", address).start().await;
    assert_eq!(proxy.h1().await.get("/").await.text(), "six");
    answer.join().unwrap();
}

#[tokio::test]
async fn alt_svc_announces_http3_on_tcp_alone() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).start().await;
    let port = proxy.address(Protocol::H3).port();
    for protocol in [Protocol::H1Tls, Protocol::H2] {
        let reply = proxy.client(protocol).await.get("/").await;
        let announced = reply.header("alt-svc").unwrap_or_else(|| panic!("no Alt-Svc over {protocol:?}"));
        assert!(announced.starts_with(&format!("h3=\":{port}\"")), "{protocol:?}: {announced}");
    }
    assert_eq!(proxy.h3().await.get("/").await.header("alt-svc"), None, "over HTTP/3 there is nothing to announce");
}

#[tokio::test]
async fn without_quic_there_is_no_alt_svc() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().config("[quic]\nenabled = false").backend("app", app.address()).start().await;
    assert_eq!(proxy.h2().await.get("/").await.header("alt-svc"), None);
}

#[tokio::test]
async fn tls_offers_h2_and_http1() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).start().await;
    // A client without ALPN speaks HTTP/1.1.
    let mut raw = harness::RawClient::connect_tls(proxy.address(Protocol::H1Tls), &[]).await;
    raw.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(raw.reply().await.unwrap().status, 200);
}

#[tokio::test]
async fn http_1_0_is_answered_and_closed() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).start().await;
    let mut raw = proxy.raw().await;
    raw.send("GET /chunked/1000 HTTP/1.0\r\nHost: localhost\r\n\r\n").await;
    let reply = raw.reply().await.unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("transfer-encoding"), None, "HTTP/1.0 knows no chunks: {}", reply.head);
    assert_eq!(reply.body, harness::payload::whole(1000));
    assert!(raw.rest().await.is_empty());
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).start().await;
    let mut raw = proxy.raw().await;
    let request = |length: usize| format!("GET /bytes/{length} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    raw.send((1..=10).map(request).collect::<String>()).await;
    for length in 1..=10 {
        assert_eq!(raw.reply().await.unwrap().body.len(), length);
    }
}

#[tokio::test]
async fn a_slow_handshake_holds_up_nobody() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).start().await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(tokio::net::TcpStream::connect(proxy.address(Protocol::H2)).await.unwrap());
    }
    within(Duration::from_secs(3), "a page beside 50 silent clients", async {
        for protocol in [Protocol::H1Tls, Protocol::H2] {
            let mut client = Client::connect(protocol, proxy.address(protocol)).await.unwrap();
            assert_eq!(client.get("/").await.status, StatusCode::OK);
        }
    })
    .await;
}
