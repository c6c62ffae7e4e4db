//! Counters of one backend on one worker: attempts, failures, time to response headers, pooled connections.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::histogram::{Histogram, SECONDS};
use super::routes::OTHER;

/// Backends with counters of their own; the configuration seldom has more than a dozen.
const MAX_BACKENDS: usize = 256;

/// How one try to get an answer from a backend ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// A response's head came after that time.
    Answered(Duration),
    /// No usable response's head came.
    Failed,
}

/// Counters of one backend on one worker.
pub struct BackendCounters {
    requests: AtomicU64,
    failures: AtomicU64,
    opened: AtomicU64,
    reused: AtomicU64,
    time: Mutex<Histogram<14>>,
}

impl BackendCounters {
    fn new() -> Self {
        Self {
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            opened: AtomicU64::new(0),
            reused: AtomicU64::new(0),
            time: Mutex::new(Histogram::new(&SECONDS)),
        }
    }

    /// Counts one attempt, whatever became of it.
    pub fn attempt(&self, attempt: Attempt) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        match attempt {
            Attempt::Answered(time) => self.time.lock().observe(time.as_secs_f64()),
            Attempt::Failed => {
                self.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Counts a connection that was opened for an attempt.
    pub fn connection_opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection that came out of the pool.
    pub fn connection_reused(&self) {
        self.reused.fetch_add(1, Ordering::Relaxed);
    }
}

/// The sum of a backend's counters over all workers.
#[derive(Clone, Debug)]
pub(super) struct BackendTotals {
    pub(super) requests: u64,
    pub(super) failures: u64,
    pub(super) opened: u64,
    pub(super) reused: u64,
    pub(super) time: Histogram<14>,
}

/// The backends of one worker.
#[derive(Default)]
pub(super) struct Backends(Mutex<HashMap<Box<str>, Arc<BackendCounters>>>);

impl Backends {
    pub(super) fn counters(&self, name: &str) -> Arc<BackendCounters> {
        let mut backends = self.0.lock();
        if let Some(known) = backends.get(name) {
            return Arc::clone(known);
        }
        let name = if backends.len() < MAX_BACKENDS { name } else { OTHER };
        Arc::clone(backends.entry(name.into()).or_insert_with(|| Arc::new(BackendCounters::new())))
    }

    pub(super) fn merge(&self, into: &mut BTreeMap<Box<str>, BackendTotals>) {
        for (name, counters) in self.0.lock().iter() {
            let totals = into.entry(name.clone()).or_insert_with(|| BackendTotals {
                requests: 0,
                failures: 0,
                opened: 0,
                reused: 0,
                time: Histogram::new(&SECONDS),
            });
            totals.requests += counters.requests.load(Ordering::Relaxed);
            totals.failures += counters.failures.load(Ordering::Relaxed);
            totals.opened += counters.opened.load(Ordering::Relaxed);
            totals.reused += counters.reused.load(Ordering::Relaxed);
            totals.time.merge(&counters.time.lock());
        }
    }
}
