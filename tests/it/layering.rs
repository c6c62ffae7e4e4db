//! The layers of the host: a module uses only those to its right in ARCHITECTURE.md's line. Reads the sources; nothing
//! is started.

use std::fs;
use std::path::{Path, PathBuf};

const LAYERS: [&str; 13] = [
    "server",
    "admin",
    "reload",
    "listener",
    "codec",
    "pipeline",
    "snapshot",
    "filter",
    "wasm",
    "upstream",
    "telemetry",
    "config",
    "message",
];

#[test]
fn a_module_uses_only_those_to_its_right() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/src");
    let mut checked = 0;
    let mut wrong = Vec::new();
    for (rank, layer) in LAYERS.iter().enumerate() {
        for file in sources(&root.join(layer)) {
            let text = fs::read_to_string(&file).unwrap();
            for used in LAYERS.iter().take(rank) {
                // Test modules may put a layer further up under the code that they test.
                if program(&text).contains(&format!("crate::{used}")) && !is_test(&file) {
                    wrong.push(format!("{}: {layer} uses {used}", file.display()));
                }
            }
            checked += 1;
        }
    }
    assert!(checked > 100, "only {checked} files were found: the layers have other names now");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_line_is_the_one_that_is_documented() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../ARCHITECTURE.md")).unwrap();
    assert!(text.contains(&format!("`{}`", LAYERS.join(" "))), "ARCHITECTURE.md has another line of layers");
}

/// The file without the tests at its end.
fn program(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text)
}

fn is_test(file: &Path) -> bool {
    file.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs" | "testing.rs")))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
