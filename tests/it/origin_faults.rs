//! Origins that are gone, slow or broken: 502, 503 and 504 as JSON with `Proxy-Status`, and no garbage kept.

use std::time::{Duration, Instant};

use harness::client::{Protocol, Reply, empty};
use harness::origin::Act;
use harness::{Proxy, RawOrigin};
use http::{Request, StatusCode};

fn assert_error(reply: &Reply, status: u16, case: &str) {
    assert_eq!(reply.status.as_u16(), status, "{case}: {}", reply.text());
    assert_eq!(reply.header("content-type"), Some("application/json"), "{case}");
    let error = &reply.json()["error"];
    assert_eq!(error["status"], status, "{case}: {error}");
    let code = error["code"].as_str().unwrap_or_else(|| panic!("{case}: no code in {error}"));
    let proxy_status = reply.header("proxy-status").unwrap_or_else(|| panic!("{case}: no Proxy-Status"));
    assert!(
        proxy_status.contains("gpanel-proxy") && proxy_status.contains(&format!("error={code}")),
        "{case}: {proxy_status}"
    );
    let id = error["request_id"].as_str().unwrap_or_default();
    assert!(!id.is_empty(), "{case}: {error}");
    assert_eq!(reply.header("x-request-id"), Some(id), "{case}");
}

#[tokio::test]
async fn nobody_listens() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let proxy = Proxy::builder().backend("app", address).start().await;
    for protocol in Protocol::ALL {
        let reply = proxy.client(protocol).await.get("/").await;
        assert_error(&reply, 502, &format!("{protocol:?}"));
        assert_eq!(reply.json()["error"]["code"], "connection_refused", "{protocol:?}");
        assert!(!reply.text().contains(&address.to_string()), "inner detail reached the client: {}", reply.text());
    }
    let failures = proxy.metrics().await.sum("gpanel_proxy_backend_failures_total", &[("backend", "app")]);
    assert!(failures >= 5.0, "{failures} failures counted");
}

#[tokio::test]
async fn an_unknown_host_name() {
    let proxy = Proxy::builder()
        .config("[backends.app]\nurl = \"http://no-such-host.invalid:80\"\nretries = 0")
        .route("/*", "app")
        .start()
        .await;
    let reply = proxy.h1().await.get("/").await;
    assert!([502, 503].contains(&reply.status.as_u16()), "{}", reply.status);
    assert_eq!(reply.json()["error"]["code"], "dns_error", "{}", reply.text());
}

#[tokio::test]
async fn no_answer_in_time() {
    let origin = RawOrigin::start(|_| Act::Silence).await;
    let proxy = Proxy::builder().backend("app", origin.address()).config("[backends.app]\ntimeout = 1").start().await;
    for protocol in Protocol::ALL {
        let begun = Instant::now();
        let reply = proxy.client(protocol).await.get("/").await;
        assert_error(&reply, 504, &format!("{protocol:?}"));
        assert_eq!(reply.json()["error"]["code"], "http_response_timeout", "{protocol:?}");
        let took = begun.elapsed();
        assert!(took > Duration::from_millis(900) && took < Duration::from_secs(4), "{protocol:?}: after {took:?}");
    }
}

#[tokio::test]
async fn the_timeout_does_not_cut_a_stream_that_has_begun() {
    let app = harness::Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).config("[backends.app]\ntimeout = 1").start().await;
    for protocol in Protocol::ALL {
        app.gate().close();
        let mut client = proxy.client(protocol).await;
        let response = client.send(Request::get("/gate").body(empty()).unwrap()).await.unwrap();
        let gate = app.gate();
        let begun = Instant::now();
        harness::eventually(Duration::from_secs(5), "more than the timeout has passed", || async {
            (begun.elapsed() > Duration::from_millis(1500)).then_some(())
        })
        .await;
        gate.open();
        let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        assert_eq!(body, "first last", "{protocol:?}");
    }
}

