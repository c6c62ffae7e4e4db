//! Log lines: `tracing` events, filtered by `[logging] level` or `RUST_LOG`, as JSON or text, through the
//! writer that the access log uses too.
//!
//! Every line names its component, so that an operator can follow one part of the proxy: taken from the event's
//! `component` field, or else from the module that it comes from.

use std::fmt::{self, Write as _};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{EnvFilter, LevelFilter, ParseError};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{Layer, Registry, reload};

use super::access_log::AccessLog;
use super::encode::{integer, json_string, rfc3339, text_message, text_value, with_line};
use super::log_writer::{LogWriter, WriterThread};
use crate::config::model::{LogFormat, Logging};

/// Why logging could not be set up, or changed.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The output cannot be opened.
    #[error("log output")]
    Output(#[from] io::Error),
    /// The level or filter is not understood.
    #[error("log level or filter")]
    Filter(#[from] ParseError),
    /// Logging was set up before.
    #[error("logging is set up already")]
    Twice(#[from] TryInitError),
    /// The subscriber is gone: the process is ending.
    #[error("the filter cannot be changed any more")]
    Gone(#[from] reload::Error),
}

/// What can change while the process runs; shared by everybody who writes lines.
#[derive(Clone, Default)]
pub struct Settings(Arc<Flags>);

#[derive(Default)]
struct Flags {
    text: AtomicBool,
    access_log: AtomicBool,
}

impl Settings {
    fn apply(&self, logging: &Logging) {
        self.0.text.store(logging.format == LogFormat::Text, Ordering::Relaxed);
        self.0.access_log.store(logging.access_log, Ordering::Relaxed);
    }

    pub(super) fn format(&self) -> LogFormat {
        if self.0.text.load(Ordering::Relaxed) { LogFormat::Text } else { LogFormat::Json }
    }

    pub(super) fn access_log(&self) -> bool {
        self.0.access_log.load(Ordering::Relaxed)
    }
}

/// Changes logging while the process runs; cheap to clone.
#[derive(Clone)]
pub struct LogHandle {
    writer: LogWriter,
    settings: Settings,
    filter: reload::Handle<EnvFilter, Registry>,
}

impl LogHandle {
    /// Takes over a changed `[logging]`; also opens the output again, which is what log rotation needs.
    ///
    /// # Errors
    /// The filter is not understood; then nothing has changed.
    pub fn apply(&self, logging: &Logging) -> Result<(), LoggingError> {
        self.filter.reload(filter(&logging.filter)?)?;
        self.settings.apply(logging);
        self.writer.reopen(logging.output.clone());
        Ok(())
    }

    /// The access log, for `Telemetry::set_access_log`.
    #[must_use]
    pub fn access_log(&self) -> AccessLog {
        AccessLog::new(self.writer.clone(), self.settings.clone())
    }
}

/// Keeps logging going; dropped last, it writes what is queued.
pub struct Guard {
    handle: LogHandle,
    _thread: WriterThread,
}

impl Guard {
    /// What changes logging while the process runs.
    #[must_use]
    pub fn handle(&self) -> LogHandle {
        self.handle.clone()
    }
}

/// Sets up logging for the process.
///
/// # Errors
/// The output cannot be opened, the filter is not understood, or logging was set up before.
pub fn init(logging: &Logging) -> Result<Guard, LoggingError> {
    let filter = filter(&logging.filter)?;
    let (writer, thread) = LogWriter::start(&logging.output)?;
    let settings = Settings::default();
    settings.apply(logging);
    let (filter, handle) = reload::Layer::new(filter);
    let lines = LineLayer { writer: writer.clone(), settings: settings.clone() };
    tracing_subscriber::registry().with(filter).with(lines).try_init()?;
    Ok(Guard { handle: LogHandle { writer, settings, filter: handle }, _thread: thread })
}

/// Reads a `tracing` filter. A bare level speaks of the proxy and of quinn; other libraries then tell at most
/// what is worth an operator's attention. (At `trace`, h2 prints header values: secrets must be asked for by
/// name.)
fn filter(text: &str) -> Result<EnvFilter, ParseError> {
    let text = text.trim();
    if text.is_empty() {
        return EnvFilter::try_new("info,gpanel_proxy=info");
    }
    match text.parse::<LevelFilter>() {
        Ok(level) => {
            let others = level.min(LevelFilter::WARN);
            EnvFilter::try_new(format!("{others},gpanel_proxy={level},quinn={}", level.min(LevelFilter::DEBUG)))
        }
        Err(_) => EnvFilter::try_new(text),
    }
}

/// The component of an event that names none, by the module that it comes from.
fn component(target: &str) -> &'static str {
    const OURS: [(&str, &str); 9] = [
        ("listener::quic", "quic"),
        ("codec::h3", "quic"),
        ("listener::tls", "tls"),
        ("listener::certs", "tls"),
        ("pipeline", "routing"),
        ("snapshot", "routing"),
        ("upstream", "backend"),
        ("filter", "filter"),
        ("wasm", "filter"),
    ];
    const THEIRS: [(&str, &str); 4] = [("quinn", "quic"), ("h3", "quic"), ("rustls", "tls"), ("wasmtime", "filter")];
    if let Some(module) = target.strip_prefix("gpanel_proxy::") {
        return OURS.iter().find(|(prefix, _)| module.starts_with(prefix)).map_or("server", |(_, name)| name);
    }
    THEIRS.iter().find(|(prefix, _)| target.starts_with(prefix)).map_or("server", |(_, name)| name)
}

/// Turns events into lines.
struct LineLayer {
    writer: LogWriter,
    settings: Settings,
}

impl<S: Subscriber> Layer<S> for LineLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        with_line(|line| {
            encode(line, self.settings.format(), SystemTime::now(), event);
            self.writer.write(line);
        });
    }
}

