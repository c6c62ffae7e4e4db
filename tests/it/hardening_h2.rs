//! HTTP/2 that no honest client sends: a malformed request is reset or answered with 400 and never reaches the
//! origin; a flood ends the connection; the next client notices nothing.

use std::time::Duration;

use harness::client::{Protocol, still_answers};
use harness::h2_frames::{END_HEADERS, END_STREAM, GET, H2Frames, Outcome, block, frame, kind};
use harness::{Proxy, RawOrigin, eventually};

const PROTOCOL_ERROR: u32 = 1;
const ENHANCE_YOUR_CALM: u32 = 11;

type Fields = Vec<(&'static str, &'static str)>;

/// The fields of GET with one more at the end.
fn with(name: &'static str, value: &'static str) -> Fields {
    let mut fields = GET.to_vec();
    fields.push((name, value));
    fields
}

/// The fields of GET with one of them replaced.
fn replaced(name: &'static str, value: &'static str) -> Fields {
    GET.into_iter().map(|field| if field.0 == name { (name, value) } else { field }).collect()
}

fn without(name: &'static str) -> Fields {
    GET.into_iter().filter(|field| field.0 != name).collect()
}

fn is_refusal(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Status(status) => (400..500).contains(&status) || status == 501,
        Outcome::Reset(_) | Outcome::GoAway(_) => true,
        Outcome::Closed => false,
    }
}

#[tokio::test]
async fn malformed_header_sections() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    let address = proxy.address(Protocol::H2c);
    let cases: Vec<(&str, Fields)> = vec![
        ("no method", without(":method")),
        ("no path", without(":path")),
        ("no scheme", without(":scheme")),
        ("neither authority nor host", without(":authority")),
        ("two methods", with(":method", "POST")),
        ("two paths", with(":path", "/other")),
        ("two authorities", with(":authority", "other")),
        ("status in a request", with(":status", "200")),
        ("unknown pseudo-header", with(":unknown", "x")),
        ("pseudo-header after a field", vec![GET[0], GET[1], ("x", "1"), GET[2], GET[3]]),
        ("upper case name", with("X-Upper", "1")),
        ("empty name", with("", "1")),
        ("name with space", with("x y", "1")),
        ("name with colon", with("x:y", "1")),
        ("CR in a value", with("x", "a\rb")),
        ("LF in a value", with("x", "a\nb")),
        ("NUL in a value", with("x", "a\0b")),
        ("CRLF in a value", with("x", "a\r\nHost: evil")),
        ("connection", with("connection", "keep-alive")),
        ("transfer-encoding", with("transfer-encoding", "chunked")),
        ("upgrade", with("upgrade", "h2c")),
        ("keep-alive", with("keep-alive", "5")),
        ("proxy-connection", with("proxy-connection", "keep-alive")),
        ("te: gzip", with("te", "gzip")),
        ("empty path", replaced(":path", "")),
        ("path without slash", replaced(":path", "h2")),
        ("path with space", replaced(":path", "/h 2")),
        ("path with CRLF", replaced(":path", "/h2 HTTP/1.1\r\nHost: evil\r\n\r\n")),
        ("path with encoded NUL", replaced(":path", "/h2%00")),
        ("method with space", replaced(":method", "GET /evil")),
        ("method with CRLF", replaced(":method", "GET\r\n")),
        ("empty method", replaced(":method", "")),
        ("authority with userinfo", replaced(":authority", "user@localhost")),
        ("authority with slash", replaced(":authority", "localhost/x")),
        ("authority with CRLF", replaced(":authority", "localhost\r\nX: 1")),
        ("host unlike authority", with("host", "other.example")),
        ("two hosts", {
            let mut fields = with("host", "localhost");
            fields.push(("host", "localhost"));
            fields
        }),
        ("content-length +0", with("content-length", "+0")),
        ("content-length -1", with("content-length", "-1")),
        ("content-length 5 without a body", with("content-length", "5")),
        ("CONNECT with path", replaced(":method", "CONNECT")),
        ("CONNECT", vec![(":method", "CONNECT"), (":authority", "localhost:80")]),
        ("TRACE", replaced(":method", "TRACE")),
        ("extended CONNECT unannounced", {
            let mut fields = replaced(":method", "CONNECT");
            fields.push((":protocol", "websocket"));
            fields
        }),
    ];
    let mut wrong = Vec::new();
    for (name, fields) in cases {
        let mut h2 = H2Frames::connect(address).await;
        h2.headers(1, END_STREAM, &fields).await;
        let outcome = h2.outcome(1).await;
        if !is_refusal(outcome) {
            wrong.push(format!("{name}: {outcome:?}"));
            continue;
        }
        assert!(!origin.requests().iter().any(|seen| seen.target != "/plain"), "{name}: {:?}", origin.last());
        assert_eq!(still_answers(Protocol::H2c, address, "/plain").await.status, 200, "{name}");
        origin.assert_clean(name);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_fragment_never_reaches_the_origin() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    let mut h2 = H2Frames::connect(proxy.address(Protocol::H2c)).await;
    h2.headers(1, END_STREAM, &replaced(":path", "/h2#fragment")).await;
    h2.outcome(1).await;
    assert!(origin.requests().iter().all(|seen| seen.target == "/h2"), "{:?}", origin.requests());
    origin.assert_clean("a fragment");
}