/// What the origin sends; what must not come of it is a 200 with a body that it didn't send in that form.
const BROKEN: [(&str, &str); 26] = [
    ("two Content-Length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"),
    ("negative Content-Length", "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok"),
    ("Content-Length +2", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok"),
    ("Content-Length in words", "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok"),
    ("Content-Length list", "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok"),
    ("CL and TE", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("chunked twice", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    ("unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: zstd\r\n\r\nok"),
    ("bare CR in a value", "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nok"),
    ("NUL in a value", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok"),
    ("space before colon", "HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 2\r\n\r\nok"),
    ("obs-fold", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok"),
    ("no colon", "HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 2\r\n\r\nok"),
    ("empty name", "HTTP/1.1 200 OK\r\n: x\r\nContent-Length: 2\r\n\r\nok"),
    ("status 99", "HTTP/1.1 99 Low\r\nContent-Length: 2\r\n\r\nok"),
    ("status 2000", "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("status 600", "HTTP/1.1 600 High\r\nContent-Length: 2\r\n\r\nok"),
    ("status in words", "HTTP/1.1 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("HTTP/2 status line", "HTTP/2 200\r\nContent-Length: 2\r\n\r\nok"),
    ("HTTP/0.9", "just some bytes\r\n\r\n"),
    ("TLS alert", "\x15\x03\x01\0\x02\x02\x28"),
    ("unexpected 101", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nok"),
    ("empty", ""),
    ("half a head", "HTTP/1.1 200 OK\r\nContent-Le"),
    ("bare LF", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
    ("control character in the reason", "HTTP/1.1 200 O\x01K\r\nContent-Length: 2\r\n\r\nok"),
];

#[tokio::test]
async fn broken_heads_are_502() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    for protocol in [Protocol::H1, Protocol::H2, Protocol::H3] {
        for (name, bytes) in BROKEN {
            origin.now(move |request| match request.target.as_str() {
                "/broken" => Act::AnswerAndClose(bytes.as_bytes().to_vec()),
                _ => Act::ok("whole"),
            });
            let mut client = proxy.client(protocol).await;
            assert_error(&client.get("/broken").await, 502, &format!("{name} over {protocol:?}"));
            let after = client.get("/plain").await;
            assert_eq!((after.status, after.text().as_str()), (StatusCode::OK, "whole"), "{name} over {protocol:?}");
        }
    }
}

#[tokio::test]
async fn a_connection_is_not_reused_after_garbage() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().config("[proxy]\nworkers = 1").backend("app", origin.address()).start().await;
    for (name, bytes) in [
        (
            "more than its Content-Length",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        ),
        (
            "a second answer after a chunked one",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        ),
        ("a body on 204", "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
        ("a body on 304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil"),
    ] {
        origin.now(move |request| match request.target.as_str() {
            "/extra" => Act::answer(bytes),
            _ => Act::ok("mine"),
        });
        let mut client = proxy.h1().await;
        let reply = client.get("/extra").await;
        assert!(!reply.text().contains("evil"), "{name}: {}", reply.text());
        for _ in 0..4 {
            assert_eq!(client.get("/mine").await.text(), "mine", "{name}: somebody else's answer");
        }
    }
}

#[tokio::test]
async fn broken_bodies_end_visibly() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    for (name, bytes) in [
        ("closed before Content-Length", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"),
        ("closed inside a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nonly this"),
        ("closed before the last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n"),
        ("broken chunk size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\nxx\r\n"),
        ("chunk without its CRLF", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nonly this\r\n0\r\n\r\n"),
        (
            "NUL in a trailer",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n0\r\nX: a\0\r\n\r\n",
        ),
    ] {
        origin.now(move |_| Act::AnswerAndClose(bytes.as_bytes().to_vec()));
        for protocol in Protocol::ALL {
            let mut client = proxy.client(protocol).await;
            match client.try_fetch(Request::get("/").body(empty()).unwrap()).await {
                Err(_) => {}
                Ok(reply) => {
                    assert_eq!(reply.status, StatusCode::BAD_GATEWAY, "{name} over {protocol:?}: ended cleanly");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_reset_in_the_middle_ends_visibly() {
    let origin =
        RawOrigin::start(|_| Act::Reset(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this".to_vec())).await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        match client.try_fetch(Request::get("/").body(empty()).unwrap()).await {
            Err(_) => {}
            Ok(reply) => assert_eq!(reply.status, StatusCode::BAD_GATEWAY, "{protocol:?}: ended cleanly"),
        }
    }
}

#[tokio::test]
async fn slow_and_legal_answers_pass() {
    let origin = RawOrigin::start(|_| {
        Act::Drip(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Empty:\r\n\r\n3;e=1\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"
                .to_vec(),
        )
    })
    .await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    for protocol in Protocol::ALL {
        let reply = proxy.client(protocol).await.get("/").await;
        assert_eq!((reply.status, reply.text().as_str()), (StatusCode::OK, "abc"), "{protocol:?}");
        assert_eq!(reply.header("x-empty"), Some(""), "{protocol:?}");
    }
}

#[tokio::test]
async fn http_1_0_origins_and_bodies_until_close() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    for bytes in [
        "HTTP/1.0 200 OK\r\n\r\nuntil close",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil close",
        "HTTP/1.1 200\r\nContent-Length: 11\r\n\r\nuntil close",
    ] {
        origin.now(move |_| Act::AnswerAndClose(bytes.as_bytes().to_vec()));
        for protocol in Protocol::ALL {
            let reply = proxy.client(protocol).await.get("/").await;
            assert_eq!(
                (reply.status, reply.text().as_str()),
                (StatusCode::OK, "until close"),
                "{protocol:?} {bytes:?}"
            );
        }
    }
}

#[tokio::test]
async fn floods_of_interim_answers_and_headers_are_bounded() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(20_000) + "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let header = format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 2\r\n\r\nok", "a".repeat(200_000));
    for bytes in [interim, header] {
        origin.now(move |_| Act::AnswerAndClose(bytes.clone().into_bytes()));
        for protocol in [Protocol::H1, Protocol::H2, Protocol::H3] {
            assert_error(&proxy.client(protocol).await.get("/").await, 502, &format!("{protocol:?}"));
        }
    }
}

#[tokio::test]
async fn stale_pooled_connections_are_noticed() {
    // Each connection serves one request, says keep-alive and closes: the next request meets a dead connection.
    let origin =
        RawOrigin::start(|_| Act::AnswerAndClose(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec())).await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        for number in 0..20 {
            let reply = client.get(&format!("/{number}")).await;
            assert_eq!(reply.status, StatusCode::OK, "{protocol:?} {number}: {}", reply.text());
        }
    }
}

#[tokio::test]
async fn an_unsafe_request_is_sent_once() {
    let origin = RawOrigin::start(|_| Act::Reset(Vec::new())).await;
    let proxy = Proxy::builder().backend("app", origin.address()).config("[backends.app]\nretries = 3").start().await;
    for protocol in Protocol::ALL {
        let before = origin.requests().len();
        let reply = proxy.client(protocol).await.post("/pay", "10 EUR").await;
        assert_error(&reply, 502, &format!("{protocol:?}"));
        assert_eq!(origin.requests().len(), before + 1, "{protocol:?}: an unsafe request was repeated");
    }
}
