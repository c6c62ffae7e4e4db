//! Which requests are in progress on a connection, so that an idle one can be closed and a draining one can end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// Shared by a connection's task and those of its requests.
#[derive(Debug)]
pub(crate) struct Activity {
    start: Instant,
    active: AtomicUsize,
    /// Milliseconds from `start` to the end of the last request.
    last: AtomicU64,
}

impl Activity {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { start: Instant::now(), active: AtomicUsize::new(0), last: AtomicU64::new(0) })
    }

    /// Marks a request as in progress until the guard goes.
    pub(crate) fn begin(self: &Arc<Self>) -> InProgress {
        self.active.fetch_add(1, Relaxed);
        InProgress(Arc::clone(self))
    }

    /// Requests in progress.
    pub(crate) fn active(&self) -> usize {
        self.active.load(Relaxed)
    }

    /// When the connection will have been idle for `limit`; `None` if it has been already.
    pub(crate) fn idle_at(&self, limit: Duration) -> Option<Instant> {
        let now = Instant::now();
        if self.active() > 0 {
            return Some(now + limit);
        }
        let at = self.start + Duration::from_millis(self.last.load(Relaxed)) + limit;
        (at > now).then_some(at)
    }
}

/// A request in progress.
#[derive(Debug)]
pub(crate) struct InProgress(Arc<Activity>);

impl Drop for InProgress {
    fn drop(&mut self) {
        let elapsed = u64::try_from(self.0.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last.store(elapsed, Relaxed);
        self.0.active.fetch_sub(1, Relaxed);
    }
}
