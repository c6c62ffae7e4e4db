//! `[logging]` and `[metrics]`: where log lines go, and the admin listener.

use std::path::PathBuf;

use tracing_subscriber::EnvFilter;

use super::defaults;
use super::diagnostic::{Located, Place};
use super::inactive::{Gate, Shape};
use super::listeners::Listen;
use super::model::{Admin, LogFormat, LogOutput, Logging};
use super::overrides::{Outside, outside};
use super::parse;
use super::reader::Section;
use super::value::choose;

const FORMATS: [(&str, LogFormat); 2] = [("json", LogFormat::Json), ("text", LogFormat::Text)];
const LEVELS: [(&str, &str); 6] =
    [("trace", "trace"), ("debug", "debug"), ("info", "info"), ("warn", "warn"), ("error", "error"), ("off", "off")];

/// Where log lines go, before the file's path is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Output {
    Stdout,
    Stderr,
    File,
}

/// Reads `[logging]`.
pub(super) fn read_logging(root: &Section<'_>, from_outside: &Outside) -> Logging {
    let section = root.section("logging");
    let report = section.report();
    let given = &from_outside.overrides;
    let level = section.choice("level", &LEVELS).map_or(defaults::LOG_LEVEL, |level| level.value);
    let filter = outside(given.log_filter.as_ref(), report, |text| match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.into()),
        Err(error) => Err(format!("\"{text}\" is not a log filter such as gpanel_proxy=info,quinn=warn: {error}")),
    });
    let format = section.choice("format", &FORMATS);
    let format = outside(given.log_format.as_ref(), report, |text| choose(text, &FORMATS)).or(format);
    let outputs = [("stdout", Output::Stdout), ("stderr", Output::Stderr), ("file", Output::File)];
    let output = section.choice("output", &outputs);
    let file_path = section.path("file_path").map(|path| path.value);
    if let (Some(output), None) = (output.as_ref().filter(|output| output.value == Output::File), &file_path) {
        report.missing(&output.place, "logging.file_path: output = \"file\" needs the file's path");
    }
    Logging {
        filter: filter.map_or_else(|| level.into(), |filter| filter.value),
        format: format.map_or(defaults::LOG_FORMAT, |format| format.value),
        output: destination(output.map_or(Output::Stdout, |output| output.value), file_path),
        access_log: section.boolean("access_log").is_none_or(|on| on.value),
    }
}

fn destination(output: Output, file_path: Option<PathBuf>) -> LogOutput {
    match (output, file_path) {
        (Output::Stderr, _) => LogOutput::Stderr,
        (Output::File, Some(path)) => LogOutput::File(path),
        (Output::Stdout, _) | (Output::File, None) => LogOutput::Stdout,
    }
}

/// Reads `[metrics]`; the listener's address once more, with its place.
pub(super) fn read_admin(root: &Section<'_>) -> (Admin, Listen) {
    let section = root.section("metrics");
    let metrics = section.boolean("enabled").is_none_or(|on| on.value);
    section.inactive(
        "update_interval",
        Shape::Number,
        Gate::from(metrics),
        "does not act yet: metrics are computed whenever they are read, and nothing is polled",
    );
    section.inactive(
        "track_gaming_performance",
        Shape::Flag,
        Gate::from(metrics),
        "does not act yet: gaming sessions are not polled by this version",
    );
    for key in ["track_request_duration", "track_connection_count", "track_error_rates"] {
        let Some(value) = section.take(key) else { continue };
        if value.boolean().is_some_and(|on| !on.value) && metrics {
            value.warning("can't be switched off by this version: these metrics are always kept");
        }
    }
    let address = section.parsed("listen_addr", parse::address);
    let address = address.unwrap_or_else(|| Located { value: defaults::ADMIN_ADDR, place: Place::default() });
    let path = section.parsed("path", |text| match text {
        "/health" | "/ready" => Err(format!("\"{text}\" is taken on the admin listener")),
        text => parse::path(text),
    });
    let metrics_path = path.map_or_else(|| defaults::METRICS_PATH.into(), |path| path.value.into());
    let admin = Admin { metrics, listen_addr: address.value, metrics_path };
    (admin, Listen { name: section.name_of("listen_addr"), address })
}
