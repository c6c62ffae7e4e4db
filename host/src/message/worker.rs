//! The id of a worker: one thread with a runtime, listeners, pools and counters of its own.

/// Index of a worker, from 0; every per-worker structure is a slice indexed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WorkerId(pub u16);

impl WorkerId {
    /// The position in a per-worker slice.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}
