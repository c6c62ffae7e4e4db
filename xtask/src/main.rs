//! `cargo xtask`: the project's only automation. It builds the filters, runs the proxy with something behind it, runs
//! every test and measures against other proxies. It takes no part in what ships.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is what a command line tool does")]
#![allow(clippy::disallowed_methods, reason = "sleeping between two looks at a process is what a script does")]
#![allow(unreachable_pub, reason = "nothing is reachable from outside a program; `pub` marks what other modules use")]

mod bench;
mod componentize;
mod filters;
mod process;
mod progress;
mod run;
mod test;
mod toolchain;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// Builds, runs, tests and measures gpanel-proxy.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds every shipped filter and every test guest into a component.
    BuildFilters,
    /// Builds one filter crate, anywhere on disk, into a component.
    Filter {
        /// Folder of the crate.
        dir: PathBuf,
        /// Where to write the component.
        out: PathBuf,
    },
    /// Builds everything and runs the proxy in development mode, with something useful behind it.
    Run(run::Options),
    /// Checks formatting and lints, and runs every test.
    Test(test::Options),
    /// Measures the proxy and its peers under the same load.
    Bench(bench::Options),
    /// What `run` starts beside the proxy.
    #[command(hide = true)]
    Companion(run::CompanionOptions),
}

fn main() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode> {
    let workspace = Workspace::locate();
    match command {
        Command::BuildFilters => filters::build_all(&workspace)?,
        Command::Filter { dir, out } => filters::build_one(&workspace, &dir, &out)?,
        Command::Run(options) => return run::start(&workspace, &options),
        Command::Test(options) => return test::start(&workspace, &options),
        Command::Bench(options) => return bench::start(&workspace, &options),
        Command::Companion(options) => return run::companion(&options),
    }
    Ok(ExitCode::SUCCESS)
}
