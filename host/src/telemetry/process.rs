//! What the system knows of this process, from `/proc/self`; `None` where it does not tell.

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// CPU time of all threads since the start.
pub(super) fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

/// A number of `/proc/self/status`.
pub(super) fn status(key: &str) -> Option<u64> {
    number_after(&fs::read_to_string("/proc/self/status").ok()?, key)
}

/// A size of `/proc/self/status`, which counts in kB.
pub(super) fn status_bytes(key: &str) -> Option<u64> {
    status(key).map(|kilobytes| kilobytes * 1024)
}

fn number_after(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Open file descriptors, without the one that counts them.
pub(super) fn open_files() -> Option<u64> {
    let count = fs::read_dir("/proc/self/fd").ok()?.count();
    u64::try_from(count).ok()?.checked_sub(1)
}

/// The soft limit of open file descriptors.
pub(super) fn max_files() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Bytes received and sent over IP. The kernel counts them by network namespace, not by process.
pub(super) fn network_bytes() -> Option<(u64, u64)> {
    octets(&fs::read_to_string("/proc/self/net/netstat").ok()?)
}

/// `InOctets` and `OutOctets` of the `IpExt` lines: one line of names, one of numbers.
fn octets(text: &str) -> Option<(u64, u64)> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("IpExt:"));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let find = |wanted: &str| {
        let index = names.split_whitespace().position(|name| name == wanted)?;
        numbers.split_whitespace().nth(index)?.parse().ok()
    };
    Some((find("InOctets")?, find("OutOctets")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive() {
        assert!(cpu_time() > Duration::ZERO);
        assert!(status_bytes("VmRSS").unwrap() > 1024 * 1024);
        assert!(status("Threads").unwrap() >= 1);
        assert!(open_files().unwrap() >= 3);
        assert!(max_files().unwrap() >= open_files().unwrap());
    }

    #[test]
    fn netstat_lines() {
        let text = "TcpExt: A B\nTcpExt: 1 2\nIpExt: InNoRoutes InOctets OutOctets\nIpExt: 0 7 9\n";
        assert_eq!(octets(text), Some((7, 9)));
        assert_eq!(octets("TcpExt: A\nTcpExt: 1\n"), None);
    }
}
