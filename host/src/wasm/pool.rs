//! Instances of one filter: a few idle ones for each worker, made when needed, replaced when worn.
//!
//! A worker takes from and returns to its own list, so the lock around it is never waited for.

use std::sync::Arc;

use parking_lot::Mutex;
use wasmtime::Store;

use crate::config::model::Isolation;

use super::bindings::exports::gpanel::filter as phases;
use super::component::Linked;
use super::counters::{self, GuestCounters, WorkerCounters};
use super::engine::Engine;
use super::limits::{CALLS_PER_INSTANCE, IDLE_INSTANCES, LIFECYCLE_TIME};
use super::snapshot::Configured;
use super::store::{Facts, GuestState, begin_lifecycle, new_store};
use super::trap::CallError;

/// One worker's idle instances. Aligned to two cache lines, since processors fetch them in pairs.
#[derive(Default)]
#[repr(align(128))]
struct Idle(Mutex<Vec<Instance>>);

/// The instances of one filter.
pub(super) struct Instances {
    engine: wasmtime::Engine,
    linked: Linked,
    facts: Arc<Facts>,
    configured: Configured,
    isolation: Isolation,
    idle: Box<[Idle]>,
}

/// One instance with its store.
pub(super) struct Instance {
    pub(super) store: Store<GuestState>,
    pub(super) request_headers: Option<phases::request_headers::Guest>,
    pub(super) response_headers: Option<phases::response_headers::Guest>,
    /// Calls served.
    pub(super) calls: u32,
    /// The worker that made it, as an index.
    worker: usize,
}

impl Instances {
    pub(super) fn new(
        engine: &Engine,
        linked: Linked,
        facts: Arc<Facts>,
        configured: Configured,
        isolation: Isolation,
    ) -> Self {
        let idle = (0..engine.workers()).map(|_| Idle::default()).collect();
        Self { engine: engine.wasmtime().clone(), linked, facts, configured, isolation, idle }
    }

    pub(super) fn are_snapshotted(&self) -> bool {
        self.configured == Configured::InSnapshot
    }

    /// Whether a call may take longer than its CPU time.
    pub(super) fn may_wait(&self) -> bool {
        self.linked.may_wait
    }

    pub(super) fn counters(&self) -> GuestCounters {
        counters::sum(self.facts.counters.iter())
    }

    pub(super) fn take_idle(&self, worker: usize) -> Option<Instance> {
        self.idle.get(worker)?.0.lock().pop()
    }

    /// Makes an instance.
    pub(super) async fn create(&self, worker: usize) -> Result<Instance, CallError> {
        let mut store = new_store(&self.engine, &self.facts);
        begin_lifecycle(&mut store, LIFECYCLE_TIME);
        match self.instantiate(&mut store).await {
            Ok((request_headers, response_headers)) => {
                store.data_mut().limiter.ready();
                if let Some(counters) = self.facts.counters.get(worker) {
                    counters.instance_created();
                }
                Ok(Instance { store, request_headers, response_headers, calls: 0, worker })
            }
            Err(error) => Err(CallError::from_wasmtime(&error, &store.data().limiter)),
        }
    }

    async fn instantiate(
        &self,
        store: &mut Store<GuestState>,
    ) -> wasmtime::Result<(Option<phases::request_headers::Guest>, Option<phases::response_headers::Guest>)> {
        let instance = self.linked.pre.instantiate_async(&mut *store).await?;
        if self.configured == Configured::EachInstance {
            let lifecycle = self.linked.lifecycle.load(&mut *store, &instance)?;
            // It took the same configuration before.
            if let Err(error) = lifecycle.call_configure(&mut *store).await? {
                wasmtime::bail!("`configure` now rejects what it accepted before: {}", error.message);
            }
        }
        let request = self.linked.request_headers.as_ref();
        let response = self.linked.response_headers.as_ref();
        Ok((
            request.map(|indices| indices.load(&mut *store, &instance)).transpose()?,
            response.map(|indices| indices.load(&mut *store, &instance)).transpose()?,
        ))
    }

    /// Takes back an instance whose call went well, unless it is time to replace it.
    pub(super) fn put_back(&self, instance: Instance) {
        let reused = self.isolation == Isolation::Reuse || instance.calls == 0;
        let worn = instance.calls >= CALLS_PER_INSTANCE || instance.store.data().limiter.has_outgrown();
        if !reused || worn {
            return;
        }
        if let Some(idle) = self.idle.get(instance.worker) {
            let mut idle = idle.0.lock();
            if idle.len() < IDLE_INSTANCES {
                idle.push(instance);
            }
        }
    }

    /// The counts of one worker.
    pub(super) fn worker(&self, worker: usize) -> Option<&WorkerCounters> {
        self.facts.counters.get(worker)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(counters) = self.store.data().facts.counters.get(self.worker) {
            counters.instance_retired();
        }
    }
}
