//! One cell of the table: a protocol and a load; and one measurement of it.

use std::fmt;

use serde_json::{Value, json};

/// What the client speaks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Protocol {
    /// Cleartext http/1.1.
    H1,
    /// http/1.1 over TLS.
    H1s,
    /// HTTP/2 over TLS.
    H2,
    /// HTTP/3.
    H3,
}

impl Protocol {
    /// In the order of the table.
    pub const ALL: [Self; 4] = [Self::H1, Self::H1s, Self::H2, Self::H3];

    /// As the load generator calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::H1 => "h1",
            Self::H1s => "h1s",
            Self::H2 => "h2",
            Self::H3 => "h3",
        }
    }

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::H1s => "h1 TLS",
            other => other.name(),
        }
    }
}

/// What the client asks for, and how.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Workload {
    /// 2 bytes at full speed.
    Small,
    /// 1 KB at full speed.
    Kilobyte,
    /// 2 bytes, 3,000 times a second.
    Rate,
    /// 2 bytes, each on a connection of its own.
    Connect,
    /// 100 MB.
    Large,
}

impl Workload {
    /// In the order of the table.
    pub const ALL: [Self; 5] = [Self::Small, Self::Kilobyte, Self::Rate, Self::Connect, Self::Large];

    /// What the backend answers with.
    pub fn path(self) -> &'static str {
        match self {
            Self::Small | Self::Rate | Self::Connect => "/2",
            Self::Kilobyte => "/1k",
            Self::Large => "/100m",
        }
    }

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Small => "2 bytes, full speed",
            Self::Kilobyte => "1 KB, full speed",
            Self::Rate => "2 bytes, 3,000/s",
            Self::Connect => "new connections",
            Self::Large => "100 MB bodies",
        }
    }
}

/// A protocol under a load.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    pub workload: Workload,
    pub protocol: Protocol,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.protocol.title(), self.workload.title())
    }
}

/// What a load generator saw.
pub struct Seen {
    pub requests: u64,
    pub errors: u64,
    pub bytes: u64,
    pub seconds: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// What one run of a load cost.
pub struct Measured {
    pub seen: Seen,
    /// CPU time of the proxy's processes.
    pub cpu_us: f64,
    /// Highest resident memory during the run.
    pub peak_mb: f64,
}

impl Measured {
    /// Requests per second, or MiB per second of large bodies.
    pub fn throughput(&self, cell: Cell) -> f64 {
        self.units(cell) / self.seen.seconds.max(1e-9)
    }

    /// CPU microseconds per request, or per MiB of large bodies.
    pub fn cpu_each(&self, cell: Cell) -> f64 {
        self.cpu_us / self.units(cell).max(1e-9)
    }

    #[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    fn units(&self, cell: Cell) -> f64 {
        if cell.workload == Workload::Large { self.seen.bytes as f64 / 1_048_576.0 } else { self.seen.requests as f64 }
    }

    /// Everything, for the file.
    pub fn to_json(&self) -> Value {
        json!({
            "requests": self.seen.requests,
            "errors": self.seen.errors,
            "bytes": self.seen.bytes,
            "seconds": self.seen.seconds,
            "p50_ms": self.seen.p50_ms,
            "p99_ms": self.seen.p99_ms,
            "cpu_us": self.cpu_us,
            "peak_mb": self.peak_mb,
        })
    }
}
