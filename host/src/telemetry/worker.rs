//! The counters of one worker: on cache lines of their own, so that no worker waits for another.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::backend::Backends;
use super::record::RequestRecord;
use super::routes::{OTHER, RouteLabels, RouteSeries};
use crate::message::Protocol;

/// Error labels with a series of their own; the vocabulary has fewer.
const MAX_ERRORS: usize = 64;

/// Which listener a connection came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// UDP, HTTP/3.
    Quic,
    /// TCP with TLS.
    Tls,
    /// TCP in cleartext.
    Http,
}

impl Listener {
    /// All of them, in the order of their indices.
    pub const ALL: [Self; 3] = [Self::Quic, Self::Tls, Self::Http];

    /// The label of logs and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Tls => "tls",
            Self::Http => "http",
        }
    }
}

/// Why a connection never served a request, or was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionFailure {
    /// The TLS or QUIC handshake failed.
    Handshake,
    /// The handshake, the preface or the first request took too long.
    Timeout,
    /// Too many connections, in all or from one address.
    Limit,
    /// The client broke the protocol.
    Protocol,
    /// The transport broke: reset, unreachable, out of descriptors.
    Transport,
}

impl ConnectionFailure {
    /// All of them, in the order of their indices.
    pub const ALL: [Self; 5] = [Self::Handshake, Self::Timeout, Self::Limit, Self::Protocol, Self::Transport];

    /// The label of metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Timeout => "timeout",
            Self::Limit => "limit",
            Self::Protocol => "protocol",
            Self::Transport => "transport",
        }
    }
}

/// The protocols in the order of their indices.
pub(super) const PROTOCOLS: [Protocol; 3] = [Protocol::Http1, Protocol::Http2, Protocol::Http3];

fn protocol_index(protocol: Protocol) -> usize {
    match protocol {
        Protocol::Http1 => 0,
        Protocol::Http2 => 1,
        Protocol::Http3 => 2,
    }
}

/// The counters of one worker. Aligned to two cache lines, because processors fetch lines in pairs.
#[derive(Default)]
#[repr(align(128))]
pub struct WorkerCounters {
    opened: [AtomicU64; 3],
    closed: [AtomicU64; 3],
    failed: [[AtomicU64; ConnectionFailure::ALL.len()]; Listener::ALL.len()],
    in_flight: AtomicI64,
    /// Finished requests by the first digit of their status.
    by_class: [AtomicU64; 6],
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    early_data: AtomicU64,
    routes: RouteSeries,
    errors: Mutex<Vec<(Box<str>, u64)>>,
    backends: Backends,
}

impl WorkerCounters {
    /// Counts a connection whose protocol is known and that may serve requests from now on.
    pub fn connection_opened(&self, protocol: Protocol) {
        self.opened[protocol_index(protocol)].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the end of such a connection.
    pub fn connection_closed(&self, protocol: Protocol) {
        self.closed[protocol_index(protocol)].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection that failed.
    pub fn connection_failed(&self, listener: Listener, failure: ConnectionFailure) {
        self.failed[listener as usize][failure as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that has begun.
    pub(super) fn request_started(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that has ended.
    pub(super) fn request_finished(&self, record: &RequestRecord<'_>, labels: &RouteLabels) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        let class = usize::from(record.status / 100);
        self.by_class[if class < self.by_class.len() { class } else { 0 }].fetch_add(1, Ordering::Relaxed);
        self.bytes_in.fetch_add(record.bytes_in, Ordering::Relaxed);
        self.bytes_out.fetch_add(record.bytes_out, Ordering::Relaxed);
        if record.early_data {
            self.early_data.fetch_add(1, Ordering::Relaxed);
        }
        self.routes.record(record, labels);
        if let Some(error) = record.error {
            self.count_error(error);
        }
    }

    fn count_error(&self, error: &str) {
        let mut errors = self.errors.lock();
        let label =
            if errors.len() < MAX_ERRORS || errors.iter().any(|(known, _)| **known == *error) { error } else { OTHER };
        match errors.iter_mut().find(|(known, _)| **known == *label) {
            Some((_, count)) => *count += 1,
            None => errors.push((label.into(), 1)),
        }
    }

    /// Connections of that protocol since the start.
    #[must_use]
    pub fn opened(&self, protocol: Protocol) -> u64 {
        self.opened[protocol_index(protocol)].load(Ordering::Relaxed)
    }

    /// Connections of that protocol that are open.
    #[must_use]
    pub fn active(&self, protocol: Protocol) -> u64 {
        // Closed first: a connection that opens and closes between the two loads must not count as minus one.
        let closed = self.closed[protocol_index(protocol)].load(Ordering::Relaxed);
        self.opened(protocol).saturating_sub(closed)
    }

    /// Connections of that listener that failed for that reason.
    #[must_use]
    pub fn failed(&self, listener: Listener, failure: ConnectionFailure) -> u64 {
        self.failed[listener as usize][failure as usize].load(Ordering::Relaxed)
    }

    /// Requests in progress.
    #[must_use]
    pub fn in_flight(&self) -> i64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Finished requests by the first digit of their status; index 0 is everything that is none.
    #[must_use]
    pub fn by_class(&self) -> [u64; 6] {
        std::array::from_fn(|class| self.by_class[class].load(Ordering::Relaxed))
    }

    /// Bytes of request bodies and of response bodies.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        (self.bytes_in.load(Ordering::Relaxed), self.bytes_out.load(Ordering::Relaxed))
    }

    /// Requests that came in 0-RTT data.
    #[must_use]
    pub fn early_data(&self) -> u64 {
        self.early_data.load(Ordering::Relaxed)
    }

    pub(super) fn routes(&self) -> &RouteSeries {
        &self.routes
    }

    pub(super) fn errors(&self) -> Vec<(Box<str>, u64)> {
        self.errors.lock().clone()
    }

    pub(super) fn backends(&self) -> &Backends {
        &self.backends
    }
}
