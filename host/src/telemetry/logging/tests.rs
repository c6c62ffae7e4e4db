use std::time::{Duration, UNIX_EPOCH};

use parking_lot::Mutex;
use tracing_subscriber::filter::LevelFilter;

use super::*;

/// Collects the lines that events become.
struct Collect(LogFormat, Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Collect {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Vec::new();
        encode(&mut line, self.0, UNIX_EPOCH + Duration::from_millis(1), event);
        self.1.lock().push(String::from_utf8(line).unwrap());
    }
}

fn lines(format: LogFormat, log: impl FnOnce()) -> Vec<String> {
    let lines = Arc::default();
    let subscriber = tracing_subscriber::registry().with(Collect(format, Arc::clone(&lines)));
    tracing::subscriber::with_default(subscriber, log);
    lines.lock().clone()
}

#[test]
fn json_lines_parse_whatever_is_in_them() {
    let lines = lines(LogFormat::Json, || {
        tracing::info!(component = "quic", addr = "127.0.0.1:1", n = 3, odd = f64::NAN, yes = true, "listening");
        tracing::warn!(target: "gpanel_proxy::upstream::pool", text = "a\n\"b\"", "two\nlines");
    });
    let first: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(
        first,
        serde_json::json!({
            "ts": "1970-01-01T00:00:00.001Z", "level": "INFO", "component": "quic",
            "target": "gpanel_proxy::telemetry::logging::tests", "message": "listening",
            "addr": "127.0.0.1:1", "n": 3, "odd": "NaN", "yes": true,
        })
    );
    assert_eq!(lines[1].matches('\n').count(), 1);
    let second: serde_json::Value = serde_json::from_str(&lines[1]).unwrap();
    assert_eq!(second["component"], "backend");
    assert_eq!(second["message"], "two\nlines");
    assert_eq!(second["text"], "a\n\"b\"");
}

#[test]
fn text_lines_can_be_searched_by_component_and_not_forged() {
    let lines = lines(LogFormat::Text, || {
        tracing::info!(target: "gpanel_proxy::pipeline", path = "/a b", "no route\nfor it");
        tracing::error!(component = "tls", "broken");
    });
    assert_eq!(lines[0], "1970-01-01T00:00:00.001Z  INFO component=routing no route\\nfor it path=\"/a b\"\n");
    assert_eq!(lines[1], "1970-01-01T00:00:00.001Z ERROR component=tls broken\n");
}

#[test]
fn an_error_is_told_with_its_sources() {
    let error = LoggingError::Output(io::Error::other("disk on fire"));
    let lines = lines(LogFormat::Text, || {
        tracing::error!(error = &error as &dyn std::error::Error, "no log");
    });
    assert!(lines[0].ends_with("no log error=\"log output: disk on fire\"\n"), "{}", lines[0]);
}

#[test]
fn components_follow_the_module() {
    for (target, name) in [
        ("gpanel_proxy::listener::quic::endpoint", "quic"),
        ("quinn_proto::connection", "quic"),
        ("gpanel_proxy::listener::certs", "tls"),
        ("gpanel_proxy::wasm::pool", "filter"),
        ("gpanel_proxy::server", "server"),
        ("somebody_else", "server"),
    ] {
        assert_eq!(component(target), name, "{target}");
    }
}

#[test]
fn a_bare_level_keeps_libraries_quiet_and_a_filter_is_taken_as_it_is() {
    assert_eq!(filter("trace").unwrap().max_level_hint(), Some(LevelFilter::TRACE));
    let text = filter("debug").unwrap().to_string();
    assert!(text.contains("gpanel_proxy=debug") && text.contains("quinn=debug") && text.contains("warn"), "{text}");
    let text = filter("gpanel_proxy=debug,quinn=trace").unwrap().to_string();
    assert!(text.contains("gpanel_proxy=debug") && text.contains("quinn=trace"), "{text}");
    assert!(filter("gpanel_proxy=loud").is_err());
}
