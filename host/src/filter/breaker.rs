//! Keeps requests away from a filter that fails again and again.
//!
//! After some failures in a row the breaker opens: nothing enters the filter for a while, and what its failure policy
//! says happens at once. Then one call is let in as a probe; it closes the breaker or opens it for twice as long.
//! All workers share one breaker; while the filter is well they only read it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Failures in a row that open it.
const FAILURES: u32 = 10;
/// How long it stays open at first, and at most.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// How a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Requests enter.
    Closed,
    /// Requests do not enter.
    Open,
    /// One request is in there to see whether the filter is well again.
    Probing,
}

/// One filter's breaker.
#[derive(Debug)]
pub(super) struct Breaker {
    start: Instant,
    /// Failures in a row.
    failures: AtomicU32,
    /// When a probe may enter, in milliseconds from `start`; 0 while closed.
    open_until: AtomicU64,
    /// Milliseconds that it was open for the last time.
    pause: AtomicU64,
    probing: AtomicBool,
    opened: AtomicU64,
}

/// The right to enter; says how it went, or was dropped.
#[must_use]
pub(super) struct Entry<'a> {
    breaker: &'a Breaker,
    probe: bool,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            failures: AtomicU32::new(0),
            open_until: AtomicU64::new(0),
            pause: AtomicU64::new(0),
            probing: AtomicBool::new(false),
            opened: AtomicU64::new(0),
        }
    }
}

impl Breaker {
    /// Asks to enter; `None` while it is open.
    pub(super) fn enter(&self) -> Option<Entry<'_>> {
        // The clock is only read while open.
        if self.open_until.load(Ordering::Relaxed) == 0 {
            return Some(Entry { breaker: self, probe: false });
        }
        self.enter_open(Instant::now())
    }

    fn enter_open(&self, now: Instant) -> Option<Entry<'_>> {
        if self.milliseconds(now) < self.open_until.load(Ordering::Acquire) {
            return None;
        }
        let first = self.probing.compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        first.then_some(Entry { breaker: self, probe: true })
    }

    pub(super) fn state(&self) -> BreakerState {
        if self.probing.load(Ordering::Relaxed) {
            BreakerState::Probing
        } else if self.open_until.load(Ordering::Relaxed) == 0 {
            BreakerState::Closed
        } else {
            BreakerState::Open
        }
    }

    /// How often it opened.
    pub(super) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    fn open(&self, pause: Duration, now: Instant) {
        let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.pause.store(pause, Ordering::Relaxed);
        self.open_until.store(self.milliseconds(now).saturating_add(pause), Ordering::Release);
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    fn close(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.pause.store(0, Ordering::Relaxed);
        self.open_until.store(0, Ordering::Release);
    }

    /// From 1, because 0 means closed.
    fn milliseconds(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.start).as_millis();
        u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1)
    }
}

impl Entry<'_> {
    /// The call went well.
    pub(super) fn succeeded(self) {
        if self.probe {
            self.breaker.close();
        } else if self.breaker.failures.load(Ordering::Relaxed) != 0 {
            self.breaker.failures.store(0, Ordering::Relaxed);
        }
    }

    /// The call failed. `true` if that opened the breaker.
    pub(super) fn failed(self) -> bool {
        self.failed_at(Instant::now())
    }

    fn failed_at(self, now: Instant) -> bool {
        if self.probe {
            let last = Duration::from_millis(self.breaker.pause.load(Ordering::Relaxed));
            self.breaker.open((last * 2).clamp(SHORTEST, LONGEST), now);
            return true;
        }
        let failures = self.breaker.failures.fetch_add(1, Ordering::Relaxed) + 1;
        // Calls that were inside when it opened fail after it: they do not open it again.
        let opens = failures >= FAILURES && self.breaker.open_until.load(Ordering::Relaxed) == 0;
        if opens {
            self.breaker.open(SHORTEST, now);
        }
        opens
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        // Also when the client went away in the middle of a probe: the next request is the next probe.
        if self.probe {
            self.breaker.probing.store(false, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &Breaker, times: u32) {
        for _ in 0..times {
            breaker.enter().unwrap().failed();
        }
    }

    #[test]
    fn failures_in_a_row_open_it() {
        let breaker = Breaker::default();
        fail(&breaker, FAILURES - 1);
        breaker.enter().unwrap().succeeded();
        fail(&breaker, FAILURES - 1);
        assert_eq!(breaker.state(), BreakerState::Closed);
        fail(&breaker, 1);
        assert_eq!(breaker.state(), BreakerState::Open);
        assert!(breaker.enter().is_none());
        assert_eq!(breaker.opened(), 1);
    }

    #[test]
    fn one_probe_closes_it_or_opens_it_for_longer() {
        let breaker = Breaker::default();
        fail(&breaker, FAILURES);
        let mut now = Instant::now();
        for pause in [1, 2, 4, 8, 16, 30, 30] {
            assert!(breaker.enter_open(now + Duration::from_millis(pause * 1000 - 500)).is_none());
            now += Duration::from_secs(pause);
            let probe = breaker.enter_open(now).unwrap();
            assert_eq!(breaker.state(), BreakerState::Probing);
            assert!(breaker.enter_open(now).is_none(), "a second probe");
            assert!(probe.failed_at(now));
        }
        now += LONGEST;
        breaker.enter_open(now).unwrap().succeeded();
        assert_eq!(breaker.state(), BreakerState::Closed);
        fail(&breaker, FAILURES - 1);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn a_probe_that_is_dropped_makes_room_for_the_next() {
        let breaker = Breaker::default();
        fail(&breaker, FAILURES);
        let later = Instant::now() + LONGEST;
        drop(breaker.enter_open(later).unwrap());
        assert!(breaker.enter_open(later).is_some());
    }

    #[test]
    fn late_failures_do_not_open_it_again() {
        let breaker = Breaker::default();
        let inside: Vec<_> = (0..10).map(|_| breaker.enter().unwrap()).collect();
        let opened = inside.into_iter().map(Entry::failed).filter(|opened| *opened).count();
        assert_eq!(opened, 1);
    }
}
