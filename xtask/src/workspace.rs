//! Where things are: the root of the work tree, what is built from it and where the results go.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The work tree that this program was built from.
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The folder above this crate's.
    pub fn locate() -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        Self { root: here.parent().unwrap_or(here).to_path_buf() }
    }

    /// A path below the root.
    pub fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    /// Shipped filters as components, `NAME.wasm`; the host embeds them from here.
    pub fn filters_out(&self) -> PathBuf {
        self.path("target/filters")
    }

    /// Test guests as components.
    pub fn guests_out(&self) -> PathBuf {
        self.path("target/test-guests")
    }

    /// Cargo's folder for guest builds, apart from the host's: another compiler may fill it.
    pub fn guest_target(&self) -> PathBuf {
        self.path("target/guest")
    }

    /// A program that `cargo build --profile PROFILE` made.
    pub fn binary(&self, profile: &str, name: &str) -> PathBuf {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| self.path("target"), PathBuf::from);
        self.root.join(target).join(profile).join(name)
    }

    /// Cargo, in the root. In CI the lock file is binding.
    pub fn cargo(&self, subcommand: &str) -> Command {
        let mut command = Command::new(cargo_program());
        command.current_dir(&self.root).arg(subcommand);
        if std::env::var_os("CI").is_some() && subcommand != "fmt" {
            command.arg("--locked");
        }
        command
    }
}

/// The cargo that started this program, so that nested builds use the same version.
pub fn cargo_program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The machine's ordinary compiler.
pub fn rustc_program() -> OsString {
    std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())
}
