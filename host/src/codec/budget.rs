//! Tells traffic from floods: so many at once, so many per second.

use tokio::time::Instant;

/// A budget that refills over time.
#[derive(Debug)]
pub(crate) struct Budget {
    left: u64,
    capacity: u64,
    per_second: u64,
    refilled: Instant,
}

impl Budget {
    pub(crate) fn new(capacity: u64, per_second: u64) -> Self {
        Self { left: capacity, capacity, per_second, refilled: Instant::now() }
    }

    /// Takes one; the clock is only asked when nothing is left.
    pub(crate) fn take(&mut self) -> bool {
        if self.left == 0 {
            let now = Instant::now();
            let elapsed = u64::try_from(now.duration_since(self.refilled).as_millis()).unwrap_or(u64::MAX);
            self.left = (elapsed.saturating_mul(self.per_second) / 1000).min(self.capacity);
            if self.left == 0 {
                return false;
            }
            self.refilled = now;
        }
        self.left -= 1;
        true
    }

    pub(crate) fn earn(&mut self, amount: u64) {
        self.left = self.left.saturating_add(amount).min(self.capacity);
    }
}
