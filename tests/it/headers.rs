//! What the proxy adds, removes and believes in header sections.

use harness::client::{Client, Protocol, Reply, empty};
use harness::origin::{Act, Seen};
use harness::{Origin, Proxy, RawOrigin};
use http::{HeaderName, HeaderValue, Request, StatusCode};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

async fn ask(client: &mut Client, headers: &[(&str, &str)]) -> Reply {
    let mut request = Request::get("/h").body(empty()).unwrap();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
    }
    client.fetch(request).await
}

fn values(seen: &Seen, name: &str) -> Vec<String> {
    seen.headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

fn scheme(protocol: Protocol) -> &'static str {
    if protocol.scheme() == http::uri::Scheme::HTTPS { "https" } else { "http" }
}

#[tokio::test]
async fn forwarding_fields_tell_who_asked() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).start().await;
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        ask(&mut client, &[]).await;
        let seen = app.last();
        assert_eq!(values(&seen, "host"), [client.authority()], "{protocol:?}");
        assert_eq!(values(&seen, "x-forwarded-for"), ["127.0.0.1"], "{protocol:?}");
        assert_eq!(values(&seen, "x-forwarded-proto"), [scheme(protocol)], "{protocol:?}");
        assert_eq!(values(&seen, "x-forwarded-host"), [client.authority()], "{protocol:?}");
        let forwarded = values(&seen, "forwarded").join(", ");
        for part in ["for=\"127.0.0.1", &format!("proto={}", scheme(protocol)), "host="] {
            let plain = part.replace('"', "");
            assert!(forwarded.contains(part) || forwarded.contains(&plain), "{protocol:?}: {part} in {forwarded}");
        }
        let version = match protocol {
            Protocol::H1 | Protocol::H1Tls => "1.1",
            Protocol::H2 | Protocol::H2c => "2",
            Protocol::H3 => "3",
        };
        let via = values(&seen, "via").join(", ");
        assert!(via.starts_with(version) && via.contains("gpanel-proxy"), "{protocol:?}: Via {via}");
        let id = values(&seen, "x-request-id");
        assert_eq!(id.len(), 1, "{protocol:?}");
        assert!(id[0].len() == 32 && id[0].bytes().all(|byte| byte.is_ascii_hexdigit()), "{protocol:?}: {id:?}");
    }
}

#[tokio::test]
async fn request_ids_differ_and_come_back() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).start().await;
    let mut ids = std::collections::HashSet::new();
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        for _ in 0..3 {
            let reply = ask(&mut client, &[]).await;
            let id = values(&app.last(), "x-request-id").pop().unwrap();
            assert_eq!(
                reply.header("x-request-id"),
                Some(id.as_str()),
                "{protocol:?}: the client can name its request"
            );
            assert!(ids.insert(id), "{protocol:?}: an id came twice");
        }
    }
}

const CLAIMS: [(&str, &str); 12] = [
    ("x-forwarded-for", "6.6.6.6"),
    ("x-forwarded-proto", "gopher"),
    ("x-forwarded-host", "evil.example"),
    ("x-forwarded-port", "666"),
    ("x-forwarded-prefix", "/evil"),
    ("forwarded", "for=6.6.6.6;host=evil.example"),
    ("x-real-ip", "6.6.6.6"),
    ("x-original-url", "/evil"),
    ("x-rewrite-url", "/evil"),
    ("x-http-method-override", "DELETE"),
    ("x-request-id", "evil-id"),
    ("via", "1.0 evil"),
];

#[tokio::test]
async fn strangers_are_not_believed() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).start().await;
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        ask(&mut client, &CLAIMS).await;
        let seen = app.last();
        assert_eq!(values(&seen, "x-forwarded-for"), ["127.0.0.1"], "{protocol:?}");
        assert_eq!(values(&seen, "x-forwarded-proto"), [scheme(protocol)], "{protocol:?}");
        for name in CLAIMS.map(|(name, _)| name).into_iter().filter(|name| *name != "via") {
            for value in values(&seen, name) {
                let believed = ["6.6.6.6", "evil", "gopher", "666", "DELETE"].iter().any(|claim| value.contains(claim));
                assert!(!believed, "{protocol:?}: {name}: {value}");
            }
        }
    }
}

