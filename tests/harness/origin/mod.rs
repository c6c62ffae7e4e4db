//! Origins: what stands behind the proxy in a test.

mod http;
mod raw;

pub use http::{Gate, Origin, OriginBody, Seen};
pub use raw::{Act, RawOrigin};
