//! HTTP/3 that no honest client sends, from aioquic's wire (`tests/clients/h3_attack.py`): a stream or connection
//! error of RFC 9114 or a 4xx, and never a request at the origin.

use std::time::Duration;

use harness::client::{Protocol, still_answers};
use harness::program::python;
use harness::{Proxy, RawOrigin};
use serde_json::{Map, Value};

const MESSAGE_ERROR: u64 = 0x10e;

async fn attack(proxy: &Proxy, group: &str) -> Map<String, Value> {
    let port = proxy.address(Protocol::H3).port().to_string();
    let found = python("h3_attack.py", &[&port, group], Duration::from_secs(240)).await;
    found.as_object().expect("an object").clone()
}

fn number(outcome: &Value, key: &str) -> Option<u64> {
    outcome.get(key).and_then(Value::as_u64)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_header_sections() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    let mut wrong = Vec::new();
    for (name, outcome) in attack(&proxy, "malformed").await {
        let right = match (number(&outcome, "status"), number(&outcome, "reset"), number(&outcome, "close")) {
            (Some(status), ..) => (400..500).contains(&status) || status == 501,
            (_, Some(code), _) => code == MESSAGE_ERROR || (code == 0x107 && name.starts_with("a value")),
            // A field section above the limit may cost the connection; anything else must not.
            (.., Some(code)) => name.contains("kB") && [0x107, 0x106, 0x200].contains(&code),
            _ => false,
        };
        if !right || number(&outcome, "plain") != Some(200) {
            wrong.push(format!("{name}: {outcome}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let leaked: Vec<_> = origin.requests().into_iter().filter(|seen| seen.target != "/plain").collect();
    assert!(leaked.is_empty(), "{leaked:?}");
    origin.assert_clean("malformed header sections");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_streams() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    let expected: &[(&str, &[u64], &[u64])] = &[
        // name, stream errors, connection errors
        ("too much body", &[MESSAGE_ERROR], &[]),
        ("too little body", &[MESSAGE_ERROR], &[]),
        ("DATA first", &[], &[0x105]),
        ("empty stream", &[0x10d, MESSAGE_ERROR], &[0x10d]),
        ("SETTINGS on a request stream", &[], &[0x105]),
        ("GOAWAY on a request stream", &[], &[0x105]),
        ("MAX_PUSH_ID on a request stream", &[], &[0x105]),
        ("CANCEL_PUSH on a request stream", &[], &[0x105]),
        ("PUSH_PROMISE from a client", &[], &[0x105]),
        ("HTTP/2 PING frame type", &[], &[0x105]),
        ("frame after trailers", &[MESSAGE_ERROR], &[0x105]),
        ("FIN inside a frame", &[], &[0x106]),
        ("broken QPACK", &[], &[0x200]),
        ("QPACK reference to the dynamic table", &[], &[0x200]),
        ("QPACK string longer than its section", &[], &[0x200]),
    ];
    let found = attack(&proxy, "streams").await;
    let mut wrong = Vec::new();
    for (name, stream, connection) in expected {
        let outcome = &found[*name];
        let right = match (number(outcome, "status"), number(outcome, "reset"), number(outcome, "close")) {
            (Some(status), ..) => status == 400 && !stream.is_empty(),
            (_, Some(code), _) => stream.contains(&code),
            (.., Some(code)) => connection.contains(&code),
            _ => false,
        };
        if !right || number(outcome, "plain") != Some(200) {
            wrong.push(format!("{name}: {outcome}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let whole: Vec<_> = origin.requests().into_iter().filter(|seen| seen.target != "/plain").collect();
    assert!(whole.is_empty(), "{whole:?}");
    origin.assert_clean("malformed streams");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_control_streams() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    let expected = [
        ("second control stream", 0x103),
        ("push stream from a client", 0x103),
        ("closed control stream", 0x104),
        ("control stream without SETTINGS", 0x10a),
        ("SETTINGS twice", 0x105),
        ("DATA on the control stream", 0x105),
        ("HTTP/2 setting", 0x109),
        ("duplicate setting", 0x109),
        ("QPACK encoder stream beyond capacity", 0x201),
        ("QPACK decoder stream acknowledges nothing", 0x202),
    ];
    let found = attack(&proxy, "control").await;
    let mut wrong = Vec::new();
    for (name, code) in expected {
        if number(&found[name], "close") != Some(code) {
            wrong.push(format!("{name}: {} instead of {code:#x}", found[name]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(still_answers(Protocol::H3, proxy.address(Protocol::H3), "/plain").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rapid_reset() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    let found = attack(&proxy, "reset").await;
    let whole = origin.requests().len();
    assert!(whole <= 400, "{whole} requests reached the origin: {found:?}");
    assert_eq!(still_answers(Protocol::H3, proxy.address(Protocol::H3), "/plain").await.status, 200);
    assert!(proxy.stats().rss < 120 << 20);
}

#[tokio::test]
async fn junk_datagrams_cost_nothing() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    let address = proxy.address(Protocol::H3);
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for length in [0, 1, 20, 600, 1199] {
        socket.send_to(&vec![0xc3; length], address).await.unwrap();
    }
    // A long header with an unknown version, padded to 1,200 bytes, is answered with Version Negotiation, and with
    // fewer bytes than it had.
    let mut unknown = vec![0xc0, 0xba, 0xba, 0xba, 0xba, 8, 1, 2, 3, 4, 5, 6, 7, 8, 8, 1, 2, 3, 4, 5, 6, 7, 8];
    unknown.resize(1200, 0);
    socket.send_to(&unknown, address).await.unwrap();
    let mut answer = [0; 2000];
    let receive = socket.recv_from(&mut answer);
    let (length, _) = harness::within(Duration::from_secs(5), "Version Negotiation", receive).await.unwrap();
    assert!(length < 1200);
    assert_eq!(answer[1..5], [0; 4], "the version of Version Negotiation");
    assert_eq!(still_answers(Protocol::H3, address, "/plain").await.status, 200);
}

#[tokio::test]
async fn unanswered_handshakes_stay_small() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).alone().start().await;
    let address = proxy.address(Protocol::H3);
    let before = proxy.stats().rss;
    let hello = client_hello(address).await;
    let mut bytes_back = 0;
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for _ in 0..3 {
        socket.send_to(&hello, address).await.unwrap();
    }
    let mut answer = [0; 2000];
    let counting = async {
        while let Ok((length, _)) = socket.recv_from(&mut answer).await {
            bytes_back += length;
        }
    };
    // Two retransmissions come in this time; the limit holds for all of them together.
    let _ = tokio::time::timeout(Duration::from_secs(3), counting).await;
    assert!(bytes_back <= 3 * 3 * hello.len() + 1500, "{bytes_back} bytes for {} sent", 3 * hello.len());
    for _ in 0..1000 {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(&hello, address).unwrap();
    }
    let grown = proxy.stats().rss.saturating_sub(before);
    assert!(grown < 60 << 20, "{} MiB for 1,000 unanswered handshakes", harness::process::mib(grown));
    assert_eq!(still_answers(Protocol::H3, address, "/plain").await.status, 200);
}

/// The first datagram that a real client sends.
async fn client_hello(_: std::net::SocketAddr) -> Vec<u8> {
    let catcher = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let towards = catcher.local_addr().unwrap();
    let connecting = tokio::spawn(async move { harness::client::H3Connection::connect(towards).await.map(drop) });
    let mut datagram = vec![0; 2000];
    let (length, _) = catcher.recv_from(&mut datagram).await.unwrap();
    connecting.abort();
    datagram.truncate(length);
    datagram
}
