//! A filter that failed, and its failure policy's answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;

use crate::message::reply::json_error;
use crate::message::{Body, RequestId, ResponseHead};
use crate::wasm::CallError;

/// Between two warnings about the same filter.
const WARNING_INTERVAL: Duration = Duration::from_secs(1);

/// A filter with `fail = "closed"` gave no verdict: the request ends here.
#[derive(Debug)]
pub struct FilterFailure {
    /// The filter's name.
    pub filter: Arc<str>,
    /// Why: the words of [`CallError::label`], `breaker_open`, or `not_loaded`.
    pub reason: &'static str,
}

impl FilterFailure {
    /// The code of access log, metrics and `Proxy-Status`.
    pub const CODE: &'static str = "filter_failed";

    /// The answer to the client: it names the filter, and tells nothing of what is inside.
    #[must_use]
    pub fn reply(&self, id: Option<&RequestId>) -> (ResponseHead, Body) {
        let message = format!("the filter {} failed", self.filter);
        json_error(StatusCode::SERVICE_UNAVAILABLE, Self::CODE, &message, id)
    }
}

/// Says in the log what went wrong, at most once a second for a filter.
#[derive(Debug)]
pub(super) struct Warnings {
    start: Instant,
    /// When the next may be written, in milliseconds from `start`.
    next: AtomicU64,
    /// Failures that were not written since.
    silent: AtomicU64,
}

impl Default for Warnings {
    fn default() -> Self {
        Self { start: Instant::now(), next: AtomicU64::new(0), silent: AtomicU64::new(0) }
    }
}

impl Warnings {
    /// Writes one failure, or only counts it.
    pub(super) fn failed(&self, filter: &str, phase: &str, error: &CallError) {
        if let Some(backtrace) = error.backtrace() {
            tracing::debug!(component = "filter", filter, phase, "{backtrace}");
        }
        let Some(silent) = self.is_due(Instant::now()) else { return };
        let reason = error.label();
        if silent == 0 {
            tracing::warn!(component = "filter", filter, phase, reason, "filter failed: {error}");
        } else {
            tracing::warn!(component = "filter", filter, phase, reason, silent, "filter failed: {error}");
        }
    }

    /// `Some` with the number of failures not written if it is time for a warning.
    fn is_due(&self, now: Instant) -> Option<u64> {
        let now = u64::try_from(now.saturating_duration_since(self.start).as_millis()).unwrap_or(u64::MAX);
        let next = self.next.load(Ordering::Relaxed);
        let interval = u64::try_from(WARNING_INTERVAL.as_millis()).unwrap_or(u64::MAX);
        let mine = now >= next
            && self.next.compare_exchange(next, now + interval, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if mine {
            return Some(self.silent.swap(0, Ordering::Relaxed));
        }
        self.silent.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_counted_between_seconds() {
        let warnings = Warnings::default();
        let now = warnings.start;
        assert_eq!(warnings.is_due(now), Some(0));
        assert_eq!(warnings.is_due(now + Duration::from_millis(10)), None);
        assert_eq!(warnings.is_due(now + Duration::from_millis(999)), None);
        assert_eq!(warnings.is_due(now + Duration::from_secs(1)), Some(2));
    }
}
