//! What one run saw.

use std::time::Duration;

use serde_json::{Value, json};

/// Counts and latencies of one run, or of one task of it.
#[derive(Default)]
pub(crate) struct Sample {
    latencies: Vec<u32>,
    bytes: u64,
    errors: u64,
    last_error: Option<String>,
    elapsed: Duration,
}

impl Sample {
    /// One answered request.
    pub(crate) fn record(&mut self, latency: Duration, bytes: u64) {
        self.latencies.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
        self.bytes += bytes;
    }

    /// One that failed; the last reason is kept.
    pub(crate) fn fail(&mut self, error: &anyhow::Error) {
        self.errors += 1;
        self.last_error = Some(format!("{error:#}"));
    }

    /// Body bytes of a request that was cut off by the end of the run.
    pub(crate) fn add_bytes(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// Takes in what another task saw.
    pub(crate) fn merge(&mut self, mut other: Self) {
        self.latencies.append(&mut other.latencies);
        self.bytes += other.bytes;
        self.errors += other.errors;
        self.last_error = other.last_error.or(self.last_error.take());
    }

    /// How long the run took.
    pub(crate) fn took(mut self, elapsed: Duration) -> Self {
        self.elapsed = elapsed;
        self
    }

    /// Latencies in microseconds.
    pub(crate) fn into_json(mut self) -> Value {
        self.latencies.sort_unstable();
        json!({
            "requests": self.latencies.len(),
            "errors": self.errors,
            "last_error": self.last_error,
            "bytes": self.bytes,
            "seconds": self.elapsed.as_secs_f64(),
            "p50_us": percentile(&self.latencies, 50),
            "p99_us": percentile(&self.latencies, 99),
        })
    }
}

/// The value that so many per cent of a sorted list stay at or below.
fn percentile(sorted: &[u32], percent: usize) -> Option<u32> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1).min(last)).copied()
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentile_takes_the_nearest_rank() {
        let hundred: Vec<u32> = (1..=100).collect();
        assert_eq!(percentile(&hundred, 50), Some(50));
        assert_eq!(percentile(&hundred, 99), Some(99));
        assert_eq!(percentile(&[7], 99), Some(7));
        assert_eq!(percentile(&[], 50), None);
    }
}
