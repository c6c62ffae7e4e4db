//! `config`: the filter's own table.

use crate::wasm::bindings::gpanel::filter::config;
use crate::wasm::store::GuestState;

impl config::Host for GuestState {
    fn get(&mut self) -> wasmtime::Result<Vec<u8>> {
        self.charge()?;
        Ok(self.facts.config.to_vec())
    }
}
