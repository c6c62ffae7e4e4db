//! Filters in the chain: what they change, what they may not, and what a failure costs.

use std::path::Path;
use std::time::Duration;

use harness::client::{Client, Protocol, Reply, empty};
use harness::environment::test_guest;
use harness::proxy::ProxyBuilder;
use harness::{Proxy, RawOrigin, within};
use http::{Request, StatusCode};

/// An entry of `[[filters]]` with the guest that does one wrong thing to requests that carry `x-misbehave`.
pub fn misbehaving(builder: ProxyBuilder, name: &str, behaviour: &str, keys: &str) -> ProxyBuilder {
    let keys = format!("{keys}\nconfig = {{ behaviour = \"{behaviour}\" }}");
    builder.filter(name, &test_guest("misbehaving"), &keys)
}

pub fn tagging(builder: ProxyBuilder, name: &str, version: &str, keys: &str) -> ProxyBuilder {
    builder.filter(name, &test_guest("tagging"), &format!("{keys}\nconfig = {{ version = \"{version}\" }}"))
}

pub async fn misbehave(client: &mut Client, how: &str) -> Reply {
    client.fetch(Request::get("/x").header("x-misbehave", how).body(empty()).unwrap()).await
}

#[tokio::test]
async fn a_filter_changes_both_sides() {
    let origin = RawOrigin::plain().await;
    let proxy = tagging(Proxy::builder(), "tag", "v1", "").backend("app", origin.address()).start().await;
    for protocol in Protocol::ALL {
        let reply = proxy.client(protocol).await.get("/").await;
        assert_eq!(reply.header("x-filter-version"), Some("v1"), "{protocol:?}");
        assert_eq!(origin.last().value("x-filter-version").as_deref(), Some("v1"), "{protocol:?}");
    }
}

#[tokio::test]
async fn the_chain_is_an_onion() {
    let origin = RawOrigin::plain().await;
    let builder = tagging(Proxy::builder(), "outer", "outer", "order = 20");
    let proxy = tagging(builder, "inner", "inner", "order = 60").backend("app", origin.address()).start().await;
    let reply = proxy.h1().await.get("/").await;
    // Both set the same header: on the way down the inner one is last, on the way up the outer one.
    assert_eq!(origin.last().value("x-filter-version").as_deref(), Some("inner"));
    assert_eq!(reply.header("x-filter-version"), Some("outer"));
}

#[tokio::test]
async fn local_replies_pass_the_response_side_of_the_filters_above() {
    let proxy = tagging(Proxy::builder(), "outer", "outer", "order = 20").route("/only", "static").start().await;
    for protocol in Protocol::ALL {
        let reply = proxy.client(protocol).await.get("/unknown").await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{protocol:?}");
        assert_eq!(reply.header("x-filter-version"), Some("outer"), "{protocol:?}");
    }
}

#[tokio::test]
async fn matchers_keep_requests_out() {
    let origin = RawOrigin::plain().await;
    let builder = tagging(
        Proxy::builder(),
        "some",
        "v1",
        "match = { paths = [\"/in/*\"], methods = [\"GET\"], headers = { \"x-want\" = \"yes\" }, hosts = [\"*.edge.test\"] }",
    );
    let proxy = builder.backend("app", origin.address()).start().await;
    let mut client = proxy.h1().await;
    let mut tagged = async |method: &str, path: &str, want: &str, host: &str| {
        let request = Request::builder().method(method).uri(path).header("x-want", want).header("host", host);
        client.fetch(request.body(empty()).unwrap()).await.headers.contains_key("x-filter-version")
    };
    assert!(tagged("GET", "/in/x", "yes", "a.edge.test").await);
    assert!(tagged("GET", "/in", "yes", "A.Edge.Test:80").await);
    assert!(!tagged("GET", "/out", "yes", "a.edge.test").await, "another path");
    assert!(!tagged("POST", "/in/x", "yes", "a.edge.test").await, "another method");
    assert!(!tagged("GET", "/in/x", "no", "a.edge.test").await, "another value");
    assert!(!tagged("GET", "/in/x", "yes", "edge.test").await, "another host");
}

