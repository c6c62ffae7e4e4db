//! One immutable generation: the filter chain, the backends and the files, built from one configuration, swapped
//! whole. What did not change is taken over from the generation before: guests with their warm instances,
//! backends with their connections.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::Config;
use crate::filter::{Chain, FilterLoadError};
use crate::message::{Target, WorkerId};
use crate::telemetry::{BackendCounters, GenerationToken, Telemetry};
use crate::upstream::{Backend, IdleBudget, StaticFiles};
use crate::wasm::Engine;

/// A backend with its counters, one set a worker.
pub struct BackendSlot {
    /// The backend.
    pub backend: Arc<Backend>,
    /// Its counters by worker.
    pub counters: Box<[Arc<BackendCounters>]>,
}

/// One generation.
pub struct Snapshot {
    /// Counts up from 1 with every swap.
    pub generation: u64,
    /// What it was built from.
    pub config: Arc<Config>,
    /// The filter chain.
    pub chain: Chain,
    /// Backends by name.
    pub backends: HashMap<Arc<str>, BackendSlot>,
    /// Where a request goes that no filter gave a target.
    pub default_target: Option<Target>,
    /// The folder of static files, if one is configured.
    pub static_files: Option<StaticFiles>,
    /// Counts this generation as alive.
    _token: GenerationToken,
}

/// What outlives generations.
pub struct Foundation {
    /// Runs the guests.
    pub engine: Engine,
    /// Counts.
    pub telemetry: Arc<Telemetry>,
    /// Bounds idle upstream connections.
    pub idle: Arc<IdleBudget>,
    /// How many workers there are.
    pub workers: usize,
}

impl Snapshot {
    /// Builds a generation. Compiles filters: not for a worker's thread.
    ///
    /// # Errors
    /// Every filter that can't be loaded and has to be.
    pub fn build(
        config: Arc<Config>,
        foundation: &Foundation,
        previous: Option<&Self>,
    ) -> Result<Self, Vec<FilterLoadError>> {
        let chain = Chain::build(
            &config.filters,
            &foundation.engine,
            &crate::builtin::component,
            previous.map(|previous| &previous.chain),
        )?;
        let backends = config.backends.values().map(|settings| {
            let kept = previous.and_then(|previous| previous.backends.get(&settings.name));
            let kept = kept.filter(|slot| slot.backend.is_made_from(settings, config.timeouts.connect));
            let backend = kept.map_or_else(
                || Arc::new(Backend::new(settings, config.timeouts.connect, &foundation.idle)),
                |slot| Arc::clone(&slot.backend),
            );
            let counters = (0..foundation.workers)
                .map(|index| WorkerId(u16::try_from(index).unwrap_or(u16::MAX)))
                .map(|worker| foundation.telemetry.backend(worker, &settings.name))
                .collect();
            (Arc::clone(&settings.name), BackendSlot { backend, counters })
        });
        Ok(Self {
            generation: previous.map_or(1, |previous| previous.generation + 1),
            backends: backends.collect(),
            default_target: config.proxy.default_backend.clone(),
            static_files: config.static_root.clone().map(StaticFiles::new),
            chain,
            config,
            _token: foundation.telemetry.generation_token(),
        })
    }

    /// Closes idle upstream connections of a worker that have grown too old.
    pub fn reap(&self, worker: WorkerId) {
        for slot in self.backends.values() {
            slot.backend.reap(worker);
        }
    }
}