/// Appends the line of `event`.
fn encode(line: &mut Vec<u8>, format: LogFormat, now: SystemTime, event: &Event<'_>) {
    let mut parts = Parts { format, component: None, message: String::new(), fields: Vec::new() };
    event.record(&mut parts);
    let target = event.metadata().target();
    let level = *event.metadata().level();
    let component = parts.component.as_deref().unwrap_or_else(|| component(target));
    match format {
        LogFormat::Json => {
            line.extend_from_slice(b"{\"ts\":\"");
            rfc3339(line, now);
            line.extend_from_slice(b"\",\"level\":\"");
            line.extend_from_slice(level.as_str().as_bytes());
            line.extend_from_slice(b"\",\"component\":");
            json_string(line, component);
            line.extend_from_slice(b",\"target\":");
            json_string(line, target);
            line.extend_from_slice(b",\"message\":");
            json_string(line, &parts.message);
            line.extend_from_slice(&parts.fields);
            line.push(b'}');
        }
        LogFormat::Text => {
            rfc3339(line, now);
            line.extend_from_slice(if matches!(level, Level::INFO | Level::WARN) { b"  " } else { b" " });
            line.extend_from_slice(level.as_str().as_bytes());
            line.extend_from_slice(b" component=");
            text_value(line, component);
            line.push(b' ');
            text_message(line, &parts.message);
            line.extend_from_slice(&parts.fields);
        }
    }
    line.push(b'\n');
}

/// The fields of one event.
struct Parts {
    format: LogFormat,
    component: Option<Box<str>>,
    message: String,
    /// Everything else, encoded, each with its separator in front.
    fields: Vec<u8>,
}

impl Parts {
    fn text(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message.push_str(value),
            "component" => self.component = Some(value.into()),
            name => {
                self.key(name);
                match self.format {
                    LogFormat::Json => json_string(&mut self.fields, value),
                    LogFormat::Text => text_value(&mut self.fields, value),
                }
            }
        }
    }

    fn key(&mut self, name: &str) {
        match self.format {
            LogFormat::Json => {
                self.fields.push(b',');
                json_string(&mut self.fields, name);
                self.fields.push(b':');
            }
            LogFormat::Text => {
                self.fields.push(b' ');
                self.fields.extend_from_slice(name.as_bytes());
                self.fields.push(b'=');
            }
        }
    }
}

impl Visit for Parts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.key(field.name());
        self.fields.extend_from_slice(if value { b"true" } else { b"false" });
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.key(field.name());
        integer(&mut self.fields, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.key(field.name());
        integer(&mut self.fields, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no word for what is not finite.
        if value.is_finite() {
            self.key(field.name());
            self.fields.extend_from_slice(value.to_string().as_bytes());
        } else {
            self.text(field, &value.to_string());
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(error) = source {
            // A String never fails to take text.
            let _ = write!(text, ": {error}");
            source = error.source();
        }
        self.text(field, &text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests;
