//! The vocabulary that every part of the path shares: connections, requests in progress, bodies, priorities.
//! Types and pure functions only; nothing here does I/O or knows a policy.

pub mod authority;
pub mod body;
pub mod connection;
pub mod drain;
pub mod exchange;
pub mod head;
pub mod headers;
pub mod http1;
pub mod path;
pub mod priority;
pub mod reply;
pub mod timer;
pub mod worker;

pub use body::{Body, BodyError};
pub use connection::{Connection, Protocol};
pub use drain::{Drain, DrainControl, Phase};
pub use exchange::{Exchange, Priority, Provenance, RequestId, Target};
pub use head::{RequestHead, ResponseHead, Scheme};
pub use worker::WorkerId;
