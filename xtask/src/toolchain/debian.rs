//! A guest toolchain from Debian's packages: `rustc-web` and the source of its standard library, unpacked into the
//! cache folder (nothing is installed), std built once, the linker taken from the ordinary toolchain.
//!
//! Layout: `CACHE/VERSION/{ok,rustc,root}`, and `CACHE/lock` against two runs at once.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{TARGET, stamp};
use crate::process::{capture, find, is_root, run, succeeds};
use crate::progress::{Step, detail, megabytes};
use crate::workspace::{cargo_program, rustc_program};

/// What a person can do where this way is closed.
const ADVICE: &str = "Install the target and run this again:\n    rustup target add wasm32-unknown-unknown";

/// The path of a rustc that compiles for wasm32; made on the first call, found again on later ones.
pub fn obtain() -> Result<PathBuf> {
    let cache = cache_dir()?;
    fs::create_dir_all(&cache).with_context(|| format!("cannot make the cache folder {}", cache.display()))?;
    let lock = File::create(cache.join("lock"))?;
    if lock.try_lock().is_err() {
        detail("another run is preparing the guest toolchain; waiting for it");
        lock.lock()?;
    }
    for dir in versions(&cache) {
        match (Kit { dir: dir.clone() }).accept() {
            Ok(rustc) => return Ok(rustc),
            Err(error) => detail(format!("the guest toolchain in {} is of no use: {error:#}", dir.display())),
        }
    }
    install(&cache)
}

fn cache_dir() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME") {
        Some(dir) if Path::new(&dir).is_absolute() => PathBuf::from(dir),
        _ => std::env::home_dir().context("neither XDG_CACHE_HOME nor HOME is set")?.join(".cache"),
    };
    Ok(base.join("gpanel-proxy/guest-toolchain"))
}

/// Finished toolchains, newest version last in the alphabet first.
fn versions(cache: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(cache).into_iter().flatten().flatten();
    let mut dirs: Vec<_> = entries.map(|entry| entry.path()).filter(|dir| dir.join("ok").is_file()).collect();
    dirs.sort_by(|a, b| b.cmp(a));
    dirs
}

/// One toolchain in the cache.
struct Kit {
    dir: PathBuf,
}

impl Kit {
    fn usr(&self) -> PathBuf {
        self.dir.join("root/usr")
    }

    fn rustc(&self) -> PathBuf {
        self.dir.join("rustc")
    }

    /// Checks a finished toolchain against the marks in `ok`, and anew where they differ.
    fn accept(&self) -> Result<PathBuf> {
        let rustc = self.rustc();
        let linker = host_linker()?;
        if fs::read_to_string(self.dir.join("ok"))? != stamp::current(&rustc, &linker)? {
            self.borrow_linker(&linker)?;
            self.approve()?;
        }
        Ok(rustc)
    }

    /// Proves that it compiles and links, then marks it as finished.
    fn approve(&self) -> Result<()> {
        let rustc = self.rustc();
        stamp::probe(&rustc, &self.dir.join("probe"))?;
        fs::write(self.dir.join("ok"), stamp::current(&rustc, &host_linker()?)?)?;
        Ok(())
    }

    /// Debian's compiler comes without the wasm linker: the ordinary toolchain's is copied beside it.
    fn borrow_linker(&self, linker: &Path) -> Result<()> {
        let own = self.usr().join("lib/rustlib").join(host_triple()?);
        fs::create_dir_all(own.join("bin"))?;
        fs::copy(linker, own.join("bin/rust-lld"))?;
        let sysroot_lib = sysroot()?.join("lib");
        for entry in fs::read_dir(&sysroot_lib)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with("libLLVM") {
                fs::copy(entry.path(), own.join(entry.file_name()))?;
            }
        }
        Ok(())
    }

    /// Unpacks packages and writes the wrapper that finds Debian's LLVM.
    fn unpack(&self, packages: &Path) -> Result<()> {
        let root = self.dir.join("root");
        fs::create_dir_all(&root)?;
        for entry in fs::read_dir(packages)?.flatten() {
            run(Command::new("dpkg").arg("-x").arg(entry.path()).arg(&root))?;
        }
        let usr = self.usr();
        let arch = host_triple()?.replace("-unknown-", "-");
        let wrapper = format!(
            "#!/bin/sh\nLD_LIBRARY_PATH=\"{usr}/lib/{arch}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\" exec \"{usr}/bin/rustc\" \"$@\"\n",
            usr = usr.display(),
        );
        fs::write(self.rustc(), wrapper)?;
        fs::set_permissions(self.rustc(), fs::Permissions::from_mode(0o755))?;
        Ok(())
    }

    /// Compiles core, alloc and std for wasm32 from the source that came with the compiler.
    fn build_std(&self) -> Result<()> {
        let usr = self.usr();
        let source = fs::read_dir(usr.join("src"))?
            .flatten()
            .map(|entry| entry.path().join("library/sysroot/Cargo.toml"))
            .find(|manifest| manifest.is_file())
            .context("rust-web-src holds no library/sysroot")?;
        let target_dir = self.dir.join("std-build");
        let mut cargo = Command::new(cargo_program());
        cargo.args(["build", "--locked", "--release", "--target", TARGET, "--manifest-path"]).arg(source);
        // Not in the work tree: its rust-toolchain.toml and .cargo/config.toml are not meant for std.
        cargo.current_dir(&self.dir).env("RUSTC", self.rustc()).env("CARGO_TARGET_DIR", &target_dir);
        // Building std uses unstable features, which a released compiler allows only this way.
        cargo.env("RUSTC_BOOTSTRAP", "1").env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("RUSTC_WRAPPER");
        cargo.env("RUSTFLAGS", "-Zforce-unstable-if-unmarked -Cembed-bitcode=yes");
        run(&mut cargo)?;
        let libraries = usr.join("lib/rustlib").join(TARGET).join("lib");
        fs::create_dir_all(&libraries)?;
        for entry in fs::read_dir(target_dir.join(TARGET).join("release/deps"))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_library = entry.path().extension().is_some_and(|extension| extension == "rlib");
            if is_library && !name.starts_with("libsysroot") {
                fs::copy(entry.path(), libraries.join(name))?;
            }
        }
        fs::remove_dir_all(target_dir)?;
        Ok(())
    }
}

