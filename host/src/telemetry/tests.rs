use std::io::Write as _;
use std::process::{Command, Stdio};

use http::Method;

use super::exporter::Exporter;
use super::*;

fn record() -> RequestRecord<'static> {
    RequestRecord {
        id: "1",
        client: ([127, 0, 0, 1], 1).into(),
        protocol: Protocol::Http2,
        tls: true,
        method: &Method::GET,
        host: "localhost",
        path: "/x/1",
        route: Some("/x/*"),
        backend: Some("agent"),
        endpoint: None,
        status: 200,
        error: None,
        bytes_in: 10,
        bytes_out: 2000,
        duration: Duration::from_millis(3),
        upstream: None,
        early_data: false,
        tags: &[],
    }
}

/// A process that has seen a little of everything.
fn busy() -> Arc<Telemetry> {
    let telemetry = Telemetry::new(2);
    for worker in [WorkerId(0), WorkerId(1)] {
        telemetry.request_started(worker);
        telemetry.request_finished(worker, &record());
        let backend = telemetry.backend(worker, "agent");
        backend.connection_opened();
        backend.attempt(Attempt::Answered(Duration::from_millis(2)));
        backend.connection_reused();
        backend.attempt(Attempt::Failed);
    }
    telemetry.request_started(WorkerId(0));
    let failed = RequestRecord { status: 502, error: Some("connection_refused"), early_data: true, ..record() };
    telemetry.request_finished(WorkerId(0), &failed);
    telemetry.request_started(WorkerId(1));
    telemetry.worker(WorkerId(1)).connection_failed(Listener::Tls, ConnectionFailure::Handshake);
    telemetry.sources().add_quic(Arc::new(|| QuicStats { streams: 4, packets_sent: 9, ..QuicStats::default() }));
    telemetry.sources().add_quic(Arc::new(|| QuicStats { streams: 1, ..QuicStats::default() }));
    telemetry.sources().set_filters(Arc::new(|| {
        vec![FilterRow {
            name: "router".into(),
            calls: 7,
            traps: 1,
            timeouts: 0,
            failed_open: 0,
            failed_closed: 1,
            instances: 2,
        }]
    }));
    telemetry.reloads().succeeded(ReloadKind::Config);
    telemetry.reloads().refused(ReloadKind::Filters, "bad \"module\"\nno magic");
    telemetry.set_generation(3);
    telemetry.set_certificate_not_after(SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000));
    telemetry
}

fn page(telemetry: &Arc<Telemetry>) -> String {
    Exporter::new(telemetry).unwrap().render().unwrap()
}

#[test]
fn the_page_has_exactly_these_values() {
    let telemetry = busy();
    let open = telemetry.connection(WorkerId(0), Protocol::Http3);
    let closed = telemetry.connection(WorkerId(1), Protocol::Http1);
    let alive = telemetry.generation_token();
    drop(closed);
    let page = page(&telemetry);
    for line in [
        r#"gpanel_proxy_active_connections_total{protocol="http3"} 1"#,
        r#"gpanel_proxy_active_connections_total{protocol="http1"} 0"#,
        r#"gpanel_proxy_active_connections{protocol="http3"} 1"#,
        r#"gpanel_proxy_total_connections_total{protocol="http1"} 1"#,
        r#"gpanel_proxy_failed_connections_total{listener="tls",reason="handshake"} 1"#,
        r#"gpanel_proxy_requests_total{method="GET",path="/x/*",status="200"} 2"#,
        r#"gpanel_proxy_requests_total{method="GET",path="/x/*",status="502"} 1"#,
        r#"gpanel_proxy_request_duration_seconds_bucket{method="GET",path="/x/*",le="0.0025"} 0"#,
        r#"gpanel_proxy_request_duration_seconds_bucket{method="GET",path="/x/*",le="0.005"} 3"#,
        r#"gpanel_proxy_request_duration_seconds_bucket{method="GET",path="/x/*",le="+Inf"} 3"#,
        r#"gpanel_proxy_request_duration_seconds_count{method="GET",path="/x/*"} 3"#,
        r#"gpanel_proxy_request_size_bytes_sum{method="GET",path="/x/*"} 30"#,
        r#"gpanel_proxy_response_size_bytes_sum{method="GET",path="/x/*"} 6000"#,
        r#"gpanel_proxy_request_errors_total{error="connection_refused"} 1"#,
        "gpanel_proxy_requests_in_flight 1",
        "gpanel_proxy_early_data_requests_total 1",
        "gpanel_proxy_quic_connections_total 1",
        "gpanel_proxy_quic_streams_total 5",
        "gpanel_proxy_quic_packets_sent_total 9",
        "gpanel_proxy_quic_packets_received_total 0",
        "gpanel_proxy_quic_bytes_sent_total 0",
        "gpanel_proxy_quic_bytes_received_total 0",
        r#"gpanel_proxy_backend_requests_total{backend="agent"} 4"#,
        r#"gpanel_proxy_backend_failures_total{backend="agent"} 2"#,
        r#"gpanel_proxy_backend_response_time_seconds_count{backend="agent"} 2"#,
        r#"gpanel_proxy_upstream_connections_opened_total{backend="agent"} 2"#,
        r#"gpanel_proxy_upstream_connections_reused_total{backend="agent"} 2"#,
        r#"gpanel_proxy_filter_calls_total{filter="router"} 7"#,
        r#"gpanel_proxy_filter_instances{filter="router"} 2"#,
        r#"gpanel_proxy_reloads_total{kind="config",result="success"} 1"#,
        r#"gpanel_proxy_reloads_total{kind="filters",result="refused"} 1"#,
        r#"gpanel_proxy_reload_last_refused{kind="filters",reason="bad \"module\"\nno magic"} 1"#,
        "gpanel_proxy_generation 3",
        "gpanel_proxy_generations_alive 1",
        "gpanel_proxy_certificate_not_after_timestamp_seconds 2000000000",
        "gpanel_proxy_log_lines_dropped_total 0",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }
    assert!(!page.contains("otel") && !page.contains("target_info"), "{page}");
    drop((open, alive));
}

