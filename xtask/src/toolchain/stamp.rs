//! Whether a toolchain in the cache still fits: the compiler, the standard library built by it, and the linker and
//! cargo of the ordinary toolchain that it borrows. What was found right is written into a file named `ok`.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::TARGET;
use crate::process::{capture, run};
use crate::workspace::cargo_program;

/// Uses an allocation, a hash map and a panic path, so that core, alloc and std must all be there and must link.
const PROBE: &str = r#"
#[unsafe(no_mangle)]
pub extern "C" fn probe(n: u32) -> u32 {
    let map: std::collections::HashMap<u32, String> = (0..n).map(|i| (i, i.to_string())).collect();
    map.values().map(|value| value.len() as u32).sum()
}
"#;

/// Names and sizes of the standard library's files in a folder, or `None` when std is not among them.
pub fn std_libraries(dir: &Path) -> Option<String> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .ok()?
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "rlib"))
        .map(|entry| {
            (entry.file_name().to_string_lossy().into_owned(), entry.metadata().map_or(0, |metadata| metadata.len()))
        })
        .collect();
    files.sort();
    // Cargo gives std a name without a hash, rustup one with it.
    let has_std = files.iter().any(|(name, _)| name == "libstd.rlib" || name.starts_with("libstd-"));
    let lines: Vec<_> = files.iter().map(|(name, size)| format!("{name} {size}")).collect();
    has_std.then(|| lines.join("\n"))
}

/// Everything that must stay the same for the toolchain to stay good.
pub fn current(rustc: &Path, linker: &Path) -> Result<String> {
    let compiler = capture(Command::new(rustc).arg("-vV"))?;
    let libdir = capture(Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]))?;
    let libraries = std_libraries(libdir.trim().as_ref()).context("its wasm32 standard library is missing")?;
    let cargo = capture(Command::new(cargo_program()).arg("-V"))?;
    let size = fs::metadata(linker).with_context(|| format!("no linker at {}", linker.display()))?.len();
    Ok(format!("{compiler}{libraries}\n{cargo}rust-lld {size}\n"))
}

/// Compiles and links a small program; wrong versions of anything show here.
pub fn probe(rustc: &Path, scratch: &Path) -> Result<()> {
    fs::create_dir_all(scratch)?;
    let source = scratch.join("probe.rs");
    let module = scratch.join("probe.wasm");
    fs::write(&source, PROBE)?;
    let mut compile = Command::new(rustc);
    compile.args(["--edition=2024", "--crate-type=cdylib", "-Copt-level=1", "-Cpanic=abort", "--target", TARGET]);
    run(compile.arg("-o").arg(&module).arg(&source))?;
    let made = fs::read(&module)?;
    ensure!(made.starts_with(b"\0asm"), "its linker did not make a wasm module");
    fs::remove_dir_all(scratch)?;
    Ok(())
}
