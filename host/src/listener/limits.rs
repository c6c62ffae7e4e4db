//! How many connections may be open at once, in total and from one address, and the counters that telemetry
//! reads. Asked by the accept loops before anything is allocated for a connection; knows nothing of requests.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::listener::quic::stats::Registry;
use crate::message::{Protocol, WorkerId};

/// Which listener a connection came in on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Listener {
    /// UDP: HTTP/3.
    Quic,
    /// TCP with TLS: HTTP/2 and HTTP/1.1.
    Tls,
    /// Cleartext TCP: HTTP/1.1 and h2c.
    Http,
}

impl Listener {
    /// Every listener, in the order of its counters.
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

    fn index(self) -> usize {
        match self {
            Self::Quic => 0,
            Self::Tls => 1,
            Self::Http => 2,
        }
    }
}

/// Why a connection was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `max_connections` are open.
    #[error("the limit of connections is reached")]
    Total,
    /// The address has `max_connections_per_ip` open.
    #[error("the limit of connections from one address is reached")]
    Address,
}

/// Connections of one listener.
#[derive(Debug, Default)]
pub struct ListenerCounters {
    /// Let in so far.
    pub accepted: AtomicU64,
    /// Turned away because of `max_connections`.
    pub refused_total: AtomicU64,
    /// Turned away because of `max_connections_per_ip`.
    pub refused_address: AtomicU64,
    /// Ended before their handshake did: bad, too slow, or given up by the client.
    pub handshakes_failed: AtomicU64,
}

/// Connections that speak one protocol, counted once the handshake is done.
#[derive(Debug, Default)]
pub struct ProtocolCounters {
    /// Open now.
    pub active: AtomicU64,
    /// Opened so far.
    pub total: AtomicU64,
    /// Ended by an error: broken framing, an attack's limits, a lost network.
    pub failed: AtomicU64,
}

/// Everything that the listeners count. Touched once or twice per connection, never per request.
#[derive(Debug, Default)]
pub struct Counters {
    listeners: [ListenerCounters; 3],
    protocols: [ProtocolCounters; 3],
    quic: Box<[Registry]>,
    /// QUIC handshakes in progress.
    pub quic_handshakes: AtomicUsize,
    /// Retry packets sent, because too many handshakes were in progress.
    pub quic_retries: AtomicU64,
    /// Datagrams that reached the wrong worker and were handed to the right one.
    pub quic_forwarded: AtomicU64,
    /// Such datagrams that were dropped because the right worker's queue was full.
    pub quic_forward_drops: AtomicU64,
}

impl Counters {
    fn new(workers: usize) -> Self {
        Self { quic: (0..workers).map(|_| Registry::default()).collect(), ..Self::default() }
    }

    /// The counters of one listener.
    #[must_use]
    pub fn listener(&self, listener: Listener) -> &ListenerCounters {
        &self.listeners[listener.index()]
    }

    /// The counters of one protocol.
    #[must_use]
    pub fn protocol(&self, protocol: Protocol) -> &ProtocolCounters {
        &self.protocols[match protocol {
            Protocol::Http1 => 0,
            Protocol::Http2 => 1,
            Protocol::Http3 => 2,
        }]
    }

    /// The QUIC connections of one worker; `None` for a worker that does not exist.
    #[must_use]
    pub fn quic(&self, worker: WorkerId) -> Option<&Registry> {
        self.quic.get(worker.index())
    }

    /// The QUIC connections of every worker.
    #[must_use]
    pub fn quic_workers(&self) -> &[Registry] {
        &self.quic
    }
}

/// Bounds the open connections. Shared by all workers.
#[derive(Debug)]
pub struct ConnectionLimits {
    max: usize,
    max_per_address: Option<usize>,
    open: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    counters: Counters,
}

