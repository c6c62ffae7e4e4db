//! gpanel-proxy: a programmable edge proxy whose routing, authentication and limits are WebAssembly filters.
pub mod builtin;
pub mod cli;
pub mod config;
pub mod message;
pub mod upstream;
