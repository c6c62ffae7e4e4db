//! All workers added up, as `/api/stats` tells it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::backend::BackendTotals;
use super::worker::PROTOCOLS;
use super::{Telemetry, VERSION};

/// What the proxy did since its start.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    /// The version of the program.
    pub version: &'static str,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// The generation that new requests see.
    pub generation: u64,
    /// Downstream connections.
    pub connections: Connections,
    /// Requests.
    pub requests: Requests,
    /// Bytes of bodies.
    pub bytes: Bytes,
    /// Backends by name.
    pub backends: BTreeMap<Box<str>, Backend>,
    /// The filters of the chain in use, in its order.
    pub filters: Vec<Filter>,
}

/// Downstream connections.
#[derive(Clone, Debug, Serialize)]
pub struct Connections {
    /// Open now, by protocol.
    pub active: BTreeMap<&'static str, u64>,
    /// Opened since the start, by protocol.
    pub total: BTreeMap<&'static str, u64>,
}

/// Requests.
#[derive(Clone, Debug, Serialize)]
pub struct Requests {
    /// Finished since the start.
    pub total: u64,
    /// In progress.
    pub in_flight: u64,
    /// Finished since the start, by class of status.
    pub by_status: BTreeMap<&'static str, u64>,
}

/// Bytes of bodies, without heads and framing.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Bytes {
    /// From clients.
    pub received: u64,
    /// To clients.
    pub sent: u64,
}

/// One backend.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Backend {
    /// Attempts to get an answer.
    pub requests: u64,
    /// Attempts that got none.
    pub failures: u64,
}

/// One filter.
#[derive(Clone, Debug, Serialize)]
pub struct Filter {
    /// Its name.
    pub name: Box<str>,
    /// Calls into it.
    pub calls: u64,
    /// Calls that trapped.
    pub traps: u64,
    /// Calls that were stopped because they took too long.
    pub timeouts: u64,
    /// Its live instances.
    pub instances: u64,
}

impl Telemetry {
    /// Adds up all workers.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let sum = |class: usize| self.workers().iter().map(|worker| worker.by_class()[class]).sum();
        let by_status: BTreeMap<_, u64> = [("1xx", 1), ("2xx", 2), ("3xx", 3), ("4xx", 4), ("5xx", 5), ("other", 0)]
            .map(|(name, class)| (name, sum(class)))
            .into();
        let in_flight: i64 = self.workers().iter().map(super::WorkerCounters::in_flight).sum();
        let bytes = self.workers().iter().map(super::WorkerCounters::bytes);
        let (received, sent) = bytes.fold((0, 0), |total, one| (total.0 + one.0, total.1 + one.1));
        Stats {
            version: VERSION,
            uptime_seconds: self.uptime().as_secs(),
            generation: self.generation(),
            connections: self.connection_stats(),
            requests: Requests {
                total: by_status.values().sum(),
                in_flight: in_flight.try_into().unwrap_or(0),
                by_status,
            },
            bytes: Bytes { received, sent },
            backends: self.backend_stats(),
            filters: self.filter_stats(),
        }
    }

    /// Open connections, all protocols.
    #[must_use]
    pub fn active_connections(&self) -> u64 {
        self.workers().iter().flat_map(|worker| PROTOCOLS.map(|protocol| worker.active(protocol))).sum()
    }

    pub(super) fn backend_totals(&self) -> BTreeMap<Box<str>, BackendTotals> {
        let mut totals = BTreeMap::new();
        for worker in self.workers() {
            worker.backends().merge(&mut totals);
        }
        totals
    }

    fn connection_stats(&self) -> Connections {
        let mut stats = Connections { active: BTreeMap::new(), total: BTreeMap::new() };
        for protocol in PROTOCOLS {
            let workers = self.workers().iter();
            stats.active.insert(protocol.label(), workers.clone().map(|worker| worker.active(protocol)).sum());
            stats.total.insert(protocol.label(), workers.map(|worker| worker.opened(protocol)).sum());
        }
        stats
    }

    /// The backends of the configuration, and those that were used before it.
    fn backend_stats(&self) -> BTreeMap<Box<str>, Backend> {
        let mut stats: BTreeMap<_, _> = self
            .sources()
            .backends()
            .into_iter()
            .map(|row| (row.name.as_ref().into(), Backend { requests: 0, failures: 0 }))
            .collect();
        for (name, BackendTotals { requests, failures, .. }) in self.backend_totals() {
            stats.insert(name, Backend { requests, failures });
        }
        stats
    }

    fn filter_stats(&self) -> Vec<Filter> {
        let rows = self.sources().filters().into_iter();
        rows.map(|row| Filter {
            name: row.name.as_ref().into(),
            calls: row.calls,
            traps: row.traps,
            timeouts: row.timeouts,
            instances: row.instances,
        })
        .collect()
    }
}
