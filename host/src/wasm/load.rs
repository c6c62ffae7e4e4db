//! From the bytes of a file to a [`Guest`] that can be called, and every way in which that can fail.
//!
//! Compiling is the one thing that wasmtime does not promise to bound, so it happens on a thread of its own, with a
//! limit on the size of the component and on the time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::component::{Guest, GuestSpec, Hooks, Linked};
use super::counters::WorkerCounters;
use super::engine::Engine;
use super::limits::{self, COMPILE_TIME, MAX_COMPONENT_SIZE, MAX_MEMORY, MAX_RUNAWAY_COMPILES};
use super::pool::Instances;
use super::snapshot;
use super::store::Facts;
use super::trap::CallError;

/// Why a filter can't be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is larger than any filter should be.
    #[error("it has {size} bytes, more than the {limit} that a filter may have")]
    TooLarge {
        /// Its size.
        size: u64,
        /// The limit.
        limit: usize,
    },
    /// Something else altogether.
    #[error("it is not WebAssembly but {looks_like}")]
    NotWasm {
        /// What it seems to be.
        looks_like: &'static str,
    },
    /// WebAssembly, but not wrapped as a component.
    #[error(
        "it is a core WebAssembly module, not a component: make it one with `wasm-tools component new FILE -o FILE`, or build it with `cargo xtask filters`"
    )]
    CoreModule,
    /// Broken, cut off, or more than the proxy's engine can take.
    #[error("it is not a valid component: {0}")]
    Invalid(String),
    /// It wants something from the host that there is not.
    #[error("it imports what this proxy does not offer: {0}")]
    Import(String),
    /// It is a component, but not a filter, or one of an incompatible version.
    #[error("it does not export `{interface}` as package gpanel:filter@1 says: {message}")]
    Export {
        /// The interface.
        interface: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// `configure` named a hook whose interface the component does not export.
    #[error("it declares the hook `{hook}` but does not export it")]
    MissingHook {
        /// The hook.
        hook: &'static str,
    },
    /// `configure` named a hook that this version does not have.
    #[error("it declares the hook {hook:?}, which this version does not know (it knows {})", Hooks::NAMES.join(", "))]
    UnknownHook {
        /// The hook.
        hook: String,
    },
    /// The guest rejected its configuration.
    #[error("{}: {message}", dotted(path))]
    Config {
        /// Keys and indices from the top of the filter's table.
        path: Vec<String>,
        /// What is wrong there.
        message: String,
    },
    /// The memory that it starts with is more than it may have.
    #[error("it starts with more memory than its limit of {limit} bytes: raise `memory`")]
    Memory {
        /// The limit.
        limit: usize,
    },
    /// It failed before it was ready.
    #[error("it failed in {function}: {error}")]
    Failed {
        /// What ran: `configure`, `schema`, or its start function.
        function: &'static str,
        /// How it failed.
        #[source]
        error: CallError,
    },
    /// Compiling took too long; it goes on in the background until it ends, and is then forgotten.
    #[error("compiling it took longer than {} seconds", .limit.as_secs())]
    TooSlow {
        /// The limit.
        limit: Duration,
    },
    /// Others took too long and are still going.
    #[error("earlier filters that took too long are still compiling")]
    Busy,
    /// The compiler panicked.
    #[error("the compiler failed on it")]
    Crashed,
    /// The system gave no thread.
    #[error("no thread to compile it on: {0}")]
    Thread(#[source] std::io::Error),
}

/// A path as people write it: `config.rules.3.backend`.
fn dotted(path: &[String]) -> String {
    [&["config".to_owned()], path].concat().join(".")
}

impl Guest {
    /// Compiles and configures a filter. Blocks, up to [`LoadError::TooSlow`]'s limit: call it off the workers.
    pub fn prepare(engine: &Engine, spec: GuestSpec) -> Result<Self, LoadError> {
        Self::prepare_within(engine, spec, COMPILE_TIME)
    }

    pub(super) fn prepare_within(engine: &Engine, spec: GuestSpec, limit: Duration) -> Result<Self, LoadError> {
        check_bytes(&spec.component)?;
        if engine.runaways().load(Ordering::Relaxed) >= MAX_RUNAWAY_COMPILES {
            return Err(LoadError::Busy);
        }
        // Without room for a result that nobody takes: sending fails if and only if this function gave up.
        let (done, result) = mpsc::sync_channel(0);
        let mine = engine.clone();
        thread::Builder::new()
            .name("filter-build".into())
            .spawn(move || {
                let built = build(&mine, &spec);
                if done.send(built).is_err() {
                    // Nobody waits any more: this was one of the runaways.
                    mine.runaways().fetch_sub(1, Ordering::Relaxed);
                }
            })
            .map_err(LoadError::Thread)?;
        match result.recv_timeout(limit) {
            Ok(built) => built,
            Err(RecvTimeoutError::Disconnected) => Err(LoadError::Crashed),
            Err(RecvTimeoutError::Timeout) => {
                engine.runaways().fetch_add(1, Ordering::Relaxed);
                Err(LoadError::TooSlow { limit })
            }
        }
    }
}

/// Looks at the first bytes, so that the usual mistakes get a name.
fn check_bytes(bytes: &[u8]) -> Result<(), LoadError> {
    if bytes.len() > MAX_COMPONENT_SIZE {
        return Err(LoadError::TooLarge { size: bytes.len() as u64, limit: MAX_COMPONENT_SIZE });
    }
    let looks_like = match bytes {
        [] => "an empty file",
        // Four bytes of magic, two of version, two of layer: 0 is a module, 1 a component.
        [b'\0', b'a', b's', b'm', _, _, 0, 0, ..] => return Err(LoadError::CoreModule),
        [b'\0', b'a', b's', b'm', ..] => return Ok(()),
        [0x7f, b'E', b'L', b'F', ..] => "a program or library for Linux (ELF)",
        [0x1f, 0x8b, ..] => "a gzip archive",
        [b'P', b'K', ..] => "a zip archive",
        [b'(', ..] => "WebAssembly as text: translate it with `wasm-tools parse`",
        _ if bytes.is_ascii() => "text",
        _ => "something else",
    };
    Err(LoadError::NotWasm { looks_like })
}

/// Runs on the thread that compiles.
fn build(engine: &Engine, spec: &GuestSpec) -> Result<Guest, LoadError> {
    let facts = Arc::new(Facts {
        name: Arc::clone(&spec.name),
        config: spec.config.to_string().into_bytes().into_boxed_slice(),
        memory: spec.memory.min(MAX_MEMORY),
        ticks: limits::ticks(spec.timeout),
        counters: (0..engine.workers()).map(|_| WorkerCounters::default()).collect(),
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(LoadError::Thread)?;
    runtime.block_on(async {
        let made = Box::pin(snapshot::configure(engine, &spec.component, &facts)).await?;
        let hooks = Hooks::parse(&made.declared)?;
        made.linked.check(hooks)?;
        let instances = Instances::new(engine, made.linked, facts, made.configured, spec.isolation);
        // Proves that an instance can be made, and keeps it.
        let first = instances.create(0).await.map_err(|error| LoadError::Failed { function: "its start", error })?;
        instances.put_back(first);
        Ok(Guest::new(hooks, made.schema, instances, spec.timeout))
    })
}

impl Linked {
    /// Whether every declared hook is there.
    fn check(&self, hooks: Hooks) -> Result<(), LoadError> {
        if hooks.request_headers && self.request_headers.is_none() {
            return Err(LoadError::MissingHook { hook: Hooks::REQUEST_HEADERS });
        }
        if hooks.response_headers && self.response_headers.is_none() {
            return Err(LoadError::MissingHook { hook: Hooks::RESPONSE_HEADERS });
        }
        Ok(())
    }
}
