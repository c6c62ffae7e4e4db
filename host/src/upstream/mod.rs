//! Upstream: the services behind the proxy. A backend is a named set of endpoints; each endpoint keeps idle
//! connections per worker; a client sends one request over one connection and hands its response back.
//!
//! Whether a request may be tried again is decided in `pipeline::forward`, from what the errors here tell.

pub mod backend;
pub mod client;
pub mod connect;
pub mod error;
pub mod pool;
mod resolve;
mod response_body;
pub mod static_files;

pub use backend::{Backend, Endpoint};
pub use client::{Outgoing, send};
pub use error::{AttemptError, UpstreamError};
pub use pool::IdleBudget;
pub use static_files::StaticFiles;
