//! A GiB each way over each protocol, made and verified on the fly, while the proxy stays small.

use std::time::Instant;

use harness::client::{Protocol, empty, payload};
use harness::payload::{Length, verify};
use harness::process::{mib, reset_peak};
use harness::{Origin, Proxy};
use http::{Request, StatusCode};
use http_body_util::BodyExt;

const GIB: u64 = 1 << 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_each_way_over_each_protocol() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).alone().start().await;
    for protocol in Protocol::ALL {
        reset_peak(proxy.pid());
        let mut client = proxy.client(protocol).await;

        let begun = Instant::now();
        let response = client.send(Request::get(format!("/bytes/{GIB}")).body(empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{protocol:?}");
        let verified = verify(response.into_body()).await.unwrap_or_else(|error| panic!("{protocol:?}: {error}"));
        assert_eq!(verified.bytes, GIB, "{protocol:?} download");
        let down = begun.elapsed();

        let begun = Instant::now();
        let request = Request::post("/sink").body(payload(GIB, Length::Announced)).unwrap();
        let response = client.send(request).await.unwrap();
        let answer = response.into_body().collect().await.unwrap().to_bytes();
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["bytes"], GIB, "{protocol:?} upload: {answer}");
        let up = begun.elapsed();

        let peak = proxy.stats().peak_rss;
        println!("{protocol:?}: 1 GiB down {down:.1?}, up {up:.1?}, peak {} MiB", mib(peak));
        assert!(peak < 100 << 20, "{protocol:?}: {} MiB resident at the peak", mib(peak));
    }
}
