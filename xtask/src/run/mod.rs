//! `cargo xtask run`: builds everything, puts two small services behind the proxy and starts it in development mode.
//!
//! This process becomes the proxy (`exec`), so that signals and the exit code are the proxy's own. What must live
//! beside it, the services and the hints, is a companion process that ends when the proxy is gone.

mod addresses;
mod clients;
mod demo;
pub mod http;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use self::addresses::{AGENT_PORT, Addresses, BOLT_PORT, reachable};
use self::clients::Http3Client;
use crate::filters;
use crate::process::{run, signal};
use crate::progress::{Step, detail};
use crate::workspace::Workspace;

/// A path of the shipped routing table that goes to a backend.
const SAMPLE_PATH: &str = "/api/containers/json";
/// From start to ready; filters may have to be compiled first.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// From SIGTERM to the end.
const STOP_WITHIN: Duration = Duration::from_secs(40);
/// How often states are looked at.
const POLL: Duration = Duration::from_millis(50);

/// Options of `cargo xtask run`.
#[derive(Args)]
pub struct Options {
    /// For CI: one request to each listener, then stop, and check that it ends well.
    #[arg(long)]
    check: bool,
    /// More arguments for gpanel-proxy.
    #[arg(last = true)]
    args: Vec<String>,
}

/// Options of the companion process.
#[derive(Args)]
pub struct CompanionOptions {
    #[arg(long)]
    quic: SocketAddr,
    #[arg(long)]
    http: SocketAddr,
    #[arg(long)]
    admin: SocketAddr,
}

/// Builds and runs.
pub fn start(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    println!("Builds the filters and the proxy, then runs it with two small services behind it.");
    println!("The first time this takes up to 15 minutes on two cores (about 350 crates); later, seconds.\n");
    filters::build_all(workspace)?;
    build_proxy(workspace, "quick")?;
    let shipped = workspace.path("config/proxy.toml");
    let config = addresses::read(&shipped)?;
    if options.check { check(workspace, &config, options) } else { become_proxy(workspace, &config, options) }
}

/// Builds the binary with a profile.
pub fn build_proxy(workspace: &Workspace, profile: &str) -> Result<()> {
    let step = Step::begin(format!("building gpanel-proxy (profile {profile})"));
    run(workspace.cargo("build").args(["--package", "gpanel-proxy", "--profile", profile]))?;
    step.done();
    Ok(())
}

fn proxy_command(workspace: &Workspace, config: &std::path::Path, args: &[String]) -> Command {
    let mut proxy = Command::new(workspace.binary("quick", "gpanel-proxy"));
    proxy.arg("--dev-mode").arg("--config").arg(config).args(args);
    // The shipped filters are read from where they are built, so that an edited one changes under live traffic.
    proxy.env("GPANEL_BUILTIN_FILTERS", workspace.filters_out());
    proxy
}

/// Starts the companion, then replaces this process by the proxy.
fn become_proxy(workspace: &Workspace, config: &toml::Table, options: &Options) -> Result<ExitCode> {
    let chosen = Addresses::choose(config, BOLT_PORT, AGENT_PORT)?;
    let mut companion = Command::new(std::env::current_exe()?);
    companion.arg("companion");
    for (flag, address) in [("--quic", chosen.quic), ("--http", chosen.http), ("--admin", chosen.admin)] {
        companion.arg(flag).arg(address.to_string());
    }
    // Not in our process group: Ctrl-C must not take the services away from requests that are still in flight.
    let mut child = companion.process_group(0).stdout(Stdio::piped()).spawn()?;
    let (bolt, agent) = companion_ports(&mut child)?;
    let chosen = Addresses { bolt, agent, ..chosen };
    let file = chosen.config_file(workspace, &workspace.path("config/proxy.toml"), config)?;
    println!("==> starting gpanel-proxy --dev-mode --config {}", file.display());
    let error = proxy_command(workspace, &file, &options.args).exec();
    Err(error).context("cannot start the proxy")
}

