//! Watches the files that the proxy was built from and has it rebuilt when they change, or on SIGHUP.
//!
//! What happens here is only when and whether: events -> quiet -> compare -> one rebuild at a time, off the
//! workers. What is built, and how it is swapped in, is the [`Builder`]'s. A refused rebuild changes nothing but
//! log, metrics and the detail of `/ready`. While nothing changes, nothing runs.

mod fingerprint;
mod folders;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::message::{Drain, Phase};
use crate::telemetry::{ReloadKind, Telemetry};

use fingerprint::Fingerprint;
use folders::Folders;

/// The files that a generation was built from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchSet {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// The folder of drop-in filters; it may come later.
    pub filters_dir: Option<PathBuf>,
    /// Modules that `[[filters]]` names.
    pub modules: Vec<PathBuf>,
    /// Certificate and key.
    pub certs: Vec<PathBuf>,
}

impl WatchSet {
    /// Each file with the kind of reload that it causes; the drop-in folder is not one of them.
    fn files(&self) -> impl Iterator<Item = (&PathBuf, ReloadKind)> {
        let config = self.config.iter().map(|path| (path, ReloadKind::Config));
        let modules = self.modules.iter().map(|path| (path, ReloadKind::Filters));
        let certs = self.certs.iter().map(|path| (path, ReloadKind::Certs));
        config.chain(modules).chain(certs)
    }

    /// Watches what `other` names too.
    fn join(&mut self, other: Self) {
        self.config = other.config.or(self.config.take());
        self.filters_dir = other.filters_dir.or(self.filters_dir.take());
        self.modules.extend(other.modules);
        self.certs.extend(other.certs);
    }
}

/// What a rebuild brought.
#[derive(Clone, Debug)]
pub struct Report {
    /// The generation that serves now.
    pub generation: u64,
    /// The files that it was built from.
    pub watch: WatchSet,
}

/// Why nothing was rebuilt.
#[derive(Clone, Debug)]
pub struct Refused {
    /// All reasons, each with its place, as `check` prints them.
    pub errors: Vec<String>,
    /// The files that the refused one names, as far as it could be read: watched as well from now on, so that a
    /// missing module may be added later.
    pub watch: Option<WatchSet>,
}

/// Builds and swaps; called on a blocking thread, one call at a time.
pub trait Builder: Send + Sync + 'static {
    /// Reads everything anew: for `Config` and `Filters` configuration and filters, for `Certs` the certificate
    /// and key. When both configuration and filters have changed, it is called once, with `Config`.
    ///
    /// # Errors
    /// Something is wrong with the new one; then the old one goes on unchanged.
    fn reload(&self, kind: ReloadKind) -> Result<Report, Refused>;

    /// SIGHUP came; `reload` for `Config` and for `Certs` follows. The place to open log files again.
    fn hangup(&self) {}
}

/// How long files must rest before they are read.
#[derive(Clone, Copy, Debug)]
pub struct Debounce {
    /// Nothing has happened and nothing has changed for that long.
    pub quiet: Duration,
    /// Files that never rest are read after that long.
    pub longest: Duration,
}

impl Default for Debounce {
    fn default() -> Self {
        Self { quiet: Duration::from_millis(150), longest: Duration::from_secs(2) }
    }
}

/// Watches until the process drains. Call it right after the first generation was built.
pub async fn watch(builder: Arc<dyn Builder>, files: WatchSet, telemetry: Arc<Telemetry>, drain: Drain) {
    let (sender, hangups) = mpsc::channel(1);
    match signal(SignalKind::hangup()) {
        Ok(mut signal) => {
            tokio::spawn(async move {
                // A hangup that waits stands for those that come after it.
                while signal.recv().await.is_some() && !sender.is_closed() {
                    let _ = sender.try_send(());
                }
            });
        }
        Err(error) => tracing::warn!(component = "server", %error, "SIGHUP cannot be received"),
    }
    Reloader::new(builder, files, telemetry, Debounce::default()).run(hangups, drain).await;
}

struct Reloader {
    builder: Arc<dyn Builder>,
    telemetry: Arc<Telemetry>,
    debounce: Debounce,
    files: WatchSet,
    /// The files as they were when they were last read.
    known: Fingerprint,
    folders: Folders,
    /// Something has happened to them; what, is found out by looking.
    events: mpsc::Receiver<()>,
}

impl Reloader {
    fn new(builder: Arc<dyn Builder>, files: WatchSet, telemetry: Arc<Telemetry>, debounce: Debounce) -> Self {
        let (sender, events) = mpsc::channel(1);
        let known = Fingerprint::of(&files);
        let mut folders = Folders::new(sender);
        folders.watch(&files);
        Self { builder, telemetry, debounce, files, known, folders, events }
    }

    async fn run(mut self, mut hangups: mpsc::Receiver<()>, mut drain: Drain) {
        loop {
            let hangup = tokio::select! {
                () = drain.reached(Phase::Draining) => return,
                Some(()) = hangups.recv() => true,
                event = self.events.recv() => match event {
                    Some(()) => false,
                    None => return,
                },
            };
            let now = if hangup { Fingerprint::of(&self.files) } else { self.settled().await };
            let changed = now.differences(&self.known);
            self.known = now;
            if hangup {
                self.builder.hangup();
                self.reload(ReloadKind::Config).await;
                self.reload(ReloadKind::Certs).await;
            } else {
                // One snapshot is made of configuration and filters: one build is enough for both.
                let snapshot =
                    [ReloadKind::Config, ReloadKind::Filters].into_iter().find(|kind| changed.contains(kind));
                let certs = changed.contains(&ReloadKind::Certs).then_some(ReloadKind::Certs);
                for kind in snapshot.into_iter().chain(certs) {
                    self.reload(kind).await;
                }
            }
            // Links may lead elsewhere now, and folders may have come or gone.
            self.folders.watch(&self.files);
        }
    }

    /// Waits until the files rest; returns what they look like then.
    async fn settled(&mut self) -> Fingerprint {
        let deadline = Instant::now() + self.debounce.longest;
        let mut before = Fingerprint::of(&self.files);
        loop {
            let event = timeout(self.debounce.quiet, self.events.recv()).await;
            let late = Instant::now() >= deadline;
            if event.is_ok() && !late {
                continue;
            }
            let after = Fingerprint::of(&self.files);
            if after == before || late {
                return after;
            }
            before = after;
        }
    }

    async fn reload(&mut self, kind: ReloadKind) {
        let begin = SystemTime::now();
        let builder = Arc::clone(&self.builder);
        let built = tokio::task::spawn_blocking(move || builder.reload(kind))
            .await
            .unwrap_or_else(|error| Err(Refused { errors: vec![format!("internal error: {error}")], watch: None }));
        let watch = match built {
            Ok(report) => {
                let generation = report.generation;
                tracing::info!(component = "server", kind = kind.label(), generation, "reloaded");
                self.telemetry.reloads().succeeded(kind);
                report.watch
            }
            Err(refused) => {
                let errors = refused.errors.join("; ");
                tracing::error!(
                    component = "server",
                    kind = kind.label(),
                    errors,
                    "reload refused, the last good one serves"
                );
                self.telemetry.reloads().refused(kind, &errors);
                let mut watch = self.files.clone();
                watch.join(refused.watch.unwrap_or_default());
                watch
            }
        };
        if watch != self.files {
            self.files = watch;
            // A file that was watched before keeps its stamp: it may have changed while it was read.
            self.known = Fingerprint::of(&self.files).keeping(&self.known, begin);
            self.folders.watch(&self.files);
        }
    }
}

#[cfg(test)]
mod tests;
