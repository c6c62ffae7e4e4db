//! How many connections may be open at once, in total and from one address, and the counters that telemetry
//! reads. Asked by the accept loops before anything is allocated for a connection; knows nothing of requests.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::listener::quic::stats::Registry;
use crate::message::{Protocol, WorkerId};
use crate::telemetry::{ConnectionFailure, ConnectionToken, Listener, Telemetry};

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

/// What QUIC alone has to count.
#[derive(Debug, Default)]
pub struct Counters {
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
pub struct ConnectionLimits {
    max: usize,
    max_per_address: Option<usize>,
    open: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
    counters: Counters,
    telemetry: Arc<Telemetry>,
}

impl ConnectionLimits {
    /// `max` connections over all listeners, `max_per_address` from one address if given.
    #[must_use]
    pub fn new(max: usize, max_per_address: Option<usize>, telemetry: Arc<Telemetry>) -> Arc<Self> {
        Arc::new(Self {
            max,
            max_per_address,
            open: AtomicUsize::new(0),
            by_address: Mutex::new(HashMap::new()),
            counters: Counters::new(telemetry.workers().len()),
            telemetry,
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
    pub fn admit(self: &Arc<Self>, worker: WorkerId, listener: Listener, peer: IpAddr) -> Result<Permit, Refusal> {
        let refused = || self.telemetry.worker(worker).connection_failed(listener, ConnectionFailure::Limit);
        if self.open.fetch_add(1, Relaxed) >= self.max {
            self.open.fetch_sub(1, Relaxed);
            refused();
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
                    refused();
                    return Err(Refusal::Address);
                }
                *open += 1;
                Some(key)
            }
        };
        Ok(Permit { limits: Arc::clone(self), worker, listener, key })
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
pub struct Permit {
    limits: Arc<ConnectionLimits>,
    worker: WorkerId,
    listener: Listener,
    key: Option<IpAddr>,
}

impl Permit {
    /// Counts the connection under its protocol until the token goes.
    #[must_use]
    pub fn established(&self, protocol: Protocol) -> ConnectionToken {
        self.limits.telemetry.connection(self.worker, protocol)
    }

    /// Counts that the connection ended otherwise than it should.
    pub fn failed(&self, failure: ConnectionFailure) {
        self.limits.telemetry.worker(self.worker).connection_failed(self.listener, failure);
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

#[cfg(test)]
mod tests {
    use super::*;

    const WORKER: WorkerId = WorkerId(0);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_total_holds_and_frees() {
        let limits = ConnectionLimits::new(2, None, Telemetry::new(1));
        let first = limits.admit(WORKER, Listener::Tls, ip("192.0.2.1")).unwrap();
        let _second = limits.admit(WORKER, Listener::Http, ip("192.0.2.1")).unwrap();
        assert_eq!(limits.admit(WORKER, Listener::Quic, ip("192.0.2.2")).err(), Some(Refusal::Total));
        assert_eq!(limits.telemetry.worker(WORKER).failed(Listener::Quic, ConnectionFailure::Limit), 1);
        drop(first);
        assert!(limits.admit(WORKER, Listener::Quic, ip("192.0.2.2")).is_ok());
        assert_eq!(limits.open(), 1);
    }

    #[test]
    fn an_address_has_its_own_limit_and_ipv6_counts_by_network() {
        let limits = ConnectionLimits::new(100, Some(1), Telemetry::new(1));
        let held = limits.admit(WORKER, Listener::Tls, ip("2001:db8::1")).unwrap();
        assert_eq!(limits.admit(WORKER, Listener::Tls, ip("2001:db8::2")).err(), Some(Refusal::Address));
        assert!(limits.admit(WORKER, Listener::Tls, ip("2001:db8:0:1::1")).is_ok());
        let mapped = limits.admit(WORKER, Listener::Tls, ip("::ffff:192.0.2.1")).unwrap();
        assert_eq!(limits.admit(WORKER, Listener::Tls, ip("192.0.2.1")).err(), Some(Refusal::Address));
        drop((held, mapped));
        assert_eq!(limits.open(), 0);
        assert!(limits.by_address.lock().is_empty());
    }

    #[test]
    fn protocols_are_counted_while_they_last() {
        let limits = ConnectionLimits::new(10, None, Telemetry::new(1));
        let permit = limits.admit(WORKER, Listener::Tls, ip("192.0.2.1")).unwrap();
        let token = permit.established(Protocol::Http2);
        permit.failed(ConnectionFailure::Protocol);
        let counters = limits.telemetry.worker(WORKER);
        assert_eq!(counters.active(Protocol::Http2), 1);
        drop(token);
        assert_eq!((counters.active(Protocol::Http2), counters.opened(Protocol::Http2)), (0, 1));
        assert_eq!(counters.failed(Listener::Tls, ConnectionFailure::Protocol), 1);
    }
}
