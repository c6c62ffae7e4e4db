//! Bodies stream both ways with back-pressure, byte for byte, trailers included.

use std::time::Duration;

use bytes::Bytes;
use harness::client::{Protocol, empty, payload, pieces, with_trailers};
use harness::origin::Act;
use harness::payload::{Length, verify, whole};
use harness::{Origin, Proxy, RawOrigin, eventually, within};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::BodyExt;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

#[tokio::test]
async fn uploads_and_downloads_of_many_sizes() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).start().await;
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        for size in [0_u64, 1, 2, 1023, 16_383, 16_384, 65_535, 65_536, 65_537, 1_000_000] {
            for path in ["bytes", "chunked"] {
                let reply = client.get(&format!("/{path}/{size}")).await;
                assert_eq!(reply.status, StatusCode::OK, "{protocol:?} {path} {size}");
                assert!(reply.body == whole(usize::try_from(size).unwrap()), "{protocol:?} {path} {size}");
            }
            for length in [Length::Announced, Length::Unknown] {
                let reply = client.fetch(Request::post("/sink").body(payload(size, length)).unwrap()).await;
                assert_eq!(reply.json()["bytes"], size, "{protocol:?} {length:?} {size}: {}", reply.text());
            }
        }
    }
}

#[tokio::test]
async fn a_known_length_stays_known() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).start().await;
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        assert_eq!(client.get("/bytes/100000").await.header("content-length"), Some("100000"), "{protocol:?}");
        client.fetch(Request::post("/sink").body(payload(100_000, Length::Announced)).unwrap()).await;
        let sent = app.last().headers.get("content-length").cloned();
        assert!(sent.is_some_and(|length| length == "100000"), "{protocol:?}: the length is lost upstream");
    }
}

#[tokio::test]
async fn trailers_both_ways() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).start().await;
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        let get = Request::get("/trailers").header("te", "trailers").body(empty()).unwrap();
        let reply = client.fetch(get).await;
        assert_eq!(reply.text(), "body", "{protocol:?}");
        let trailers = reply.trailers.unwrap_or_else(|| panic!("no trailers over {protocol:?}"));
        assert_eq!(trailers["x-sum"], "42", "{protocol:?}");

        let mut fields = HeaderMap::new();
        fields.insert("x-sum", HeaderValue::from_static("7"));
        let body = with_trailers(vec![whole(5000)], Some(fields));
        // hyper's client sends only the trailers that the request announces.
        let post = Request::post("/sink").header("trailer", "x-sum").body(body).unwrap();
        let reply = client.fetch(post).await;
        assert_eq!(reply.json()["bytes"], 5000, "{protocol:?}");
        assert_eq!(reply.json()["trailer"], "7", "{protocol:?}");
    }
}

#[tokio::test]
async fn forbidden_trailers_are_dropped() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    let mut raw = proxy.raw().await;
    raw.send(
        "POST /t HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\
         Content-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: evil\r\nX-Kept: yes\r\n\r\n",
    )
    .await;
    assert_eq!(raw.reply().await.unwrap().status, 200);
    let seen = origin.last();
    assert_eq!(seen.body, b"abc");
    assert_eq!(seen.trailers, vec![("x-kept".to_owned(), b"yes".to_vec())]);
    origin.assert_clean("forbidden trailers");
}

#[tokio::test]
async fn the_response_starts_before_the_request_ends() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).start().await;
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        let (hand, body) = pieces();
        let what = format!("ping-pong over {protocol:?}");
        within(Duration::from_secs(10), &what, async {
            let feeding = tokio::spawn(async move {
                hand.send("one").await;
                hand
            });
            let response = client.send(Request::post("/echo").body(body).unwrap()).await.unwrap();
            let hand = feeding.await.unwrap();
            let mut body = response.into_body();
            assert_eq!(next(&mut body).await, "one", "{protocol:?}");
            // Each piece is sent only after the one before has come back.
            for piece in ["two", "three", "four"] {
                hand.send(piece).await;
                assert_eq!(next(&mut body).await, piece, "{protocol:?}");
            }
            drop(hand);
            let rest = body.collect().await.unwrap_or_else(|error| panic!("{protocol:?}: {error}"));
            assert!(rest.to_bytes().is_empty(), "{protocol:?}");
        })
        .await;
    }
}

async fn next(body: &mut harness::client::ClientBody) -> String {
    let data = body.frame().await.expect("a frame").expect("no error").into_data().expect("data");
    String::from_utf8(data.to_vec()).unwrap()
}

