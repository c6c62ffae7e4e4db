//! The admin listener and the log: health, readiness, metrics that a real promtool accepts, one line a request.

use std::process::Stdio;
use std::time::Duration;

use harness::client::{Protocol, empty, full};
use harness::environment::program;
use harness::log::field;
use harness::{Origin, Proxy};
use http::{Request, StatusCode};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn health_and_ready() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).start().await;
    let health = proxy.admin("/health").await;
    assert_eq!(health.status, StatusCode::OK);
    assert_eq!(health.header("content-type"), Some("application/json"));
    let body = health.json();
    assert_eq!(body["status"], "healthy");
    assert_eq!(body["version"], env!("CARGO_PKG_VERSION"));
    assert!(body["uptime"].is_string() && body["active_connections"].is_number(), "{body}");
    let ready = proxy.admin("/ready").await;
    assert_eq!(ready.status, StatusCode::OK);
    assert_eq!(ready.json()["ready"], true);
    assert_eq!(ready.json()["checks"]["quic_server"], "ok");
    assert_eq!(ready.json()["checks"]["tls_certificates"], "ok");
    assert_eq!(proxy.admin("/unknown").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn health_on_the_public_listeners_tells_little() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().route("/api/*", "app").backend("app", app.address()).start().await;
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        let health = client.get("/health").await;
        assert_eq!(health.status, StatusCode::OK, "{protocol:?}");
        assert_eq!(health.json()["status"], "healthy", "{protocol:?}");
        assert!(!health.text().contains("backends"), "{protocol:?}: {}", health.text());
        assert_ne!(client.get("/metrics").await.status, StatusCode::OK, "{protocol:?}: metrics are for operators");
    }
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).start().await;
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        for _ in 0..3 {
            client.get("/page").await;
        }
        client.fetch(Request::post("/echo").body(full(vec![b'x'; 1000])).unwrap()).await;
        client.get("/status/500").await;
    }
    let metrics = harness::eventually(Duration::from_secs(5), "the last request is counted", || async {
        let metrics = proxy.metrics().await;
        (metrics.sum("gpanel_proxy_requests_total", &[]) > 24.5).then_some(metrics)
    })
    .await;
    let near = |name: &str, labels: &[(&str, &str)], expected: f64| {
        let found = metrics.sum(name, labels);
        assert!((found - expected).abs() < 0.5, "{name}{labels:?} is {found} instead of {expected}");
    };
    near("gpanel_proxy_requests_total", &[("status", "200"), ("method", "GET")], 15.0);
    near("gpanel_proxy_requests_total", &[("status", "200"), ("method", "POST")], 5.0);
    near("gpanel_proxy_requests_total", &[("status", "500")], 5.0);
    near("gpanel_proxy_backend_requests_total", &[("backend", "app")], 25.0);
    near("gpanel_proxy_request_duration_seconds_count", &[], 25.0);
    near("gpanel_proxy_request_size_bytes_sum", &[("method", "POST")], 5000.0);
    assert!(metrics.sum("gpanel_proxy_response_size_bytes_sum", &[("method", "POST")]) > 4999.5);
    assert!(metrics.sum("gpanel_proxy_total_connections_total", &[]) > 4.5);
    for name in [
        "gpanel_proxy_active_connections_total",
        "gpanel_proxy_failed_connections_total",
        "gpanel_proxy_quic_connections_total",
        "gpanel_proxy_quic_streams_total",
        "gpanel_proxy_quic_packets_sent_total",
        "gpanel_proxy_quic_packets_received_total",
        "gpanel_proxy_quic_bytes_sent_total",
        "gpanel_proxy_quic_bytes_received_total",
        "gpanel_proxy_backend_failures_total",
        "gpanel_proxy_backend_response_time_seconds_count",
    ] {
        assert!(metrics.has(name, &[]), "no {name}: {:?}", metrics.names());
    }
}

#[tokio::test]
async fn promtool_accepts_the_page() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).start().await;
    for protocol in Protocol::ALL {
        proxy.client(protocol).await.get("/page").await;
    }
    let page = proxy.admin("/metrics").await;
    let mut child = tokio::process::Command::new(program("promtool", "prometheus"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&page.body).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    // The reference names a gauge `..._connections_total`, which promtool's linter dislikes (exit code 3); what it
    // can't parse is exit code 1.
    assert!([Some(0), Some(3)].contains(&output.status.code()), "{said}");
    let complaints: Vec<&str> = said
        .lines()
        .filter(|line| !line.contains("gpanel_proxy_active_connections_total") && !line.trim().is_empty())
        .collect();
    assert!(complaints.is_empty(), "{complaints:?}");
}

#[tokio::test]
async fn each_request_gets_its_line() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).start().await;
    for protocol in Protocol::ALL {
        let path = format!("/logged/{protocol:?}");
        let reply = proxy.client(protocol).await.fetch(Request::get(&path).body(empty()).unwrap()).await;
        let id = reply.header("x-request-id").unwrap();
        let line = proxy.log().wait_for(&[&path, id]).await;
        assert!(field(&line, "status").is_some_and(|status| status == "200"), "{line}");
        assert_eq!(proxy.log().count(&[id]), 1, "{protocol:?}: more than one line");
    }
    // A client's bytes can't forge a line.
    let mut raw = proxy.raw().await;
    raw.send("GET /forged%0a%22x%22 HTTP/1.1\r\nHost: localhost\r\nUser-Agent: a\"b\\\\\r\n\r\n").await;
    raw.reply().await;
    let line = proxy.log().wait_for(&["/forged"]).await;
    assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok(), "{line}");
}

#[tokio::test]
async fn queries_may_hold_secrets_and_stay_out_of_the_log() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).start().await;
    let mut client = proxy.h1().await;
    let request = Request::get("/private?token=s3cr3t").header("authorization", "Bearer s3cr3t").body(empty()).unwrap();
    client.fetch(request).await;
    proxy.log().wait_for(&["/private"]).await;
    assert!(proxy.log().find(&["s3cr3t"]).is_none(), "{:?}", proxy.log().find(&["s3cr3t"]));
}

#[tokio::test]
async fn stats_over_every_protocol() {
    let proxy = Proxy::builder().route("/api/stats", "internal").start().await;
    for protocol in Protocol::ALL {
        let reply = proxy.client(protocol).await.get("/api/stats").await;
        assert_eq!(reply.status, StatusCode::OK, "{protocol:?}");
        assert!(reply.json()["connections"].is_object(), "{protocol:?}: {}", reply.text());
    }
}
