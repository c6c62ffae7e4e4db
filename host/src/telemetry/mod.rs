//! What the proxy tells about itself: counters, the metrics page, the access log, log lines, health.
//!
//! The request path only adds to counters that belong to its worker; reading them all (a scrape, `/api/stats`,
//! `/ready`) happens elsewhere and later. Nothing here decides anything about a request.

mod access_log;
mod backend;
mod collector;
pub mod encode;
pub mod exporter;
pub mod health;
mod histogram;
mod log_writer;
pub mod logging;
mod process;
mod record;
pub mod reloads;
mod routes;
pub mod sources;
pub mod stats;
pub mod worker;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use crate::message::{Protocol, WorkerId};

pub use access_log::AccessLog;
pub use backend::{Attempt, BackendCounters};
pub use health::Readiness;
pub use log_writer::LogWriter;
pub use record::RequestRecord;
pub use reloads::{ReloadKind, Reloads};
pub use sources::{BackendRow, BackendState, FilterRow, QuicStats, Sources};
pub use worker::{ConnectionFailure, Listener, WorkerCounters};

use routes::RouteLabels;

/// The version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// All counters of the process. One per process, in an `Arc`.
pub struct Telemetry {
    started: Instant,
    started_at: SystemTime,
    workers: Box<[WorkerCounters]>,
    /// Which route labels have a series; shared so that the bound holds over all workers together.
    routes: RouteLabels,
    access_log: OnceLock<AccessLog>,
    reloads: Reloads,
    readiness: Readiness,
    sources: Sources,
    generation: AtomicU64,
    generations_alive: AtomicI64,
    certificate_not_after: Mutex<Option<SystemTime>>,
}

impl Telemetry {
    /// Counters for that many workers, all zero.
    #[must_use]
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            started_at: SystemTime::now(),
            workers: (0..workers.max(1)).map(|_| WorkerCounters::default()).collect(),
            routes: RouteLabels::default(),
            access_log: OnceLock::new(),
            reloads: Reloads::default(),
            readiness: Readiness::default(),
            sources: Sources::default(),
            generation: AtomicU64::new(0),
            generations_alive: AtomicI64::new(0),
            certificate_not_after: Mutex::new(None),
        })
    }

    /// The counters of one worker.
    #[must_use]
    pub fn worker(&self, worker: WorkerId) -> &WorkerCounters {
        // A worker past the end cannot exist; sharing counters is a milder answer than a panic.
        &self.workers[worker.index() % self.workers.len()]
    }

    /// The counters of every worker.
    #[must_use]
    pub fn workers(&self) -> &[WorkerCounters] {
        &self.workers
    }

    /// Counts a connection that is open from now until the token is dropped.
    #[must_use]
    pub fn connection(self: &Arc<Self>, worker: WorkerId, protocol: Protocol) -> ConnectionToken {
        self.worker(worker).connection_opened(protocol);
        ConnectionToken { telemetry: Arc::clone(self), worker, protocol }
    }

    /// Counts a request that has begun; `request_finished` must follow exactly once.
    pub fn request_started(&self, worker: WorkerId) {
        self.worker(worker).request_started();
    }

    /// Counts a request whose last byte is out, or that was given up, and writes its line of the access log.
    pub fn request_finished(&self, worker: WorkerId, record: &RequestRecord<'_>) {
        self.worker(worker).request_finished(record, &self.routes);
        if let Some(log) = self.access_log.get() {
            log.write(record);
        }
    }

    /// The counters of a backend on one worker: look them up once and keep them.
    #[must_use]
    pub fn backend(&self, worker: WorkerId, name: &str) -> Arc<BackendCounters> {
        self.worker(worker).backends().counters(name)
    }

    /// Where finished requests are written; set once, at start.
    pub fn set_access_log(&self, log: AccessLog) {
        // A second log would mean two starts in one process; the first one stays.
        let _ = self.access_log.set(log);
    }

    /// What reloads did.
    #[must_use]
    pub fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    /// What must be up before traffic may come.
    #[must_use]
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Figures that other modules keep and that are asked for at a scrape.
    #[must_use]
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Counts a generation that is alive until the token is dropped; the snapshot keeps it.
    #[must_use]
    pub fn generation_token(self: &Arc<Self>) -> GenerationToken {
        self.generations_alive.fetch_add(1, Ordering::Relaxed);
        GenerationToken(Arc::clone(self))
    }

    /// Says which generation new requests see.
    pub fn set_generation(&self, number: u64) {
        self.generation.store(number, Ordering::Relaxed);
    }

    /// The generation that new requests see.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Generations that some request still uses, the current one included.
    #[must_use]
    pub fn generations_alive(&self) -> i64 {
        self.generations_alive.load(Ordering::Relaxed)
    }

    /// Says until when the certificate in use is valid.
    pub fn set_certificate_not_after(&self, time: SystemTime) {
        *self.certificate_not_after.lock() = Some(time);
    }

    /// Until when the certificate in use is valid.
    #[must_use]
    pub fn certificate_not_after(&self) -> Option<SystemTime> {
        *self.certificate_not_after.lock()
    }

    /// Time since the start.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The time of the start.
    #[must_use]
    pub fn started_at(&self) -> SystemTime {
        self.started_at
    }

    /// Log lines that found no room, or that could not be written.
    #[must_use]
    pub fn log_lines_dropped(&self) -> u64 {
        self.access_log.get().map_or(0, AccessLog::dropped)
    }
}

/// An open downstream connection; closed when it is dropped.
pub struct ConnectionToken {
    telemetry: Arc<Telemetry>,
    worker: WorkerId,
    protocol: Protocol,
}

impl Drop for ConnectionToken {
    fn drop(&mut self) {
        self.telemetry.worker(self.worker).connection_closed(self.protocol);
    }
}

/// A generation that is alive; gone when it is dropped.
pub struct GenerationToken(Arc<Telemetry>);

impl Drop for GenerationToken {
    fn drop(&mut self) {
        self.0.generations_alive.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