/// Downloads, unpacks, builds std, and checks.
fn install(cache: &Path) -> Result<PathBuf> {
    for tool in ["apt-get", "apt-cache", "dpkg"] {
        if find(tool).is_none() {
            bail!("this rustc has no standard library for {TARGET}, and there is no {tool} to get one with. {ADVICE}");
        }
    }
    let version = candidate()?;
    let packages = packages(&version)?;
    let sizes = download_sizes(&packages)?;
    let total = sizes.iter().map(|(_, size)| size).sum();
    let step = Step::begin(format!("getting a guest toolchain ({TARGET}), once"));
    detail("this rustc has no standard library for wasm; `rustup target add` would give it one without what follows");
    detail(format!("downloads {} in {} packages of Debian's rustc {version}", megabytes(total), packages.len()));
    detail(format!("unpacks them into {} (1.1 GB; nothing is installed in the system)", cache.display()));
    detail("then compiles the standard library: under a minute on two cores");
    let kit = Kit { dir: cache.join(&version) };
    if kit.dir.exists() {
        fs::remove_dir_all(&kit.dir)?;
    }
    let downloads = kit.dir.join("deb");
    fs::create_dir_all(&downloads)?;
    for (number, (package, size)) in sizes.iter().enumerate() {
        detail(format!("[{}/{}] {package}, {}", number + 1, sizes.len(), megabytes(*size)));
        // As root apt drops to a user of its own, who cannot write here; that only costs a warning, so not ours.
        let sandbox = "APT::Sandbox::User=root";
        let mut download = Command::new("apt-get");
        capture(download.args(["-qq", "-o", sandbox, "download", package]).current_dir(&downloads)).context(
            "the download failed; is the network there, and are the package lists fresh (`apt-get update`)?",
        )?;
    }
    detail("unpacking");
    kit.unpack(&downloads)?;
    fs::remove_dir_all(&downloads)?;
    kit.borrow_linker(&host_linker()?)?;
    kit.build_std()?;
    kit.approve().context("the toolchain that was just built does not work")?;
    step.done();
    Ok(kit.rustc())
}

/// The version of the compiler's packages that apt would take; refreshes the lists where it knows none.
fn candidate() -> Result<String> {
    if let Some(version) = policy()? {
        return Ok(version);
    }
    if !is_root() {
        bail!("apt knows no package rust-web-src. Run `sudo apt-get update` and try again. Or: {ADVICE}");
    }
    detail("apt knows no package rust-web-src: refreshing its lists (apt-get update)");
    run(Command::new("apt-get").args(["-qq", "update"]))?;
    policy()?.with_context(|| format!("this distribution has no package rust-web-src (Debian 12 has). {ADVICE}"))
}

fn policy() -> Result<Option<String>> {
    let policy = capture(Command::new("apt-cache").args(["policy", "rust-web-src"]).env("LC_ALL", "C"))?;
    let line = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate:"));
    Ok(line.map(str::trim).filter(|version| *version != "(none)").map(str::to_owned))
}

/// The compiler, std's source, the host's std for build scripts and macros, and the LLVM that it is linked to.
fn packages(version: &str) -> Result<Vec<String>> {
    let minor = version.split('.').take(2).collect::<Vec<_>>().join(".");
    let runtime = format!("libstd-rust-web-{minor}={version}");
    let shown = capture(Command::new("apt-cache").args(["show", &runtime]).env("LC_ALL", "C"))?;
    let llvm = shown
        .split(|c: char| !c.is_ascii_alphanumeric())
        .find(|word| word.strip_prefix("libllvm").is_some_and(|rest| rest.parse::<u32>().is_ok()))
        .context("libstd-rust-web names no libllvm among its dependencies")?;
    let same = ["rustc-web", "rust-web-src", "libstd-rust-web-dev"].map(|name| format!("{name}={version}"));
    Ok(same.into_iter().chain([runtime, llvm.to_owned()]).collect())
}

/// What each package weighs, as apt says it.
fn download_sizes(packages: &[String]) -> Result<Vec<(String, u64)>> {
    packages
        .iter()
        .map(|package| {
            let listed = capture(Command::new("apt-get").args(["-qq", "--print-uris", "download", package]))?;
            // 'URI' FILE SIZE HASH
            let size = listed.split_whitespace().nth(2).and_then(|size| size.parse().ok());
            Ok((package.clone(), size.context("apt-get --print-uris gave no size")?))
        })
        .collect()
}

fn sysroot() -> Result<PathBuf> {
    Ok(PathBuf::from(capture(Command::new(rustc_program()).args(["--print", "sysroot"]))?.trim()))
}

fn host_triple() -> Result<String> {
    let version = capture(Command::new(rustc_program()).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

/// The ordinary toolchain's rust-lld.
fn host_linker() -> Result<PathBuf> {
    let linker = sysroot()?.join("lib/rustlib").join(host_triple()?).join("bin/rust-lld");
    if linker.is_file() && succeeds(Command::new(&linker).args(["-flavor", "wasm", "--version"])) {
        return Ok(linker);
    }
    bail!("the ordinary toolchain has no working rust-lld at {}: rustup's has. {ADVICE}", linker.display())
}
