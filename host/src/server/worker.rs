//! The workers: one thread each, with a runtime, listeners, upstream connections and filter instances of its own.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::config::Config;
use crate::config::model::FailurePolicy;
use crate::filter::FilterStatus;
use crate::listener::certs;
use crate::listener::limits::ConnectionLimits;
use crate::listener::quic::stats::Registry;
use crate::listener::{self, Bound, Context, WorkerSockets};
use crate::message::{Drain, WorkerId};
use crate::pipeline::{Pipeline, Shared};
use crate::telemetry::{FilterRow, QuicStats, Telemetry};

/// How often a worker looks for idle upstream connections that are too old.
const REAP_INTERVAL: Duration = Duration::from_secs(5);

/// Starts a thread for each worker.
pub(super) fn start(
    bound: Bound,
    config: &Config,
    certs: &Arc<certs::Store>,
    shared: &Arc<Shared>,
    connections: &Arc<ConnectionLimits>,
    drain: &Drain,
) -> io::Result<Vec<JoinHandle<()>>> {
    let addresses = bound.addresses();
    let sets = bound.workers();
    sets.into_iter()
        .map(|sockets| {
            let worker = sockets.worker;
            let pipeline = Pipeline::new(worker, Arc::clone(shared));
            let context =
                Context::new(config, addresses, pipeline, Arc::clone(certs), Arc::clone(connections), drain.clone());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let shared = Arc::clone(shared);
            std::thread::Builder::new().name(format!("worker-{}", worker.0)).spawn(move || {
                runtime.block_on(run(sockets, context, worker, shared));
                runtime.shutdown_background();
            })
        })
        .collect()
}

async fn run(sockets: WorkerSockets, context: Context, worker: WorkerId, shared: Arc<Shared>) {
    let reaper = tokio::spawn(async move {
        let mut interval = tokio::time::interval(REAP_INTERVAL);
        loop {
            interval.tick().await;
            shared.snapshot.load().reap(worker);
        }
    });
    if let Err(error) = listener::serve(sockets, context).await {
        tracing::error!(component = "server", worker = worker.0, %error, "worker can't serve");
    }
    reaper.abort();
}

/// Tells telemetry where figures come from that others keep.
pub(super) fn register_sources(telemetry: &Telemetry, connections: &Arc<ConnectionLimits>, shared: &Arc<Shared>) {
    let filters = Arc::downgrade(shared);
    telemetry.sources().set_filters(Arc::new(move || {
        filters
            .upgrade()
            .map(|shared| shared.snapshot.load().chain.status().iter().map(filter_row).collect())
            .unwrap_or_default()
    }));
    for registry in 0..connections.counters().quic_workers().len() {
        let connections = Arc::clone(connections);
        telemetry.sources().add_quic(Arc::new(move || {
            connections.counters().quic_workers().get(registry).map(quic_stats).unwrap_or_default()
        }));
    }
}

fn filter_row(status: &FilterStatus) -> FilterRow {
    let failed = status.failures + status.refused;
    let (failed_open, failed_closed) = match status.fail {
        FailurePolicy::Open => (failed, 0),
        FailurePolicy::Closed => (0, failed),
    };
    FilterRow {
        name: Arc::clone(&status.name),
        calls: status.guest.calls,
        traps: status.guest.traps,
        timeouts: status.guest.timeouts,
        failed_open,
        failed_closed,
        instances: status.guest.instances_live(),
    }
}

fn quic_stats(registry: &Registry) -> QuicStats {
    let totals = registry.snapshot().totals;
    QuicStats {
        streams: totals.streams,
        packets_sent: totals.packets_sent,
        packets_received: totals.datagrams_received,
        bytes_sent: totals.bytes_sent,
        bytes_received: totals.bytes_received,
        packets_lost: totals.packets_lost,
    }
}