/// Debian's `prometheus` package has promtool.
#[test]
fn promtool_objects_only_to_the_name_that_was_given() {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool must be installed: Debian's package `prometheus`");
    promtool.stdin.take().unwrap().write_all(page(&busy()).as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap();
    let objections: Vec<_> = said.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(
        objections,
        [r#"gpanel_proxy_active_connections_total non-counter metrics should not have "_total" suffix"#]
    );
}

#[test]
fn made_up_labels_are_bounded() {
    let telemetry = Telemetry::new(2);
    for number in 0..3000_u16 {
        let route = format!("/{number}");
        let method = Method::from_bytes(format!("M{number}").as_bytes()).unwrap();
        let error = format!("e{number}");
        let record = RequestRecord { route: Some(&route), method: &method, error: Some(&error), ..record() };
        telemetry.request_finished(WorkerId(number % 2), &record);
        telemetry.request_finished(WorkerId(0), &RequestRecord { status: number, ..self::record() });
        telemetry.backend(WorkerId(number % 2), &route).attempt(Attempt::Failed);
    }
    let page = page(&telemetry);
    let count = |name: &str| page.lines().filter(|line| line.starts_with(&format!("{name}{{"))).count();
    assert!(count("gpanel_proxy_requests_total") < 600, "{}", count("gpanel_proxy_requests_total"));
    assert!(page.contains(r#"gpanel_proxy_requests_total{method="_other",path="_other",status="200"}"#));
    assert!(page.contains(r#"gpanel_proxy_requests_total{method="GET",path="/x/*",status="_other"}"#));
    assert!(count("gpanel_proxy_request_errors_total") < 140);
    assert!(count("gpanel_proxy_backend_requests_total") < 520);
    assert!(page.contains(r#"gpanel_proxy_backend_requests_total{backend="_other"}"#));
}

#[test]
fn stats_add_up_the_workers() {
    let stats = serde_json::to_value(busy().stats()).unwrap();
    assert_eq!(stats["requests"]["total"], 3);
    assert_eq!(stats["requests"]["in_flight"], 1);
    assert_eq!(stats["requests"]["by_status"]["2xx"], 2);
    assert_eq!(stats["requests"]["by_status"]["5xx"], 1);
    assert_eq!(stats["bytes"], serde_json::json!({"received": 30, "sent": 6000}));
    assert_eq!(stats["backends"]["agent"], serde_json::json!({"requests": 4, "failures": 2}));
    assert_eq!(stats["filters"][0]["name"], "router");
    assert_eq!(stats["generation"], 3);
}

#[test]
fn counting_a_request_is_cheap() {
    let telemetry = Telemetry::new(1);
    let record = record();
    let rounds = 20_000;
    // The best of some rounds: the others were disturbed.
    let best = (0..10)
        .map(|_| {
            let begin = Instant::now();
            for _ in 0..rounds {
                telemetry.request_started(WorkerId(0));
                telemetry.request_finished(WorkerId(0), &record);
            }
            begin.elapsed() / rounds
        })
        .min()
        .unwrap();
    assert!(best < Duration::from_micros(2), "{best:?}");
}
