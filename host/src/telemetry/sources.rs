//! Figures that other modules keep and that are asked for when somebody looks: filters, QUIC, backends.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::RwLock;

/// One filter of the chain in use. The counts are those of its generation or of all of them, as the chain
/// prefers: a count that falls is a restart to Prometheus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterRow {
    /// The filter's name.
    pub name: Arc<str>,
    /// Calls into the guest, all phases.
    pub calls: u64,
    /// Calls that trapped.
    pub traps: u64,
    /// Calls that were stopped because they took too long.
    pub timeouts: u64,
    /// Requests that went on although the filter failed.
    pub failed_open: u64,
    /// Requests that were refused because the filter failed.
    pub failed_closed: u64,
    /// Instances alive, over all workers.
    pub instances: u64,
}

/// Totals of the QUIC endpoints since the start, closed connections included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuicStats {
    /// Streams that were opened, by either side.
    pub streams: u64,
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets received.
    pub packets_received: u64,
    /// UDP payload bytes sent.
    pub bytes_sent: u64,
    /// UDP payload bytes received.
    pub bytes_received: u64,
    /// Packets that were declared lost.
    pub packets_lost: u64,
}

impl QuicStats {
    fn add(&mut self, other: Self) {
        self.streams += other.streams;
        self.packets_sent += other.packets_sent;
        self.packets_received += other.packets_received;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.packets_lost += other.packets_lost;
    }
}

/// What is known of a backend's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendState {
    /// Nobody checks it.
    Unknown,
    /// At least one endpoint answers its checks.
    Healthy,
    /// No endpoint answers its checks.
    Unhealthy,
}

impl BackendState {
    /// The word of `/health`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One backend of the configuration in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendRow {
    /// The backend's name.
    pub name: Arc<str>,
    /// What its checks say.
    pub state: BackendState,
    /// When it was checked last.
    pub last_check: Option<SystemTime>,
    /// How long that check took.
    pub response_time: Option<Duration>,
}

/// Asked for the filters of the chain in use.
pub type FilterSource = dyn Fn() -> Vec<FilterRow> + Send + Sync;
/// Asked for the backends of the configuration in use.
pub type BackendSource = dyn Fn() -> Vec<BackendRow> + Send + Sync;
/// Asked for the totals of one QUIC endpoint.
pub type QuicSource = dyn Fn() -> QuicStats + Send + Sync;

/// The registered sources. Each is called from the control thread, never on the path of a request, and must
/// not wait for one.
#[derive(Default)]
pub struct Sources {
    filters: RwLock<Option<Arc<FilterSource>>>,
    backends: RwLock<Option<Arc<BackendSource>>>,
    quic: RwLock<Vec<Arc<QuicSource>>>,
}

impl Sources {
    /// Registers where the filters' figures come from; the last one wins.
    pub fn set_filters(&self, source: Arc<FilterSource>) {
        *self.filters.write() = Some(source);
    }

    /// Registers where the backends' states come from; the last one wins.
    pub fn set_backends(&self, source: Arc<BackendSource>) {
        *self.backends.write() = Some(source);
    }

    /// Adds a QUIC endpoint, one per worker.
    pub fn add_quic(&self, source: Arc<QuicSource>) {
        self.quic.write().push(source);
    }

    /// The filters' figures.
    #[must_use]
    pub fn filters(&self) -> Vec<FilterRow> {
        let source = self.filters.read().clone();
        source.map(|source| source()).unwrap_or_default()
    }

    /// The backends' states.
    #[must_use]
    pub fn backends(&self) -> Vec<BackendRow> {
        let source = self.backends.read().clone();
        source.map(|source| source()).unwrap_or_default()
    }

    /// The sum over all QUIC endpoints; `None` without one.
    #[must_use]
    pub fn quic(&self) -> Option<QuicStats> {
        let sources = self.quic.read().clone();
        if sources.is_empty() {
            return None;
        }
        let mut total = QuicStats::default();
        for source in sources {
            total.add(source());
        }
        Some(total)
    }
}
