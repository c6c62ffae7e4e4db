//! No half-open state lasts: slow handshakes, heads, bodies and readers are cut off in their time, and meanwhile
//! nobody else notices them.

use std::time::{Duration, Instant};

use harness::client::{Protocol, empty, pieces};
use harness::h2_frames::{END_STREAM, GET, H2Frames, Outcome, block, kind};
use harness::{Origin, Proxy, RawClient, RawOrigin, eventually, within};
use http::{Request, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SHORT: &str = "[proxy.timeouts]\ntls_handshake = 1\nrequest_head = 1\nkeep_alive = 1\nbody_grace = 1\n\
                     body_min_rate = 500\nwrite_stall = 1";

/// Well above the second that every timeout here lasts, well below the defaults.
const SOON: Duration = Duration::from_secs(5);

async fn closes_soon(mut stream: TcpStream, what: &str) {
    within(SOON, what, async {
        let mut buffer = [0; 4096];
        while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
    })
    .await;
}

#[tokio::test]
async fn silent_connections() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().config(SHORT).backend("app", app.address()).start().await;
    let plain = TcpStream::connect(proxy.address(Protocol::H1)).await.unwrap();
    let tls = TcpStream::connect(proxy.address(Protocol::H2)).await.unwrap();
    closes_soon(plain, "a silent cleartext connection is closed").await;
    closes_soon(tls, "a silent TLS connection is closed").await;
}

#[tokio::test]
async fn half_a_client_hello() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().config(SHORT).backend("app", app.address()).start().await;
    let mut stream = TcpStream::connect(proxy.address(Protocol::H2)).await.unwrap();
    stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await.unwrap();
    closes_soon(stream, "half a ClientHello is given up").await;
}

#[tokio::test]
async fn half_a_head_is_given_up_and_dripping_does_not_help() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().config(SHORT).backend("app", app.address()).start().await;
    let begun = Instant::now();
    let mut raw = proxy.raw().await;
    raw.send("GET / HTTP/1.1\r\nHost: localhost\r\n").await;
    let reply = within(SOON, "an answer to half a head", raw.reply()).await;
    assert!(reply.is_none_or(|reply| reply.status == 408 && reply.closes()));

    let mut stream = TcpStream::connect(proxy.address(Protocol::H1)).await.unwrap();
    within(SOON, "a dripping head is given up", async {
        stream.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        let mut byte = [0];
        loop {
            tokio::select! {
                _ = ticks.tick() => if stream.write_all(b"a").await.is_err() { return },
                _ = stream.read(&mut byte) => return,
            }
        }
    })
    .await;
    assert!(begun.elapsed() > Duration::from_millis(1800), "both were given their second");
}

#[tokio::test]
async fn an_idle_keep_alive_connection() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().config(SHORT).backend("app", app.address()).start().await;
    for protocol in [Protocol::H1, Protocol::H1Tls, Protocol::H2, Protocol::H2c] {
        let mut client = proxy.client(protocol).await;
        assert_eq!(client.get("/").await.status, StatusCode::OK);
        within(SOON, &format!("the idle {protocol:?} connection is closed"), client.closed()).await;
    }
}

#[tokio::test]
async fn a_request_in_progress_is_not_idle() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().config(SHORT).backend("app", app.address()).start().await;
    for protocol in Protocol::ALL {
        app.gate().close();
        let mut client = proxy.client(protocol).await;
        let gate = app.gate();
        let begun = Instant::now();
        let waiting = client.get("/hold");
        let opening = eventually(Duration::from_secs(6), "three seconds have passed", || async {
            (begun.elapsed() > Duration::from_millis(2500)).then(|| gate.open())
        });
        let (reply, ()) = tokio::join!(waiting, opening);
        assert_eq!(reply.text(), "held", "{protocol:?}");
    }
}

#[tokio::test]
async fn a_body_that_never_comes() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().config(SHORT).backend("app", origin.address()).start().await;
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        let (hand, body) = pieces();
        let begun = Instant::now();
        let request = Request::post("/slow").body(body).unwrap();
        match within(SOON, &format!("a body that never comes over {protocol:?}"), client.try_fetch(request)).await {
            Ok(reply) => assert_eq!(reply.status, StatusCode::REQUEST_TIMEOUT, "{protocol:?}"),
            Err(error) => assert!(protocol.is_http1(), "{protocol:?}: {error} instead of 408"),
        }
        assert!(begun.elapsed() > Duration::from_millis(900), "{protocol:?}: its grace was cut");
        drop(hand);
    }
    assert!(origin.requests().is_empty());
    origin.assert_clean("a body that never comes");
}

