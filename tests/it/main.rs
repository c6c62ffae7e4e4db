//! The integration tests: the real binary over real sockets, judged by what its clients and origins see.
//! One module a behaviour; `harness` has the tools.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test fails by panicking and is read from top to bottom"
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
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "libtest shows what a failed test wrote")]
#![allow(unreachable_pub, reason = "modules of a binary")]

mod basics;
mod bodies;
mod certificates;
mod clients;
mod command_line;
mod drain;
mod early_data;
mod filters;
mod filter_isolation;
mod footprint;
mod headers;
mod hardening_h1;
mod hardening_h2;
mod hardening_h3;
mod large_bodies;
mod layering;
mod observability;
mod origin_faults;
mod prometheus;
mod reload;
mod replacement;
mod routing;
mod security_headers;
mod static_files;
mod timeouts;
