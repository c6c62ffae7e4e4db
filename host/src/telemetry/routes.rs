//! Requests by route, method and status, with durations and sizes: bounded, whatever labels filters make up.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Method;
use parking_lot::{Mutex, RwLock};

use super::histogram::{BYTES, Histogram, SECONDS};
use super::record::RequestRecord;

/// Label of everything past a bound.
pub(super) const OTHER: &str = "_other";
/// Label of requests that got no route.
pub(super) const UNROUTED: &str = "_unrouted";

/// Route labels with series of their own, over all workers.
const MAX_ROUTES: usize = 512;
/// Statuses that one route and method may have; the rest are counted as 0, printed as `_other`.
const MAX_STATUSES: usize = 32;

/// Method labels; the last one stands for every extension method.
const METHODS: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", OTHER];

fn method_index(method: &Method) -> usize {
    METHODS.iter().position(|name| *name == method.as_str()).unwrap_or(METHODS.len() - 1)
}

/// The route labels that have been given a series.
#[derive(Default)]
pub(super) struct RouteLabels {
    known: RwLock<HashSet<Box<str>>>,
    /// Lets a flood of made-up labels pass without the write lock.
    full: AtomicBool,
}

impl RouteLabels {
    /// Whether `label` may have a series; takes a place if there is one.
    fn admit(&self, label: &str) -> bool {
        if self.known.read().contains(label) {
            return true;
        }
        if self.full.load(Ordering::Relaxed) {
            return false;
        }
        let mut known = self.known.write();
        if known.len() >= MAX_ROUTES {
            self.full.store(true, Ordering::Relaxed);
            return known.contains(label);
        }
        known.insert(label.into());
        true
    }
}

/// What is known of one route and method.
#[derive(Clone, Debug)]
pub(super) struct MethodData {
    /// Requests by status; 0 stands for the statuses past the bound.
    pub(super) statuses: Vec<(u16, u64)>,
    pub(super) duration: Histogram<14>,
    pub(super) request_size: Histogram<8>,
    pub(super) response_size: Histogram<8>,
}

impl MethodData {
    fn new() -> Self {
        Self {
            statuses: Vec::new(),
            duration: Histogram::new(&SECONDS),
            request_size: Histogram::new(&BYTES),
            response_size: Histogram::new(&BYTES),
        }
    }

    fn count(&mut self, status: u16, times: u64) {
        if let Some((_, count)) = self.statuses.iter_mut().find(|(known, _)| *known == status) {
            *count += times;
        } else if self.statuses.len() < MAX_STATUSES || status == 0 {
            self.statuses.push((status, times));
        } else {
            self.count(0, times);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a sum of sizes may be off by a part in 2^53")]
    fn record(&mut self, record: &RequestRecord<'_>) {
        self.count(record.status, 1);
        self.duration.observe(record.duration.as_secs_f64());
        self.request_size.observe(record.bytes_in as f64);
        self.response_size.observe(record.bytes_out as f64);
    }

    fn merge(&mut self, other: &Self) {
        for (status, times) in &other.statuses {
            self.count(*status, *times);
        }
        self.duration.merge(&other.duration);
        self.request_size.merge(&other.request_size);
        self.response_size.merge(&other.response_size);
    }
}

/// Held by one worker for the time of an addition, and by a scrape for the time of a copy.
type Series = Arc<Mutex<MethodData>>;

/// The series of one worker.
#[derive(Default)]
pub(super) struct RouteSeries(Mutex<HashMap<Box<str>, [Option<Series>; METHODS.len()]>>);

impl RouteSeries {
    pub(super) fn record(&self, record: &RequestRecord<'_>, labels: &RouteLabels) {
        let label = record.route.unwrap_or(UNROUTED);
        let mut routes = self.0.lock();
        if !routes.contains_key(label) {
            let label = if labels.admit(label) { label } else { OTHER };
            let methods = routes.entry(label.into()).or_default();
            return Self::add(methods, record);
        }
        if let Some(methods) = routes.get_mut(label) {
            Self::add(methods, record);
        }
    }

    fn add(methods: &mut [Option<Series>; METHODS.len()], record: &RequestRecord<'_>) {
        methods[method_index(record.method)]
            .get_or_insert_with(|| Arc::new(Mutex::new(MethodData::new())))
            .lock()
            .record(record);
    }

    /// Adds this worker's series to `into`. The worker waits only while the list is copied, and then for
    /// one series at a time.
    pub(super) fn merge(&self, into: &mut BTreeMap<(Box<str>, &'static str), MethodData>) {
        let mut all = Vec::new();
        for (label, methods) in self.0.lock().iter() {
            for (series, method) in methods.iter().zip(METHODS) {
                if let Some(series) = series {
                    all.push((label.clone(), method, Arc::clone(series)));
                }
            }
        }
        for (label, method, series) in all {
            let data = series.lock().clone();
            into.entry((label, method)).or_insert_with(MethodData::new).merge(&data);
        }
    }
}
