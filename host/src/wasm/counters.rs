//! Counts per filter, one set for each worker so that no core writes another's cache line.

use std::sync::atomic::{AtomicU64, Ordering};

use super::trap::CallError;

/// What happened in a guest so far, over all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuestCounters {
    /// Hooks called.
    pub calls: u64,
    /// Calls that ended in a trap.
    pub traps: u64,
    /// Calls that ran out of CPU time.
    pub timeouts: u64,
    /// Calls that ran out of memory.
    pub out_of_memory: u64,
    /// Calls that called the host too often.
    pub hostcall_budget: u64,
    /// Calls for which there was no instance.
    pub no_instance: u64,
    /// Log lines dropped.
    pub log_lines_dropped: u64,
    /// Instances made.
    pub instances_created: u64,
    /// Instances dropped, for any reason.
    pub instances_retired: u64,
}

impl GuestCounters {
    /// Instances that exist now.
    #[must_use]
    pub fn instances_live(&self) -> u64 {
        self.instances_created.saturating_sub(self.instances_retired)
    }
}

/// One worker's counts. Aligned to two cache lines, since processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct WorkerCounters {
    calls: AtomicU64,
    traps: AtomicU64,
    timeouts: AtomicU64,
    out_of_memory: AtomicU64,
    hostcall_budget: AtomicU64,
    no_instance: AtomicU64,
    log_lines_dropped: AtomicU64,
    instances_created: AtomicU64,
    instances_retired: AtomicU64,
}

impl WorkerCounters {
    pub(super) fn called(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, error: &CallError) {
        let counter = match error {
            CallError::Trap { .. } => &self.traps,
            CallError::Timeout => &self.timeouts,
            CallError::OutOfMemory => &self.out_of_memory,
            CallError::HostcallBudget => &self.hostcall_budget,
            CallError::NoInstance => &self.no_instance,
            // The chain finds and counts those.
            CallError::InvalidVerdict { .. } => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn log_lines_dropped(&self, lines: u32) {
        if lines > 0 {
            self.log_lines_dropped.fetch_add(u64::from(lines), Ordering::Relaxed);
        }
    }

    pub(super) fn instance_created(&self) {
        self.instances_created.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn instance_retired(&self) {
        self.instances_retired.fetch_add(1, Ordering::Relaxed);
    }
}

/// Adds up the workers.
pub(super) fn sum<'a>(workers: impl Iterator<Item = &'a WorkerCounters>) -> GuestCounters {
    workers.fold(GuestCounters::default(), |sum, worker| GuestCounters {
        calls: sum.calls + worker.calls.load(Ordering::Relaxed),
        traps: sum.traps + worker.traps.load(Ordering::Relaxed),
        timeouts: sum.timeouts + worker.timeouts.load(Ordering::Relaxed),
        out_of_memory: sum.out_of_memory + worker.out_of_memory.load(Ordering::Relaxed),
        hostcall_budget: sum.hostcall_budget + worker.hostcall_budget.load(Ordering::Relaxed),
        no_instance: sum.no_instance + worker.no_instance.load(Ordering::Relaxed),
        log_lines_dropped: sum.log_lines_dropped + worker.log_lines_dropped.load(Ordering::Relaxed),
        instances_created: sum.instances_created + worker.instances_created.load(Ordering::Relaxed),
        instances_retired: sum.instances_retired + worker.instances_retired.load(Ordering::Relaxed),
    })
}
