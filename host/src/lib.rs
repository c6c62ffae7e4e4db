//! gpanel-proxy: a programmable edge proxy whose routing, authentication and limits are WebAssembly filters.
pub mod listener;
pub mod codec;
pub mod pipeline;
pub mod config;
pub mod message;
