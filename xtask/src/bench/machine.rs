//! What the machine must have, and what `/proc` says about a process and its children.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, bail, ensure};

use crate::process::{capture, find};

/// The core of the proxies.
pub const PROXY_CORE: &str = "1";
/// The core of the backend and the load generators.
pub const LOAD_CORE: &str = "0";

/// Programs without which nothing can be measured, and their Debian packages.
const PROGRAMS: &[(&str, &str)] = &[
    ("taskset", "util-linux"),
    ("nginx", "nginx-light"),
    ("wrk", "wrk"),
    ("h2load", "nghttp2-client"),
    ("openssl", "openssl"),
];

/// Fails with the way to get what is missing.
pub fn check() -> Result<()> {
    let missing: Vec<_> =
        PROGRAMS.iter().filter(|(program, _)| find(program).is_none()).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        bail!("the benchmark needs programs that are not here:\n    sudo apt-get install {}", missing.join(" "));
    }
    ensure!(Path::new("/proc/self/stat").exists(), "the benchmark reads /proc, which only Linux has");
    let cores = thread::available_parallelism()?.get();
    ensure!(cores >= 2, "the benchmark needs two cores: one for the proxy, one for everything else");
    Ok(())
}

/// A command pinned to a core.
pub fn pinned(core: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program);
    command
}

/// A process and all that descend from it.
pub fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        // Children are listed for the thread that started them.
        let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            family.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
        next += 1;
    }
    family
}

/// CPU time in microseconds of a family so far: user and system, of threads that have ended too.
pub fn cpu_us(family: &[u32]) -> Result<f64> {
    let ticks_per_second: f64 = capture(Command::new("getconf").arg("CLK_TCK"))?.trim().parse()?;
    let ticks = family.iter().map(|pid| cpu_ticks(*pid)).sum::<Result<u64>>()?;
    #[allow(clippy::cast_precision_loss, reason = "ticks stay far below 2^52")]
    let ticks = ticks as f64;
    Ok(ticks * 1e6 / ticks_per_second)
}

fn cpu_ticks(pid: u32) -> Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} is gone"))?;
    // The name in parentheses may hold spaces; after it, user and system time are the 12th and 13th field.
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat has no name")?;
    let mut times = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    let (user, system) = (times.next(), times.next());
    Ok(user.context("no user time")? + system.context("no system time")?)
}

/// Resident memory in MB: now (`VmRSS`) or at its highest (`VmHWM`).
pub fn memory_mb(family: &[u32], field: &str) -> f64 {
    let kilobytes: u32 = family.iter().filter_map(|pid| memory_kb(*pid, field)).sum();
    f64::from(kilobytes) * 1024.0 / 1e6
}

fn memory_kb(pid: u32, field: &str) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Lets `VmHWM` start anew. Where that is not allowed, the highest of the whole run stays.
pub fn forget_peak(family: &[u32]) {
    for pid in family {
        drop(fs::write(format!("/proc/{pid}/clear_refs"), "5"));
    }
}
