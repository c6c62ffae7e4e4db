//! From a path inside a filter's configuration back to the place in the file: a filter rejects its
//! configuration by keys and indices, the user needs line and column.

use super::diagnostic::{Diagnostic, Place, Severity};
use super::model::{ConfigOrigin, Position};

impl ConfigOrigin {
    /// An origin at a place, without values yet.
    pub(super) fn at(place: &Place) -> Self {
        Self {
            file: place.file.as_deref().map(std::path::Path::to_path_buf),
            position: (place.line, place.column),
            values: Vec::new(),
        }
    }

    /// Notes where a value stands.
    pub(super) fn note(&mut self, path: &[&str], place: &Place) {
        self.values.push((path.iter().map(|part| Box::from(*part)).collect(), (place.line, place.column)));
    }

    /// Line and column of the value at a path, or of the nearest one above it that is in the file.
    #[must_use]
    pub fn position_of<S: AsRef<str>>(&self, path: &[S]) -> Position {
        let leads_to = |known: &[Box<str>]| {
            known.len() <= path.len() && known.iter().zip(path).all(|(known, part)| **known == *part.as_ref())
        };
        let nearest = self.values.iter().filter(|(known, _)| leads_to(known)).max_by_key(|(known, _)| known.len());
        nearest.map_or(self.position, |(_, position)| *position)
    }

    /// An error about the value at a path.
    #[must_use]
    pub fn error<S: AsRef<str>>(&self, path: &[S], message: impl Into<String>) -> Diagnostic {
        let (line, column) = self.position_of(path);
        Diagnostic { file: self.file.clone(), line, column, severity: Severity::Error, message: message.into() }
    }
}
