//! One TOML value being read as a type: a wrong type or an impossible value is reported at its place and
//! reads as absent. Also the shorthands of `Section` for a key that must have a type.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::{DeInteger, DeValue};

use super::diagnostic::{Located, Place, Report};
use super::parse;
use super::reader::{Section, Source};
use super::suggest::did_you_mean;

/// A value, its name and its place.
pub(super) struct Value<'t> {
    source: &'t Source,
    report: &'t Report,
    name: String,
    place: Place,
    /// What the text says.
    toml: &'t DeValue<'t>,
}

impl<'t> Value<'t> {
    /// A value at a place.
    pub(super) fn new(
        source: &'t Source,
        report: &'t Report,
        name: String,
        place: Place,
        toml: &'t DeValue<'t>,
    ) -> Self {
        Self { source, report, name, place, toml }
    }

    /// Where it stands.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// The TOML itself.
    pub(super) fn raw(&self) -> &'t DeValue<'t> {
        self.toml
    }

    /// Reports that it can't be used.
    pub(super) fn error(&self, message: impl Display) {
        self.report.error(&self.place, format!("{}: {message}", self.name));
    }

    /// Reports that something which it names, or that belongs with it, is missing.
    pub(super) fn missing(&self, message: impl Display) {
        self.report.missing(&self.place, format!("{}: {message}", self.name));
    }

    /// Reports that it does not act.
    pub(super) fn warning(&self, message: impl Display) {
        self.report.warning(&self.place, format!("{}: {message}", self.name));
    }

    fn expected<T>(&self, what: &str) -> Option<T> {
        self.error(format_args!("expected {what}, found {}", article(self.toml)));
        None
    }

    fn located<T>(&self, value: T) -> Located<T> {
        Located { value, place: self.place.clone() }
    }

    /// A string.
    pub(super) fn string(&self) -> Option<Located<&'t str>> {
        match self.toml {
            DeValue::String(text) => Some(self.located(text.as_ref())),
            _ => self.expected("a string"),
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self) -> Option<Located<bool>> {
        match self.toml {
            DeValue::Boolean(value) => Some(self.located(*value)),
            _ => self.expected("true or false"),
        }
    }

    /// A whole number within a range.
    pub(super) fn integer(&self, range: &RangeInclusive<u64>) -> Option<Located<u64>> {
        match self.toml {
            DeValue::Integer(integer) => self.within(whole(integer), range, integer),
            _ => self.expected("a whole number"),
        }
    }

    /// Bytes: a whole number, or a string with a unit such as `"16MiB"`.
    pub(super) fn size(&self, range: &RangeInclusive<u64>) -> Option<Located<u64>> {
        match self.toml {
            DeValue::Integer(integer) => self.within(whole(integer), range, integer),
            DeValue::String(text) => match parse::byte_size(text) {
                Ok(bytes) => self.within(Some(bytes), range, text),
                Err(problem) => {
                    self.error(problem);
                    None
                }
            },
            _ => self.expected("a number of bytes"),
        }
    }

    fn within(&self, number: Option<u64>, range: &RangeInclusive<u64>, text: impl Display) -> Option<Located<u64>> {
        match number {
            Some(number) if range.contains(&number) => Some(self.located(number)),
            _ => {
                self.error(format_args!("must be {} to {}, is {text}", range.start(), range.end()));
                None
            }
        }
    }

    /// A string that `parse` turns into something.
    pub(super) fn parsed<T>(&self, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<Located<T>> {
        match parse(self.string()?.value) {
            Ok(value) => Some(self.located(value)),
            Err(problem) => {
                self.error(problem);
                None
            }
        }
    }

    /// The values of an array.
    pub(super) fn list(&self) -> Option<Vec<Value<'t>>> {
        let DeValue::Array(array) = self.toml else { return self.expected("an array") };
        let item = |(index, item): (usize, &'t toml::Spanned<DeValue<'t>>)| {
            let place = self.source.place(item.span().start);
            Value::new(self.source, self.report, format!("{}[{index}]", self.name), place, item.get_ref())
        };
        Some(array.iter().enumerate().map(item).collect())
    }

    /// A table.
    pub(super) fn section(&self) -> Option<Section<'t>> {
        match self.toml {
            DeValue::Table(table) => {
                Some(Section::of(self.source, self.report, self.name.clone(), self.place.clone(), Some(table)))
            }
            _ => self.expected("a table"),
        }
    }

    /// A path, relative to the file's folder.
    pub(super) fn path(&self) -> Option<Located<PathBuf>> {
        let source = self.source;
        self.parsed(|text| match text {
            "" => Err("must not be empty".to_owned()),
            text => Ok(source.resolve(text)),
        })
    }
}

impl<'t> Section<'t> {
    /// A string.
    pub(super) fn string(&self, key: &'static str) -> Option<Located<&'t str>> {
        self.take(key)?.string()
    }

    /// `true` or `false`.
    pub(super) fn boolean(&self, key: &'static str) -> Option<Located<bool>> {
        self.take(key)?.boolean()
    }

    /// A whole number within a range.
    pub(super) fn integer(&self, key: &'static str, range: &RangeInclusive<u64>) -> Option<Located<u64>> {
        self.take(key)?.integer(range)
    }

    /// A whole number within a range, as an index type.
    pub(super) fn count(&self, key: &'static str, range: &RangeInclusive<u64>) -> Option<usize> {
        self.integer(key, range).and_then(|number| usize::try_from(number.value).ok())
    }

    /// Bytes.
    pub(super) fn size(&self, key: &'static str, range: &RangeInclusive<u64>) -> Option<Located<u64>> {
        self.take(key)?.size(range)
    }

    /// Bytes in memory.
    pub(super) fn memory(&self, key: &'static str, range: &RangeInclusive<u64>) -> Option<usize> {
        self.size(key, range).and_then(|size| usize::try_from(size.value).ok())
    }

    /// Whole seconds.
    pub(super) fn seconds(&self, key: &'static str, range: &RangeInclusive<u64>) -> Option<Located<Duration>> {
        let number = self.integer(key, range)?;
        Some(Located { value: Duration::from_secs(number.value), place: number.place })
    }

    /// Whole milliseconds.
    pub(super) fn millis(&self, key: &'static str, range: &RangeInclusive<u64>) -> Option<Located<Duration>> {
        let number = self.integer(key, range)?;
        Some(Located { value: Duration::from_millis(number.value), place: number.place })
    }

    /// A string that `parse` turns into something.
    pub(super) fn parsed<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Located<T>> {
        self.take(key)?.parsed(parse)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<Located<T>> {
        self.parsed(key, |text| choose(text, words))
    }

    /// A path, relative to the file's folder.
    pub(super) fn path(&self, key: &'static str) -> Option<Located<PathBuf>> {
        self.take(key)?.path()
    }

    /// An array of strings that `parse` turns into something each; the wrong ones are left out.
    pub(super) fn list<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<Located<T>>> {
        let values = self.take(key)?.list()?;
        Some(values.iter().filter_map(|value| value.parsed(&parse)).collect())
    }
}

/// One of a few words.
pub(super) fn choose<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let names: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    let hint = did_you_mean(text, words.iter().map(|(word, _)| *word));
    Err(format!("must be one of {}, is \"{text}\"{hint}", names.join(", ")))
}

/// The number, where it is one that fits and is not negative.
fn whole(integer: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