#[tokio::test]
async fn the_first_part_arrives_before_the_last_is_made() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).start().await;
    for protocol in Protocol::ALL {
        app.gate().close();
        let mut client = proxy.client(protocol).await;
        let mut response = client.send(Request::get("/gate").body(empty()).unwrap()).await.unwrap();
        let first = within(Duration::from_secs(5), "the first part", next(response.body_mut())).await;
        assert_eq!(first, "first ", "{protocol:?}");
        app.gate().open();
        assert_eq!(next(response.body_mut()).await, "last", "{protocol:?}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_origin() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).alone().start().await;
    for protocol in Protocol::ALL {
        let before = proxy.stats().rss;
        let mut clients = Vec::new();
        for _ in 0..8 {
            let mut client = proxy.client(protocol).await;
            let response = client.send(Request::get("/bytes/100000000").body(empty()).unwrap()).await.unwrap();
            clients.push((client, response));
        }
        // Had nobody stopped the origin, 800 MB would be in the proxy by the time the last answer was whole.
        let mut other = proxy.client(protocol).await;
        for _ in 0..50 {
            other.get("/bytes/100000").await;
        }
        let grown = proxy.stats().rss.saturating_sub(before);
        assert!(grown < 60 << 20, "{protocol:?}: {} MiB held", harness::process::mib(grown));
        let (_client, response) = clients.pop().unwrap();
        let verified = verify(response.into_body()).await.unwrap();
        assert_eq!(verified.bytes, 100_000_000, "{protocol:?}: the rest comes once it is read");
    }
}

#[tokio::test]
async fn an_origin_that_does_not_read_stops_the_client() {
    let origin = RawOrigin::start(|_| Act::Silence).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepting = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            // Never read.
            held.push(stream);
        }
    });
    let proxy = Proxy::builder().backend("app", address).alone().start().await;
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        let (hand, body) = pieces();
        let sending = tokio::spawn(async move { client.send(Request::post("/x").body(body).unwrap()).await.map(drop) });
        let piece = whole(64 * 1024);
        let mut sent = 0_usize;
        // Loopback sockets take some MiB; QUIC and HTTP/2 windows add to it.
        while sent < 64 << 20
            && tokio::time::timeout(Duration::from_secs(1), hand.send(piece.clone())).await == Ok(true)
        {
            sent += piece.len();
        }
        assert!(sent < 40 << 20, "{protocol:?}: {sent} bytes were taken from a client nobody listens to");
        sending.abort();
    }
    let rss = proxy.stats().rss;
    assert!(rss < 120 << 20, "{} MiB resident", harness::process::mib(rss));
    accepting.abort();
    drop(origin);
}

#[tokio::test]
async fn a_client_that_dies_is_no_completed_request() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    for (number, protocol) in Protocol::ALL.into_iter().enumerate() {
        let mut client = proxy.client(protocol).await;
        let (hand, body) = pieces();
        let sending = tokio::spawn(async move { client.send(Request::post("/x").body(body).unwrap()).await.map(drop) });
        hand.send(whole(30_000)).await;
        let what = format!("{protocol:?}: the head reaches the origin");
        eventually(Duration::from_secs(5), &what, || async { (origin.connections() > number).then_some(()) }).await;
        hand.fail().await;
        let what = format!("{protocol:?}: the origin sees the request break off");
        eventually(Duration::from_secs(5), &what, || async { (origin.broken_off() > number).then_some(()) }).await;
        let _ = sending.await;
        assert!(origin.requests().is_empty(), "{protocol:?}: half a body became a whole request");
    }
    origin.assert_clean("a client that dies");
    assert_eq!(proxy.h1().await.get("/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_request_upstream() {
    let origin = RawOrigin::start(|_| Act::Silence).await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    for (number, protocol) in Protocol::ALL.into_iter().enumerate() {
        let mut client = proxy.client(protocol).await;
        let sending =
            tokio::spawn(async move { client.send(Request::get("/x").body(empty()).unwrap()).await.map(drop) });
        origin.wait_for_requests(number + 1).await;
        sending.abort();
        let what = format!("{protocol:?}: the upstream connection is closed");
        eventually(Duration::from_secs(10), &what, || async { (origin.closed() > number).then_some(()) }).await;
    }
}

#[tokio::test]
async fn an_answer_before_the_body_is_read_reaches_the_client() {
    let early = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno".to_vec();
    let origin = RawOrigin::start(move |_| Act::AnswerEarly(early.clone())).await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    for protocol in [Protocol::H2, Protocol::H2c, Protocol::H3] {
        let mut client = proxy.client(protocol).await;
        let (hand, body) = pieces();
        hand.send("something").await;
        let reply = client.fetch(Request::post("/x").body(body).unwrap()).await;
        assert_eq!((reply.status, reply.text().as_str()), (StatusCode::FORBIDDEN, "no"), "{protocol:?}");
        drop(hand);
    }
}

#[tokio::test]
async fn expect_continue_is_answered() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).start().await;
    let mut raw = proxy.raw().await;
    raw.send("POST /sink HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n").await;
    let interim = raw.take(25).await;
    assert_eq!(String::from_utf8_lossy(&interim), "HTTP/1.1 100 Continue\r\n\r\n");
    raw.send(whole(10)).await;
    let reply = raw.reply().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&reply.body), r#"{"bytes":10,"trailer":null}"#);
}

