//! The QUIC connections of one worker, so that telemetry can add up their transport statistics when it is
//! scraped: live ones are asked, ended ones have left their sums here. Costs nothing per packet.

use std::collections::HashMap;
use std::ops::AddAssign;
use std::time::Duration;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use quinn::ConnectionStats;

/// Sums over connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// UDP datagrams sent.
    pub datagrams_sent: u64,
    /// UDP datagrams received.
    pub datagrams_received: u64,
    /// Bytes of UDP payload sent.
    pub bytes_sent: u64,
    /// Bytes of UDP payload received.
    pub bytes_received: u64,
    /// System calls that sent datagrams; fewer than datagrams thanks to segmentation offload.
    pub sends: u64,
    /// Streams opened by either side.
    pub streams: u64,
    /// QUIC packets sent.
    pub packets_sent: u64,
    /// QUIC packets declared lost.
    pub packets_lost: u64,
    /// Bytes of lost packets.
    pub bytes_lost: u64,
    /// Times that the congestion controller saw congestion.
    pub congestion_events: u64,
}

impl AddAssign<&ConnectionStats> for Totals {
    fn add_assign(&mut self, stats: &ConnectionStats) {
        self.datagrams_sent += stats.udp_tx.datagrams;
        self.datagrams_received += stats.udp_rx.datagrams;
        self.bytes_sent += stats.udp_tx.bytes;
        self.bytes_received += stats.udp_rx.bytes;
        self.sends += stats.udp_tx.ios;
        self.packets_sent += stats.path.sent_packets;
        self.packets_lost += stats.path.lost_packets;
        self.bytes_lost += stats.path.lost_bytes;
        self.congestion_events += stats.path.congestion_events;
    }
}

/// What a scrape sees of one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Connections that are open now.
    pub live: usize,
    /// Sums over those and all that have ended.
    pub totals: Totals,
    /// Mean smoothed round-trip time of the live ones.
    pub mean_rtt: Option<Duration>,
}

#[derive(Debug, Default)]
struct Inner {
    live: HashMap<usize, quinn::Connection>,
    ended: Totals,
}

/// The connections of one worker.
#[derive(Debug, Default)]
pub struct Registry {
    connections: Mutex<Inner>,
    streams: Arc<AtomicU64>,
}

impl Registry {
    /// Adds a connection. It must be removed when it ends: the handle here keeps it from closing by itself.
    pub(crate) fn insert(&self, connection: &quinn::Connection) {
        self.connections.lock().live.insert(connection.stable_id(), connection.clone());
    }

    /// Takes a connection out and keeps its sums.
    pub(crate) fn remove(&self, connection: &quinn::Connection) {
        let stats = connection.stats();
        let mut inner = self.connections.lock();
        if inner.live.remove(&connection.stable_id()).is_some() {
            inner.ended += &stats;
        }
    }

    /// Counts the streams of all connections.
    pub(crate) fn streams(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.streams)
    }

    /// Adds everything up. Locks each live connection for a moment.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        // The handles are copied out first, so that no connection waits for this lock while it is asked.
        let (live, mut totals) = {
            let inner = self.connections.lock();
            (inner.live.values().cloned().collect::<Vec<_>>(), inner.ended)
        };
        let mut rtt = Duration::ZERO;
        for connection in &live {
            let stats = connection.stats();
            rtt += stats.path.rtt;
            totals += &stats;
        }
        totals.streams = self.streams.load(Ordering::Relaxed);
        let count = u32::try_from(live.len()).unwrap_or(u32::MAX);
        Snapshot { live: live.len(), totals, mean_rtt: (count > 0).then(|| rtt / count) }
    }
}
