//! `random`: the operating system's generator; refused where the number would end up in the shared snapshot.

use wasmtime::error::Context as _;

use crate::wasm::bindings::gpanel::filter::random;
use crate::wasm::limits::RANDOM_BYTES;
use crate::wasm::store::{GuestState, Stage};
use crate::wasm::trap::Abort;

impl random::Host for GuestState {
    fn bytes(&mut self, len: u32) -> wasmtime::Result<Vec<u8>> {
        self.charge()?;
        if self.stage == Stage::Lifecycle {
            return Err(Abort::RandomInConfigure.into());
        }
        if len > RANDOM_BYTES {
            return Err(Abort::RandomTooLong.into());
        }
        let mut bytes = vec![0; usize::try_from(len)?];
        getrandom::fill(&mut bytes).context("the operating system gives no random numbers")?;
        Ok(bytes)
    }

    fn u64(&mut self) -> wasmtime::Result<u64> {
        self.charge()?;
        if self.stage == Stage::Lifecycle {
            return Err(Abort::RandomInConfigure.into());
        }
        getrandom::u64().context("the operating system gives no random numbers")
    }
}
