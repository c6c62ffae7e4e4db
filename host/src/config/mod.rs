//! Configuration: command line, environment and file in, one validated model out.
//!
//! TOML text is walked by `reader` and `value`, which check types and know no meaning; one file a section turns
//! it into the model's parts; `chain` puts the filters in order. Nothing stops at the first mistake: `load`
//! gives every error with its place, or the model and every key that does not act. Nothing here opens a socket,
//! reads a certificate or loads a filter.

mod backends;
mod chain;
pub mod defaults;
mod diagnostic;
mod dropin;
mod explain;
mod filters;
mod inactive;
mod json;
mod listeners;
pub mod model;
mod observe;
mod origin;
mod overrides;
mod parse;
mod proxy;
mod quic;
mod reader;
mod routing;
mod security;
mod suggest;
mod value;

use std::path::{Path, PathBuf};

pub use diagnostic::{Diagnostic, Severity};
pub use explain::{explain, explain_request};
pub use model::Config;
pub use overrides::{Given, Lookup, Overrides};

use chain::Entry;
use diagnostic::Report;
use overrides::Outside;
use reader::{Section, Source};
use routing::Targets;

/// A configuration that can be used, and what in it does not act.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The model.
    pub config: Config,
    /// Keys that do not do what they say, in the order of the text.
    pub warnings: Vec<Diagnostic>,
}

/// Loads what flags, the process's environment and the configuration file say.
///
/// # Errors
/// Everything that is wrong, in the order of the text.
pub fn load(flags: &Overrides) -> Result<Loaded, Vec<Diagnostic>> {
    load_with(flags, &|name| std::env::var_os(name))
}

/// The same with the variables of `lookup`.
///
/// # Errors
/// Everything that is wrong, in the order of the text.
pub fn load_with(flags: &Overrides, lookup: &Lookup<'_>) -> Result<Loaded, Vec<Diagnostic>> {
    let report = Report::default();
    let from_outside = Outside::new(flags, lookup, &report);
    // Without a file, or with one that can't be read, flags and variables still want checking.
    let source = find(&from_outside.overrides).and_then(|path| Source::read(&path, &report));
    let source = source.unwrap_or_else(|| Source::new(None, String::new()));
    let config = read(&source, &from_outside, &report);
    finish(config, report)
}

fn finish(config: Config, report: Report) -> Result<Loaded, Vec<Diagnostic>> {
    let (errors, warnings) = report.finish();
    if errors.is_empty() { Ok(Loaded { config, warnings }) } else { Err(errors) }
}

/// A file that is named must be there; the default one may be missing.
fn find(overrides: &Overrides) -> Option<PathBuf> {
    match &overrides.config {
        Some(named) => Some(PathBuf::from(&named.value)),
        None => Some(PathBuf::from(defaults::CONFIG_FILE)).filter(|path| path.exists()),
    }
}

/// Text to model. The order is that of dependence: rules name backends, backends need `[proxy]`'s addresses.
fn read(source: &Source, from_outside: &Outside, report: &Report) -> Config {
    let table = source.parse(report);
    let root = Section::root(source, report, &table);
    let mut proxy = proxy::read(&root, from_outside);
    let routing = root.section("routing");
    let backends = backends::read(&root, &proxy, from_outside, routing::read_strategy(&routing));
    let static_root = read_static_root(&root);
    let targets = Targets { backends: &backends, static_root: static_root.as_deref() };
    proxy.proxy.default_backend = proxy.default_backend.and_then(|value| routing::read_default(&value, &targets));
    let security = security::read(&root, proxy.max_request_size);
    let mut entries: Vec<Entry> = security.headers.into_iter().chain(routing::read(&routing, &targets)).collect();
    entries.extend(filters::read(&root));
    if let Some(folder) = proxy.proxy.filters_dir.as_deref().filter(|folder| folder.is_dir()) {
        entries.extend(dropin::read(folder, report));
    }
    let mut filters = chain::assemble(entries, report);
    if let Some(folder) = &from_outside.builtin_filters {
        chain::take_builtin_from(folder, &mut filters);
    }
    let (admin, admin_addr) = observe::read_admin(&root);
    let [quic_addr, http_addr] = proxy.addresses;
    listeners::check(&[quic_addr, http_addr, admin_addr], report);
    Config {
        path: source.file().map(Path::to_path_buf),
        quic: quic::read(&root, &proxy.proxy),
        logging: observe::read_logging(&root, from_outside),
        admin,
        filters,
        proxy: proxy.proxy,
        timeouts: proxy.timeouts,
        limits: security.limits,
        pool: proxy.pool,
        backends,
        static_root,
        tls: security.tls,
    }
}

/// The folder may come later, with a mount or a deployment: without it, its files are not found.
fn read_static_root(root: &Section<'_>) -> Option<PathBuf> {
    let value = root.section("static").take("root")?;
    let folder = value.path()?.value;
    if !folder.is_dir() {
        value.warning(format_args!(
            "there is no folder {}: requests for its files are answered by 404",
            folder.display()
        ));
    }
    Some(folder)
}

#[cfg(test)]
mod tests;
