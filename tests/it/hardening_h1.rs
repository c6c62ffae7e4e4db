//! HTTP/1.1 that no honest client sends. Whatever comes in, the bytes sent upstream are exactly the requests that
//! were counted; a client's fault is a 4xx (or 501, 505), never an origin failure; the next client notices nothing.

use std::time::Duration;

use harness::client::{Protocol, still_answers};
use harness::origin::Act;
use harness::{Proxy, RawClient, RawOrigin, eventually};

/// What reaches the origin besides the plain GET after the case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Upstream {
    /// No byte.
    Nothing,
    /// At most the beginning of a request, broken off.
    BrokenOff,
}

struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    statuses: &'static [u16],
    upstream: Upstream,
}

fn case(name: &'static str, bytes: impl AsRef<[u8]>, statuses: &'static [u16]) -> Case {
    Case { name, bytes: bytes.as_ref().to_vec(), statuses, upstream: Upstream::Nothing }
}

fn broken_body(name: &'static str, body: &str) -> Case {
    let bytes = format!("POST /attack HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
    Case { name, bytes: bytes.into_bytes(), statuses: &[400], upstream: Upstream::BrokenOff }
}

/// A POST with those header lines and then something that a confused parser would take for a second request.
fn smuggle(lines: &str) -> String {
    format!(
        "POST /attack HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    )
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    /// Nobody knows where the next request begins.
    Must,
    /// The request was wrong, its end wasn't.
    May,
}

/// Sends every case on a connection of its own and holds the invariants.
async fn refuse(closing: Closing, cases: Vec<Case>) {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    for protocol in [Protocol::H1, Protocol::H1Tls] {
        for case in &cases {
            let mut raw = match protocol {
                Protocol::H1Tls => RawClient::connect_tls(proxy.address(protocol), &[b"http/1.1"]).await,
                _ => proxy.raw().await,
            };
            let before = origin.requests().len();
            raw.send(&case.bytes).await;
            let reply = raw.reply().await.unwrap_or_else(|| panic!("{}: closed without an answer", case.name));
            assert!(
                case.statuses.contains(&reply.status),
                "{} over {protocol:?}: {} instead of {:?}",
                case.name,
                reply.head,
                case.statuses
            );
            if reply.closes() {
                let rest = raw.rest().await;
                assert!(rest.is_empty(), "{}: a second answer {:?}", case.name, String::from_utf8_lossy(&rest));
            } else {
                // Where the framing was clear, the connection may go on, and then it must be usable.
                assert_eq!(closing, Closing::May, "{}: no Connection: close in {}", case.name, reply.head);
                raw.send("GET /plain HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
                let next = raw.reply().await.unwrap_or_else(|| panic!("{}: closed unannounced", case.name));
                assert_eq!(next.status, 200, "{}: {}", case.name, next.head);
            }
            let after = origin.requests().split_off(before);
            assert!(after.iter().all(|seen| seen.target == "/plain"), "{}: {after:?} reached the origin", case.name);
            if case.upstream == Upstream::Nothing {
                let leaked = origin.received().concat();
                assert!(harness::strict::find(&leaked, b"attack").is_none(), "{}: leaked upstream", case.name);
            }
            assert_eq!(still_answers(protocol, proxy.address(protocol), "/plain").await.status, 200, "{}", case.name);
            origin.assert_clean(case.name);
        }
    }
}

#[tokio::test]
async fn ambiguous_length() {
    refuse(
        Closing::Must,
        vec![
            case("CL and TE", smuggle("Content-Length: 5\r\nTransfer-Encoding: chunked"), &[400]),
            case("TE and CL", smuggle("Transfer-Encoding: chunked\r\nContent-Length: 5"), &[400]),
            case("TE twice", smuggle("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), &[400]),
            case("chunked, chunked", smuggle("Transfer-Encoding: chunked, chunked"), &[400]),
            case("identity, chunked", smuggle("Transfer-Encoding: identity, chunked"), &[400, 501]),
            case("gzip, chunked", smuggle("Transfer-Encoding: gzip, chunked"), &[400, 501]),
            case("chunked, gzip", smuggle("Transfer-Encoding: chunked, gzip"), &[400, 501]),
            case(", chunked", smuggle("Transfer-Encoding: ,chunked"), &[400]),
            case("chunked with parameter", smuggle("Transfer-Encoding: chunked;q=1"), &[400, 501]),
            case("chunked in quotes", smuggle("Transfer-Encoding: \"chunked\""), &[400, 501]),
            case("xchunked", smuggle("Transfer-Encoding: xchunked"), &[400, 501]),
            case("empty TE", smuggle("Transfer-Encoding: "), &[400, 501]),
            case("chunked and vertical tab", smuggle("Transfer-Encoding: \x0bchunked"), &[400, 501]),
            case("unknown coding", smuggle("Transfer-Encoding: zstd"), &[501]),
            case("two CL that differ", smuggle("Content-Length: 5\r\nContent-Length: 6"), &[400]),
            case("CL list that differs", smuggle("Content-Length: 5, 6"), &[400]),
            case("CL +5", smuggle("Content-Length: +5"), &[400]),
            case("CL -1", smuggle("Content-Length: -1"), &[400]),
            case("CL 0x5", smuggle("Content-Length: 0x5"), &[400]),
            case("CL 5 5", smuggle("Content-Length: 5 5"), &[400]),
            case("CL 5.0", smuggle("Content-Length: 5.0"), &[400]),
            case("CL empty", smuggle("Content-Length: "), &[400]),
            case("CL with NUL", smuggle("Content-Length: 5\0"), &[400]),
            case("CL 2^63", smuggle("Content-Length: 9223372036854775808"), &[400]),
            case("CL 2^64+5", smuggle("Content-Length: 18446744073709551621"), &[400]),
            case("CL 5e1", smuggle("Content-Length: 5e1"), &[400]),
            case(
                "TE in HTTP/1.0",
                "POST /attack HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                &[400],
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn equal_lengths_are_merged_or_refused() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    for lines in ["Content-Length: 5\r\nContent-Length: 5", "Content-Length: 5, 5"] {
        let mut raw = proxy.raw().await;
        raw.send(format!("POST / HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n\r\nhello")).await;
        let reply = raw.reply().await.unwrap();
        match reply.status {
            200 => assert_eq!(origin.last().body, b"hello"),
            status => assert_eq!(status, 400),
        }
        origin.assert_clean(lines);
    }
}

fn head(lines: &[u8]) -> Vec<u8> {
    [b"GET /attack HTTP/1.1\r\nHost: localhost\r\n".as_slice(), lines, b"\r\n\r\n"].concat()
}

#[tokio::test]
async fn broken_header_sections() {
    refuse(
        Closing::Must,
        vec![
            case("bare CR in a value", head(b"X: a\rb"), &[400]),
            case("bare LF line end", b"GET /attack HTTP/1.1\nHost: localhost\n\n", &[400]),
            case("bare LF between fields", b"GET /attack HTTP/1.1\r\nHost: localhost\nX: 1\r\n\r\n", &[400]),
            case("LF CR", b"GET /attack HTTP/1.1\r\nHost: localhost\n\r\n", &[400]),
            case("CR CR LF", b"GET /attack HTTP/1.1\r\r\nHost: localhost\r\n\r\n", &[400]),
            case("NUL in a value", head(b"X: a\0b"), &[400]),
            case("NUL in a name", head(b"X\0: a"), &[400]),
            case("control character in a value", head(b"X: a\x01b"), &[400]),
            case("DEL in a value", head(b"X: a\x7fb"), &[400]),
            case("obs-fold", head(b"X: a\r\n b"), &[400]),
            case("obs-fold with tab", head(b"X: a\r\n\tb"), &[400]),
            case("fold of the first field", b"GET /attack HTTP/1.1\r\n X: 1\r\nHost: localhost\r\n\r\n", &[400]),
            case("space before colon", head(b"X : a"), &[400]),
            case("tab before colon", head(b"X\t: a"), &[400]),
            case("TE with space before colon", smuggle("Transfer-Encoding : chunked"), &[400]),
            case("empty name", head(b": a"), &[400]),
            case("no colon", head(b"nonsense"), &[400]),
            case("name with space", head(b"X Y: a"), &[400]),
            case("name with parenthesis", head(b"X(Y): a"), &[400]),
            case("name in UTF-8", head("Xé: a".as_bytes()), &[400]),
            case("name with slash", head(b"X/Y: a"), &[400]),
        ],
    )
    .await;
}

#[tokio::test]
async fn broken_chunks() {
    refuse(
        Closing::Must,
        vec![
            broken_body("size +5", "+5\r\nhello\r\n0\r\n\r\n"),
            broken_body("size -5", "-5\r\nhello\r\n0\r\n\r\n"),
            broken_body("size 0x5", "0x5\r\nhello\r\n0\r\n\r\n"),
            broken_body("size with leading space", " 5\r\nhello\r\n0\r\n\r\n"),
            broken_body("size with trailing space", "5 \r\nhello\r\n0\r\n\r\n"),
            broken_body("17 digits", "00000000000000005\r\nhello\r\n0\r\n\r\n"),
            broken_body("size 2^64", "10000000000000000\r\nhello\r\n0\r\n\r\n"),
            broken_body("size ffffffffffffffff", "ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
            broken_body("no size", "\r\nhello\r\n0\r\n\r\n"),
            broken_body("not hexadecimal", "g\r\nhello\r\n0\r\n\r\n"),
            broken_body("bare LF after size", "5\nhello\r\n0\r\n\r\n"),
            broken_body("bare CR after size", "5\rhello\r\n0\r\n\r\n"),
            broken_body("bare LF after data", "5\r\nhello\n0\r\n\r\n"),
            broken_body("wrong terminator", "5\r\nhelloXX0\r\n\r\n"),
            broken_body("data longer than size", "3\r\nhello\r\n0\r\n\r\n"),
            broken_body("bare LF at the end", "5\r\nhello\r\n0\r\n\n"),
            broken_body("NUL in extension", "5;a=\0\r\nhello\r\n0\r\n\r\n"),
            broken_body("LF in extension", "5;a\n\r\nhello\r\n0\r\n\r\n"),
            broken_body("CR in extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
            broken_body("obs-fold in trailers", "5\r\nhello\r\n0\r\nX: 1\r\n 2\r\n\r\n"),
            broken_body("space before colon in trailers", "5\r\nhello\r\n0\r\nX : 1\r\n\r\n"),
        ],
    )
    .await;
}

#[tokio::test]
async fn heavy_chunks() {
    let extensions = "1;".to_owned() + &"a".repeat(4000) + "\r\nx\r\n";
    let mut long = broken_body("extensions of 20 KiB", &(extensions.repeat(6) + "0\r\n\r\n"));
    long.statuses = &[400, 413];
    let mut one = broken_body("one extension of 100 KiB", &format!("1;{}\r\nx\r\n0\r\n\r\n", "a".repeat(100_000)));
    one.statuses = &[400, 413];
    let mut trailers = broken_body("trailers of 20 KiB", &format!("1\r\nx\r\n0\r\nX: {}\r\n\r\n", "a".repeat(20_000)));
    trailers.statuses = &[400, 413, 431];
    refuse(Closing::Must, vec![long, one, trailers]).await;
}

#[tokio::test]
async fn ordinary_chunks_pass() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    for body in [
        "5\r\nhello\r\n0\r\n\r\n",
        "005;a=b;c=\"d;e\"\r\nhello\r\n000;x\r\n\r\n",
        "2\r\nhe\r\n3\r\nllo\r\n0\r\nX-T: 1\r\n\r\n",
    ] {
        let mut raw = proxy.raw().await;
        raw.send(format!("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: Chunked\r\n\r\n{body}")).await;
        assert_eq!(raw.reply().await.unwrap().status, 200, "{body:?}");
        assert_eq!(origin.last().body, b"hello", "{body:?}");
        // The connection is still usable.
        raw.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert_eq!(raw.reply().await.unwrap().status, 200, "{body:?}");
        origin.assert_clean(body);
    }
}

#[tokio::test]
async fn broken_hosts() {
    let host = |lines: &str| format!("GET /attack HTTP/1.1\r\n{lines}X: 1\r\n\r\n");
    refuse(
        Closing::May,
        vec![
            case("no Host", host(""), &[400]),
            case("two Hosts", host("Host: a\r\nHost: b\r\n"), &[400]),
            case("two equal Hosts", host("Host: a\r\nHost: a\r\n"), &[400]),
            case("empty Host", host("Host: \r\n"), &[400]),
            case("Host with userinfo", host("Host: user@localhost\r\n"), &[400]),
            case("Host with path", host("Host: localhost/x\r\n"), &[400]),
            case("Host with space", host("Host: local host\r\n"), &[400]),
            case("Host with comma", host("Host: a,b\r\n"), &[400]),
            case("Host with a letter port", host("Host: localhost:http\r\n"), &[400]),
            case("Host with a huge port", host("Host: localhost:99999\r\n"), &[400]),
            case("Host with query", host("Host: localhost?x\r\n"), &[400]),
            case("Host with fragment", host("Host: localhost#x\r\n"), &[400]),
            case("Host with backslash", host("Host: localhost\\x\r\n"), &[400]),
            case("open bracket", host("Host: [::1\r\n"), &[400]),
        ],
    )
    .await;
}

#[tokio::test]
async fn broken_request_lines() {
    let line = |line: &str| format!("{line}\r\nHost: localhost\r\n\r\n");
    refuse(
        Closing::May,
        vec![
            case("HTTP/0.9", "GET /attack\r\n\r\n", &[400, 505]),
            case("HTTP/2.0", line("GET /attack HTTP/2.0"), &[400, 505]),
            case("HTTP/3.0", line("GET /attack HTTP/3.0"), &[400, 505]),
            case("HTTP/1.2 in letters", line("GET /attack HTTP/1.x"), &[400, 505]),
            case("junk version", line("GET /attack JUNK/1.1"), &[400, 505]),
            case("lower case version", line("GET /attack http/1.1"), &[400, 505]),
            case("two spaces", line("GET  /attack HTTP/1.1"), &[400]),
            case("two spaces before the version", line("GET /attack  HTTP/1.1"), &[400]),
            case("tab", line("GET\t/attack\tHTTP/1.1"), &[400]),
            case("space in the target", line("GET /attack x HTTP/1.1"), &[400]),
            case("no target", line("GET HTTP/1.1"), &[400, 505]),
            case("relative target", line("GET attack HTTP/1.1"), &[400]),
            case("authority form with GET", line("GET localhost:80 HTTP/1.1"), &[400]),
            case("asterisk with GET", line("GET * HTTP/1.1"), &[400]),
            case("fragment", line("GET /attack#x HTTP/1.1"), &[400]),
            case("NUL in the target", line("GET /attack\0 HTTP/1.1"), &[400]),
            case("control character in the target", line("GET /attack\x01 HTTP/1.1"), &[400]),
            case("encoded NUL", line("GET /attack%00 HTTP/1.1"), &[400]),
            case("broken percent", line("GET /attack%zz HTTP/1.1"), &[400]),
            case("cut percent", line("GET /attack%2 HTTP/1.1"), &[400]),
            case("encoded slash that makes a dot segment", line("GET /a/..%2fattack HTTP/1.1"), &[400]),
            case("encoded backslash that makes a dot segment", line("GET /a/..%5cattack HTTP/1.1"), &[400]),
            case("encoded dots and slash", line("GET /a/%2e%2e%2fattack HTTP/1.1"), &[400]),
            case("encoded slash before dots", line("GET /a%2f../attack%2f.. HTTP/1.1"), &[400]),
            case("method with a slash", line("G/T /attack HTTP/1.1"), &[400]),
            case("method in brackets", line("(GET) /attack HTTP/1.1"), &[400]),
            case("TLS handshake in the clear", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03attack\r\n\r\n", &[400]),
            case("CONNECT", "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n", &[400, 405, 501]),
            case("TRACE", line("TRACE /attack HTTP/1.1"), &[405, 501]),
            case("ftp target", line("GET ftp://localhost/attack HTTP/1.1"), &[400]),
            case("absolute with userinfo", line("GET http://u@localhost/attack HTTP/1.1"), &[400]),
        ],
    )
    .await;
}

#[tokio::test]
async fn oversized_heads() {
    let many: String = (0..150).map(|number| format!("X-{number}: attack\r\n")).collect();
    let value = "a".repeat(40_000);
    let trickle: String = (0..90).map(|number| format!("X-{number}: {}\r\n", "b".repeat(500))).collect();
    refuse(
        Closing::May,
        vec![
            case("150 fields", format!("GET /attack HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"), &[431]),
            case("a value of 40 kB", head(format!("X: {value}").as_bytes()), &[431]),
            case("a name of 40 kB", head(format!("{value}: x").as_bytes()), &[431]),
            case("many fields of 45 kB", format!("GET /attack HTTP/1.1\r\nHost: localhost\r\n{trickle}\r\n"), &[431]),
            case(
                "a target of 9 KiB",
                format!("GET /attack{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(9216)),
                &[414],
            ),
            case(
                "a query of 9 KiB",
                format!("GET /attack?{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(9216)),
                &[414],
            ),
            case(
                "a method of 10 kB",
                format!("{} /attack HTTP/1.1\r\nHost: localhost\r\n\r\n", "A".repeat(10_000)),
                &[400, 414, 431, 501],
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_endless_head_is_bounded() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    let mut raw = proxy.raw().await;
    raw.send("GET / HTTP/1.1\r\nHost: localhost\r\n").await;
    let sent = raw
        .flood(
            &b"X-Endless: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(100),
            10_000,
            Duration::from_secs(10),
        )
        .await;
    assert!(sent < 10_000, "60 MB of header were swallowed");
    assert!(proxy.stats().rss < 100 << 20);
    assert_eq!(still_answers(Protocol::H1, proxy.address(Protocol::H1), "/").await.status, 200);
}

#[tokio::test]
async fn absolute_form_wins_over_host() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    let mut raw = proxy.raw().await;
    raw.send("GET http://right.example:81/a?b HTTP/1.1\r\nHost: wrong.example\r\n\r\n").await;
    assert_eq!(raw.reply().await.unwrap().status, 200);
    let seen = origin.last();
    assert_eq!((seen.target.as_str(), seen.value("host").as_deref()), ("/a?b", Some("right.example:81")));
    raw.send("GET http://right.example HTTP/1.1\r\nHost: right.example\r\n\r\n").await;
    assert_eq!(raw.reply().await.unwrap().status, 200);
    assert_eq!(origin.last().target, "/");
    origin.assert_clean("absolute form");
}

#[tokio::test]
async fn asterisk_form_asks_about_the_server() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    let mut raw = proxy.raw().await;
    raw.send("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let reply = raw.reply().await.unwrap();
    assert!([200, 204, 404].contains(&reply.status), "OPTIONS *: {}", reply.head);
    origin.assert_clean("asterisk form");
}

#[tokio::test]
async fn paths_are_normalised_once_and_sent_so() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    for (sent, expected) in [
        ("/a/../b", "/b"),
        ("/a/%2e%2e/b", "/b"),
        ("/a/.%2E/b", "/b"),
        ("/a/./b", "/a/b"),
        ("/../../b", "/b"),
        ("/a/b/..", "/a/"),
        ("/a/b/.", "/a/b/"),
        ("/%61%62", "/ab"),
        ("/a%2fb", "/a%2fb"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a%5cb", "/a%5cb"),
        ("/a;x=1/b", "/a;x=1/b"),
        ("/a%20b?c=%2e%2e/%2f", "/a%20b?c=%2e%2e/%2f"),
        ("/v2/library%2Fimage/tags", "/v2/library%2Fimage/tags"),
    ] {
        let mut raw = proxy.raw().await;
        raw.send(format!("GET {sent} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        let reply = raw.reply().await.unwrap();
        assert_eq!(reply.status, 200, "{sent}: {}", reply.head);
        // The digits of an escape may change their case (RFC 3986 section 6.2.2.1).
        assert!(origin.last().target.eq_ignore_ascii_case(expected), "{sent} became {}", origin.last().target);
    }
    // Empty segments: whichever form, the same is routed and sent, and no dot segment hides behind it.
    for sent in ["//a", "/a//b", "/a//../b"] {
        let mut raw = proxy.raw().await;
        raw.send(format!("GET {sent} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        assert_eq!(raw.reply().await.unwrap().status, 200, "{sent}");
        let target = origin.last().target;
        assert!(!target.contains(".."), "{sent} became {target}");
    }
    origin.assert_clean("paths");
}

#[tokio::test]
async fn upgrades_that_are_not_ours_are_removed() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    for upgrade in ["h2c", "quic/1", "tcp-of-my-own", "h2c, websocket-ish"] {
        let mut raw = proxy.raw().await;
        let settings = "HTTP2-Settings: AAMAAABkAAQAAP__";
        raw.send(format!(
            "GET /up HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\n{settings}\r\n\r\n"
        ))
        .await;
        assert_eq!(raw.reply().await.unwrap().status, 200, "{upgrade}");
        let seen = origin.last();
        assert_eq!((seen.value("upgrade"), seen.value("http2-settings")), (None, None), "{upgrade}");
        origin.assert_clean(upgrade);
    }
}

#[tokio::test]
async fn expectations_other_than_100_continue() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    let mut raw = proxy.raw().await;
    raw.send("POST /attack HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: the-unexpected\r\n\r\nhi").await;
    assert_eq!(raw.reply().await.unwrap().status, 417);
    assert!(origin.requests().is_empty());
}

#[tokio::test]
async fn bodies_of_safe_methods_are_delivered_or_refused() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    for protocol in Protocol::ALL {
        for method in ["GET", "HEAD", "OPTIONS", "DELETE"] {
            for length in [harness::payload::Length::Announced, harness::payload::Length::Unknown] {
                let before = origin.requests().len();
                let body = harness::client::payload(1000, length);
                let mut request = http::Request::builder().method(method).uri("/b");
                if protocol.is_http1() && length == harness::payload::Length::Unknown {
                    // Without this, hyper's client drops the body silently.
                    request = request.header("transfer-encoding", "chunked");
                }
                let request = request.body(body).unwrap();
                let reply = proxy.client(protocol).await.fetch(request).await;
                if reply.status == 200 {
                    let seen = origin.requests();
                    assert_eq!(seen.len(), before + 1, "{protocol:?} {method} {length:?}");
                    assert!(
                        seen[before].body == harness::payload::whole(1000),
                        "{protocol:?} {method} {length:?}: dropped"
                    );
                } else {
                    assert!(reply.status.is_client_error(), "{protocol:?} {method}: {}", reply.status);
                }
                origin.assert_clean("a body of a safe method");
            }
        }
    }
}

#[tokio::test]
async fn a_body_that_is_cut_short_is_no_request() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    for body in [
        "Content-Length: 100\r\n\r\nonly this",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "Transfer-Encoding: chunked\r\n\r\n50\r\nhe",
    ] {
        let mut raw = proxy.raw().await;
        raw.send(format!("POST /cut HTTP/1.1\r\nHost: localhost\r\n{body}")).await;
        raw.finish().await;
        if let Some(reply) = raw.reply().await {
            assert!((400..500).contains(&reply.status), "{body:?}: {}", reply.head);
        }
        assert!(origin.requests().is_empty(), "{body:?}: {:?}", origin.requests());
        origin.assert_clean(body);
    }
    assert_eq!(still_answers(Protocol::H1, proxy.address(Protocol::H1), "/").await.status, 200);
}

#[tokio::test]
async fn a_clients_fault_is_not_counted_against_the_origin() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    for _ in 0..30 {
        let mut raw = proxy.raw().await;
        raw.send("POST /cut HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nXX\r\n").await;
        assert_eq!(raw.reply().await.unwrap().status, 400);
    }
    let metrics = proxy.metrics().await;
    assert!(metrics.sum("gpanel_proxy_backend_failures_total", &[("backend", "app")]).abs() < 0.5);
}

#[tokio::test]
async fn many_attacks_leave_no_memory_behind() {
    let origin = RawOrigin::start(|_| Act::ok("ok")).await;
    let proxy = Proxy::builder().backend("app", origin.address()).alone().start().await;
    still_answers(Protocol::H1, proxy.address(Protocol::H1), "/").await;
    let before = proxy.stats();
    let attack = head(format!("X: {}", "a".repeat(30_000)).as_bytes());
    for _ in 0..20 {
        let mut open = Vec::new();
        for _ in 0..50 {
            let mut raw = proxy.raw().await;
            // Everything but the end of the head.
            raw.send(&attack[..attack.len() - 2]).await;
            open.push(raw);
        }
    }
    eventually(Duration::from_secs(10), "descriptors and memory return", || async {
        let now = proxy.stats();
        let back = now.rss < before.rss + (60 << 20) && now.descriptors < before.descriptors + 20;
        back.then_some(())
    })
    .await;
    assert_eq!(still_answers(Protocol::H1, proxy.address(Protocol::H1), "/").await.status, 200);
}
