//! `cargo xtask test`: everything that must hold before a change lands, in the order that fails soonest.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::filters;
use crate::process::{capture, find, run, succeeds};
use crate::progress::{Step, detail, seconds};
use crate::run::build_proxy;
use crate::workspace::Workspace;

/// Programs that the integration tests start, and the Debian packages that have them.
const PROGRAMS: &[(&str, &str)] = &[
    ("curl", "curl"),
    ("chromium", "chromium"),
    ("gtlsclient", "ngtcp2-client"),
    ("openssl", "openssl"),
    ("prometheus", "prometheus"),
];
/// HTTP/3 clients from PyPI that the integration tests use, with their versions.
const PYTHON_REQUIREMENTS: &str = "tests/clients/requirements.txt";
/// The package of the integration tests.
const INTEGRATION: &str = "integration";

/// Options of `cargo xtask test`.
#[derive(Args)]
pub struct Options {
    /// Only tests whose name contains this.
    filter: Option<String>,
    /// Only these parts; all of them otherwise.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
}

/// What there is to run.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Formatting and clippy.
    Lint,
    /// Unit tests of every crate.
    Unit,
    /// Examples in documentation.
    Doc,
    /// The integration tests, against the real binary.
    Integration,
}

impl Options {
    fn wants(&self, part: Part) -> bool {
        if self.only.is_empty() { self.filter.is_none() || part != Part::Lint } else { self.only.contains(&part) }
    }
}

/// How many tests passed and failed so far.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
    broken: Vec<&'static str>,
}

/// Runs what was asked for.
pub fn start(workspace: &Workspace, options: &Options) -> Result<ExitCode> {
    let began = std::time::Instant::now();
    println!("Builds the filters, the test guests and the proxy, then lints and runs every test.");
    println!("The first time this takes about 25 minutes on two cores (about 350 crates); later, a few.\n");
    let integration = options.wants(Part::Integration);
    let python = if integration { Some(prepare_clients(workspace)?) } else { None };
    if options.wants(Part::Lint) {
        let step = Step::begin("checking the formatting");
        run(workspace.cargo("fmt").args(["--all", "--check"])).context("run `cargo fmt --all`")?;
        step.done();
    }
    filters::build_all(workspace)?;
    if options.wants(Part::Lint) {
        let step = Step::begin("clippy");
        let mut clippy = workspace.cargo("clippy");
        run(clippy.args(["--workspace", "--all-targets", "--profile", "quick", "--", "-D", "warnings"]))?;
        step.done();
    }
    let mut tally = Tally::default();
    if options.wants(Part::Unit) {
        let arguments = ["--workspace", "--exclude", INTEGRATION, "--lib", "--bins"];
        cargo_test(workspace, options, "unit tests", &arguments, None, &mut tally)?;
    }
    if options.wants(Part::Doc) {
        cargo_test(workspace, options, "examples in documentation", &["--workspace", "--doc"], None, &mut tally)?;
    }
    if let Some(python) = python {
        build_proxy(workspace, "quick")?;
        let arguments = ["--package", INTEGRATION, "--all-targets"];
        cargo_test(workspace, options, "integration tests", &arguments, Some(python), &mut tally)?;
    }
    summarise(&tally, began.elapsed())
}

/// The last lines: what failed, and how many passed.
fn summarise(tally: &Tally, took: std::time::Duration) -> Result<ExitCode> {
    println!("\nEverything took {}.", seconds(took));
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.broken.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!("failed: {}. To repeat one: `cargo xtask test NAME`", tally.broken.join(", "))
}

/// Runs `cargo test`, showing its output and counting results.
fn cargo_test(
    workspace: &Workspace,
    options: &Options,
    name: &'static str,
    arguments: &[&str],
    python: Option<PathBuf>,
    tally: &mut Tally,
) -> Result<()> {
    let step = Step::begin(name);
    let mut cargo = workspace.cargo("test");
    cargo.args(["--profile", "quick", "--no-fail-fast"]).args(arguments).args(&options.filter);
    cargo.env("GPANEL_PROXY_BIN", workspace.binary("quick", "gpanel-proxy"));
    cargo.env("GPANEL_GUESTS_DIR", workspace.guests_out()).env("GPANEL_FILTERS_DIR", workspace.filters_out());
    if let Some(python) = python {
        cargo.env("GPANEL_PYTHON", python);
    }
    let mut child = cargo.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let output = child.stdout.take().context("cargo has no output")?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        if let Some((passed, failed)) = result_line(&line) {
            tally.passed += passed;
            tally.failed += failed;
        }
    }
    if child.wait()?.success() {
        step.done();
    } else {
        tally.broken.push(name);
    }
    Ok(())
}

/// The counts in `test result: ok. 12 passed; 0 failed; …`.
fn result_line(line: &str) -> Option<(u64, u64)> {
    let counts = line.strip_prefix("test result: ")?;
    let count = |word: &str| {
        let at = counts.split([';', '.']).find_map(|part| part.trim().strip_suffix(word))?;
        at.trim().parse().ok()
    };
    Some((count("passed")?, count("failed")?))
}

/// Names what is missing, all of it at once, and makes the Python environment.
fn prepare_clients(workspace: &Workspace) -> Result<PathBuf> {
    let step = Step::begin("looking for the programs that the tests start");
    let mut missing: Vec<_> =
        PROGRAMS.iter().filter(|(program, _)| find(program).is_none()).map(|(_, package)| *package).collect();
    if !succeeds(Command::new("python3").args(["-c", "import venv, ensurepip"])) {
        missing.push("python3-venv");
    }
    if !missing.is_empty() {
        bail!(
            "the integration tests need programs that are not here. Install them:\n    sudo apt-get install {}\nor leave \
             those tests out: cargo xtask test --only lint,unit,doc",
            missing.join(" ")
        );
    }
    let python = python_environment(workspace)?;
    step.done();
    Ok(python)
}

/// `target/venv` with the Python clients.
fn python_environment(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.path("target/venv");
    let python = folder.join("bin/python");
    let mark = folder.join("gpanel-packages");
    let requirements = workspace.path(PYTHON_REQUIREMENTS);
    let wanted = fs::read_to_string(&requirements).with_context(|| format!("no {PYTHON_REQUIREMENTS}"))?;
    if fs::read_to_string(&mark).is_ok_and(|have| have == wanted) && succeeds(Command::new(&python).arg("--version")) {
        return Ok(python);
    }
    detail(format!("making {} with {PYTHON_REQUIREMENTS} from PyPI (downloads about 20 MB)", folder.display()));
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(requirements);
    capture(&mut pip).context("pip could not install them; is the network there?")?;
    fs::write(mark, wanted)?;
    Ok(python)
}
