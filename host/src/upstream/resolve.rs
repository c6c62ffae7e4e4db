//! From an endpoint's host to addresses, remembered for a while.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long an answer of the system's resolver is used.
const TTL: Duration = Duration::from_secs(10);

/// Resolves one host and port.
#[derive(Debug)]
pub(super) struct Resolver {
    host: Box<str>,
    port: u16,
    literal: Option<Arc<[SocketAddr]>>,
    cached: Mutex<Option<(Instant, Arc<[SocketAddr]>)>>,
}

impl Resolver {
    pub(super) fn new(host: &str, port: u16) -> Self {
        let literal = host.parse::<IpAddr>().ok().map(|ip| Arc::from([SocketAddr::new(ip, port)]));
        Self { host: host.into(), port, literal, cached: Mutex::new(None) }
    }

    /// The addresses, at least one, in the order to try them.
    pub(super) async fn addresses(&self) -> io::Result<Arc<[SocketAddr]>> {
        if let Some(literal) = &self.literal {
            return Ok(Arc::clone(literal));
        }
        if let Some((at, addresses)) = self.cached.lock().as_ref()
            && at.elapsed() < TTL
        {
            return Ok(Arc::clone(addresses));
        }
        let found: Arc<[SocketAddr]> = tokio::net::lookup_host((self.host.as_ref(), self.port)).await?.collect();
        if found.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        *self.cached.lock() = Some((Instant::now(), Arc::clone(&found)));
        Ok(found)
    }

    /// Puts an address that answered before those that did not.
    pub(super) fn prefer(&self, address: SocketAddr) {
        let mut cached = self.cached.lock();
        if let Some((_, addresses)) = cached.as_mut()
            && addresses.first() != Some(&address)
        {
            let mut ordered = addresses.to_vec();
            ordered.sort_by_key(|known| *known != address);
            *addresses = ordered.into();
        }
    }
}
