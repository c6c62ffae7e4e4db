//! Configuration: raw text -> validated model.
pub mod model;
pub use model::Config;
