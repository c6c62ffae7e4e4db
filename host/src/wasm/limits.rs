//! What a guest may use: memory, tables, hostcalls, log lines, CPU time. Every number that bounds a guest stands here.

use std::time::Duration;

use wasmtime::ResourceLimiter;

/// Bytes of a component file; a larger one is refused before anything reads it.
pub const MAX_COMPONENT_SIZE: usize = 32 << 20;
/// Bytes of linear memory that any filter can be given.
pub const MAX_MEMORY: usize = 1 << 30;
/// Elements of all tables of an instance together.
pub(super) const MAX_TABLE_ELEMENTS: usize = 100_000;
/// How long compiling and configuring one filter may take before it counts as failed.
pub(super) const COMPILE_TIME: Duration = Duration::from_mins(1);
/// Compilations that ran past their time and are still going; at this many, nothing more is started.
pub(super) const MAX_RUNAWAY_COMPILES: usize = 2;
/// CPU time of `configure`, and of `schema`.
pub(super) const LIFECYCLE_TIME: Duration = Duration::from_secs(2);
/// The engine's clock: the smallest CPU time that can be told apart.
pub(super) const TICK: Duration = Duration::from_millis(1);
/// Calls into the host during one hook.
pub(super) const HOSTCALLS_PER_CALL: u32 = 10_000;
/// Bytes that one hostcall, or one verdict, may bring out of the guest.
pub(super) const TRANSFER_PER_CALL: usize = 16 << 20;
/// Log lines during one hook; what is beyond is dropped and counted.
pub(super) const LOG_LINES_PER_CALL: u32 = 16;
/// Bytes of one log line; the rest of it is cut off.
pub(super) const LOG_LINE_BYTES: usize = 4096;
/// Bytes that one call to `random` may ask for.
pub(super) const RANDOM_BYTES: u32 = 4096;
/// Calls that an instance serves before it is replaced.
pub(super) const CALLS_PER_INSTANCE: u32 = 1_000;
/// Bytes that an instance may grow by before it is replaced. Not zero: a guest whose snapshot is exactly full would
/// otherwise need a new instance for every call.
pub(super) const GROWTH_PER_INSTANCE: usize = 1 << 20;
/// Instances kept idle, for each filter and worker.
pub(super) const IDLE_INSTANCES: usize = 16;
/// A wasm page.
pub(super) const PAGE: usize = 64 << 10;

/// Turns a time into ticks. One more than it holds, because the first may end at once.
pub(super) fn ticks(time: Duration) -> u32 {
    let whole = time.as_nanos().div_ceil(TICK.as_nanos());
    u32::try_from(whole).unwrap_or(u32::MAX).saturating_add(1)
}

/// Bounds memory and tables of one store, and remembers what was asked for.
#[derive(Debug)]
pub(super) struct Limiter {
    /// Bytes of all linear memories together.
    memory: usize,
    /// Bytes in use.
    used: usize,
    /// Bytes in use since the instance was ready.
    grown: usize,
    tables: usize,
    /// Whether a request for more was refused: what traps after that ran out of memory.
    refused: bool,
}

impl Limiter {
    pub(super) fn new(memory: usize) -> Self {
        Self { memory, used: 0, grown: 0, tables: 0, refused: false }
    }

    /// Begins to count growth, after instantiation.
    pub(super) fn ready(&mut self) {
        self.grown = 0;
    }

    /// Forgets what earlier calls were refused.
    pub(super) fn begin_call(&mut self) {
        self.refused = false;
    }

    /// Lets the store have `bytes` more, for what the host itself puts into it.
    pub(super) fn allow_more(&mut self, bytes: usize) {
        self.memory = self.memory.saturating_add(bytes);
    }

    pub(super) fn was_refused(&self) -> bool {
        self.refused
    }

    /// Whether the instance has become so large that it should be replaced.
    pub(super) fn has_outgrown(&self) -> bool {
        self.grown > GROWTH_PER_INSTANCE
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        let wanted = self.used.saturating_add(more);
        if wanted > self.memory {
            self.refused = true;
            return Ok(false);
        }
        self.used = wanted;
        self.grown = self.grown.saturating_add(more);
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.tables.saturating_add(desired.saturating_sub(current));
        if wanted > MAX_TABLE_ELEMENTS {
            self.refused = true;
            return Ok(false);
        }
        self.tables = wanted;
        Ok(true)
    }

    fn instances(&self) -> usize {
        32
    }

    fn tables(&self) -> usize {
        32
    }

    fn memories(&self) -> usize {
        4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_never_shorter_in_ticks() {
        assert_eq!(ticks(Duration::ZERO), 1);
        assert_eq!(ticks(Duration::from_millis(1)), 2);
        assert_eq!(ticks(Duration::from_millis(2)), 3);
        assert_eq!(ticks(Duration::from_millis(5)), 6);
        assert_eq!(ticks(Duration::MAX), u32::MAX);
    }

    #[test]
    fn memory_is_bounded_over_all_memories_of_a_store() {
        let mut limiter = Limiter::new(4 * PAGE);
        assert!(limiter.memory_growing(0, 2 * PAGE, None).unwrap());
        assert!(limiter.memory_growing(0, 2 * PAGE, None).unwrap());
        assert!(!limiter.was_refused());
        assert!(!limiter.memory_growing(2 * PAGE, 3 * PAGE, None).unwrap());
        assert!(limiter.was_refused());
    }
}
