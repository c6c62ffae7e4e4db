//! `cargo xtask bench`: this proxy and its peers under the same load, and one table.
//!
//! Each proxy has one worker on core 1; the backend and the load generators share core 0. Rounds are interleaved
//! (A B C A B C …) and medians are shown, so that what else happens on the machine hits all alike.

mod backend;
mod cell;
mod load;
mod machine;
mod options;
mod peers;
mod server;
mod table;

pub use self::options::Options;

use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use self::backend::Backend;
use self::cell::{Cell, Measured, Protocol};
use self::peers::Contender;
use self::server::{Running, Site};
use crate::progress::{Step, detail, seconds};
use crate::run::build_proxy;
use crate::workspace::Workspace;

/// All results: for each cell, for each proxy by name, one measurement a round.
pub type Results = BTreeMap<Cell, BTreeMap<String, Vec<Measured>>>;

/// Measures and prints.
pub fn start(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let cells = options.cells();
    ensure!(!cells.is_empty(), "the options leave nothing to measure");
    machine::check()?;
    let folder = workspace.path("target/bench");
    fs::create_dir_all(&folder)?;
    let contenders = contenders(workspace, options)?;
    ensure!(!contenders.is_empty(), "there is no proxy to measure");
    let runs = cells.iter().map(|cell| contenders.iter().filter(|c| c.speaks(cell.protocol)).count()).sum::<usize>();
    let wait = options.seconds_each() * u32::try_from(runs * options.rounds()).unwrap_or(u32::MAX);
    println!(
        "{} cells, {} proxies, {} rounds: about {}.",
        cells.len(),
        contenders.len(),
        options.rounds(),
        seconds(wait)
    );
    println!("Leave the machine alone meanwhile: both cores are part of the measurement.\n");
    build_generator(workspace)?;
    let site = Site::prepare(&folder)?;
    let backend = Backend::start(&site)?;
    let mut running = Vec::new();
    let step = Step::begin("starting the proxies");
    for contender in &contenders {
        match Running::start(contender, &site, backend.port()) {
            Ok(server) => {
                detail(format!("{}: {} MB idle", contender.name, server.idle_megabytes()));
                running.push(server);
            }
            Err(error) => detail(format!("{} is left out: {error:#}", contender.name)),
        }
    }
    step.done();
    let results = measure(workspace, options, &cells, &running)?;
    let idle = running.iter().map(|server| (server.name.clone(), server.idle_megabytes())).collect();
    let report = table::Report { results: &results, idle: &idle, options };
    println!("\n{}", report.markdown());
    let file = options.json.clone().unwrap_or_else(|| folder.join("results.json"));
    fs::write(&file, format!("{:#}\n", report.json())).with_context(|| format!("cannot write {}", file.display()))?;
    println!("Every measurement: {}. How to read the table: docs/benchmark.md", file.display());
    Ok(ExitCode::SUCCESS)
}

/// Every proxy that was asked for and is there; the others are named with the way to get them.
fn contenders(workspace: &Workspace, options: &Options) -> Result<Vec<Contender>> {
    let mut contenders = Vec::new();
    if options.wants_ours() {
        crate::filters::build_all(workspace)?;
        build_proxy(workspace, options.profile())?;
        contenders.extend(peers::ours(workspace, options.profile()));
    }
    contenders.extend(peers::others(workspace, options)?);
    Ok(contenders)
}

fn build_generator(workspace: &Workspace) -> Result<()> {
    let step = Step::begin("building the load generator");
    crate::process::run(workspace.cargo("build").args(["--package", "bench-load", "--profile", "quick"]))?;
    step.done();
    Ok(())
}

/// Cell by cell, round by round, proxy by proxy.
fn measure(workspace: &Workspace, options: &Options, cells: &[Cell], running: &[Running]) -> Result<Results> {
    let generators = load::Generators::find(workspace)?;
    let mut results = Results::new();
    for (number, cell) in cells.iter().enumerate() {
        let able: Vec<_> = running.iter().filter(|server| server.speaks(cell.protocol)).collect();
        let began = Instant::now();
        println!("==> [{}/{}] {cell}", number + 1, cells.len());
        for server in &able {
            // Connections, pools and caches warm up outside the measurement.
            if let Err(error) = generators.load(server, *cell, options.warm_up()) {
                detail(format!("{} while it warmed up: {error:#}", server.name));
            }
        }
        let of_cell = results.entry(*cell).or_default();
        for _ in 0..options.rounds() {
            for server in &able {
                match server.measure(&generators, *cell, options.length(*cell)) {
                    Ok(measured) => of_cell.entry(server.name.clone()).or_default().push(measured),
                    Err(error) => detail(format!("{}: {error:#}", server.name)),
                }
            }
        }
        for (name, rounds) in &*of_cell {
            detail(format!("{name:<16} {}", table::one_line(*cell, rounds)));
        }
        detail(format!("done in {}", seconds(began.elapsed())));
    }
    Ok(results)
}

impl Contender {
    fn speaks(&self, protocol: Protocol) -> bool {
        protocol != Protocol::H3 || self.http3
    }
}
