//! `check` and `explain`: everything that can be known about a configuration without serving it.

use std::io::{self, Write};

use crate::cli::{EXIT_USAGE, Request};
use crate::config::{self, Diagnostic, Loaded};
use crate::filter::Chain;
use crate::listener::certs;
use crate::wasm::{Engine, EngineOptions};

/// Loads the configuration, the certificate and every filter, offline; prints what is wrong, or that nothing is.
///
/// Returns the exit code.
///
/// # Errors
/// The output can't be written.
pub fn check(loaded: Result<Loaded, Vec<Diagnostic>>, out: &mut impl Write) -> io::Result<u8> {
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(errors) => {
            for error in &errors {
                writeln!(out, "{error}")?;
            }
            writeln!(out, "{} in the configuration", count(errors.len(), "error"))?;
            return Ok(EXIT_USAGE);
        }
    };
    for warning in &loaded.warnings {
        writeln!(out, "{warning}")?;
    }
    let config = loaded.config;
    if let Err(error) = certs::Store::open(&config) {
        writeln!(out, "{error}")?;
        return Ok(EXIT_USAGE);
    }
    let options = EngineOptions { workers: 1, cache_dir: config.proxy.cache_dir.clone() };
    let engine = match Engine::new(options) {
        Ok(engine) => engine,
        Err(error) => {
            writeln!(out, "{error}")?;
            return Ok(1);
        }
    };
    match Chain::build(&config.filters, &engine, &crate::builtin::component, None) {
        Ok(_) => {
            let filters = count(config.filters.len(), "filter");
            let backends = count(config.backends.len(), "backend");
            writeln!(out, "ok: {filters}, {backends}, {}", count(loaded.warnings.len(), "warning"))?;
            Ok(0)
        }
        Err(errors) => {
            for error in &errors {
                writeln!(out, "{error}")?;
            }
            writeln!(out, "{} that can't be loaded", count(errors.len(), "filter"))?;
            Ok(EXIT_USAGE)
        }
    }
}

/// Prints the effective chain and routes, or what becomes of one request. Returns the exit code.
///
/// # Errors
/// The output can't be written.
pub fn explain(loaded: &Loaded, request: Option<&Request>, out: &mut impl Write) -> io::Result<u8> {
    let text = match request {
        None => Ok(config::explain(&loaded.config)),
        Some(request) => config::explain_request(&loaded.config, &request.method, &request.url),
    };
    match text {
        Ok(text) => write!(out, "{text}").map(|()| 0),
        Err(error) => writeln!(out, "{error}").map(|()| EXIT_USAGE),
    }
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
