//! Embeds the shipped filters: writes `builtin.rs`, the list behind `module = "builtin:NAME"`.
//!
//! The components come from `cargo xtask build-filters`; this script never compiles them itself, because a filter may
//! need another compiler than the host.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Names another folder of components, for packagers.
const OVERRIDE: &str = "GPANEL_BUILTIN_FILTERS";

fn main() -> io::Result<()> {
    let manifest_dir = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let root = manifest_dir.parent().unwrap_or(&manifest_dir);
    println!("cargo::rerun-if-env-changed={OVERRIDE}");
    println!("cargo::rerun-if-changed=build.rs");
    // Changes when a filter crate is added or removed; watching the folder would rebuild the host on every edit in it.
    println!("cargo::rerun-if-changed={}", root.join("Cargo.lock").display());
    let components = env::var_os(OVERRIDE).map_or_else(|| root.join("target/filters"), PathBuf::from);

    let mut list = String::from(
        "/// Every shipped filter: its name and its component.\npub static BUILTIN: &[(&str, &[u8])] = &[\n",
    );
    for name in filter_names(&root.join("filters"))? {
        let component = components.join(format!("{name}.wasm"));
        println!("cargo::rerun-if-changed={}", component.display());
        if !component.is_file() {
            println!(
                "cargo::error=the filter `{name}` is not built (no {}): run `cargo xtask build-filters` first",
                component.display()
            );
            continue;
        }
        let _ = writeln!(list, "    ({name:?}, include_bytes!({:?})),", component.display().to_string());
    }
    list.push_str("];\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("builtin.rs");
    fs::write(out, list)
}

/// The crates in `filters/`, each named like its folder, in alphabetical order.
fn filter_names(filters: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(filters)? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}
