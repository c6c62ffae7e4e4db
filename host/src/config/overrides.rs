//! What stands above the file: command-line flags, then environment variables. The command line fills an
//! `Overrides`; the variables fill what it left open. Values stay text until the key's own reader checks them,
//! so that a wrong flag is reported together with everything else.

use std::ffi::OsString;
use std::path::PathBuf;

use super::defaults;
use super::diagnostic::{Located, Place, Report};

/// How variables are looked up; the process's own environment outside of tests.
pub type Lookup<'a> = dyn Fn(&str) -> Option<OsString> + 'a;

/// A value from outside the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The text as it was given.
    pub value: String,
    /// The flag or variable, for messages.
    pub origin: &'static str,
}

impl Given {
    /// A value of a flag or a variable.
    #[must_use]
    pub fn new(value: impl Into<String>, origin: &'static str) -> Self {
        Self { value: value.into(), origin }
    }
}

/// The settings that flags and variables can make; each wins over the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The configuration file.
    pub config: Option<Given>,
    /// `[proxy] quic_addr`.
    pub quic_addr: Option<Given>,
    /// `[proxy] http_addr`.
    pub http_addr: Option<Given>,
    /// `[backends.bolt] url`.
    pub bolt_api: Option<Given>,
    /// `[proxy] cert_path`, relative to the working directory.
    pub cert_path: Option<Given>,
    /// `[proxy] key_path`, relative to the working directory.
    pub key_path: Option<Given>,
    /// `[proxy] dev_mode`.
    pub dev_mode: Option<Given>,
    /// `[proxy] max_connections`.
    pub max_connections: Option<Given>,
    /// `[proxy] idle_timeout`, seconds.
    pub idle_timeout: Option<Given>,
    /// `[proxy] workers`.
    pub workers: Option<Given>,
    /// `[logging] level`, with targets.
    pub log_filter: Option<Given>,
    /// `[logging] format`.
    pub log_format: Option<Given>,
}

/// Flags and variables together, and what the environment says about folders.
pub(super) struct Outside {
    /// Flags, and variables where there is no flag.
    pub(super) overrides: Overrides,
    /// Where compiled filters go unless `[proxy] cache_dir` says otherwise.
    pub(super) cache_dir: Option<PathBuf>,
    /// `GPANEL_BUILTIN_FILTERS`: shipped filters in this folder stand for those inside the binary.
    pub(super) builtin_filters: Option<PathBuf>,
}

impl Outside {
    /// Fills what the flags left open; an empty variable counts as unset.
    pub(super) fn new(flags: &Overrides, lookup: &Lookup<'_>, report: &Report) -> Self {
        let variable = |name: &'static str| match lookup(name)?.into_string() {
            Ok(value) if value.is_empty() => None,
            Ok(value) => Some(Given::new(value, name)),
            Err(_) => {
                report.error(&Place::named(name), "not UTF-8");
                None
            }
        };
        let fill = |flag: &Option<Given>, name| flag.clone().or_else(|| variable(name));
        let overrides = Overrides {
            config: fill(&flags.config, "GPANEL_PROXY_CONFIG"),
            quic_addr: fill(&flags.quic_addr, "GPANEL_PROXY_QUIC_ADDR"),
            http_addr: fill(&flags.http_addr, "GPANEL_PROXY_HTTP_ADDR"),
            bolt_api: fill(&flags.bolt_api, "GPANEL_PROXY_BOLT_API"),
            cert_path: fill(&flags.cert_path, "GPANEL_PROXY_CERT_PATH"),
            key_path: fill(&flags.key_path, "GPANEL_PROXY_KEY_PATH"),
            dev_mode: fill(&flags.dev_mode, "GPANEL_PROXY_DEV_MODE"),
            max_connections: fill(&flags.max_connections, "GPANEL_PROXY_MAX_CONNECTIONS"),
            idle_timeout: fill(&flags.idle_timeout, "GPANEL_PROXY_IDLE_TIMEOUT"),
            workers: flags.workers.clone(),
            log_filter: fill(&flags.log_filter, "RUST_LOG"),
            log_format: fill(&flags.log_format, "GPANEL_LOG_FORMAT"),
        };
        let builtin_filters = variable("GPANEL_BUILTIN_FILTERS").map(|folder| PathBuf::from(folder.value));
        Self { overrides, cache_dir: cache_dir(lookup), builtin_filters }
    }
}

/// The service's cache folder (systemd's `CacheDirectory=`), else one in the user's.
fn cache_dir(lookup: &Lookup<'_>) -> Option<PathBuf> {
    let folder = |name: &str| lookup(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(service) = lookup("CACHE_DIRECTORY").and_then(|value| value.into_string().ok()) {
        // Several folders are separated by colons (systemd.exec(5)); the first is ours.
        if let Some(first) = service.split(':').next().filter(|first| !first.is_empty()) {
            return Some(PathBuf::from(first));
        }
    }
    let user = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")))?;
    user.is_absolute().then(|| user.join(defaults::CACHE_FOLDER))
}

/// A flag's or a variable's value; a wrong one is reported under its name.
pub(super) fn outside<T>(
    given: Option<&Given>,
    report: &Report,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<Located<T>> {
    let given = given?;
    let place = Place::named(given.origin);
    match parse(&given.value) {
        Ok(value) => Some(Located { value, place }),
        Err(problem) => {
            report.error(&place, problem);
            None
        }
    }
}