#[tokio::test]
async fn a_body_that_drips() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().config(SHORT).backend("app", origin.address()).start().await;
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        let (hand, body) = pieces();
        let dripping = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(100));
            // 10 bytes a second.
            while hand.send("x").await {
                ticks.tick().await;
            }
        });
        let request = Request::post("/drip").body(body).unwrap();
        let what = format!("a dripping body over {protocol:?} is given up");
        match within(Duration::from_secs(8), &what, client.try_fetch(request)).await {
            Ok(reply) => assert_eq!(reply.status, StatusCode::REQUEST_TIMEOUT, "{protocol:?}"),
            Err(error) => assert!(protocol.is_http1(), "{protocol:?}: {error} instead of 408"),
        }
        dripping.abort();
    }
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn a_body_that_is_slow_but_fast_enough() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().config(SHORT).backend("app", app.address()).start().await;
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        let (hand, body) = pieces();
        let sending = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(100));
            for _ in 0..30 {
                ticks.tick().await;
                // 2 kB a second where 500 are asked.
                hand.send(vec![b'x'; 200]).await;
            }
        });
        let reply = client.fetch(Request::post("/echo").body(body).unwrap()).await;
        assert_eq!((reply.status, reply.body.len()), (StatusCode::OK, 6000), "{protocol:?}");
        sending.await.unwrap();
    }
}

#[tokio::test]
async fn an_h2_client_without_preface_or_end_of_headers() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().config(SHORT).backend("app", app.address()).start().await;
    let mut silent = RawClient::connect_tls(proxy.address(Protocol::H2), &[b"h2"]).await;
    let _ = silent.rest_within(SOON).await;
    let mut half = RawClient::connect_tls(proxy.address(Protocol::H2), &[b"h2"]).await;
    half.send(b"PRI * HTTP/2.0\r\n").await;
    let _ = half.rest_within(SOON).await;
    let mut open = H2Frames::connect(proxy.address(Protocol::H2c)).await;
    open.send(kind::HEADERS, END_STREAM, 1, &block(&GET)).await;
    let outcome = open.outcome_within(1, SOON).await;
    assert!(matches!(outcome, Outcome::Closed | Outcome::GoAway(_) | Outcome::Reset(_)), "{outcome:?}");
    assert_eq!(app.requests(), 0);
}

#[tokio::test]
async fn a_reader_that_stalls() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().config(SHORT).backend("app", app.address()).start().await;
    for protocol in [Protocol::H1, Protocol::H1Tls, Protocol::H2, Protocol::H2c, Protocol::H3] {
        let mut client = proxy.client(protocol).await;
        let response = client.send(Request::get("/bytes/200000000").body(empty()).unwrap()).await.unwrap();
        // Nothing is read for several times the stall limit.
        let begun = Instant::now();
        eventually(Duration::from_secs(10), "four seconds have passed", || async {
            (begun.elapsed() > Duration::from_secs(4)).then_some(())
        })
        .await;
        let body = within(Duration::from_secs(20), "the rest", harness::payload::verify(response.into_body())).await;
        assert!(body.is_err(), "{protocol:?}: the response of a client that had stalled ended cleanly");
    }
}

#[tokio::test]
async fn slow_clients_do_not_slow_others() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).alone().start().await;
    let measure = || async {
        let mut client = proxy.h1().await;
        let mut times = Vec::new();
        for _ in 0..400 {
            let begun = Instant::now();
            assert_eq!(client.get("/").await.status, StatusCode::OK);
            times.push(begun.elapsed());
        }
        times.sort();
        times[times.len() * 99 / 100]
    };
    measure().await;
    let before = measure().await;
    let mut slow = Vec::new();
    for number in 0..400 {
        let mut raw = proxy.raw().await;
        raw.send(match number % 3 {
            0 => "GET / HTTP/1.1\r\nHost: loc",
            1 => "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nx",
            _ => "",
        })
        .await;
        slow.push(raw);
    }
    let after = measure().await;
    println!("p99 without slow clients {before:?}, with 400 of them {after:?}");
    assert!(after < before * 2 + Duration::from_millis(3), "p99 went from {before:?} to {after:?}");
}
