//! The host side of `wit/`: one file per interface, under the same name, and WASI with nothing granted.

pub(super) mod clock;
pub(super) mod config;
pub(super) mod connection;
pub(super) mod http;
pub(super) mod log;
pub(super) mod random;
pub(super) mod wasi;

use wasmtime::component::{HasSelf, Linker};

use super::bindings::gpanel::filter as wit;
use super::store::GuestState;

/// Everything that a filter may import.
pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    wit::types::add_to_linker::<_, HasSelf<_>>(linker, |state: &mut GuestState| state)?;
    wit::http::add_to_linker::<_, HasSelf<_>>(linker, |state: &mut GuestState| state)?;
    wit::log::add_to_linker::<_, HasSelf<_>>(linker, |state: &mut GuestState| state)?;
    wit::clock::add_to_linker::<_, HasSelf<_>>(linker, |state: &mut GuestState| state)?;
    wit::random::add_to_linker::<_, HasSelf<_>>(linker, |state: &mut GuestState| state)?;
    wit::config::add_to_linker::<_, HasSelf<_>>(linker, |state: &mut GuestState| state)?;
    wit::connection::add_to_linker::<_, HasSelf<_>>(linker, |state: &mut GuestState| state)?;
    wasmtime_wasi::p2::add_to_linker_async(linker)
}
