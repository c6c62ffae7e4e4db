//! Idle connections to one endpoint, a stack per worker: the one used last is the warmest, and the others may
//! age out. No lock is shared between workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::net::TcpStream;

use crate::message::WorkerId;
use crate::message::http1::OutBuffer;
use crate::message::timer::Deadline;

/// One connection to an endpoint with what it needs to serve again.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) io: TcpStream,
    /// What was read and not yet used; empty while the connection is idle.
    pub(super) input: BytesMut,
    pub(super) output: OutBuffer,
    /// Time to response headers; kept with the connection so that its timer is.
    pub(super) deadline: Deadline,
    /// Whether it has served a request before.
    pub(super) reused: bool,
    idle_since: Instant,
}

impl Connection {
    pub(super) fn new(io: TcpStream) -> Self {
        Self {
            io,
            input: BytesMut::new(),
            output: OutBuffer::default(),
            deadline: Deadline::default(),
            reused: false,
            idle_since: Instant::now(),
        }
    }

    /// Whether the endpoint has neither closed it nor sent what nobody asked for.
    fn is_usable(&self) -> bool {
        let mut byte = [0];
        let quiet = |error: std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
        self.input.is_empty() && self.output.is_empty() && self.io.try_read(&mut byte).is_err_and(quiet)
    }
}

/// Bounds the idle connections of a worker over all endpoints (`connection_pool_size`, an equal share each).
#[derive(Debug)]
pub struct IdleBudget {
    used: Box<[Padded<AtomicUsize>]>,
    per_worker: usize,
    lifetime: Duration,
}

/// A value with a cache line of its own, so that workers do not share one.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl IdleBudget {
    /// `total` connections over `workers` workers, each idle for at most `lifetime`.
    #[must_use]
    pub fn new(total: usize, lifetime: Duration, workers: usize) -> Arc<Self> {
        let used = (0..workers).map(|_| Padded::default()).collect();
        Arc::new(Self { used, per_worker: total.div_ceil(workers.max(1)), lifetime })
    }

    fn take(&self, worker: WorkerId) -> bool {
        let used = &self.used[worker.index()].0;
        used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| (used < self.per_worker).then_some(used + 1))
            .is_ok()
    }

    fn release(&self, worker: WorkerId, count: usize) {
        self.used[worker.index()].0.fetch_sub(count, Ordering::Relaxed);
    }

    /// Idle connections now, over all workers.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.used.iter().map(|used| used.0.load(Ordering::Relaxed)).sum()
    }
}

/// One worker's stack.
type Idle = Mutex<Vec<Box<Connection>>>;

/// The idle connections of one endpoint.
#[derive(Debug)]
pub(super) struct Pool {
    workers: Box<[Padded<Idle>]>,
    budget: Arc<IdleBudget>,
}

impl Pool {
    pub(super) fn new(budget: Arc<IdleBudget>) -> Self {
        let workers = budget.used.iter().map(|_| Padded::default()).collect();
        Self { workers, budget }
    }

    /// The connection used last that is still good.
    pub(super) fn checkout(&self, worker: WorkerId) -> Option<Box<Connection>> {
        loop {
            let mut connection = self.workers[worker.index()].0.lock().pop()?;
            self.budget.release(worker, 1);
            if connection.idle_since.elapsed() < self.budget.lifetime && connection.is_usable() {
                connection.reused = true;
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for the next request; closes it where there is no room.
    pub(super) fn checkin(&self, worker: WorkerId, mut connection: Box<Connection>) {
        if self.budget.take(worker) {
            connection.idle_since = Instant::now();
            self.workers[worker.index()].0.lock().push(connection);
        }
    }

    /// Closes what has been idle for too long or was closed by the endpoint.
    pub(super) fn reap(&self, worker: WorkerId) {
        let mut idle = self.workers[worker.index()].0.lock();
        let before = idle.len();
        idle.retain(|connection| connection.idle_since.elapsed() < self.budget.lifetime && connection.is_usable());
        self.budget.release(worker, before - idle.len());
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for (index, idle) in self.workers.iter().enumerate() {
            let worker = WorkerId(u16::try_from(index).unwrap_or(u16::MAX));
            self.budget.release(worker, idle.0.lock().len());
        }
    }
}
