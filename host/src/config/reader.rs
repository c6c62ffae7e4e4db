//! A typed walk over spanned TOML that never stops at the first mistake: each wrong value is reported at its
//! line and column and reads as absent, and a section reports the keys that nobody asked for when it is dropped.
//!
//! serde would stop at its first error, hence this. What a key means is none of its business.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Place, Report};
use super::suggest::did_you_mean;
use super::value::Value;

/// One file's text.
#[derive(Debug)]
pub(super) struct Source {
    /// Its path as the user gave it.
    file: Option<Arc<Path>>,
    /// Its text.
    text: String,
    /// Byte offset of each line's start.
    starts: Vec<usize>,
}

impl Source {
    /// A text, and the file that it came from.
    pub(super) fn new(file: Option<&Path>, text: String) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(offset, _)| offset + 1)).collect();
        Self { file: file.map(Arc::from), text, starts }
    }

    /// Reads a file; a failure is reported and reads as `None`.
    pub(super) fn read(path: &Path, report: &Report) -> Option<Self> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                report.syntax(&Place::file(path), format!("cannot read it: {error}"));
                return None;
            }
        };
        match String::from_utf8(bytes) {
            Ok(text) => Some(Self::new(Some(path), text)),
            Err(error) => {
                let valid = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]).into_owned();
                let offset = valid.len();
                report.syntax(&Self::new(Some(path), valid).place(offset), "not UTF-8");
                None
            }
        }
    }

    /// The file.
    pub(super) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// A path of the file's, relative to its folder.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        match self.file.as_deref().and_then(Path::parent) {
            Some(folder) => folder.join(path),
            None => PathBuf::from(path),
        }
    }

    /// Line and column of a byte offset.
    pub(super) fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let column = self.text.get(start..offset).map_or(offset - start, |before| before.chars().count()) + 1;
        Place { file: self.file.clone(), line, column, named: None }
    }

    /// Parses the text as far as it goes; what does not parse is reported.
    pub(super) fn parse(&self, report: &Report) -> DeTable<'_> {
        let (table, errors) = DeTable::parse_recoverable(&self.text);
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            let mut message = error.message().to_owned();
            if message == "duplicate key" {
                message = format!("duplicate key {}", self.text.get(span.clone()).unwrap_or_default());
            }
            report.syntax(&self.place(span.start), message);
        }
        table.into_inner()
    }
}

/// A table being read.
pub(super) struct Section<'t> {
    source: &'t Source,
    report: &'t Report,
    /// Its dotted name; empty for the file itself.
    name: String,
    place: Place,
    /// `None` where the file has no such table: every key reads as absent.
    table: Option<&'t DeTable<'t>>,
    /// The keys that a reader asked for, so known ones.
    asked: RefCell<BTreeSet<&'static str>>,
    /// Whether the keys are the user's own, so none is unknown.
    open: Cell<bool>,
}

impl<'t> Section<'t> {
    /// The file's top level.
    pub(super) fn root(source: &'t Source, report: &'t Report, table: &'t DeTable<'t>) -> Self {
        let place = source.file().map(Place::file).unwrap_or_default();
        Self::of(source, report, String::new(), place, Some(table))
    }

    /// A table at a place.
    pub(super) fn of(
        source: &'t Source,
        report: &'t Report,
        name: String,
        place: Place,
        table: Option<&'t DeTable<'t>>,
    ) -> Self {
        Self { source, report, name, place, table, asked: RefCell::default(), open: Cell::new(false) }
    }

    /// Whether the file has it.
    pub(super) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// Whether it has that key, of whatever type.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Where it begins.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// Where diagnostics go.
    pub(super) fn report(&self) -> &'t Report {
        self.report
    }

    /// The file that it stands in.
    pub(super) fn source(&self) -> &'t Source {
        self.source
    }

    /// The dotted name of one of its keys.
    pub(super) fn name_of(&self, key: &str) -> String {
        let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let key = if bare { key.to_owned() } else { format!("{key:?}") };
        if self.name.is_empty() { key } else { format!("{}.{key}", self.name) }
    }

    /// The value of a key.
    pub(super) fn take(&self, key: &'static str) -> Option<Value<'t>> {
        self.asked.borrow_mut().insert(key);
        let value = self.table?.get(key)?;
        if is_placeholder(value) {
            return None;
        }
        Some(self.value(key, value, self.source.place(value.span().start)))
    }

    /// A table inside; an absent one reads as empty.
    pub(super) fn section(&self, key: &'static str) -> Section<'t> {
        match self.take(key).map(|value| value.section()) {
            Some(Some(section)) => section,
            Some(None) | None => Self::of(self.source, self.report, self.name_of(key), self.place.clone(), None),
        }
    }

    /// The tables of an array of tables.
    pub(super) fn sections(&self, key: &'static str) -> Vec<Section<'t>> {
        let values = self.take(key).and_then(|value| value.list()).unwrap_or_default();
        values.iter().filter_map(Value::section).collect()
    }

    /// All entries with their keys and the keys' places, in the order of the text; for tables whose keys are names.
    pub(super) fn entries(&self) -> Vec<(&'t str, Place, Value<'t>)> {
        self.open.set(true);
        let Some(table) = self.table else { return Vec::new() };
        let mut entries: Vec<_> = table.iter().collect();
        entries.retain(|(_, value)| !is_placeholder(value));
        entries.sort_by_key(|(key, _)| key.span().start);
        let entry = |(key, value): (&'t Spanned<_>, &'t Spanned<DeValue<'t>>)| {
            let name: &'t std::borrow::Cow<'t, str> = key.get_ref();
            let place = self.source.place(key.span().start);
            (name.as_ref(), place, self.value(name, value, self.source.place(value.span().start)))
        };
        entries.into_iter().map(entry).collect()
    }

    fn value(&self, key: &str, value: &'t Spanned<DeValue<'t>>, place: Place) -> Value<'t> {
        Value::new(self.source, self.report, self.name_of(key), place, value.get_ref())
    }
}

/// What the parser's recovery put where it found no value: no text, and not the table that a header implies.
fn is_placeholder(value: &Spanned<DeValue<'_>>) -> bool {
    value.span().is_empty() && !value.get_ref().is_table() && !value.get_ref().is_array()
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        #[cfg(test)]
        self.report.known.borrow_mut().extend(self.asked.borrow().iter().map(|key| self.name_of(key)));
        let Some(table) = self.table else { return };
        if self.open.get() {
            return;
        }
        let asked = self.asked.borrow();
        for key in table.keys().filter(|key| !asked.contains(key.get_ref().as_ref())) {
            let word = key.get_ref();
            let place = self.source.place(key.span().start);
            let hint = did_you_mean(word, asked.iter().copied());
            let within = if self.name.is_empty() { String::new() } else { format!(" in [{}]", self.name) };
            self.report.error(&place, format!("unknown key \"{word}\"{within}{hint}"));
        }
    }
}
