//! What the kernel says about a process: memory, threads, descriptors, CPU time.

use std::fs;
use std::time::Duration;

/// Figures of one moment.
#[derive(Clone, Copy, Debug)]
pub struct Stats {
    /// Resident bytes.
    pub rss: u64,
    /// The most bytes ever resident, since the start or the last `reset_peak`.
    pub peak_rss: u64,
    /// Threads.
    pub threads: usize,
    /// Open file descriptors.
    pub descriptors: usize,
    /// User and system time.
    pub cpu: Duration,
}

/// Reads the figures of process `pid`.
pub fn stats(pid: u32) -> Stats {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let kib = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key} in status"));
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    Stats {
        rss: kib("VmRSS:") * 1024,
        peak_rss: kib("VmHWM:") * 1024,
        threads: usize::try_from(kib("Threads:")).unwrap(),
        descriptors: fs::read_dir(format!("/proc/{pid}/fd")).expect("own process").count(),
        cpu: cpu_time(pid),
    }
}

/// Forgets the peak, so that `peak_rss` counts from now on.
pub fn reset_peak(pid: u32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("own process");
}

fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // The name in parentheses may hold spaces; user and system time are the 14th and 15th field.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // Linux reports in USER_HZ, which is 100 on every architecture that matters here.
    Duration::from_millis(ticks * 10)
}

/// `bytes` in MiB, for messages.
pub fn mib(bytes: u64) -> u64 {
    bytes / (1024 * 1024)
}
