//! gpanel-proxy: a programmable edge proxy whose routing, authentication and limits are WebAssembly filters.
pub mod config;
pub mod message;
pub mod filter;
pub mod wasm;
