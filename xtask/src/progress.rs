//! What the person who waits sees: one line before each step, one line with its duration after it.

use std::time::{Duration, Instant};

/// A step that has begun.
pub struct Step {
    name: String,
    began: Instant,
}

impl Step {
    /// Announces a step.
    pub fn begin(name: impl Into<String>) -> Self {
        let name = name.into();
        println!("==> {name}");
        Self { name, began: Instant::now() }
    }

    /// Says how long it took.
    pub fn done(self) -> Duration {
        let took = self.began.elapsed();
        println!("    {} done in {}", self.name, seconds(took));
        took
    }
}

/// A line that belongs to the step above it.
pub fn detail(text: impl AsRef<str>) {
    println!("    {}", text.as_ref());
}

/// A duration for people: `0.4 s`, `12 s`, `3 min 20 s`.
pub fn seconds(duration: Duration) -> String {
    let total = duration.as_secs();
    match total {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..120 => format!("{total} s"),
        _ => format!("{} min {} s", total / 60, total % 60),
    }
}

/// Bytes for people, in decimal megabytes.
pub fn megabytes(bytes: u64) -> String {
    let tenths = bytes / 100_000;
    if tenths < 100 { format!("{}.{} MB", tenths / 10, tenths % 10) } else { format!("{} MB", tenths / 10) }
}
