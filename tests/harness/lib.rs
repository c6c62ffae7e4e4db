//! What the integration tests are written with: a builder that starts the real proxy, clients for every
//! protocol behind one interface, origins that behave well or send exactly the bytes they are told to, and
//! eyes on the proxy's process, log and metrics. Nothing here knows what a correct answer is.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    reason = "a harness fails a test by panicking, with a message that says why"
)]
#![allow(clippy::disallowed_types, reason = "a poisoned lock belongs to a test that has failed already")]
#![allow(
    clippy::duration_suboptimal_units,
    clippy::format_collect,
    clippy::many_single_char_names,
    clippy::match_wild_err_arm,
    clippy::type_complexity,
    reason = "matters of taste that would make tests longer"
)]
#![allow(clippy::print_stderr, reason = "libtest shows what a failed test wrote")]

pub mod admin;
pub mod certificate;
pub mod client;
pub mod environment;
pub mod gate;
pub mod guest;
pub mod h2_frames;
pub mod log;
pub mod origin;
pub mod payload;
pub mod poll;
pub mod process;
pub mod program;
pub mod proxy;
pub mod raw;
pub mod strict;

pub use client::{Client, Protocol, Reply};
pub use origin::{Origin, RawOrigin};
pub use poll::{eventually, within};
pub use proxy::Proxy;
pub use raw::RawClient;