#[test]
fn any_chunking_relays_byte_for_byte() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (app, proxy) = runtime.block_on(async {
        let app = Origin::start("app").await;
        let proxy = Proxy::builder().backend("app", app.address()).start().await;
        (app, proxy)
    });
    let cases = Config { cases: 24, failure_persistence: None, ..Config::default() };
    let sizes = proptest::collection::vec(prop_oneof![1..40_usize, 1000..70_000_usize], 1..12);
    let trailers = proptest::option::of("[a-zA-Z0-9 ]{0,20}[a-z]");
    TestRunner::new(cases)
        .run(&(sizes, trailers), |(sizes, trailer)| {
            let total: usize = sizes.iter().sum();
            let content = whole(total);
            for protocol in Protocol::ALL {
                let mut rest = content.clone();
                let parts: Vec<Bytes> = sizes.iter().map(|size| rest.split_to(*size)).collect();
                let fields = trailer.as_ref().map(|text| {
                    let mut fields = HeaderMap::new();
                    fields.insert("x-sum", HeaderValue::from_str(text.trim()).unwrap());
                    fields
                });
                let expected = fields.as_ref().map(|fields| fields["x-sum"].clone());
                let request = Request::post("/echo")
                    .header("te", "trailers")
                    .header("trailer", "x-sum")
                    .body(with_trailers(parts, fields))
                    .unwrap();
                let reply = runtime.block_on(async { proxy.client(protocol).await.fetch(request).await });
                prop_assert_eq!(reply.status, StatusCode::OK);
                prop_assert!(reply.body == content, "{:?}: the body changed", protocol);
                let came = reply.trailers.as_ref().and_then(|fields| fields.get("x-sum")).cloned();
                prop_assert_eq!(came, expected, "{:?}", protocol);
            }
            Ok(())
        })
        .unwrap();
    drop(app);
}

#[test]
fn any_segmentation_of_a_request_is_the_same_request() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (origin, proxy) = runtime.block_on(async {
        let origin = RawOrigin::plain().await;
        let proxy = Proxy::builder().backend("app", origin.address()).start().await;
        (origin, proxy)
    });
    let request = "POST /a?b HTTP/1.1\r\nHost: localhost\r\nX-One: 1\r\nTransfer-Encoding: chunked\r\n\r\n\
                   5;ext=1\r\nhello\r\n00c\r\n, world and \r\n4\r\nmore\r\n0\r\nX-Sum: 9\r\n\r\n";
    let cases = Config { cases: 60, failure_persistence: None, ..Config::default() };
    let cuts = proptest::collection::vec(1..request.len(), 0..8);
    TestRunner::new(cases)
        .run(&cuts, |mut cuts| {
            cuts.sort_unstable();
            cuts.dedup();
            cuts.push(request.len());
            runtime.block_on(async {
                let mut raw = proxy.raw().await;
                let mut from = 0;
                for cut in &cuts {
                    raw.send(&request[from..*cut]).await;
                    tokio::task::yield_now().await;
                    from = *cut;
                }
                assert_eq!(raw.reply().await.map(|reply| reply.status), Some(200));
            });
            let seen = origin.last();
            prop_assert_eq!(seen.body, b"hello, world and more".to_vec());
            prop_assert_eq!(seen.target, "/a?b");
            prop_assert_eq!(seen.trailers, vec![("x-sum".to_owned(), b"9".to_vec())]);
            origin.assert_clean("segmentation");
            Ok(())
        })
        .unwrap();
}
