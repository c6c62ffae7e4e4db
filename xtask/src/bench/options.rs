//! What to measure and for how long.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::cell::{Cell, Protocol, Workload};

/// Proxies that `--peers` may name.
pub const PEERS: &[&str] = &["envoy", "caddy", "traefik", "nginx", "haproxy", "h2o", "nghttpx"];

/// Options of `cargo xtask bench`.
#[derive(Args)]
pub struct Options {
    /// Which peers; all that can be had otherwise. `none` for ours alone.
    #[arg(long, value_delimiter = ',', value_parser = clap::builder::PossibleValuesParser::new(
        PEERS.iter().copied().chain(["none"])))]
    peers: Vec<String>,
    /// Only the peers.
    #[arg(long)]
    without_ours: bool,
    /// Which protocols; all otherwise.
    #[arg(long, value_delimiter = ',')]
    protocols: Vec<Protocol>,
    /// Which loads; all otherwise.
    #[arg(long, value_delimiter = ',')]
    workloads: Vec<Workload>,
    /// Length of one measurement.
    #[arg(long)]
    seconds: Option<f64>,
    /// Measurements of each cell; the median counts.
    #[arg(long)]
    rounds: Option<usize>,
    /// A rough answer soon: one second, one round, two loads.
    #[arg(long)]
    quick: bool,
    /// How our proxy is built; `quick` builds in minutes and is slower.
    #[arg(long, default_value = "release", value_parser = ["release", "quick"])]
    profile: String,
    /// Where every measurement is written; target/bench/results.json otherwise.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

impl Options {
    /// Every combination, protocol by protocol.
    pub fn cells(&self) -> Vec<Cell> {
        let protocols = if self.protocols.is_empty() { Protocol::ALL.to_vec() } else { self.protocols.clone() };
        let workloads = match (self.workloads.is_empty(), self.quick) {
            (false, _) => self.workloads.clone(),
            (true, true) => vec![Workload::Small, Workload::Rate],
            (true, false) => Workload::ALL.to_vec(),
        };
        let all = workloads
            .iter()
            .flat_map(|workload| protocols.iter().map(|protocol| Cell { workload: *workload, protocol: *protocol }));
        // A new cleartext connection says nothing about handshakes.
        all.filter(|cell| cell.workload != Workload::Connect || cell.protocol != Protocol::H1).collect()
    }

    /// Whether a peer was asked for.
    pub fn wants(&self, peer: &str) -> bool {
        self.peers.is_empty() || self.peers.iter().any(|name| name == peer)
    }

    /// Whether our own proxy takes part.
    pub fn wants_ours(&self) -> bool {
        !self.without_ours
    }

    /// How many times each cell is measured.
    pub fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 }).max(1)
    }

    /// The length of one measurement. A nearly idle proxy must be watched longer to see what it costs.
    pub fn length(&self, cell: Cell) -> Duration {
        let factor = if cell.workload == Workload::Rate { 2 } else { 1 };
        self.base() * factor
    }

    /// Before the first measurement of a cell.
    pub fn warm_up(&self) -> Duration {
        Duration::from_millis(500).min(self.base())
    }

    /// Roughly what one measurement takes, for the announcement.
    pub fn seconds_each(&self) -> Duration {
        self.base() + self.base() / 4
    }

    /// The cargo profile of our proxy.
    pub fn profile(&self) -> &str {
        &self.profile
    }

    fn base(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.unwrap_or(if self.quick { 1.0 } else { 3.0 }).clamp(0.2, 600.0))
    }
}
