//! The load generators: wrk for http/1.1, h2load for h2, and our own for everything that those cannot do.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::cell::{Cell, Protocol, Seen, Workload};
use super::machine::{LOAD_CORE, pinned};
use super::server::{Ports, Running};
use crate::process::capture;
use crate::workspace::Workspace;

/// Connections of http/1.1, each with one request at a time.
const H1_CONNECTIONS: usize = 64;
/// Connections of h2 and h3, and requests at a time on each.
const CONNECTIONS: usize = 32;
const STREAMS: usize = 8;
/// Large bodies: few at a time, as downloads are.
const LARGE_CONNECTIONS: usize = 2;
/// New connections under way at a time.
const CONNECTING: usize = 16;
/// Requests per second of `Workload::Rate`.
const RATE: usize = 3_000;

/// Where the generators are.
pub struct Generators {
    own: PathBuf,
    h2load_log: PathBuf,
}

impl Generators {
    pub fn find(workspace: &Workspace) -> Result<Self> {
        let own = workspace.binary("quick", "bench-load");
        ensure!(own.is_file(), "{} is missing", own.display());
        Ok(Self { own, h2load_log: workspace.path("target/bench/h2load.tsv") })
    }

    /// Loads a proxy for a time.
    pub fn load(&self, server: &Running, cell: Cell, length: Duration) -> Result<Seen> {
        match (cell.workload, cell.protocol) {
            (Workload::Small | Workload::Kilobyte, Protocol::H1 | Protocol::H1s) => wrk(server.ports, cell, length),
            (Workload::Small | Workload::Kilobyte, Protocol::H2) => self.h2load(server.ports, cell, length),
            _ => self.own(server.ports, cell, length),
        }
    }

    /// Our own generator; it prints JSON.
    fn own(&self, ports: Ports, cell: Cell, length: Duration) -> Result<Seen> {
        let is_h1 = matches!(cell.protocol, Protocol::H1 | Protocol::H1s);
        let (mode, connections, streams) = match cell.workload {
            Workload::Small | Workload::Kilobyte => ("closed", CONNECTIONS, STREAMS),
            Workload::Rate => ("rate", if is_h1 { H1_CONNECTIONS } else { CONNECTIONS }, STREAMS),
            Workload::Connect => ("connect", CONNECTING, 1),
            Workload::Large => ("closed", LARGE_CONNECTIONS, 1),
        };
        let port = if cell.protocol == Protocol::H1 { ports.plain } else { ports.tls };
        let mut command = pinned(LOAD_CORE, &self.own);
        command.args(["--protocol", cell.protocol.name(), "--mode", mode, "--path", cell.workload.path()]);
        command.args(["--address", &format!("127.0.0.1:{port}")]);
        for (flag, value) in [("--connections", connections), ("--streams", streams), ("--rate", RATE)] {
            command.arg(flag).arg(value.to_string());
        }
        command.arg("--seconds").arg(length.as_secs_f64().to_string());
        let printed: Value = serde_json::from_str(&capture(&mut command)?)?;
        let requests = printed["requests"].as_u64().context("the generator counted nothing")?;
        ensure!(
            requests > 0 || printed["bytes"].as_u64().is_some_and(|bytes| bytes > 0),
            "no request was answered: {}",
            printed["last_error"]
        );
        Ok(Seen {
            requests,
            errors: printed["errors"].as_u64().unwrap_or_default(),
            bytes: printed["bytes"].as_u64().unwrap_or_default(),
            seconds: printed["seconds"].as_f64().unwrap_or_default(),
            p50_ms: printed["p50_us"].as_f64().unwrap_or(f64::NAN) / 1e3,
            p99_ms: printed["p99_us"].as_f64().unwrap_or(f64::NAN) / 1e3,
        })
    }

