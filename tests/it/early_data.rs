//! 0-RTT (RFC 8470): off by default; where it is on, safe methods pass with `Early-Data: 1`, others wait or get 425.

use std::time::Duration;

use harness::client::Protocol;
use harness::origin::Act;
use harness::program::python;
use harness::{Proxy, RawOrigin};
use serde_json::Value;

async fn resume(proxy: &Proxy) -> Value {
    let port = proxy.address(Protocol::H3).port().to_string();
    python("h3_client.py", &[&port, "early"], Duration::from_secs(60)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn safe_methods_pass_marked_and_unsafe_ones_do_not() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().config("[quic]\nearly_data = true").backend("app", origin.address()).start().await;
    let found = resume(&proxy).await;
    assert!(found["tickets"].as_u64() >= Some(1), "{found}");
    assert_eq!(found["accepted"], true, "{found}");
    assert_eq!(found["statuses"]["get"], 200, "{found}");
    let get = origin.requests().into_iter().find(|seen| seen.target == "/early-get").expect("the GET");
    assert_eq!(get.value("early-data").as_deref(), Some("1"));
    match found["statuses"]["post"].as_u64() {
        Some(425) => {
            assert!(origin.requests().iter().all(|seen| seen.target != "/early-post"), "refused and yet forwarded");
        }
        // Held until the handshake was complete: then it is no early data any more.
        Some(200) => {
            let post = origin.requests().into_iter().find(|seen| seen.target == "/early-post").expect("the POST");
            assert_eq!(post.value("early-data"), None);
        }
        other => panic!("POST in early data: {other:?}"),
    }
    assert_eq!(found["late"], 200);
    let first = origin.requests().into_iter().find(|seen| seen.target == "/first").expect("the first request");
    assert_eq!(first.value("early-data"), None, "a request after the handshake is not early");
    origin.assert_clean("early data");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn off_by_default() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    let found = resume(&proxy).await;
    assert_ne!(found["accepted"], true, "{found}");
    assert!(origin.requests().iter().all(|seen| seen.value("early-data").is_none()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_origins_425_is_passed_on() {
    let origin = RawOrigin::start(|request| {
        if request.value("early-data").is_some() {
            Act::answer("HTTP/1.1 425 Too Early\r\nContent-Length: 0\r\n\r\n")
        } else {
            Act::ok("ok")
        }
    })
    .await;
    let proxy = Proxy::builder().config("[quic]\nearly_data = true").backend("app", origin.address()).start().await;
    let found = resume(&proxy).await;
    assert_eq!(found["statuses"]["get"], 425, "{found}");
}

#[tokio::test]
async fn a_client_cannot_claim_to_be_early() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().backend("app", origin.address()).start().await;
    for protocol in Protocol::ALL {
        let request = http::Request::get("/").header("early-data", "1").body(harness::client::empty()).unwrap();
        let reply = proxy.client(protocol).await.fetch(request).await;
        // RFC 8470 5.1: a client may send it; what must not happen is that it is lost or doubled.
        assert_eq!(reply.status, 200, "{protocol:?}");
        assert!(origin.last().values("early-data").len() <= 1, "{protocol:?}");
    }
}
