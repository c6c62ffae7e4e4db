//! What a chain of filters means: who is entered, in which order, what a verdict changes, what a failure does.
//!
//! The pipeline hands an exchange to [`Chain::request`] and, on the way back, to [`Chain::response`]. How a filter
//! runs is `wasm`'s; where a request goes that the chain let through is the pipeline's.
//!
//! Reading order: [`chain`] (down and up), [`position`] (one filter in it), [`matcher`] (who enters), [`verdict`] with
//! [`fields`] and [`reply`](self::reply) (what a guest may change), [`breaker`] and [`failure`] (when it goes wrong),
//! [`build`] (from the configuration).

mod breaker;
mod build;
mod chain;
mod failure;
mod fields;
mod matcher;
mod position;
mod reply;
mod verdict;

pub use breaker::BreakerState;
pub use build::FilterLoadError;
pub use chain::{Chain, RequestOutcome};
pub use failure::FilterFailure;
pub use position::FilterStatus;

#[cfg(test)]
mod tests;
