//! gpanel-proxy: a programmable edge proxy whose routing, authentication and limits are WebAssembly filters.
pub mod admin;
pub mod builtin;
pub mod cli;
pub mod codec;
pub mod config;
pub mod filter;
pub mod listener;
pub mod message;
pub mod pipeline;
pub mod reload;
pub mod server;
pub mod snapshot;
pub mod telemetry;
pub mod upstream;
pub mod wasm;
