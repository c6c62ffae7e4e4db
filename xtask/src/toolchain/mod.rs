//! The compiler for filters: the ordinary one where it has the wasm32 standard library, else one that is put together
//! from Debian's packages in a cache folder, without installing anything in the system.

mod debian;
mod stamp;

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::process::capture;
use crate::workspace::rustc_program;

/// What filters are compiled for.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// How to compile filters.
pub struct Toolchain {
    /// `None`: the ordinary rustc knows the target.
    rustc: Option<PathBuf>,
}

impl Toolchain {
    /// Finds one, or makes one after saying what that downloads.
    pub fn obtain() -> Result<Self> {
        let rustc = if ordinary_has_target() { None } else { Some(debian::obtain()?) };
        Ok(Self { rustc })
    }

    /// Makes a cargo command compile with this toolchain.
    pub fn apply(&self, cargo: &mut Command) {
        // Flags for the host's linker or CPU mean nothing to wasm.
        cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
        if let Some(rustc) = &self.rustc {
            // Wrappers such as sccache may run another rustc than the one they are given.
            cargo.env("RUSTC", rustc).env_remove("RUSTC_WRAPPER").env_remove("RUSTC_WORKSPACE_WRAPPER");
        }
    }

    /// In a few words, for the progress line.
    pub fn describe(&self) -> String {
        match &self.rustc {
            None => "the installed wasm32 target".to_owned(),
            Some(rustc) => format!("{}", rustc.display()),
        }
    }
}

fn ordinary_has_target() -> bool {
    let dir = capture(Command::new(rustc_program()).args(["--print", "target-libdir", "--target", TARGET]));
    dir.is_ok_and(|dir| stamp::std_libraries(dir.trim().as_ref()).is_some())
}
