//! Assembles the process and runs it: what is opened in which order, and how it ends.

mod commands;
mod reloader;
mod worker;

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::admin::Admin;
use crate::cli::EXIT_USAGE;
use crate::config::{Config, Diagnostic, Loaded, Overrides};
use crate::listener::certs;
use crate::listener::limits::ConnectionLimits;
use crate::listener::{self, Bound};
use crate::message::drain::drain;
use crate::message::{Drain, DrainControl, Phase};
use crate::pipeline::Shared;
use crate::reload;
use crate::snapshot::{Foundation, Snapshot};
use crate::telemetry::health::{Check, CheckState};
use crate::telemetry::{Telemetry, logging};
use crate::upstream::IdleBudget;
use crate::wasm::{Engine, EngineOptions};
pub use commands::{check, explain};
use reloader::Reloader;

/// Runs the proxy until it is told to stop. `overrides` are kept: a reload reads the file again under them.
///
/// # Errors
/// Something that the proxy needs from the start can't be had.
pub fn run(loaded: Loaded, overrides: Overrides) -> anyhow::Result<ExitCode> {
    let Loaded { config, warnings } = loaded;
    let logging = logging::init(&config.logging).context("logging")?;
    for warning in &warnings {
        tracing::warn!(component = "server", "{warning}");
    }
    let config = Arc::new(config);

    // Certificates and filters first: what is wrong with them is known before a port is taken.
    let certs = match certs::Store::open(&config) {
        Ok(certs) => Arc::new(certs),
        Err(error) => return Ok(misconfigured(&[error])),
    };
    let telemetry = Telemetry::new(config.proxy.workers);
    telemetry.set_access_log(logging.handle().access_log());
    telemetry.set_certificate_not_after(certs.not_after());
    let foundation = foundation(&config, &telemetry)?;
    let snapshot = match Snapshot::build(Arc::clone(&config), &foundation, None) {
        Ok(snapshot) => snapshot,
        Err(errors) => return Ok(misconfigured(&errors)),
    };
    let shared = Arc::new(Shared { snapshot: ArcSwap::from_pointee(snapshot), telemetry: Arc::clone(&telemetry) });
    telemetry.set_generation(1);

    let bound = listener::bind(&config)?;
    let per_address = config.limits.max_connections_per_ip;
    let connections = ConnectionLimits::new(config.proxy.max_connections, per_address, Arc::clone(&telemetry));
    worker::register_sources(&telemetry, &connections, &shared);
    let (control, signal) = drain();

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let parts = Parts { config, warnings, certs, shared, connections, foundation, overrides, log: logging.handle() };
    let code = runtime.block_on(serve(parts, bound, &control, signal));
    // The runtime goes first, and the log last: it writes what is queued.
    runtime.shutdown_background();
    drop(logging);
    code
}

/// What the configuration names can't be used: says so to whoever started the process, like any other mistake in it.
fn misconfigured<E: std::fmt::Display>(errors: &[E]) -> ExitCode {
    let mut out = std::io::stderr().lock();
    for error in errors {
        // Without anybody to read it the exit code has to do.
        let _ = writeln!(out, "{error}");
    }
    ExitCode::from(EXIT_USAGE)
}

/// Everything that is assembled before the first connection.
struct Parts {
    config: Arc<Config>,
    warnings: Vec<Diagnostic>,
    certs: Arc<certs::Store>,
    shared: Arc<Shared>,
    connections: Arc<ConnectionLimits>,
    foundation: Foundation,
    overrides: Overrides,
    log: logging::LogHandle,
}

fn foundation(config: &Config, telemetry: &Arc<Telemetry>) -> anyhow::Result<Foundation> {
    let workers = config.proxy.workers;
    let engine = Engine::new(EngineOptions { workers, cache_dir: config.proxy.cache_dir.clone() })?;
    Ok(Foundation {
        engine,
        telemetry: Arc::clone(telemetry),
        idle: IdleBudget::new(config.pool.max_idle, config.pool.idle_timeout, workers),
        workers,
    })
}

/// The control side: admin listener, workers, reloads, signals.
async fn serve(parts: Parts, bound: Bound, control: &DrainControl, signal: Drain) -> anyhow::Result<ExitCode> {
    let Parts { config, warnings, certs, shared, connections, foundation, overrides, log } = parts;
    let telemetry = Arc::clone(&shared.telemetry);
    let admin = TcpListener::bind(config.admin.listen_addr)
        .await
        .with_context(|| format!("cannot listen on {} (admin)", config.admin.listen_addr))?;
    let admin_address = admin.local_addr()?;
    let metrics_path = config.admin.metrics.then(|| config.admin.metrics_path.clone());
    tokio::spawn(Admin::new(Arc::clone(&telemetry), metrics_path)?.serve(admin, signal.clone()));

    let addresses = bound.addresses();
    let workers = worker::start(bound, &config, &certs, &shared, &connections, &signal)?;
    let quic = if addresses.quic.is_some() { CheckState::Ok } else { CheckState::Disabled };
    telemetry.readiness().set(Check::QuicServer, quic);
    telemetry.readiness().set(Check::HttpServer, CheckState::Ok);
    telemetry.readiness().set(Check::TlsCertificates, CheckState::Ok);
    announce("tls", addresses.tls);
    if let Some(quic) = addresses.quic {
        announce("quic", quic);
    }
    announce("http", addresses.http);
    announce("admin", admin_address);

    let reloader =
        Reloader::new(Arc::clone(&config), &warnings, overrides, shared, foundation, Arc::clone(&certs), log);
    let files = reloader.watch_set(&config);
    tokio::spawn(reload::watch(Arc::new(reloader), files, Arc::clone(&telemetry), signal));
    tracing::info!(component = "server", version = env!("CARGO_PKG_VERSION"), workers = config.proxy.workers, "ready");

    let name = stop_signal().await?;
    tracing::info!(component = "server", signal = name, limit = ?config.proxy.drain_timeout, "draining");
    telemetry.readiness().set_draining();
    control.enter(Phase::Draining);
    let clean = wait(workers, config.proxy.drain_timeout, control).await;
    tracing::info!(component = "server", clean, "stopped");
    Ok(ExitCode::SUCCESS)
}

fn announce(listener: &str, address: SocketAddr) {
    tracing::info!(component = "server", listener, addr = %address, "listening");
}

/// SIGTERM or SIGINT.
async fn stop_signal() -> std::io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}

/// Waits for the workers to finish what is in flight; whether they did within the limit.
async fn wait(workers: Vec<JoinHandle<()>>, limit: Duration, control: &DrainControl) -> bool {
    let mut joined = tokio::task::spawn_blocking(move || {
        for worker in workers {
            // A worker that panicked has said so; the others still have requests to finish.
            let _ = worker.join();
        }
    });
    if tokio::time::timeout(limit, &mut joined).await.is_ok() {
        return true;
    }
    control.enter(Phase::Stopping);
    // Stopping takes a worker no longer than its last packets.
    let _ = tokio::time::timeout(Duration::from_secs(2), joined).await;
    false
}
