//! A filter that is ready to be called, and what a component must look like to become one.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{Component, InstancePre};

use crate::config::model::Isolation;

use super::bindings::exports::gpanel::filter as phases;
use super::counters::GuestCounters;
use super::engine::Engine;
use super::load::LoadError;
use super::pool::Instances;
use super::store::GuestState;

/// What a guest is made from.
#[derive(Clone, Debug)]
pub struct GuestSpec {
    /// The filter's name, in logs.
    pub name: Arc<str>,
    /// The component.
    pub component: Arc<[u8]>,
    /// The filter's own table.
    pub config: serde_json::Value,
    /// Bytes of linear memory.
    pub memory: usize,
    /// CPU time of one hook.
    pub timeout: Duration,
    /// Whether instances are reused.
    pub isolation: Isolation,
}

/// The hooks that a filter wants called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// `request-headers`.
    pub request_headers: bool,
    /// `response-headers`.
    pub response_headers: bool,
}

impl Hooks {
    pub(super) const REQUEST_HEADERS: &'static str = "request-headers";
    pub(super) const RESPONSE_HEADERS: &'static str = "response-headers";
    /// Every hook of this version.
    pub(super) const NAMES: [&'static str; 2] = [Self::REQUEST_HEADERS, Self::RESPONSE_HEADERS];

    pub(super) fn parse(declared: &[String]) -> Result<Self, LoadError> {
        let mut hooks = Self::default();
        for hook in declared {
            match hook.as_str() {
                Self::REQUEST_HEADERS => hooks.request_headers = true,
                Self::RESPONSE_HEADERS => hooks.response_headers = true,
                _ => return Err(LoadError::UnknownHook { hook: hook.clone() }),
            }
        }
        Ok(hooks)
    }
}

/// One filter with its configuration, ready to be called on any worker.
pub struct Guest {
    hooks: Hooks,
    schema: Box<str>,
    pub(super) instances: Instances,
    /// How long a call may last in all: only of use to guests that can wait.
    pub(super) wall_clock: Duration,
}

impl Guest {
    pub(super) fn new(hooks: Hooks, schema: String, instances: Instances, timeout: Duration) -> Self {
        let wall_clock = timeout.saturating_mul(10).max(Duration::from_secs(1));
        Self { hooks, schema: schema.into_boxed_str(), instances, wall_clock }
    }

    /// The hooks that it wants called.
    #[must_use]
    pub fn hooks(&self) -> Hooks {
        self.hooks
    }

    /// The JSON Schema of its configuration, as JSON text.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// What happened in it so far.
    #[must_use]
    pub fn counters(&self) -> GuestCounters {
        self.instances.counters()
    }

    /// Whether its instances start from the state after `configure`; otherwise each runs `configure` again.
    #[must_use]
    pub fn is_snapshotted(&self) -> bool {
        self.instances.are_snapshotted()
    }
}

/// A compiled component, its imports linked and its exports found by name.
///
/// Each phase is optional, so that a component built for an older or newer version of the contract loads.
pub(super) struct Linked {
    pub(super) pre: InstancePre<GuestState>,
    pub(super) lifecycle: phases::lifecycle::GuestIndices,
    pub(super) request_headers: Option<phases::request_headers::GuestIndices>,
    pub(super) response_headers: Option<phases::response_headers::GuestIndices>,
    /// Whether it imports something that waits.
    pub(super) may_wait: bool,
}

const LIFECYCLE: &str = "gpanel:filter/lifecycle@1.0.0";
const REQUEST_HEADERS: &str = "gpanel:filter/request-headers@1.0.0";
const RESPONSE_HEADERS: &str = "gpanel:filter/response-headers@1.0.0";
const POLL: &str = "wasi:io/poll@";

impl Linked {
    /// Compiles and links.
    pub(super) fn new(engine: &Engine, bytes: &[u8]) -> Result<Self, LoadError> {
        let component = Component::from_binary(engine.wasmtime(), bytes)
            .map_err(|error| LoadError::Invalid(format!("{error:#}")))?;
        let may_wait = component.component_type().imports(engine.wasmtime()).any(|(name, _)| name.starts_with(POLL));
        let pre =
            engine.linker().instantiate_pre(&component).map_err(|error| LoadError::Import(format!("{error:#}")))?;
        let lifecycle = phases::lifecycle::GuestIndices::new(&pre)
            .map_err(|error| LoadError::Export { interface: LIFECYCLE, message: format!("{error:#}") })?;
        let has = |interface| component.get_export_index(None, interface).is_some();
        let request_headers = has(REQUEST_HEADERS)
            .then(|| phases::request_headers::GuestIndices::new(&pre))
            .transpose()
            .map_err(|error| LoadError::Export { interface: REQUEST_HEADERS, message: format!("{error:#}") })?;
        let response_headers = has(RESPONSE_HEADERS)
            .then(|| phases::response_headers::GuestIndices::new(&pre))
            .transpose()
            .map_err(|error| LoadError::Export { interface: RESPONSE_HEADERS, message: format!("{error:#}") })?;
        Ok(Self { pre, lifecycle, request_headers, response_headers, may_wait })
    }
}
