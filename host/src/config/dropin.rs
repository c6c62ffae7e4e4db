//! `[proxy] filters_dir`: a folder whose `NN-name.wasm` files are in the chain at position NN for as long as
//! they lie there. `NN-name.toml` beside one has the keys of a `[[filters]]` entry, apart from those that the
//! file's name already says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::chain::{self, Entry, Group};
use super::diagnostic::{Place, Report};
use super::filters;
use super::model::{ConfigOrigin, FilterEntry, ModuleSource};
use super::parse;
use super::reader::{Section, Source};

const MODULE: &str = "wasm";
const SETTINGS: &str = "toml";

/// Reads the folder, in the order of the file names.
pub(super) fn read(folder: &Path, report: &Report) -> Vec<Entry> {
    let names = match list(folder) {
        Ok(names) => names,
        Err(error) => {
            report.missing(&Place::file(folder), format!("cannot read the folder: {error}"));
            return Vec::new();
        }
    };
    let mut entries = Vec::new();
    for name in &names {
        let path = folder.join(name);
        if let Some(stem) = name.strip_suffix(".wasm") {
            match split(stem) {
                Ok((order, name)) => entries.push(entry(&path, order, name, report)),
                Err(problem) => report.error(&Place::file(&path), problem),
            }
        } else if let Some(stem) = name.strip_suffix(".toml")
            && !names.contains(&format!("{stem}.{MODULE}"))
        {
            report.warning(&Place::file(&path), format!("has no effect: there is no {stem}.{MODULE} beside it"));
        }
    }
    entries
}

/// The names of the folder's files; hidden ones are other programs' half-written work.
fn list(folder: &Path) -> std::io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for item in std::fs::read_dir(folder)? {
        let item = item?;
        // Not `file_type`, which does not follow links, and links are how Kubernetes fills a folder.
        let is_file = item.path().is_file();
        if let Ok(name) = item.file_name().into_string()
            && is_file
            && !name.starts_with('.')
        {
            names.insert(name);
        }
    }
    Ok(names)
}

/// Position and name.
fn split(stem: &str) -> Result<(u8, &str), String> {
    let problem = || format!("the name must be NN-name.{MODULE}: two digits, the position, then a-z, 0-9 and -");
    let (number, name) = stem.split_once('-').ok_or_else(problem)?;
    if number.len() != 2 || !number.bytes().all(|b| b.is_ascii_digit()) {
        return Err(problem());
    }
    let order = number.parse().map_err(|_| problem())?;
    Ok((order, parse::filter_name(name).map_err(|_| problem())?))
}

fn entry(module: &Path, order: u8, name: &str, report: &Report) -> Entry {
    let settings = module.with_extension(SETTINGS);
    let has_settings = settings.is_file();
    let place = Place::file(if has_settings { &settings } else { module });
    let source = ModuleSource::File(PathBuf::from(module));
    let mut filter = chain::filter(name, source, order, ConfigOrigin::at(&place));
    if has_settings {
        read_settings(&settings, &mut filter, report);
    }
    Entry { filter, group: Group::DropIn, place: Place::file(module) }
}

fn read_settings(path: &Path, filter: &mut FilterEntry, report: &Report) {
    let Some(source) = Source::read(path, report) else { return };
    let table = source.parse(report);
    let section = Section::root(&source, report, &table);
    filters::read_settings(&section, filter);
}
