//! The JSON Schema of a configuration: made natively, kept in a file, carried by the component as text.

use std::path::Path;

use crate::filter::Filter;

/// Set in the environment, [`check_schema`] writes the file instead of comparing it.
const UPDATE: &str = "UPDATE_SCHEMA";

/// The JSON Schema of a filter's configuration.
#[must_use]
pub fn schema<F: Filter>() -> serde_json::Value {
    schemars::schema_for!(F::Config).to_value()
}

/// Checks that the file which `export!(X, schema = "…")` names is what the configuration's type says. With
/// `UPDATE_SCHEMA=1` in the environment, it writes the file.
///
/// # Panics
/// If the file is not current, or cannot be read or written.
#[allow(clippy::panic, reason = "an assertion for tests")]
pub fn check_schema<F: Filter>(path: impl AsRef<Path>) {
    let path = path.as_ref();
    let wanted = format!("{:#}\n", schema::<F>());
    if std::env::var_os(UPDATE).is_some() {
        if let Err(error) = std::fs::write(path, &wanted) {
            panic!("{}: {error}", path.display());
        }
        return;
    }
    match std::fs::read_to_string(path) {
        Ok(found) => assert_eq!(found, wanted, "{} is not current; run again with {UPDATE}=1", path.display()),
        Err(error) => panic!("{}: {error}; run again with {UPDATE}=1", path.display()),
    }
}
