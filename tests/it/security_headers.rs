//! `[security.validation]`: the headers of the shipped filter, on every response, under what the backend set.

use harness::client::Protocol;
use harness::origin::Act;
use harness::{Proxy, RawOrigin};
use http::StatusCode;

const CONFIG: &str = r#"
    [security.validation]
    enable_security_headers = true
    content_security_policy = "default-src 'self'"
    x_frame_options = "DENY"
    x_content_type_options = "nosniff"
"#;

#[tokio::test]
async fn every_response_carries_them() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().config(CONFIG).route("/app", "app").backend("app", origin.address()).start().await;
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        // An answer of the backend, and one of the proxy itself.
        for (path, status) in [("/app", StatusCode::OK), ("/unknown", StatusCode::NOT_FOUND)] {
            let reply = client.get(path).await;
            assert_eq!(reply.status, status, "{protocol:?}");
            assert_eq!(reply.header("content-security-policy"), Some("default-src 'self'"), "{protocol:?} {path}");
            assert_eq!(reply.header("x-frame-options"), Some("DENY"), "{protocol:?} {path}");
            assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{protocol:?} {path}");
        }
    }
}

#[tokio::test]
async fn what_the_backend_set_stays() {
    let origin = RawOrigin::start(|_| {
        Act::answer(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Security-Policy: script-src 'wasm-unsafe-eval'\r\n\
             X-Frame-Options: SAMEORIGIN\r\n\r\nok",
        )
    })
    .await;
    let proxy = Proxy::builder().config(CONFIG).backend("app", origin.address()).start().await;
    for protocol in Protocol::ALL {
        let reply = proxy.client(protocol).await.get("/").await;
        assert_eq!(reply.header("content-security-policy"), Some("script-src 'wasm-unsafe-eval'"), "{protocol:?}");
        assert_eq!(reply.header("x-frame-options"), Some("SAMEORIGIN"), "{protocol:?}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{protocol:?}");
    }
}

#[tokio::test]
async fn errors_of_a_dead_backend_carry_them_too() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = Proxy::builder().config(CONFIG).backend("app", address).start().await;
    let reply = proxy.h2().await.get("/").await;
    assert_eq!(reply.status, StatusCode::BAD_GATEWAY);
    assert_eq!(reply.header("x-frame-options"), Some("DENY"));
}

#[tokio::test]
async fn off_is_off() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder()
        .config("[security.validation]\nenable_security_headers = false")
        .backend("app", origin.address())
        .start()
        .await;
    let reply = proxy.h1().await.get("/").await;
    assert_eq!(reply.header("x-frame-options"), None);
}
