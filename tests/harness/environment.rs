//! Where the tests find what they need: the proxy's binary, filters, misbehaving guests, Python, programs.
//! What is missing fails the test with a sentence that says how to get it.

use std::path::{Path, PathBuf};

/// The workspace's folder.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn from_variable_or(variable: &str, default: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| workspace().join(default), |value| workspace().join(value))
}

fn existing(path: PathBuf, advice: &str) -> PathBuf {
    assert!(path.exists(), "{} is missing: {advice}", path.display());
    path
}

/// The proxy: `GPANEL_PROXY_BIN`, else `target/quick/gpanel-proxy`.
pub fn proxy_binary() -> PathBuf {
    existing(
        from_variable_or("GPANEL_PROXY_BIN", "target/quick/gpanel-proxy"),
        "build it with `cargo build --profile quick -p gpanel-proxy`, or run `cargo xtask test`",
    )
}

/// A shipped filter as a component: from `GPANEL_FILTERS_DIR`, else `target/filters`.
pub fn shipped_filter(name: &str) -> PathBuf {
    existing(
        from_variable_or("GPANEL_FILTERS_DIR", "target/filters").join(format!("{name}.wasm")),
        "build the filters with `cargo xtask build-filters`, or run `cargo xtask test`",
    )
}

/// A guest made for tests: from `GPANEL_GUESTS_DIR`, else `target/test-guests`.
pub fn test_guest(name: &str) -> PathBuf {
    existing(
        from_variable_or("GPANEL_GUESTS_DIR", "target/test-guests").join(format!("{name}.wasm")),
        "build the test guests with `cargo xtask build-filters`, or run `cargo xtask test`",
    )
}

/// A Python with curl_cffi and aioquic: `GPANEL_PYTHON`, else `target/venv/bin/python`.
pub fn python() -> PathBuf {
    existing(
        from_variable_or("GPANEL_PYTHON", "target/venv/bin/python"),
        "make it with `python3 -m venv target/venv && target/venv/bin/pip install -r tests/clients/requirements.txt`, \
         or run `cargo xtask test`",
    )
}

/// A program of the system, found on `PATH`; `package` is what to install where it is missing.
pub fn program(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| panic!("{name} is missing: install it with `apt-get install {package}`"))
}

/// A folder for compiled filters that all tests share, so that only the first start compiles.
pub fn compile_cache() -> PathBuf {
    let folder = workspace().join("target/test-compile-cache");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
