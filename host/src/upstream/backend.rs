//! A backend and how it picks among its endpoints.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::pool::{IdleBudget, Pool};
use super::resolve::Resolver;
use crate::config::model::{self, Strategy};
use crate::message::WorkerId;

/// One address of a backend with its idle connections.
#[derive(Debug)]
pub struct Endpoint {
    /// `host:port`, for logs.
    pub label: Box<str>,
    pub(super) resolver: Resolver,
    pub(super) pool: Pool,
    in_flight: AtomicUsize,
}

/// Counts one request in progress at an endpoint while it lives.
#[derive(Debug)]
pub struct InFlight(Arc<Endpoint>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Endpoint {
    fn new(endpoint: &model::Endpoint, budget: &Arc<IdleBudget>) -> Self {
        let label = if endpoint.host.contains(':') {
            format!("[{}]:{}", endpoint.host, endpoint.port)
        } else {
            format!("{}:{}", endpoint.host, endpoint.port)
        };
        Self {
            label: label.into(),
            resolver: Resolver::new(&endpoint.host, endpoint.port),
            pool: Pool::new(Arc::clone(budget)),
            in_flight: AtomicUsize::new(0),
        }
    }
}

/// A named set of endpoints.
#[derive(Debug)]
pub struct Backend {
    /// The name in configuration, logs and metrics.
    pub name: Arc<str>,
    /// Time to response headers.
    pub timeout: Duration,
    /// Time to connect.
    pub connect_timeout: Duration,
    /// Extra tries.
    pub retries: u32,
    endpoints: Box<[Arc<Endpoint>]>,
    strategy: Strategy,
    /// Endpoint indices in the order of their turns: each once, or by weight.
    turns: Box<[usize]>,
    next_turn: AtomicUsize,
    settings: model::Backend,
}

impl Backend {
    /// A backend as configured, without connections.
    #[must_use]
    pub fn new(settings: &model::Backend, connect_timeout: Duration, budget: &Arc<IdleBudget>) -> Self {
        let endpoints: Box<[_]> =
            settings.endpoints.iter().map(|endpoint| Arc::new(Endpoint::new(endpoint, budget))).collect();
        let turns = match settings.strategy {
            Strategy::Weighted => weighted_turns(&settings.endpoints),
            Strategy::RoundRobin | Strategy::LeastConnections => (0..endpoints.len()).collect(),
        };
        Self {
            name: Arc::clone(&settings.name),
            timeout: settings.timeout,
            connect_timeout,
            retries: settings.retries,
            endpoints,
            strategy: settings.strategy,
            turns,
            next_turn: AtomicUsize::new(0),
            settings: settings.clone(),
        }
    }

    /// Whether it was made from the same settings, so that a new generation can go on using it.
    #[must_use]
    pub fn is_made_from(&self, settings: &model::Backend, connect_timeout: Duration) -> bool {
        self.settings == *settings && self.connect_timeout == connect_timeout
    }

    /// The endpoint for the next attempt; `tried` holds those that failed for this request already and come
    /// again only when all have.
    #[must_use]
    pub fn pick(&self, tried: &[Arc<Endpoint>]) -> (Arc<Endpoint>, Option<InFlight>) {
        let endpoint = match (&*self.endpoints, self.strategy) {
            ([only], _) => only,
            (_, Strategy::LeastConnections) => self.least_loaded(tried),
            (_, Strategy::RoundRobin | Strategy::Weighted) => self.next_in_turn(tried),
        };
        let in_flight = (self.strategy == Strategy::LeastConnections).then(|| {
            endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
            InFlight(Arc::clone(endpoint))
        });
        (Arc::clone(endpoint), in_flight)
    }

    /// How many endpoints there are.
    #[must_use]
    pub fn size(&self) -> usize {
        self.endpoints.len()
    }

    /// Closes idle connections of a worker that have grown too old.
    pub fn reap(&self, worker: WorkerId) {
        for endpoint in &self.endpoints {
            endpoint.pool.reap(worker);
        }
    }

    fn next_in_turn(&self, tried: &[Arc<Endpoint>]) -> &Arc<Endpoint> {
        let first = self.next_turn.fetch_add(1, Ordering::Relaxed);
        let turn = |offset: usize| &self.endpoints[self.turns[(first.wrapping_add(offset)) % self.turns.len()]];
        (0..self.turns.len()).map(turn).find(|endpoint| !was_tried(endpoint, tried)).unwrap_or_else(|| turn(0))
    }

    fn least_loaded(&self, tried: &[Arc<Endpoint>]) -> &Arc<Endpoint> {
        // Among equals the turn decides, so that an idle backend does not always use its first endpoint.
        let first = self.next_turn.fetch_add(1, Ordering::Relaxed) % self.endpoints.len();
        let (before, from) = self.endpoints.split_at(first);
        let in_order = from.iter().chain(before);
        in_order
            .min_by_key(|endpoint| (was_tried(endpoint, tried), endpoint.in_flight.load(Ordering::Relaxed)))
            .unwrap_or(&self.endpoints[0])
    }
}

fn was_tried(endpoint: &Arc<Endpoint>, tried: &[Arc<Endpoint>]) -> bool {
    tried.iter().any(|other| Arc::ptr_eq(endpoint, other))
}

/// Spreads the endpoints by weight, each as evenly as possible (the smooth weighted round robin of nginx).
fn weighted_turns(endpoints: &[model::Endpoint]) -> Box<[usize]> {
    /// More turns than this would only make the shares more exact than anybody can see.
    const MOST: u64 = 1000;
    let sum: u64 = endpoints.iter().map(|endpoint| u64::from(endpoint.weight)).sum();
    let scale = sum.div_ceil(MOST).max(1);
    let weights: Vec<i64> =
        endpoints.iter().map(|endpoint| i64::from(endpoint.weight).div_euclid(scale.cast_signed()).max(1)).collect();
    let total: i64 = weights.iter().sum();
    let mut current = vec![0i64; weights.len()];
    (0..total)
        .map(|_| {
            current.iter_mut().zip(&weights).for_each(|(current, weight)| *current += weight);
            let best = (0..current.len()).max_by_key(|index| (current[*index], usize::MAX - index)).unwrap_or(0);
            current[best] -= total;
            best
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::{EndpointScheme, UpstreamProtocol};

    fn backend(strategy: Strategy, weights: &[u32]) -> Backend {
        let endpoint = |(index, weight): (usize, &u32)| model::Endpoint {
            scheme: EndpointScheme::Http,
            host: "127.0.0.1".into(),
            port: 1000 + u16::try_from(index).unwrap(),
            weight: *weight,
        };
        let settings = model::Backend {
            name: "app".into(),
            endpoints: weights.iter().enumerate().map(endpoint).collect(),
            strategy,
            protocol: UpstreamProtocol::Http,
            timeout: Duration::from_secs(1),
            retries: 0,
            health_check: None,
            health_check_interval: Duration::from_secs(30),
        };
        let budget = IdleBudget::new(10, Duration::from_secs(1), 1);
        Backend::new(&settings, Duration::from_secs(1), &budget)
    }

    fn picks(backend: &Backend, count: usize) -> Vec<String> {
        (0..count).map(|_| backend.pick(&[]).0.label[10..].to_owned()).collect()
    }

    #[test]
    fn round_robin_takes_turns_and_passes_over_what_failed() {
        let backend = backend(Strategy::RoundRobin, &[1, 1, 1]);
        assert_eq!(picks(&backend, 4), ["1000", "1001", "1002", "1000"]);
        let failed = backend.pick(&[]).0;
        assert_ne!(backend.pick(&[Arc::clone(&failed)]).0.label, failed.label);
    }

    #[test]
    fn weighted_spreads_evenly() {
        let backend = backend(Strategy::Weighted, &[5, 1, 1]);
        assert_eq!(picks(&backend, 7), ["1000", "1000", "1001", "1000", "1002", "1000", "1000"]);
    }

    #[test]
    fn least_connections_prefers_the_idle_one() {
        let backend = backend(Strategy::LeastConnections, &[1, 1]);
        let held = backend.pick(&[]);
        let other = backend.pick(&[]);
        assert_ne!(held.0.label, other.0.label);
        drop(held.1);
        assert_eq!(backend.pick(&[]).0.label, held.0.label);
    }
}
