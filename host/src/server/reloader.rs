//! What a reload does: read everything anew, build a generation beside the one that serves, swap.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::config::model::ModuleSource;
use crate::config::{self, Config, Diagnostic, Loaded, Overrides};
use crate::filter::FilterLoadError;
use crate::listener::certs::{self, Reloaded};
use crate::pipeline::Shared;
use crate::reload::{Builder, Refused, Report, WatchSet};
use crate::snapshot::{Foundation, Snapshot};
use crate::telemetry::ReloadKind;
use crate::telemetry::logging::LogHandle;

/// Rebuilds from the same flags and environment that the process was started with.
pub(super) struct Reloader {
    overrides: Overrides,
    shared: Arc<Shared>,
    foundation: Foundation,
    certs: Arc<certs::Store>,
    log: LogHandle,
    /// What was warned about, so that each reload only says what is new.
    warned: Mutex<BTreeSet<String>>,
    /// The configuration that the listeners were opened with: what of it changed needs a restart.
    started_with: Arc<Config>,
}

impl Reloader {
    pub(super) fn new(
        started_with: Arc<Config>,
        warnings: &[Diagnostic],
        overrides: Overrides,
        shared: Arc<Shared>,
        foundation: Foundation,
        certs: Arc<certs::Store>,
        log: LogHandle,
    ) -> Self {
        let warned = Mutex::new(warnings.iter().map(ToString::to_string).collect());
        Self { overrides, shared, foundation, certs, log, warned, started_with }
    }

    /// The files that a configuration is made from.
    pub(super) fn watch_set(&self, config: &Config) -> WatchSet {
        let modules = config.filters.iter().filter_map(|filter| match &filter.module {
            ModuleSource::File(path) => Some(path.clone()),
            ModuleSource::Builtin(_) => None,
        });
        WatchSet {
            config: config.path.clone(),
            filters_dir: config.proxy.filters_dir.clone(),
            modules: modules.collect(),
            certs: self.certs.files().into_iter().map(PathBuf::from).collect(),
        }
    }

    fn reload_configuration(&self) -> Result<Report, Refused> {
        let Loaded { config, warnings } = config::load(&self.overrides).map_err(|errors| refused(&errors, None))?;
        let watch = self.watch_set(&config);
        let config = Arc::new(config);
        let current = self.shared.snapshot.load_full();
        let next = Snapshot::build(Arc::clone(&config), &self.foundation, Some(&current))
            .map_err(|errors: Vec<FilterLoadError>| refused(&errors, Some(watch.clone())))?;
        if let Err(error) = self.log.apply(&config.logging) {
            return Err(refused(&[error], Some(watch)));
        }
        let generation = next.generation;
        self.shared.snapshot.store(Arc::new(next));
        self.warn(&warnings);
        self.shared.telemetry.set_generation(generation);
        Ok(Report { generation, watch })
    }

    fn reload_certificates(&self) -> Result<Report, Refused> {
        let outcome = self.certs.reload().map_err(|error| refused(&[error], None))?;
        if outcome == Reloaded::Replaced {
            self.shared.telemetry.set_certificate_not_after(self.certs.not_after());
        }
        let snapshot = self.shared.snapshot.load();
        Ok(Report { generation: snapshot.generation, watch: self.watch_set(&snapshot.config) })
    }

    /// Writes the warnings that were not written before, and what only a restart will change.
    fn warn(&self, warnings: &[Diagnostic]) {
        let restart = needs_restart(&self.started_with, &self.shared.snapshot.load().config);
        let restart = restart.into_iter().map(|what| format!("{what} changed: this needs a restart to take effect"));
        let mut warned = self.warned.lock();
        for text in warnings.iter().map(ToString::to_string).chain(restart) {
            if !warned.contains(&text) {
                tracing::warn!(component = "server", "{text}");
                warned.insert(text);
            }
        }
    }
}

impl Builder for Reloader {
    fn reload(&self, kind: ReloadKind) -> Result<Report, Refused> {
        match kind {
            ReloadKind::Config | ReloadKind::Filters => self.reload_configuration(),
            ReloadKind::Certs => self.reload_certificates(),
        }
    }

    fn hangup(&self) {
        if let Err(error) = self.log.apply(&self.shared.snapshot.load().config.logging) {
            tracing::warn!(component = "server", %error, "log output can't be opened again");
        }
    }
}

fn refused<E: ToString>(errors: &[E], watch: Option<WatchSet>) -> Refused {
    Refused { errors: errors.iter().map(ToString::to_string).collect(), watch }
}

/// The parts of the configuration that listeners and workers took over when they started.
fn needs_restart(started: &Config, now: &Config) -> Vec<&'static str> {
    let (old, new) = (&started.proxy, &now.proxy);
    let changes = [
        ("[proxy] quic_addr", old.quic_addr != new.quic_addr),
        ("[proxy] http_addr", old.http_addr != new.http_addr),
        ("[proxy] workers", old.workers != new.workers),
        ("[proxy] max_connections", old.max_connections != new.max_connections),
        ("[proxy] drain_timeout", old.drain_timeout != new.drain_timeout),
        ("[proxy] cache_dir", old.cache_dir != new.cache_dir),
        ("[proxy] cert_path", old.cert_path != new.cert_path),
        ("[proxy] key_path", old.key_path != new.key_path),
        ("[proxy] dev_mode", old.dev_mode != new.dev_mode),
        ("[proxy.timeouts]", started.timeouts != now.timeouts),
        ("[proxy.memory]", started.pool != now.pool),
        ("[quic]", started.quic != now.quic),
        ("[metrics]", started.admin != now.admin),
        ("[security.network]", started.tls != now.tls),
        ("[security.network] max_connections_per_ip", {
            started.limits.max_connections_per_ip != now.limits.max_connections_per_ip
        }),
    ];
    changes.into_iter().filter(|(_, changed)| *changed).map(|(what, _)| what).collect()
}
