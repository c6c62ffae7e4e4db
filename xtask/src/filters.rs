//! Builds filter crates into components: the shipped ones, the test guests, and an author's own.
//!
//! A result is written only when its bytes changed: the proxy watches these files, and cargo rebuilds the host when
//! an embedded one is newer.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::componentize::componentize;
use crate::process::{capture, run};
use crate::progress::{Step, detail};
use crate::toolchain::{TARGET, Toolchain};
use crate::workspace::{Workspace, cargo_program};

/// A crate that becomes a component.
struct FilterCrate {
    /// The folder's name, and the component's file name.
    name: String,
    /// The package's name.
    package: String,
    /// File name of the module that rustc writes.
    module: String,
    manifest: PathBuf,
}

/// Builds `filters/*` into `target/filters` and `tests/guests/*` into `target/test-guests`.
pub fn build_all(workspace: &Workspace) -> Result<()> {
    let shipped = crates_in(&workspace.path("filters"))?;
    let guests = crates_in(&workspace.path("tests/guests"))?;
    let toolchain = Toolchain::obtain()?;
    let step = Step::begin(format!("building {} filters and {} test guests", shipped.len(), guests.len()));
    detail(format!("with {}", toolchain.describe()));
    let mut cargo = guest_cargo(workspace, &toolchain);
    for filter in shipped.iter().chain(&guests) {
        cargo.args(["--package", &filter.package]);
    }
    run(&mut cargo)?;
    for (crates, out) in [(&shipped, workspace.filters_out()), (&guests, workspace.guests_out())] {
        fs::create_dir_all(&out)?;
        remove_strangers(&out, crates)?;
        for filter in crates {
            write_component(workspace, filter, &out.join(format!("{}.wasm", filter.name)))?;
        }
    }
    step.done();
    Ok(())
}

/// Builds the filter crate in `dir` into `out`.
pub fn build_one(workspace: &Workspace, dir: &Path, out: &Path) -> Result<()> {
    let manifest = dir.join("Cargo.toml");
    ensure!(manifest.is_file(), "{} holds no Cargo.toml", dir.display());
    let manifest = manifest.canonicalize()?;
    let filter = describe(&manifest)?;
    let toolchain = Toolchain::obtain()?;
    let step = Step::begin(format!("building {}", filter.name));
    let mut cargo = guest_cargo(workspace, &toolchain);
    if belongs_to(workspace, &filter) {
        cargo.args(["--package", &filter.package]);
    } else {
        // A workspace of its own knows no profile `guest`, so the profile comes along.
        cargo.arg("--manifest-path").arg(&filter.manifest);
        for setting in ["inherits='release'", "opt-level=3", "lto='fat'", "codegen-units=1", "strip=true"] {
            cargo.arg("--config").arg(format!("profile.guest.{setting}"));
        }
        cargo.args(["--config", "profile.guest.panic='abort'"]);
    }
    run(&mut cargo)?;
    write_component(workspace, &filter, out)?;
    step.done();
    Ok(())
}

fn guest_cargo(workspace: &Workspace, toolchain: &Toolchain) -> Command {
    let mut cargo = workspace.cargo("build");
    cargo.args(["--profile", "guest", "--lib", "--target", TARGET]).env("CARGO_TARGET_DIR", workspace.guest_target());
    toolchain.apply(&mut cargo);
    cargo
}

fn belongs_to(workspace: &Workspace, filter: &FilterCrate) -> bool {
    ["filters", "tests/guests"].iter().any(|dir| filter.manifest.starts_with(workspace.path(dir)))
}

/// The crates in the folders directly below `parent`, by name.
fn crates_in(parent: &Path) -> Result<Vec<FilterCrate>> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let manifests = entries.map(|entry| entry.path().join("Cargo.toml")).filter(|manifest| manifest.is_file());
    let crates: Result<BTreeMap<_, _>> =
        manifests.map(|manifest| describe(&manifest).map(|filter| (filter.name.clone(), filter))).collect();
    Ok(crates?.into_values().collect())
}

/// Asks cargo for the package's name and library.
fn describe(manifest: &Path) -> Result<FilterCrate> {
    let mut cargo = Command::new(cargo_program());
    cargo.args(["metadata", "--no-deps", "--format-version=1", "--manifest-path"]).arg(manifest);
    let metadata: Value = serde_json::from_str(&capture(&mut cargo)?)?;
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let package = packages
        .iter()
        .find(|package| package["manifest_path"].as_str().is_some_and(|path| Path::new(path) == manifest))
        .with_context(|| format!("cargo knows no package at {}", manifest.display()))?;
    let folder = manifest.parent().and_then(Path::file_name).unwrap_or_default();
    let name = folder.to_string_lossy().into_owned();
    let targets = package["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_cdylib =
        |target: &&Value| target["crate_types"].as_array().is_some_and(|types| types.contains(&"cdylib".into()));
    let Some(library) = targets.iter().find(is_cdylib).and_then(|target| target["name"].as_str()) else {
        bail!("{} is no filter crate: its [lib] needs crate-type = [\"cdylib\"]", manifest.display());
    };
    let module = format!("{}.wasm", library.replace('-', "_"));
    let package = package["name"].as_str().unwrap_or_default().to_owned();
    Ok(FilterCrate { name, package, module, manifest: manifest.to_path_buf() })
}

/// A component whose crate is gone must not be embedded or loaded any more.
fn remove_strangers(out: &Path, crates: &[FilterCrate]) -> Result<()> {
    for entry in fs::read_dir(out)?.flatten() {
        let path = entry.path();
        let known = path.file_stem().is_some_and(|stem| crates.iter().any(|filter| stem == filter.name.as_str()));
        if path.is_file() && !known {
            detail(format!("removing {}: its crate is gone", path.display()));
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn write_component(workspace: &Workspace, filter: &FilterCrate, out: &Path) -> Result<()> {
    let module_path = workspace.guest_target().join(TARGET).join("guest").join(&filter.module);
    let module = fs::read(&module_path).with_context(|| format!("cargo left no {}", module_path.display()))?;
    let component = componentize(&module).with_context(|| format!("{} does not become a component", filter.name))?;
    let unchanged = fs::read(out).is_ok_and(|old| old == component);
    let size = component.len().div_ceil(1024);
    detail(format!("{}: {size} KiB{}", out.display(), if unchanged { ", unchanged" } else { "" }));
    if unchanged {
        return Ok(());
    }
    // Renamed into place, so that a watching proxy never sees half of it.
    let partial = out.with_file_name(format!(".{}.partial", filter.name));
    fs::write(&partial, component).with_context(|| format!("cannot write {}", partial.display()))?;
    fs::rename(&partial, out).with_context(|| format!("cannot write {}", out.display()))
}
