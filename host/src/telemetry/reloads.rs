//! What reloads did: how many came through, how many were refused, and why the last one was.

use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

/// What was reloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReloadKind {
    /// The configuration file.
    Config,
    /// Filters: their modules, or the drop-in folder.
    Filters,
    /// Certificate and key.
    Certs,
}

impl ReloadKind {
    /// All of them, in the order of their indices.
    pub const ALL: [Self; 3] = [Self::Config, Self::Filters, Self::Certs];

    /// The label of logs and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Filters => "filters",
            Self::Certs => "certs",
        }
    }
}

/// What is known of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadState {
    /// Reloads that came through.
    pub succeeded: u64,
    /// Reloads that were refused.
    pub refused: u64,
    /// Why the last reload was refused; `None` if it came through.
    pub last_error: Option<Arc<str>>,
    /// When a reload came through last.
    pub last_success: Option<SystemTime>,
}

/// What reloads did, by kind.
#[derive(Default)]
pub struct Reloads([Mutex<ReloadState>; ReloadKind::ALL.len()]);

impl Reloads {
    /// Counts a reload that came through.
    pub fn succeeded(&self, kind: ReloadKind) {
        {
            let mut state = self.0[kind as usize].lock();
            state.succeeded += 1;
            state.last_success = Some(SystemTime::now());
            state.last_error = None;
        }
        // Configuration and filters make one snapshot: built once, both are good.
        match kind {
            ReloadKind::Config => self.0[ReloadKind::Filters as usize].lock().last_error = None,
            ReloadKind::Filters => self.0[ReloadKind::Config as usize].lock().last_error = None,
            ReloadKind::Certs => {}
        }
    }

    /// Counts a reload that was refused, and why.
    pub fn refused(&self, kind: ReloadKind, error: &str) {
        let mut state = self.0[kind as usize].lock();
        state.refused += 1;
        state.last_error = Some(error.into());
    }

    /// What is known of `kind`.
    #[must_use]
    pub fn state(&self, kind: ReloadKind) -> ReloadState {
        self.0[kind as usize].lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_build_clears_the_error_of_the_snapshot_but_not_of_the_certificates() {
        let reloads = Reloads::default();
        for kind in ReloadKind::ALL {
            reloads.refused(kind, "no");
        }
        reloads.succeeded(ReloadKind::Filters);
        assert_eq!(reloads.state(ReloadKind::Config).last_error, None);
        assert_eq!(reloads.state(ReloadKind::Filters).succeeded, 1);
        assert_eq!(reloads.state(ReloadKind::Certs).last_error.as_deref(), Some("no"));
    }
}