#[tokio::test]
async fn failures_are_answered_by_policy() {
    for (behaviour, patience) in
        [("trap", 5), ("spin", 10), ("spin-bulk", 10), ("spin-calls", 10), ("hungry", 10), ("recurse", 10)]
    {
        let origin = RawOrigin::plain().await;
        let builder = misbehaving(
            Proxy::builder(),
            "closed",
            behaviour,
            "fail = \"closed\"\nmatch = { paths = [\"/closed/*\"] }",
        );
        let builder = misbehaving(builder, "opened", behaviour, "fail = \"open\"\nmatch = { paths = [\"/open/*\"] }");
        let mut proxy = builder.backend("app", origin.address()).start().await;
        for protocol in [Protocol::H1, Protocol::H2, Protocol::H3] {
            let mut client = proxy.client(protocol).await;
            let what = format!("{behaviour} over {protocol:?}");
            let request = |path: &str| Request::get(path).header("x-misbehave", "1").body(empty()).unwrap();
            let before = origin.requests().len();
            let reply = within(Duration::from_secs(patience), &what, client.fetch(request("/closed/x"))).await;
            assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{what}");
            assert!(reply.text().contains("closed"), "{what}: the body names the filter: {}", reply.text());
            assert!(reply.json()["error"].is_object(), "{what}");
            assert_eq!(origin.requests().len(), before, "{what}: a refused request went upstream");
            let reply = within(Duration::from_secs(patience), &what, client.fetch(request("/open/x"))).await;
            assert_eq!((reply.status, reply.text().as_str()), (StatusCode::OK, "ok"), "{what}");
            // Nobody else notices.
            assert_eq!(client.get("/closed/x").await.status, StatusCode::OK, "{what}");
        }
        proxy.assert_running();
    }
}

#[tokio::test]
async fn a_failing_response_side_replaces_the_response() {
    let origin = RawOrigin::plain().await;
    let builder = Proxy::builder().filter(
        "late",
        &test_guest("misbehaving"),
        "config = { behaviour = \"trap\", phase = \"response\" }",
    );
    let proxy = builder.backend("app", origin.address()).start().await;
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        let reply = misbehave(&mut client, "1").await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{protocol:?}");
        assert!(reply.text().contains("late"), "{protocol:?}: {}", reply.text());
        assert_eq!(client.get("/").await.text(), "ok", "{protocol:?}");
    }
}

