//! Lines for the proxy's log; the host adds the filter's name and the request's id.

use crate::imports::log;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every step.
    Trace,
    /// For who looks for a fault.
    Debug,
    /// Worth knowing.
    Info,
    /// Something is not as it should be.
    Warn,
    /// Something failed.
    Error,
}

impl Level {
    pub(crate) fn raw(self) -> log::Level {
        match self {
            Self::Trace => log::Level::Trace,
            Self::Debug => log::Level::Debug,
            Self::Info => log::Level::Info,
            Self::Warn => log::Level::Warn,
            Self::Error => log::Level::Error,
        }
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn from_raw(raw: log::Level) -> Self {
        match raw {
            log::Level::Trace => Self::Trace,
            log::Level::Debug => Self::Debug,
            log::Level::Info => Self::Info,
            log::Level::Warn => Self::Warn,
            log::Level::Error => Self::Error,
        }
    }
}

/// Whether a line of that level would be written: ask before making an expensive one.
#[must_use]
pub fn enabled(level: Level) -> bool {
    log::enabled(level.raw())
}

/// Writes a line with fields. The host bounds length and number; what is beyond is dropped and counted.
pub fn write(level: Level, message: &str, fields: &[(&str, &str)]) {
    let fields: Vec<_> = fields.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    log::write(level.raw(), message, &fields);
}

/// Writes a line of [`Level::Trace`].
pub fn trace(message: &str) {
    write(Level::Trace, message, &[]);
}

/// Writes a line of [`Level::Debug`].
pub fn debug(message: &str) {
    write(Level::Debug, message, &[]);
}

/// Writes a line of [`Level::Info`].
pub fn info(message: &str) {
    write(Level::Info, message, &[]);
}

/// Writes a line of [`Level::Warn`].
pub fn warn(message: &str) {
    write(Level::Warn, message, &[]);
}

/// Writes a line of [`Level::Error`].
pub fn error(message: &str) {
    write(Level::Error, message, &[]);
}