#[tokio::test]
async fn underscore_aliases_are_removed() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    let mut raw = proxy.raw().await;
    raw.send(
        "GET / HTTP/1.1\r\nHost: localhost\r\nX_Forwarded_For: 6.6.6.6\r\nX-Forwarded_For: 6.6.6.6\r\n\
         x_real_ip: 6.6.6.6\r\nX_Forwarded-Proto: gopher\r\nX-Ordinary: 1\r\n\r\n",
    )
    .await;
    assert_eq!(raw.reply().await.unwrap().status, 200);
    let seen = origin.last();
    let aliases: Vec<_> = seen.headers.iter().filter(|(name, _)| name.contains('_')).collect();
    assert!(aliases.is_empty(), "{aliases:?}");
    assert_eq!(seen.value("x-ordinary").as_deref(), Some("1"));
}

#[tokio::test]
async fn a_trusted_proxy_in_front_is_believed() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder()
        .config("[proxy]\ntrusted_proxies = [\"127.0.0.0/8\"]")
        .backend("app", app.address())
        .start()
        .await;
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        let claims =
            [("x-forwarded-for", "203.0.113.7"), ("x-forwarded-proto", "https"), ("x-request-id", "from-the-front-1")];
        ask(&mut client, &claims).await;
        let seen = app.last();
        assert_eq!(values(&seen, "x-forwarded-for").join(", "), "203.0.113.7, 127.0.0.1", "{protocol:?}");
        assert_eq!(values(&seen, "x-forwarded-proto"), ["https"], "{protocol:?}");
        assert_eq!(values(&seen, "x-request-id"), ["from-the-front-1"], "{protocol:?}");
    }
}

#[tokio::test]
async fn hop_by_hop_fields_stay_on_their_hop() {
    let origin = RawOrigin::start(|_| {
        Act::answer(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\n\
             X-Hop: 1\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\nX-End: 1\r\n\r\nok",
        )
    })
    .await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    let mut raw = proxy.raw().await;
    raw.send(
        "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, X-Mine, Host, Authorization, Content-Length, \
         X-Forwarded-For\r\nKeep-Alive: 5\r\nX-Mine: 1\r\nAuthorization: Bearer t\r\nProxy-Connection: keep-alive\r\n\
         Proxy-Authorization: Basic x\r\nTE: gzip, trailers\r\nX-End: 1\r\n\r\n",
    )
    .await;
    let reply = raw.reply().await.unwrap();
    assert_eq!(reply.status, 200);
    let seen = origin.last();
    for name in ["x-mine", "keep-alive", "proxy-connection", "proxy-authorization", "upgrade"] {
        assert_eq!(seen.value(name), None, "{name} went upstream");
    }
    assert!(seen.value("te").is_none_or(|value| value == "trailers"), "TE: {:?}", seen.value("te"));
    assert_eq!(seen.value("authorization").as_deref(), Some("Bearer t"), "a nominated end-to-end field stays");
    assert_eq!(seen.value("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(seen.value("x-end").as_deref(), Some("1"));
    for name in ["x-hop", "keep-alive", "upgrade"] {
        assert_eq!(reply.header(name), None, "{name} came down");
    }
    assert_eq!(reply.header("x-end"), Some("1"));
    origin.assert_clean("hop by hop");

    for protocol in [Protocol::H2, Protocol::H2c, Protocol::H3] {
        let reply = proxy.client(protocol).await.get("/").await;
        for name in ["x-hop", "keep-alive", "upgrade", "connection", "transfer-encoding"] {
            assert!(!reply.headers.contains_key(name), "{protocol:?}: {name} came down");
        }
        assert_eq!(reply.header("x-end"), Some("1"), "{protocol:?}");
    }
}

#[tokio::test]
async fn values_are_bytes() {
    let origin = RawOrigin::start(|_| {
        Act::Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Bytes: caf\xe9 \xff\r\n\r\nok".to_vec())
    })
    .await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        let value = HeaderValue::from_bytes(b"na\xefve \xfe").unwrap();
        let reply = client.fetch(Request::get("/").header("x-bytes", value).body(empty()).unwrap()).await;
        assert_eq!(reply.status, StatusCode::OK, "{protocol:?}");
        assert_eq!(reply.headers["x-bytes"].as_bytes(), b"caf\xe9 \xff", "{protocol:?}");
        let (_, seen) = origin.last().headers.into_iter().find(|(name, _)| name == "x-bytes").unwrap();
        assert_eq!(seen, b"na\xefve \xfe", "{protocol:?}");
    }
}

#[tokio::test]
async fn repeated_fields_and_cookies_survive() {
    let origin = RawOrigin::start(|_| {
        Act::answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2; Path=/\r\n\r\nok")
    })
    .await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        let reply = ask(&mut client, &[("cookie", "x=1; y=2"), ("x-many", "1"), ("x-many", "2")]).await;
        let cookies: Vec<_> = reply.headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1", "b=2; Path=/"], "{protocol:?}");
        let seen = origin.last();
        assert_eq!(seen.values("x-many"), ["1", "2"], "{protocol:?}");
        assert_eq!(seen.value("cookie").as_deref(), Some("x=1; y=2"), "{protocol:?}");
    }
}

