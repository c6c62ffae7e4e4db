//! How a filter runs: engine, compiled components, pools of instances, limits, and the host side of `wit/`.
//!
//! What a chain of filters means (order, verdicts, failure policy) is `filter`'s. Nothing here knows a route, a
//! backend or a reply; an [`Exchange`](crate::message::Exchange) goes in, and the guest's verdict comes out.
//!
//! Reading order: [`engine`] (settings shared by all), [`component`] (bytes to a [`Guest`]), [`snapshot`] (the state
//! after `configure`), [`pool`] and [`store`] (instances), [`call`] (one hook), [`limits`] and [`trap`] (what a guest
//! may not do, and how it ends), [`host`] (one file per WIT interface).

#[allow(missing_docs, reason = "generated; the documentation is in wit/")]
mod bindings;
mod call;
mod component;
mod counters;
mod engine;
mod host;
mod limits;
mod load;
mod pool;
mod snapshot;
mod store;
mod trap;

pub use bindings::gpanel::filter::types::{
    Header, HeaderEdit, Priority, Reply, RequestEdits, RequestVerdict, ResponseEdits, ResponseVerdict,
};
pub use component::{Guest, GuestSpec, Hooks};
pub use counters::GuestCounters;
pub use engine::{Engine, EngineError, EngineOptions};
pub use limits::{MAX_COMPONENT_SIZE, MAX_MEMORY};
pub use load::LoadError;
pub use trap::CallError;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