#[tokio::test]
async fn a_breaker_stops_a_filter_that_keeps_failing() {
    let origin = RawOrigin::plain().await;
    let builder = misbehaving(Proxy::builder(), "spinner", "spin", "timeout = 50");
    let proxy = builder.backend("app", origin.address()).alone().start().await;
    let mut client = proxy.h1().await;
    let before = proxy.stats().cpu;
    for _ in 0..100 {
        assert_eq!(misbehave(&mut client, "1").await.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    let spent = proxy.stats().cpu.checked_sub(before).unwrap();
    // 100 calls of 50 ms each would be five seconds.
    assert!(spent < Duration::from_secs(3), "100 failures cost {spent:?}: the filter was entered every time");
}

#[tokio::test]
async fn a_thousand_traps_leave_nothing_behind() {
    let origin = RawOrigin::plain().await;
    let builder = misbehaving(Proxy::builder(), "trapper", "trap", "fail = \"open\"");
    let mut proxy = builder.backend("app", origin.address()).alone().start().await;
    let mut client = proxy.h1().await;
    for _ in 0..200 {
        misbehave(&mut client, "1").await;
    }
    let before = proxy.stats();
    for _ in 0..1000 {
        assert_eq!(misbehave(&mut client, "1").await.status, StatusCode::OK);
    }
    let after = proxy.stats();
    assert!(after.rss < before.rss + (16 << 20), "{} -> {}", before.rss, after.rss);
    assert!(after.descriptors <= before.descriptors + 4);
    proxy.assert_running();
}

#[tokio::test]
async fn hostile_verdicts_reach_no_wire() {
    let origin = RawOrigin::plain().await;
    let builder = misbehaving(Proxy::builder(), "hostile", "hostile", "fail = \"closed\"");
    let proxy = builder.backend("app", origin.address()).start().await;
    let kinds = [
        "crlf",
        "nul",
        "bare-cr",
        "pseudo",
        "empty-name",
        "name-with-space",
        "name-with-crlf",
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
        "host",
        "forwarded",
        "not-utf-8",
        "huge",
        "many",
        "method-crlf",
        "method-connect",
        "path-crlf",
        "path-relative",
        "path-absolute",
        "path-empty",
        "path-dots",
        "path-not-utf-8",
        "authority-crlf",
        "authority-userinfo",
        "backend-unknown",
        "route-crlf",
        "tag-crlf",
        "urgency",
        "timeout",
        "reply-crlf",
        "reply-content-length",
        "reply-transfer-encoding",
        "reply-101",
        "reply-0",
        "reply-204-body",
        "reply-304-body",
    ];
    for protocol in [Protocol::H1, Protocol::H2, Protocol::H3] {
        for kind in kinds {
            let mut client = proxy.client(protocol).await;
            let reply = misbehave(&mut client, kind).await;
            assert_ne!(reply.status, StatusCode::SWITCHING_PROTOCOLS, "{kind}");
            assert!(!reply.headers.contains_key("x-injected"), "{kind}: {:?}", reply.headers);
            assert_eq!(client.get("/after").await.text(), "ok", "{kind} over {protocol:?}: the connection goes on");
            origin.assert_clean(kind);
        }
    }
    for seen in origin.requests() {
        assert!(seen.value("x-injected").is_none() && !seen.target.contains("smuggled"), "{seen:?}");
        assert!(seen.method != "CONNECT" && !seen.target.contains(".."), "{seen:?}");
        assert!(seen.values("x-forwarded-for") == ["127.0.0.1"], "{seen:?}");
        assert!(seen.value("connection").is_none_or(|value| !value.contains("x-request-id")), "{seen:?}");
        assert!(seen.value("upgrade").is_none(), "{seen:?}");
    }
}

#[tokio::test]
async fn hostile_responses_reach_no_wire() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder()
        .filter("hostile", &test_guest("misbehaving"), "config = { behaviour = \"hostile\", phase = \"response\" }")
        .backend("app", origin.address())
        .start()
        .await;
    for kind in [
        "crlf",
        "nul",
        "bare-cr",
        "pseudo",
        "empty-name",
        "name-with-space",
        "name-with-crlf",
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
        "huge",
        "many",
        "status-101",
        "status-0",
        "status-1000",
        "reply-crlf",
        "reply-content-length",
        "reply-transfer-encoding",
        "reply-204-body",
        "reply-304-body",
    ] {
        // Raw, so that nothing is hidden by a client's parser.
        let mut raw = proxy.raw().await;
        raw.send(format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-Misbehave: {kind}\r\n\r\n")).await;
        let reply = raw.reply().await.unwrap_or_else(|| panic!("{kind}: no answer"));
        assert!((200..600).contains(&reply.status), "{kind}: {}", reply.head);
        assert!(reply.header("x-injected").is_none() && reply.header("upgrade").is_none(), "{kind}: {}", reply.head);
        let lengths = reply.head.to_ascii_lowercase().matches("content-length:").count();
        assert!(lengths <= 1, "{kind}: {}", reply.head);
        if !reply.closes() {
            raw.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
            let after = raw.reply().await.unwrap_or_else(|| panic!("{kind}: the connection broke"));
            assert_eq!((after.status, after.body.as_slice()), (200, b"ok".as_slice()), "{kind}");
        }
        for protocol in [Protocol::H2, Protocol::H3] {
            let mut client = proxy.client(protocol).await;
            let reply = misbehave(&mut client, kind).await;
            assert!(!reply.headers.contains_key("x-injected"), "{kind} over {protocol:?}");
            assert_eq!(client.get("/").await.text(), "ok", "{kind} over {protocol:?}");
        }
    }
}

#[tokio::test]
async fn floods_of_log_lines_are_bounded() {
    let origin = RawOrigin::plain().await;
    let builder = misbehaving(Proxy::builder(), "talker", "logs", "timeout = 1000");
    let proxy = builder.backend("app", origin.address()).start().await;
    let mut client = proxy.h1().await;
    let reply = misbehave(&mut client, "100000").await;
    assert!([200, 503].contains(&reply.status.as_u16()), "{}", reply.status);
    client.get("/marker-in-the-log").await;
    proxy.log().wait_for(&["marker-in-the-log"]).await;
    let lines = proxy.log().count(&["one of many"]);
    assert!(lines <= 1000, "{lines} lines from one call");
}

#[tokio::test]
async fn request_isolation_serves_as_well() {
    let origin = RawOrigin::plain().await;
    let proxy = tagging(Proxy::builder(), "fresh", "v1", "isolation = \"request\"")
        .backend("app", origin.address())
        .start()
        .await;
    let mut client = proxy.h2().await;
    for _ in 0..2000 {
        assert_eq!(client.get("/").await.header("x-filter-version"), Some("v1"));
    }
    assert!(proxy.stats().rss < 120 << 20);
}

#[tokio::test]
async fn a_pinned_digest_must_match() {
    let guest = test_guest("tagging");
    let builder = Proxy::builder().filter(
        "pinned",
        &guest,
        &format!("config = {{ version = \"1\" }}\nsha256 = \"{}\"", digest(&guest)),
    );
    let origin = RawOrigin::plain().await;
    let proxy = builder.backend("app", origin.address()).start().await;
    assert_eq!(proxy.h1().await.get("/").await.header("x-filter-version"), Some("1"));

    let (code, output) = crate::command_line::check(&format!(
        "[proxy]\ndev_mode = true\n[[filters]]\nname = \"pinned\"\nmodule = \"{}\"\nsha256 = \"{}\"\nconfig = {{ version = \"1\" }}",
        guest.display(),
        "0".repeat(64)
    ))
    .await;
    assert_eq!(code, Some(64), "{output}");
    assert!(output.contains("pinned") && output.contains("SHA-256"), "{output}");
}

fn digest(path: &Path) -> String {
    use sha2::{Digest, Sha256};
    let bytes = std::fs::read(path).unwrap();
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_filter_that_cannot_load_is_forgiven_by_fail_open() {
    let origin = RawOrigin::plain().await;
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.wasm");
    std::fs::write(&broken, b"\0asm nonsense").unwrap();
    let proxy =
        Proxy::builder().filter("broken", &broken, "fail = \"open\"").backend("app", origin.address()).start().await;
    assert_eq!(proxy.h1().await.get("/").await.status, StatusCode::OK);
    assert!(proxy.log().find(&["broken"]).is_some(), "nothing in the log");
}
