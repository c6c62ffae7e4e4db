//! From the configuration to a chain. Blocks while filters compile: call it off the workers.
//!
//! A filter that did not change keeps its compiled code, its instances, and what its breaker knows.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::config::model::{ConfigOrigin, FailurePolicy, FilterEntry, Isolation, ModuleSource};
use crate::wasm::{Engine, Guest, GuestSpec, LoadError, MAX_COMPONENT_SIZE};

use super::chain::Chain;
use super::matcher::Matcher;
use super::position::{Filter, Occupant, Position};

/// A filter that can't be loaded, and where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterLoadError {
    /// The filter's name.
    pub filter: Arc<str>,
    /// The configuration file, if the filter's entry came from one.
    pub file: Option<PathBuf>,
    /// Line and column there, both from 1: of the value that the filter rejected, or of its entry.
    pub position: (usize, usize),
    /// What is wrong, with the filter's name and its module.
    pub message: String,
}

impl fmt::Display for FilterLoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:{}:{}: ", file.display(), self.position.0, self.position.1)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for FilterLoadError {}

/// Where a builtin filter's component is.
pub(super) type Builtins<'a> = &'a (dyn Fn(&str) -> Option<&'static [u8]> + Sync);

/// What a filter is made from: if it is the same, so is the filter.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Key {
    digest: [u8; 32],
    config: serde_json::Value,
    timeout: Duration,
    memory: usize,
    isolation: Isolation,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("there is no builtin filter of that name")]
    NoBuiltin,
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    #[error("its SHA-256 is {found}, not the one that the configuration asks for")]
    Digest { found: String },
    #[error("match: {0}")]
    Matcher(String),
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl Chain {
    /// Builds a chain, outermost filter first.
    ///
    /// # Errors
    /// Every filter that can't be loaded, unless it has `fail = "open"` and did not run before: that one becomes a
    /// position that every request skips, with a warning. One that ran before keeps the old generation going.
    pub fn build(
        entries: &[FilterEntry],
        engine: &Engine,
        builtin: &(dyn Fn(&str) -> Option<&'static [u8]> + Sync),
        previous: Option<&Self>,
    ) -> Result<Self, Vec<FilterLoadError>> {
        if let Some(entry) = entries.get(Self::MAX_POSITIONS) {
            let message = format!("{} filters, more than the {} of a chain", entries.len(), Self::MAX_POSITIONS);
            return Err(vec![error(entry, &[], message)]);
        }
        // While nothing is served yet, every core may compile; afterwards they have better things to do.
        let threads = match previous {
            None => thread::available_parallelism().map_or(1, usize::from),
            Some(_) => 1,
        };
        let mut positions = Vec::with_capacity(entries.len());
        let mut errors = Vec::new();
        for entries in entries.chunks(threads) {
            for built in build_some(entries, engine, builtin, previous) {
                match built {
                    Ok(position) => positions.push(position),
                    Err(error) => errors.push(error),
                }
            }
        }
        if errors.is_empty() { Ok(Self::new(positions)) } else { Err(errors) }
    }
}

/// Builds some positions at the same time.
fn build_some(
    entries: &[FilterEntry],
    engine: &Engine,
    builtin: Builtins<'_>,
    previous: Option<&Chain>,
) -> Vec<Result<Position, FilterLoadError>> {
    if let [entry] = entries {
        return vec![position(entry, engine, builtin, previous)];
    }
    thread::scope(|scope| {
        let threads: Vec<_> = entries
            .iter()
            .map(|entry| (entry, scope.spawn(move || position(entry, engine, builtin, previous))))
            .collect();
        threads
            .into_iter()
            .map(|(entry, thread)| {
                thread.join().unwrap_or_else(|_| Err(explain(entry, &Problem::Load(LoadError::Crashed))))
            })
            .collect()
    })
}

fn position(
    entry: &FilterEntry,
    engine: &Engine,
    builtin: Builtins<'_>,
    previous: Option<&Chain>,
) -> Result<Position, FilterLoadError> {
    let matcher = Matcher::new(&entry.matcher).map_err(|message| explain(entry, &Problem::Matcher(message)))?;
    let before = previous.and_then(|chain| chain.filter(&entry.name));
    let occupant = match filter(entry, engine, builtin, before) {
        Ok(filter) => Occupant::Filter(filter),
        Err(problem) => {
            let error = explain(entry, &problem);
            if entry.fail == FailurePolicy::Closed || before.is_some() {
                return Err(error);
            }
            let filter = &*entry.name;
            tracing::warn!(component = "filter", filter, "filter left out, because it has fail = \"open\": {error}");
            Occupant::Missing { name: Arc::clone(&entry.name), error: error.to_string() }
        }
    };
    Ok(Position { occupant, matcher, fail: entry.fail })
}

fn filter(
    entry: &FilterEntry,
    engine: &Engine,
    builtin: Builtins<'_>,
    before: Option<&Arc<Filter>>,
) -> Result<Arc<Filter>, Problem> {
    let component: Arc<[u8]> = match &entry.module {
        ModuleSource::Builtin(name) => builtin(name).ok_or(Problem::NoBuiltin)?.into(),
        ModuleSource::File(path) => read(path)?,
    };
    let digest: [u8; 32] = Sha256::digest(&component).into();
    if entry.sha256.is_some_and(|wanted| wanted != digest) {
        let found = hex(&digest);
        return Err(Problem::Digest { found });
    }
    let key = Key {
        digest,
        config: entry.config.clone(),
        timeout: entry.timeout,
        memory: entry.memory,
        isolation: entry.isolation,
    };
    if let Some(before) = before.filter(|before| before.key == key) {
        return Ok(Arc::clone(before));
    }
    let spec = GuestSpec {
        name: Arc::clone(&entry.name),
        component,
        config: entry.config.clone(),
        memory: entry.memory,
        timeout: entry.timeout,
        isolation: entry.isolation,
    };
    let guest = Guest::prepare(engine, spec)?;
    Ok(Arc::new(Filter::new(Arc::clone(&entry.name), key, guest)))
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Reads a module; a file that is too large is not read to its end.
fn read(path: &Path) -> Result<Arc<[u8]>, Problem> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let limit = MAX_COMPONENT_SIZE as u64;
    if size > limit {
        return Err(LoadError::TooLarge { size, limit: MAX_COMPONENT_SIZE }.into());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    // One more than allowed, so that a file that grows meanwhile is noticed.
    file.take(limit + 1).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

fn explain(entry: &FilterEntry, problem: &Problem) -> FilterLoadError {
    let module = match &entry.module {
        ModuleSource::Builtin(name) => format!("builtin:{name}"),
        ModuleSource::File(path) => path.display().to_string(),
    };
    match problem {
        // The module is not to blame.
        Problem::Load(LoadError::Config { path, .. }) => {
            error(entry, path, format!("filter {:?}: {problem}", entry.name))
        }
        Problem::Matcher(_) => error(entry, &[], format!("filter {:?}: {problem}", entry.name)),
        Problem::NoBuiltin | Problem::Unreadable(_) | Problem::Digest { .. } | Problem::Load(_) => {
            error(entry, &[], format!("filter {:?}: {module}: {problem}", entry.name))
        }
    }
}

fn error(entry: &FilterEntry, path: &[String], message: String) -> FilterLoadError {
    FilterLoadError {
        filter: Arc::clone(&entry.name),
        file: entry.origin.file.clone(),
        position: place(&entry.origin, path),
        message,
    }
}

/// Where the value at `path` stands, or the closest table around it.
fn place(origin: &ConfigOrigin, path: &[String]) -> (usize, usize) {
    let is_prefix =
        |known: &[Box<str>]| known.len() <= path.len() && known.iter().zip(path).all(|(known, step)| **known == **step);
    origin
        .values
        .iter()
        .filter(|(known, _)| is_prefix(known))
        .max_by_key(|(known, _)| known.len())
        .map_or(origin.position, |(_, place)| *place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_error_points_at_the_value_or_what_is_around_it() {
        let path = |steps: &[&str]| steps.iter().map(|step| Box::from(*step)).collect::<Vec<Box<str>>>();
        let origin = ConfigOrigin {
            file: None,
            position: (3, 1),
            values: vec![(path(&["rules"]), (5, 1)), (path(&["rules", "1", "path"]), (7, 9)), (path(&["x"]), (9, 5))],
        };
        let place_of =
            |steps: &[&str]| place(&origin, &steps.iter().map(|step| (*step).to_owned()).collect::<Vec<_>>());
        assert_eq!(place_of(&["rules", "1", "path"]), (7, 9));
        assert_eq!(place_of(&["rules", "0", "path"]), (5, 1));
        assert_eq!(place_of(&["y"]), (3, 1));
        assert_eq!(place_of(&[]), (3, 1));
    }
}