#[tokio::test]
async fn content_length_unlike_the_body() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    let address = proxy.address(Protocol::H2c);
    for (name, length, body) in [("too short", "10", "short"), ("too long", "3", "far too long"), ("none", "5", "")] {
        let mut fields = replaced(":method", "POST");
        fields.push(("content-length", length));
        let mut h2 = H2Frames::connect(address).await;
        h2.headers(1, 0, &fields).await;
        h2.send(kind::DATA, END_STREAM, 1, body.as_bytes()).await;
        let outcome = h2.outcome(1).await;
        assert!(outcome == Outcome::Reset(PROTOCOL_ERROR) || outcome == Outcome::Status(400), "{name}: {outcome:?}");
        assert_eq!(still_answers(Protocol::H2c, address, "/plain").await.status, 200, "{name}");
        assert!(origin.requests().iter().all(|seen| seen.target == "/plain"), "{name}: half a request became whole");
        origin.assert_clean(name);
    }
}

#[tokio::test]
async fn pseudo_headers_in_trailers_reach_nobody() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    let address = proxy.address(Protocol::H2c);
    let mut h2 = H2Frames::connect(address).await;
    h2.headers(1, 0, &replaced(":method", "POST")).await;
    h2.send(kind::DATA, 0, 1, b"abc").await;
    h2.headers(1, END_STREAM, &[(":path", "/evil")]).await;
    h2.outcome(1).await;
    assert!(origin.requests().iter().all(|request| request.target != "/evil"), "{:?}", origin.requests());
    assert_eq!(still_answers(Protocol::H2c, address, "/plain").await.status, 200);
    origin.assert_clean("pseudo-headers in trailers");
}

#[tokio::test]
async fn broken_frames_end_the_connection() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    let address = proxy.address(Protocol::H2c);
    let get = block(&GET);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("DATA on stream 0", frame(kind::DATA, 0, 0, b"x")),
        ("HEADERS on stream 0", frame(kind::HEADERS, END_HEADERS | END_STREAM, 0, &get)),
        ("HEADERS on an even stream", frame(kind::HEADERS, END_HEADERS | END_STREAM, 2, &get)),
        ("DATA on an idle stream", frame(kind::DATA, 0, 5, b"x")),
        ("RST_STREAM on an idle stream", frame(kind::RST_STREAM, 0, 5, &[0; 4])),
        ("WINDOW_UPDATE on an idle stream", frame(kind::WINDOW_UPDATE, 0, 5, &[0, 0, 0, 1])),
        ("WINDOW_UPDATE of zero", frame(kind::WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("SETTINGS with a stream", frame(kind::SETTINGS, 0, 1, &[])),
        ("SETTINGS of 5 bytes", frame(kind::SETTINGS, 0, 0, &[0; 5])),
        ("SETTINGS ACK with a payload", frame(kind::SETTINGS, 1, 0, &[0; 6])),
        ("SETTINGS with a huge window", frame(kind::SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff])),
        ("PING of 7 bytes", frame(kind::PING, 0, 0, &[0; 7])),
        ("PUSH_PROMISE from a client", frame(kind::PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2])),
        ("CONTINUATION by itself", frame(kind::CONTINUATION, END_HEADERS, 1, &get)),
        (
            "DATA between HEADERS and CONTINUATION",
            [frame(kind::HEADERS, END_STREAM, 1, &get), frame(kind::DATA, 0, 1, b"x")].concat(),
        ),
        ("a frame of 17 KiB", frame(kind::DATA, 0, 1, &vec![0; 17 * 1024])),
        ("an HPACK index out of range", frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &[0xff, 0xff, 0x7f])),
        ("an HPACK string longer than its block", frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &[0, 100, b'x'])),
        (
            "WINDOW_UPDATE overflow",
            [
                frame(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
                frame(kind::WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            ]
            .concat(),
        ),
    ];
    for (name, bytes) in cases {
        let mut h2 = H2Frames::connect(address).await;
        h2.raw().send(bytes).await;
        let outcome = h2.outcome(1).await;
        assert!(matches!(outcome, Outcome::GoAway(_) | Outcome::Reset(_)), "{name}: {outcome:?}");
        assert_eq!(still_answers(Protocol::H2c, address, "/plain").await.status, 200, "{name}");
        origin.assert_clean(name);
    }
}