/// The companion's first line: `BOLT AGENT`.
fn companion_ports(companion: &mut Child) -> Result<(u16, u16)> {
    let output = companion.stdout.take().context("the companion has no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    let mut ports = line.split_whitespace().filter_map(|port| port.parse().ok());
    Ok((ports.next().context("the companion did not start")?, ports.next().context("the companion did not start")?))
}

/// The companion process: serves until its parent, the proxy, is gone.
pub fn companion(options: &CompanionOptions) -> Result<ExitCode> {
    let proxy = std::os::unix::process::parent_id();
    let is_alive = || std::os::unix::process::parent_id() == proxy;
    let (bolt, agent) = (demo::serve("bolt", BOLT_PORT)?, demo::serve("agent", AGENT_PORT)?);
    println!("{bolt} {agent}");
    let addresses = Addresses { quic: options.quic, http: options.http, admin: options.admin, bolt, agent };
    if wait_ready(addresses.admin, is_alive).is_ok() {
        print_hints(&addresses);
    }
    while is_alive() {
        thread::sleep(POLL);
    }
    Ok(ExitCode::SUCCESS)
}

/// Polls `/ready` until it says 200.
pub fn wait_ready(admin: SocketAddr, mut is_alive: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + READY_WITHIN;
    while Instant::now() < deadline {
        ensure!(is_alive(), "the proxy ended before it was ready");
        if http::get(reachable(admin), "/ready").is_ok_and(|(status, _)| status == 200) {
            return Ok(());
        }
        thread::sleep(POLL);
    }
    bail!("the proxy is not ready after {} s: see http://{}/ready", READY_WITHIN.as_secs(), reachable(admin))
}

/// To standard error: the proxy's log has standard output.
fn print_hints(addresses: &Addresses) {
    let http3 = match Http3Client::find() {
        Some(client) => client.arguments(addresses, SAMPLE_PATH).join(" "),
        None => format!("({})", clients::NO_HTTP3),
    };
    eprintln!("\nReady.");
    eprintln!("  HTTP/3, h2, http/1.1   {}   (TLS; a self-signed certificate)", addresses.tls_url("/"));
    eprintln!("  http/1.1, h2c          http://{}/", reachable(addresses.http));
    eprintln!("  admin                  http://{}/ready   /health   /metrics", reachable(addresses.admin));
    eprintln!("  behind it              bolt on port {}, agent on port {}", addresses.bolt, addresses.agent);
    eprintln!("Try, in another terminal:");
    eprintln!("  curl -ki {}", addresses.tls_url(SAMPLE_PATH));
    eprintln!("  {http3}");
    eprintln!("  edit filters/security-headers/src/lib.rs, then: cargo xtask build-filters   (and curl again)");
    eprintln!("Ctrl-C ends it.\n");
}

/// `--check`: all of it, one request to each listener, and a clean end.
fn check(workspace: &Workspace, config: &toml::Table, options: &Options) -> Result<ExitCode> {
    let step = Step::begin("starting the proxy and asking each listener once");
    let (bolt, agent) = (demo::serve("bolt", 0)?, demo::serve("agent", 0)?);
    let chosen = Addresses::on_loopback(bolt, agent)?;
    let file = chosen.config_file(workspace, &workspace.path("config/proxy.toml"), config)?;
    let began = Instant::now();
    let mut proxy = proxy_command(workspace, &file, &options.args).stdin(Stdio::null()).spawn()?;
    let asked = wait_ready(chosen.admin, || matches!(proxy.try_wait(), Ok(None))).and_then(|()| {
        detail(format!("ready after {} ms", began.elapsed().as_millis()));
        ask_each(&chosen)
    });
    if let Err(error) = asked {
        drop(proxy.kill());
        return Err(error);
    }
    signal(proxy.id(), "TERM");
    let deadline = Instant::now() + STOP_WITHIN;
    while Instant::now() < deadline {
        if let Some(status) = proxy.try_wait()? {
            ensure!(status.success(), "after SIGTERM the proxy ended with {status}");
            detail("SIGTERM: ended with exit code 0");
            step.done();
            return Ok(ExitCode::SUCCESS);
        }
        thread::sleep(POLL);
    }
    drop(proxy.kill());
    bail!("the proxy was still there {} s after SIGTERM", STOP_WITHIN.as_secs())
}

fn ask_each(addresses: &Addresses) -> Result<()> {
    let (status, _) = http::get(reachable(addresses.admin), "/health").context("admin listener")?;
    ensure!(status == 200, "admin listener: /health answered {status}");
    detail("admin: /health answers 200");
    let (status, body) = http::get(reachable(addresses.http), SAMPLE_PATH).context("cleartext listener")?;
    ensure!(status == 200 && body.contains("\"service\": \"bolt\""), "cleartext listener: {status}\n{body}");
    detail("cleartext http/1.1: the service behind `bolt` answers");
    for version in ["1.1", "2"] {
        clients::check_curl(addresses, SAMPLE_PATH, version)
            .with_context(|| format!("TLS listener, HTTP/{version}"))?;
        detail(format!("TLS HTTP/{version}: 200"));
    }
    clients::check_http3(addresses, SAMPLE_PATH).context("QUIC listener")?;
    detail("HTTP/3: 200");
    Ok(())
}