    /// h2load; its percentiles come from the log that it writes of every request.
    fn h2load(&self, ports: Ports, cell: Cell, length: Duration) -> Result<Seen> {
        drop(fs::remove_file(&self.h2load_log));
        let mut command = pinned(LOAD_CORE, "h2load");
        command.args(["-t", "1", "-c", &CONNECTIONS.to_string(), "-m", &STREAMS.to_string()]);
        command.arg("-D").arg(length.as_secs_f64().ceil().to_string());
        command.arg("--log-file").arg(&self.h2load_log);
        command.arg(format!("https://127.0.0.1:{}{}", ports.tls, cell.workload.path()));
        let printed = capture(&mut command)?;
        let seconds = parse_after(&printed, "finished in ").and_then(seconds_of).context("h2load gave no time")?;
        let line = printed.lines().find(|line| line.starts_with("requests:")).context("h2load counted nothing")?;
        let count = |word: &str| {
            let part = line.split([',', ':']).find_map(|part| part.trim().strip_suffix(word))?;
            part.trim().parse::<u64>().ok()
        };
        let (succeeded, failed) = (count("succeeded").unwrap_or(0), count("failed").unwrap_or(0));
        let mut latencies: Vec<u64> = fs::read_to_string(&self.h2load_log)
            .unwrap_or_default()
            .lines()
            .filter_map(|line| line.split('\t').nth(2)?.parse().ok())
            .collect();
        latencies.sort_unstable();
        let rank = |percent: usize| {
            let at = (latencies.len() * percent / 100).min(latencies.len().saturating_sub(1));
            latencies.get(at).map_or(f64::NAN, |us| Duration::from_micros(*us).as_secs_f64() * 1e3)
        };
        Ok(Seen { requests: succeeded, errors: failed, bytes: 0, seconds, p50_ms: rank(50), p99_ms: rank(99) })
    }
}

/// wrk; it does not mind certificates.
fn wrk(ports: Ports, cell: Cell, length: Duration) -> Result<Seen> {
    let (scheme, port) = if cell.protocol == Protocol::H1 { ("http", ports.plain) } else { ("https", ports.tls) };
    let mut command = pinned(LOAD_CORE, "wrk");
    command.args(["-t", "1", "-c", &H1_CONNECTIONS.to_string(), "--latency"]);
    command.arg("-d").arg(format!("{}s", length.as_secs_f64().ceil()));
    command.arg(format!("{scheme}://localhost:{port}{}", cell.workload.path()));
    let printed = capture(&mut command)?;
    let summary = printed.lines().find(|line| line.contains(" requests in ")).context("wrk counted nothing")?;
    let requests = summary.split_whitespace().next().and_then(|count| count.parse().ok());
    let seconds = parse_after(summary, " requests in ").and_then(|rest| seconds_of(rest.split(',').next()?));
    let percentile = |mark: &str| {
        let line = printed.lines().find_map(|line| line.trim().strip_prefix(mark))?;
        seconds_of(line.trim()).map(|seconds| seconds * 1e3)
    };
    let other_statuses = parse_after(&printed, "Non-2xx or 3xx responses: ");
    let errors = other_statuses.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    Ok(Seen {
        requests: requests.context("wrk counted nothing")?,
        errors: errors.unwrap_or(0),
        bytes: 0,
        seconds: seconds.context("wrk gave no time")?,
        p50_ms: percentile("50%").unwrap_or(f64::NAN),
        p99_ms: percentile("99%").unwrap_or(f64::NAN),
    })
}

fn parse_after<'t>(text: &'t str, mark: &str) -> Option<&'t str> {
    text.split_once(mark).map(|(_, rest)| rest.split(',').next().unwrap_or(rest))
}

/// `1.50s`, `731.00us`, `2.31ms`, `1.00m` in seconds.
fn seconds_of(text: &str) -> Option<f64> {
    let word = text.split_whitespace().next()?;
    let split = word.find(|c: char| c.is_ascii_alphabetic())?;
    let factor = match &word[split..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    word[..split].parse::<f64>().ok().map(|value| value * factor)
}

#[cfg(test)]
mod tests {
    use super::{parse_after, seconds_of};

    #[test]
    fn times_of_both_generators() {
        assert_eq!(seconds_of("731.00us"), Some(731.00 * 1e-6));
        assert_eq!(seconds_of("2.00s"), Some(2.0));
        assert_eq!(seconds_of("1.50m"), Some(90.0));
        assert_eq!(parse_after("finished in 3.00s, 33.67 req/s", "finished in "), Some("3.00s"));
    }
}
