//! `log`: lines for the proxy's own log, marked with the filter's name and bounded in length and number.

use std::borrow::Cow;
use std::fmt::Write as _;

use tracing::Level;

use crate::wasm::bindings::gpanel::filter::log::{Host, Level as GuestLevel};
use crate::wasm::limits::LOG_LINE_BYTES;
use crate::wasm::store::GuestState;

impl Host for GuestState {
    fn enabled(&mut self, level: GuestLevel) -> wasmtime::Result<bool> {
        self.charge()?;
        Ok(match level {
            GuestLevel::Trace => tracing::enabled!(Level::TRACE),
            GuestLevel::Debug => tracing::enabled!(Level::DEBUG),
            GuestLevel::Info => tracing::enabled!(Level::INFO),
            GuestLevel::Warn => tracing::enabled!(Level::WARN),
            GuestLevel::Error => tracing::enabled!(Level::ERROR),
        })
    }

    fn write(&mut self, level: GuestLevel, message: String, fields: Vec<(String, String)>) -> wasmtime::Result<()> {
        self.charge()?;
        let Some(left) = self.log_lines.checked_sub(1) else {
            self.log_lines_dropped += 1;
            return Ok(());
        };
        self.log_lines = left;
        write_line(&self.facts.name, level, &message, &joined(&fields));
        Ok(())
    }
}

/// Writes one line.
pub(in crate::wasm) fn write_line(filter: &str, level: GuestLevel, message: &str, fields: &str) {
    let message = printable(message);
    let fields = printable(fields);
    // The level of an event is fixed where it is written.
    match level {
        GuestLevel::Trace => tracing::trace!(component = "filter", filter, fields = %fields, "{message}"),
        GuestLevel::Debug => tracing::debug!(component = "filter", filter, fields = %fields, "{message}"),
        GuestLevel::Info => tracing::info!(component = "filter", filter, fields = %fields, "{message}"),
        GuestLevel::Warn => tracing::warn!(component = "filter", filter, fields = %fields, "{message}"),
        GuestLevel::Error => tracing::error!(component = "filter", filter, fields = %fields, "{message}"),
    }
}

/// `key=value key=value`: the names are the guest's, and `tracing` wants its own to be known when it is compiled.
fn joined(fields: &[(String, String)]) -> String {
    let mut text = String::new();
    for (key, value) in fields {
        if text.len() > LOG_LINE_BYTES {
            break;
        }
        let space = if text.is_empty() { "" } else { " " };
        // Writing to a string does not fail.
        let _ = write!(text, "{space}{key}={value}");
    }
    text
}

/// Cuts to the length allowed, and shows control characters instead of sending them to somebody's terminal.
fn printable(text: &str) -> Cow<'_, str> {
    let text = &text[..text.floor_char_boundary(LOG_LINE_BYTES)];
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        if char.is_control() {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(printable("plain"), "plain");
        assert_eq!(printable("two\nlines\u{1b}[31m"), "two\\nlines\\u{1b}[31m");
    }

    #[test]
    fn a_line_is_cut_between_characters() {
        let long = "é".repeat(LOG_LINE_BYTES);
        assert!(printable(&long).len() <= LOG_LINE_BYTES);
    }

    #[test]
    fn fields_are_joined() {
        let fields = [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())];
        assert_eq!(joined(&fields), "a=1 b=2");
    }
}
