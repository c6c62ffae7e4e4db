//! The load generator of `cargo xtask bench`, for what wrk and h2load cannot do: HTTP/3, a fixed rate, connections of
//! one request, large bodies. One thread; prints one line of JSON. It believes any certificate and checks no more of
//! an answer than its status and its length: what it costs is taken from the same machine as what it measures.
#![allow(clippy::print_stdout, reason = "the result is printed")]

mod drive;
mod h1;
mod h2;
mod h3;
mod sample;
mod target;
mod tls;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, ValueEnum};

use crate::drive::Load;
use crate::target::{Protocol, Target};

/// How requests follow each other.
#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// The next one when the last one is answered.
    Closed,
    /// At fixed points in time.
    Rate,
    /// Each on a connection of its own.
    Connect,
}

/// Loads one HTTP server and prints what came back.
#[derive(Parser)]
struct Cli {
    #[arg(long)]
    protocol: Protocol,
    #[arg(long)]
    mode: Mode,
    #[arg(long)]
    address: SocketAddr,
    /// Server name and authority.
    #[arg(long, default_value = "localhost")]
    name: String,
    #[arg(long, default_value = "/")]
    path: String,
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Requests at once on each connection; 1 with http/1.1.
    #[arg(long, default_value_t = 8)]
    streams: usize,
    /// Requests per second, in all, for `--mode rate`.
    #[arg(long, default_value_t = 3_000)]
    rate: u32,
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let target = Target::new(cli.protocol, cli.address, &cli.name, &cli.path)?;
        let streams = if target.protocol.is_multiplexed() { cli.streams } else { 1 };
        let load = Load::new(target, cli.connections, streams, Duration::from_secs_f64(cli.seconds));
        let sample = match cli.mode {
            Mode::Closed => load.closed().await,
            Mode::Rate => load.rate(cli.rate).await,
            Mode::Connect => load.connect().await,
        };
        println!("{}", sample.into_json());
        Ok(())
    })
}