#[tokio::test]
async fn rapid_reset_ends_the_connection() {
    let origin = RawOrigin::start(|_| harness::origin::Act::ok("ok")).await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    let address = proxy.address(Protocol::H2c);
    let mut h2 = H2Frames::connect(address).await;
    let get = block(&GET);
    let mut bytes = Vec::new();
    for number in 0..3000_u32 {
        bytes.extend(frame(kind::HEADERS, END_HEADERS | END_STREAM, number * 2 + 1, &get));
        bytes.extend(frame(kind::RST_STREAM, 0, number * 2 + 1, &8_u32.to_be_bytes()));
    }
    h2.raw().send(bytes).await;
    let outcome = h2.outcome(7001).await;
    assert!(matches!(outcome, Outcome::GoAway(ENHANCE_YOUR_CALM) | Outcome::Closed), "{outcome:?}");
    let whole = origin.requests().len();
    assert!(whole <= 400, "{whole} requests reached the origin");
    assert_eq!(still_answers(Protocol::H2c, address, "/plain").await.status, 200);
    origin.assert_clean("rapid reset");
}

#[tokio::test]
async fn made_you_reset_counts_too() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    let address = proxy.address(Protocol::H2c);
    let mut h2 = H2Frames::connect(address).await;
    let get = block(&GET);
    let mut bytes = Vec::new();
    for number in 0..3000_u32 {
        let stream = number * 2 + 1;
        bytes.extend(frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &get));
        // A WINDOW_UPDATE of zero is a stream error, so the server resets.
        bytes.extend(frame(kind::WINDOW_UPDATE, 0, stream, &[0; 4]));
    }
    h2.raw().send(bytes).await;
    let outcome = h2.outcome(7001).await;
    assert!(matches!(outcome, Outcome::GoAway(_) | Outcome::Closed), "{outcome:?}");
    let whole = origin.requests().len();
    assert!(whole <= 400, "{whole} requests reached the origin");
    assert_eq!(still_answers(Protocol::H2c, address, "/plain").await.status, 200);
}

#[tokio::test]
async fn continuation_floods_end_the_connection() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    let address = proxy.address(Protocol::H2c);
    for (name, payload) in [("empty", vec![]), ("of 1 KiB", block(&[("x", &"a".repeat(1000))]))] {
        let mut h2 = H2Frames::connect(address).await;
        h2.send(kind::HEADERS, END_STREAM, 1, &block(&GET)).await;
        let continuation = frame(kind::CONTINUATION, 0, 1, &payload).repeat(100);
        let sent = h2.raw().flood(&continuation, 1000, Duration::from_secs(10)).await;
        let outcome = h2.outcome(1).await;
        assert!(
            matches!(outcome, Outcome::GoAway(_) | Outcome::Reset(_) | Outcome::Closed | Outcome::Status(431)),
            "{name}: {outcome:?} after {sent}"
        );
        assert!(proxy.stats().rss < 120 << 20, "{name}");
        assert_eq!(still_answers(Protocol::H2c, address, "/plain").await.status, 200, "{name}");
    }
}