#[tokio::test]
async fn split_cookies_are_joined_upstream() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    for protocol in [Protocol::H2, Protocol::H2c, Protocol::H3] {
        let mut client = proxy.client(protocol).await;
        ask(&mut client, &[("cookie", "x=1"), ("cookie", "y=2")]).await;
        // RFC 9113 8.2.3 and RFC 9114 4.2.1: joined with "; " before they enter HTTP/1.1.
        assert_eq!(origin.last().value("cookie").as_deref(), Some("x=1; y=2"), "{protocol:?}");
    }
}

#[tokio::test]
async fn interim_responses_pass_or_are_swallowed_but_never_confuse() {
    let origin = RawOrigin::start(|_| {
        Act::answer(
            "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfinal",
        )
    })
    .await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        for _ in 0..3 {
            let reply = client.get("/").await;
            assert_eq!((reply.status, reply.text().as_str()), (StatusCode::OK, "final"), "{protocol:?}");
        }
    }
}

#[test]
fn no_hop_by_hop_header_survives() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (origin, proxy) = runtime.block_on(async {
        let origin = RawOrigin::plain().await;
        let proxy = Proxy::builder().backend("app", origin.address()).start().await;
        (origin, proxy)
    });
    let cases = Config { cases: 100, failure_persistence: None, ..Config::default() };
    let nominated = proptest::collection::vec("[xX]-[a-zA-Z]{1,8}", 1..6);
    let separator = prop_oneof![Just(","), Just(", "), Just(" ,\t"), Just(",,"), Just("\r\nConnection: ")];
    TestRunner::new(cases)
        .run(&(nominated, separator), |(names, separator)| {
            let fields: String = names.iter().map(|name| format!("{name}: v\r\n")).collect();
            let request = format!(
                "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: {}\r\n{fields}Keep-Alive: 1\r\nX-9: kept\r\n\r\n",
                names.join(separator)
            );
            runtime.block_on(async {
                let mut raw = proxy.raw().await;
                raw.send(&request).await;
                assert_eq!(raw.reply().await.map(|reply| reply.status), Some(200), "{request}");
            });
            let seen = origin.last();
            for name in &names {
                let forwarding = name.to_ascii_lowercase().starts_with("x-forwarded") || name.len() < 3;
                prop_assert!(forwarding || seen.values(name).is_empty(), "{} survived {}", name, request);
            }
            prop_assert_eq!(seen.values("keep-alive").len(), 0);
            prop_assert_eq!(seen.values("x-9"), vec!["kept".to_owned()]);
            origin.assert_clean("hop by hop");
            Ok(())
        })
        .unwrap();
}
