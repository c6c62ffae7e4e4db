//! What configuration has to say about itself: errors and warnings, each with its place in a file, and the
//! report that collects all of them, so that one run shows everything that is wrong.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Whether the configuration can be used in spite of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It can't.
    Error,
    /// It can, but something in it does not do what it says.
    Warning,
}

/// One thing that is wrong, or that does not act, in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file; `None` for a flag or a variable, which `message` then names.
    pub file: Option<PathBuf>,
    /// Line from 1; 0 where it is about the file as a whole.
    pub line: usize,
    /// Column from 1, in characters.
    pub column: usize,
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong, beginning with the key.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), 0) => write!(formatter, "{}: {}", file.display(), self.message),
            (Some(file), line) => write!(formatter, "{}:{line}:{}: {}", file.display(), self.column, self.message),
            (None, _) => formatter.write_str(&self.message),
        }
    }
}

impl std::error::Error for Diagnostic {}

/// Where a value came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// The file.
    pub(super) file: Option<Arc<Path>>,
    /// Line from 1; 0 where there is none.
    pub(super) line: usize,
    /// Column from 1.
    pub(super) column: usize,
    /// The flag or variable, if it was not a file.
    pub(super) named: Option<&'static str>,
}

impl Place {
    /// A flag or a variable.
    pub(super) fn named(name: &'static str) -> Self {
        Self { named: Some(name), ..Self::default() }
    }

    /// A file as a whole.
    pub(super) fn file(file: &Path) -> Self {
        Self { file: Some(Arc::from(file)), ..Self::default() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line, self.named) {
            (_, _, Some(name)) => formatter.write_str(name),
            (Some(file), 0, None) => write!(formatter, "{}", file.display()),
            (Some(file), line, None) => write!(formatter, "{}:{line}:{}", file.display(), self.column),
            (None, _, None) => formatter.write_str("defaults"),
        }
    }
}

/// A value and where it came from.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    /// The value.
    pub(super) value: T,
    /// Where it stands.
    pub(super) place: Place,
}

/// Collects diagnostics. Shared by every reader of one load, hence the cells.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// In the order of their discovery.
    list: RefCell<Vec<Diagnostic>>,
    /// Lines that did not parse: what the recovered text there seems to say is not worth a second message.
    broken: RefCell<BTreeSet<(Option<Arc<Path>>, usize)>>,
    /// Whether any text did not parse, so that something missing may merely be unreadable.
    partial: Cell<bool>,
    /// Every key that a reader asked for, for the test that holds the documentation to it.
    #[cfg(test)]
    pub(super) known: RefCell<BTreeSet<String>>,
}

impl Report {
    /// Text that is not TOML.
    pub(super) fn syntax(&self, place: &Place, message: impl Into<String>) {
        self.push(place, Severity::Error, message.into());
        self.broken.borrow_mut().insert((place.file.clone(), place.line));
        self.partial.set(true);
    }

    /// A value that can't be used.
    pub(super) fn error(&self, place: &Place, message: impl Into<String>) {
        let broken = self.broken.borrow().contains(&(place.file.clone(), place.line));
        if !broken {
            self.push(place, Severity::Error, message.into());
        }
    }

    /// Something missing, or a name that nothing defines: only said when all of the text could be read.
    pub(super) fn missing(&self, place: &Place, message: impl Into<String>) {
        if !self.partial.get() {
            self.error(place, message);
        }
    }

    /// A key that does not act.
    pub(super) fn warning(&self, place: &Place, message: impl Into<String>) {
        self.push(place, Severity::Warning, message.into());
    }

    fn push(&self, place: &Place, severity: Severity, message: String) {
        let message = match place.named {
            Some(name) => format!("{name}: {message}"),
            None => message,
        };
        let file = place.file.as_deref().map(Path::to_path_buf);
        self.list.borrow_mut().push(Diagnostic { file, line: place.line, column: place.column, severity, message });
    }

    /// The errors and the warnings, each in the order of the text.
    pub(super) fn finish(self) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        let mut list = self.list.into_inner();
        list.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        list.dedup();
        list.into_iter().partition(|diagnostic| diagnostic.severity == Severity::Error)
    }
}
