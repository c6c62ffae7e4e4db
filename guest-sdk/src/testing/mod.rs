//! Runs filters natively: a host whose clock, randomness, log and connection a test controls, and cases written
//! as data. Not compiled into components.

pub mod cases;
mod host;
pub(crate) mod imports;
mod message;
pub mod outcome;
mod schema;
#[cfg(test)]
mod tests;

pub use host::{LogLine, Running, TestConnection, TestHost, run};
pub use message::{TestRequest, TestResponse};
pub use schema::{check_schema, schema};
