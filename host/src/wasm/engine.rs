//! The engine: settings and host functions that every filter shares, and the clock that bounds their CPU time.
//!
//! Where the settings come from: they were measured one by one; each comment says what it buys.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use wasmtime::component::Linker;
use wasmtime::{Cache, CacheConfig, Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use super::host;
use super::limits::{MAX_MEMORY, MAX_TABLE_ELEMENTS, TICK};
use super::store::GuestState;

/// Instances that the pool has room for, at least and at most, and per worker. Room costs addresses, not memory.
const MIN_SLOTS: usize = 1_000;
const MAX_SLOTS: usize = 8_000;
const SLOTS_PER_WORKER: usize = 250;
/// Bytes of a slot that stay resident between two instances: cleared in place, which is cheaper than giving them back.
const KEEP_RESIDENT: usize = 1 << 20;
/// Addresses reserved for one memory: with all that 32 bits can reach behind it, no access needs a bounds check.
const RESERVATION: u64 = 4 << 30;

/// What an engine needs to know.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Workers that will call filters; their ids are below this.
    pub workers: usize,
    /// Where compiled code is kept between runs. Whoever can write there can run code in this process.
    pub cache_dir: Option<PathBuf>,
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The system did not give what the engine needs, for example addresses.
    #[error("the WebAssembly engine cannot start: {0}")]
    Engine(String),
    /// The system gave no thread.
    #[error("no thread for the filters' clock: {0}")]
    Thread(#[source] std::io::Error),
}

/// Runs filters. Cheap to clone; the clock stops with the last clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    engine: wasmtime::Engine,
    linker: Linker<GuestState>,
    workers: usize,
    /// Compilations that ran past their time and are still going.
    runaways: AtomicUsize,
    /// Its end tells the clock to stop.
    _clock: mpsc::Sender<()>,
}

impl Engine {
    /// Starts an engine.
    pub fn new(options: EngineOptions) -> Result<Self, EngineError> {
        let EngineOptions { workers, cache_dir } = options;
        let cache = cache_dir.as_deref().and_then(open_cache);
        let workers = workers.max(1);
        let engine = with_as_many_slots_as_possible(workers, cache.as_ref())?;
        let mut linker = Linker::new(&engine);
        host::add_to_linker(&mut linker).map_err(|error| EngineError::Engine(format!("{error:#}")))?;
        let clock = start_clock(engine.clone())?;
        let inner = Inner { engine, linker, workers, runaways: AtomicUsize::new(0), _clock: clock };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Workers that may call filters.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.inner.workers
    }

    pub(super) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.inner.engine
    }

    pub(super) fn linker(&self) -> &Linker<GuestState> {
        &self.inner.linker
    }

    pub(super) fn runaways(&self) -> &AtomicUsize {
        &self.inner.runaways
    }
}

/// A folder that can't be used (read-only, somebody else's) costs time at the next start, and nothing else.
fn open_cache(dir: &Path) -> Option<Cache> {
    // The cache wants a path from the root.
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let mut config = CacheConfig::new();
    config.with_directory(absolute);
    match Cache::new(config) {
        Ok(cache) => Some(cache),
        Err(error) => {
            tracing::warn!(component = "wasm", dir = %dir.display(), "compiled filters are not kept: {error:#}");
            None
        }
    }
}

/// A system may limit a process's addresses (`ulimit -v`, a container): then there is room for fewer instances.
fn with_as_many_slots_as_possible(workers: usize, cache: Option<&Cache>) -> Result<wasmtime::Engine, EngineError> {
    let mut slots = (workers * SLOTS_PER_WORKER).clamp(MIN_SLOTS, MAX_SLOTS);
    loop {
        match wasmtime::Engine::new(&config(slots, cache)) {
            Ok(engine) => return Ok(engine),
            Err(error) if slots > 16 => {
                tracing::debug!(component = "wasm", slots, "no room for so many instances: {error:#}");
                slots /= 2;
            }
            Err(error) => return Err(EngineError::Engine(format!("{error:#}"))),
        }
    }
}

fn config(slots: usize, cache: Option<&Cache>) -> Config {
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(slots)))
        // Guests begin as a copy-on-write mapping of their snapshot: 7 µs instead of running `configure` again.
        .memory_init_cow(true)
        .memory_reservation(RESERVATION)
        // Calls cost 2 to 4 times as much with it, and nothing in the contract needs it.
        .concurrency_support(false)
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed)
        // One thread a compile: a reload should not take every core from the traffic.
        .parallel_compilation(false)
        .cache(cache.cloned());
    config
}

fn pool(slots: usize) -> PoolingAllocationConfig {
    let slots = u32::try_from(slots).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        // A component is a handful of core modules: the filter, and glue of its compiler and of the snapshot.
        .total_core_instances(slots * 4)
        .total_tables(slots * 4)
        .max_tables_per_module(4)
        .table_elements(MAX_TABLE_ELEMENTS)
        .total_memories(slots)
        .max_memory_size(MAX_MEMORY)
        .total_stacks(slots)
        .max_unused_warm_slots(32)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(KEEP_RESIDENT)
        // Looks up which pages were written instead of clearing all of them; Linux 6.7.
        .pagemap_scan(Enabled::Auto);
    pool
}

/// Moves the epoch on until the other end of the channel is gone.
fn start_clock(engine: wasmtime::Engine) -> Result<mpsc::Sender<()>, EngineError> {
    let (stop, stopped) = mpsc::channel::<()>();
    thread::Builder::new()
        .name("filter-clock".into())
        .spawn(move || {
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                engine.increment_epoch();
            }
        })
        .map_err(EngineError::Thread)?;
    Ok(stop)
}
