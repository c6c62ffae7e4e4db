//! The access log: one line for every finished request.
//!
//! Written by hand into the thread's buffer, about a microsecond a line, and handed on without waiting.

use std::io::Write as _;
use std::time::SystemTime;

use super::encode::{integer, json_string, milliseconds, rfc3339, text_value, with_line};
use super::log_writer::LogWriter;
use super::logging::Settings;
use super::record::RequestRecord;
use crate::config::model::LogFormat;

/// Writes the lines of finished requests.
#[derive(Clone)]
pub struct AccessLog {
    writer: LogWriter,
    settings: Settings,
}

impl AccessLog {
    pub(super) fn new(writer: LogWriter, settings: Settings) -> Self {
        Self { writer, settings }
    }

    /// Writes one line, unless the access log is switched off.
    pub fn write(&self, record: &RequestRecord<'_>) {
        if !self.settings.access_log() {
            return;
        }
        with_line(|line| {
            encode(line, self.settings.format(), SystemTime::now(), record);
            self.writer.write(line);
        });
    }

    /// Lines that found no room, or that could not be written.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.writer.dropped()
    }
}

/// Appends the line of `record`.
fn encode(line: &mut Vec<u8>, format: LogFormat, now: SystemTime, record: &RequestRecord<'_>) {
    let mut fields = match format {
        LogFormat::Json => {
            line.extend_from_slice(b"{\"ts\":\"");
            rfc3339(line, now);
            line.extend_from_slice(b"\",\"level\":\"INFO\",\"component\":\"access\"");
            Fields { line, format }
        }
        LogFormat::Text => {
            rfc3339(line, now);
            line.extend_from_slice(b"  INFO component=access");
            Fields { line, format }
        }
    };
    fields.text("id", record.id);
    fields.displayed("client", record.client);
    fields.text("protocol", record.protocol.label());
    fields.flag("tls", record.tls);
    fields.text("method", record.method.as_str());
    fields.text("host", record.host);
    fields.text("path", record.path);
    for (key, value) in [("route", record.route), ("backend", record.backend), ("endpoint", record.endpoint)] {
        if let Some(value) = value {
            fields.text(key, value);
        }
    }
    fields.number("status", record.status.into());
    if let Some(error) = record.error {
        fields.text("error", error);
    }
    fields.number("bytes_in", record.bytes_in);
    fields.number("bytes_out", record.bytes_out);
    milliseconds(fields.key("duration_ms"), record.duration);
    if let Some(upstream) = record.upstream {
        milliseconds(fields.key("upstream_ms"), upstream);
    }
    if record.early_data {
        fields.flag("early_data", true);
    }
    fields.tags(record.tags);
    if format == LogFormat::Json {
        line.push(b'}');
    }
    line.push(b'\n');
}

/// Appends fields in either form.
struct Fields<'a> {
    line: &'a mut Vec<u8>,
    format: LogFormat,
}

impl Fields<'_> {
    /// Appends what stands before a value. `key` is one of ours and needs no escape.
    fn key(&mut self, key: &str) -> &mut Vec<u8> {
        match self.format {
            LogFormat::Json => {
                self.line.extend_from_slice(b",\"");
                self.line.extend_from_slice(key.as_bytes());
                self.line.extend_from_slice(b"\":");
            }
            LogFormat::Text => {
                self.line.push(b' ');
                self.line.extend_from_slice(key.as_bytes());
                self.line.push(b'=');
            }
        }
        self.line
    }

    fn text(&mut self, key: &str, value: &str) {
        let format = self.format;
        let line = self.key(key);
        match format {
            LogFormat::Json => json_string(line, value),
            LogFormat::Text => text_value(line, value),
        }
    }

    /// For values that need no escape.
    fn displayed(&mut self, key: &str, value: impl std::fmt::Display) {
        let quote: &[u8] = if self.format == LogFormat::Json { b"\"" } else { b"" };
        let line = self.key(key);
        line.extend_from_slice(quote);
        // Vec never fails to take bytes.
        let _ = write!(line, "{value}");
        line.extend_from_slice(quote);
    }

    fn number(&mut self, key: &str, value: u64) {
        integer(self.key(key), value);
    }

    fn flag(&mut self, key: &str, value: bool) {
        self.key(key).extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// An object in JSON, `tag.KEY=VALUE` in text. Keys come from filters: they are escaped.
    fn tags(&mut self, tags: &[(Box<str>, Box<str>)]) {
        if tags.is_empty() {
            return;
        }
        if self.format == LogFormat::Text {
            for (key, value) in tags {
                self.line.extend_from_slice(b" tag.");
                text_value(self.line, key);
                self.line.push(b'=');
                text_value(self.line, value);
            }
            return;
        }
        self.key("tags").push(b'{');
        for (index, (key, value)) in tags.iter().enumerate() {
            if index > 0 {
                self.line.push(b',');
            }
            json_string(self.line, key);
            self.line.push(b':');
            json_string(self.line, value);
        }
        self.line.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use http::Method;

    use super::*;
    use crate::message::Protocol;

    fn line(format: LogFormat, record: &RequestRecord<'_>) -> String {
        let mut line = Vec::new();
        encode(&mut line, format, UNIX_EPOCH + Duration::from_hours(24), record);
        String::from_utf8(line).unwrap()
    }

    fn record() -> RequestRecord<'static> {
        RequestRecord {
            id: "0af7",
            client: "[::1]:5000".parse().unwrap(),
            protocol: Protocol::Http3,
            tls: true,
            method: &Method::GET,
            host: "example.org",
            path: "/a\"b c",
            route: Some("/a/*"),
            backend: Some("agent"),
            endpoint: Some("127.0.0.1:80"),
            status: 502,
            error: Some("connection_refused"),
            bytes_in: 1,
            bytes_out: 2,
            duration: Duration::from_micros(1500),
            upstream: None,
            early_data: true,
            tags: &[],
        }
    }

    #[test]
    fn json() {
        let tags = [("user\n".into(), "a\"b".into()), ("two".into(), "2".into())];
        let text = line(LogFormat::Json, &RequestRecord { tags: &tags, ..record() });
        assert!(text.ends_with("}\n") && text.matches('\n').count() == 1);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "ts": "1970-01-02T00:00:00.000Z", "level": "INFO", "component": "access", "id": "0af7",
                "client": "[::1]:5000", "protocol": "http3", "tls": true, "method": "GET",
                "host": "example.org", "path": "/a\"b c", "route": "/a/*", "backend": "agent",
                "endpoint": "127.0.0.1:80", "status": 502, "error": "connection_refused", "bytes_in": 1,
                "bytes_out": 2, "duration_ms": 1.5, "early_data": true, "tags": {"user\n": "a\"b", "two": "2"},
            })
        );
    }

    #[test]
    fn text() {
        let tags = [("user".into(), "a b".into())];
        let text = line(LogFormat::Text, &RequestRecord { tags: &tags, early_data: false, ..record() });
        assert_eq!(
            text,
            "1970-01-02T00:00:00.000Z  INFO component=access id=0af7 client=[::1]:5000 protocol=http3 tls=true \
             method=GET host=example.org path=\"/a\\\"b c\" route=/a/* backend=agent endpoint=127.0.0.1:80 \
             status=502 error=connection_refused bytes_in=1 bytes_out=2 duration_ms=1.500 tag.user=\"a b\"\n"
        );
    }
}