impl ConnectionLimits {
    /// `max` connections over all listeners, `max_per_address` from one address if given.
    #[must_use]
    pub fn new(max: usize, max_per_address: Option<usize>, workers: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            max_per_address,
            open: AtomicUsize::new(0),
            by_address: Mutex::new(HashMap::new()),
            counters: Counters::new(workers),
        })
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Connections that are open now, handshakes included.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Lets a connection in, for as long as the permit lives.
    ///
    /// # Errors
    /// A limit is reached; the refusal is counted here.
    pub fn admit(self: &Arc<Self>, listener: Listener, peer: IpAddr) -> Result<Permit, Refusal> {
        let counters = self.counters.listener(listener);
        if self.open.fetch_add(1, Relaxed) >= self.max {
            self.open.fetch_sub(1, Relaxed);
            counters.refused_total.fetch_add(1, Relaxed);
            return Err(Refusal::Total);
        }
        let key = match self.max_per_address {
            None => None,
            Some(max) => {
                let key = address_key(peer);
                let mut by_address = self.by_address.lock();
                let open = by_address.entry(key).or_insert(0);
                if *open >= max {
                    self.open.fetch_sub(1, Relaxed);
                    counters.refused_address.fetch_add(1, Relaxed);
                    return Err(Refusal::Address);
                }
                *open += 1;
                Some(key)
            }
        };
        counters.accepted.fetch_add(1, Relaxed);
        Ok(Permit { limits: Arc::clone(self), key })
    }
}

/// One client's share of the addresses: a network hands out IPv6 addresses by the /64, so that is what counts.
fn address_key(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

/// One open connection's place within the limits.
#[derive(Debug)]
pub struct Permit {
    limits: Arc<ConnectionLimits>,
    key: Option<IpAddr>,
}

impl Permit {
    /// Counts the connection under its protocol until the guard goes.
    #[must_use]
    pub fn established(&self, protocol: Protocol) -> Established {
        let counters = self.limits.counters.protocol(protocol);
        counters.active.fetch_add(1, Relaxed);
        counters.total.fetch_add(1, Relaxed);
        Established { limits: Arc::clone(&self.limits), protocol }
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.limits.counters
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limits.open.fetch_sub(1, Relaxed);
        if let Some(key) = self.key {
            let mut by_address = self.limits.by_address.lock();
            if let Some(open) = by_address.get_mut(&key) {
                *open -= 1;
                if *open == 0 {
                    by_address.remove(&key);
                }
            }
        }
    }
}

/// A connection past its handshake.
#[derive(Debug)]
pub struct Established {
    limits: Arc<ConnectionLimits>,
    protocol: Protocol,
}

impl Established {
    /// Notes that the connection ended by an error.
    pub fn failed(&self) {
        self.limits.counters.protocol(self.protocol).failed.fetch_add(1, Relaxed);
    }
}

impl Drop for Established {
    fn drop(&mut self) {
        self.limits.counters.protocol(self.protocol).active.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_total_holds_and_frees() {
        let limits = ConnectionLimits::new(2, None, 1);
        let first = limits.admit(Listener::Tls, ip("192.0.2.1")).unwrap();
        let _second = limits.admit(Listener::Http, ip("192.0.2.1")).unwrap();
        assert_eq!(limits.admit(Listener::Quic, ip("192.0.2.2")).unwrap_err(), Refusal::Total);
        assert_eq!(limits.counters().listener(Listener::Quic).refused_total.load(Relaxed), 1);
        drop(first);
        assert!(limits.admit(Listener::Quic, ip("192.0.2.2")).is_ok());
        assert_eq!(limits.open(), 1);
    }

    #[test]
    fn an_address_has_its_own_limit_and_ipv6_counts_by_network() {
        let limits = ConnectionLimits::new(100, Some(1), 1);
        let held = limits.admit(Listener::Tls, ip("2001:db8::1")).unwrap();
        assert_eq!(limits.admit(Listener::Tls, ip("2001:db8::2")).unwrap_err(), Refusal::Address);
        assert!(limits.admit(Listener::Tls, ip("2001:db8:0:1::1")).is_ok());
        let mapped = limits.admit(Listener::Tls, ip("::ffff:192.0.2.1")).unwrap();
        assert_eq!(limits.admit(Listener::Tls, ip("192.0.2.1")).unwrap_err(), Refusal::Address);
        drop((held, mapped));
        assert_eq!(limits.open(), 0);
        assert!(limits.by_address.lock().is_empty());
    }

    #[test]
    fn protocols_are_counted_while_they_last() {
        let limits = ConnectionLimits::new(10, None, 1);
        let permit = limits.admit(Listener::Tls, ip("192.0.2.1")).unwrap();
        let established = permit.established(Protocol::Http2);
        established.failed();
        let counters = limits.counters().protocol(Protocol::Http2);
        assert_eq!(counters.active.load(Relaxed), 1);
        drop(established);
        assert_eq!(
            (counters.active.load(Relaxed), counters.total.load(Relaxed), counters.failed.load(Relaxed)),
            (0, 1, 1)
        );
    }
}