#[tokio::test]
async fn header_bombs_are_refused() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    let address = proxy.address(Protocol::H2c);
    // One entry of 4 kB in the dynamic table, then 15,000 references of one byte each: 60 MB decoded.
    let mut bomb = block(&GET);
    bomb.push(0x40);
    bomb.extend([1, b'x', 0x7f, 0xa1, 0x1e]);
    bomb.extend(vec![b'a'; 4000]);
    bomb.extend(vec![0xbe; 10_000]);
    let mut h2 = H2Frames::connect(address).await;
    h2.send(kind::HEADERS, END_HEADERS | END_STREAM, 1, &bomb).await;
    let outcome = h2.outcome(1).await;
    assert!(matches!(outcome, Outcome::GoAway(_) | Outcome::Reset(_) | Outcome::Status(431)), "{outcome:?}");
    assert!(origin.requests().is_empty());
    assert!(proxy.stats().rss < 120 << 20);
    assert_eq!(still_answers(Protocol::H2c, address, "/plain").await.status, 200);

    let many: Vec<(String, String)> = (0..150).map(|number| (format!("x-{number}"), "1".to_owned())).collect();
    let mut fields = GET.to_vec();
    fields.extend(many.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let mut h2 = H2Frames::connect(address).await;
    h2.headers(1, END_STREAM, &fields).await;
    let outcome = h2.outcome(1).await;
    assert!(matches!(outcome, Outcome::Status(431) | Outcome::Reset(_)), "150 fields: {outcome:?}");
    assert!(origin.requests().iter().all(|seen| seen.target == "/plain"));
}

#[tokio::test]
async fn control_frame_floods_end_the_connection_or_stay_bounded() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    let address = proxy.address(Protocol::H2c);
    let floods = [
        ("SETTINGS", frame(kind::SETTINGS, 0, 0, &[])),
        ("PING", frame(kind::PING, 0, 0, &[0; 8])),
        ("PRIORITY", frame(kind::PRIORITY, 0, 3, &[0, 0, 0, 0, 1])),
        ("WINDOW_UPDATE", frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("unknown frames", frame(0xaa, 0, 0, b"whatever")),
        ("empty DATA", frame(kind::DATA, 0, 1, &[])),
    ];
    for (name, one) in floods {
        let mut h2 = H2Frames::connect(address).await;
        if name == "empty DATA" {
            h2.headers(1, 0, &replaced(":method", "POST")).await;
        }
        // Nothing is read meanwhile: the answers pile up on the proxy's side.
        h2.raw().flood(&one.repeat(100), 1000, Duration::from_secs(5)).await;
        let rss = proxy.stats().rss;
        assert!(rss < 120 << 20, "{name}: {} MiB", harness::process::mib(rss));
        assert_eq!(still_answers(Protocol::H2c, address, "/plain").await.status, 200, "{name}");
    }
}

#[tokio::test]
async fn readers_with_a_zero_window_hold_little() {
    let app = harness::Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).alone().start().await;
    let address = proxy.address(Protocol::H2c);
    let before = proxy.stats().rss;
    let mut open = Vec::new();
    for _ in 0..5 {
        let mut h2 = H2Frames::connect(address).await;
        // SETTINGS_INITIAL_WINDOW_SIZE 0
        h2.send(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).await;
        for number in 0..50_u32 {
            h2.headers(number * 2 + 1, END_STREAM, &replaced(":path", "/bytes/10000000")).await;
        }
        open.push(h2);
    }
    eventually(Duration::from_secs(15), "the requests reach the origin", || async {
        (app.requests() >= 200).then_some(())
    })
    .await;
    for _ in 0..20 {
        assert_eq!(still_answers(Protocol::H2c, address, "/plain").await.status, 200);
    }
    let grown = proxy.stats().rss.saturating_sub(before);
    // 250 streams: at most 64 KiB each and the sockets' own buffers, with room for bookkeeping.
    assert!(grown < 80 << 20, "{} MiB for 250 streams", harness::process::mib(grown));
}
