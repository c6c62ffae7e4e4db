//! The filter chain put together: entries that sections make, `[[filters]]`, drop-in files; in the order in
//! which a request runs down them, every name once.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::defaults;
use super::diagnostic::{Place, Report};
use super::json;
use super::model::{ConfigOrigin, FailurePolicy, FilterEntry, Isolation, Matcher, ModuleSource};

/// Where an entry came from; at the same position, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    /// A section such as `[routing]`.
    Section,
    /// `[[filters]]`.
    Entry,
    /// The drop-in folder.
    DropIn,
}

/// A filter and where it was configured.
pub(super) struct Entry {
    /// The filter.
    pub(super) filter: FilterEntry,
    /// Its kind of source.
    pub(super) group: Group,
    /// Where its name was given.
    pub(super) place: Place,
}

/// A filter with the default settings.
pub(super) fn filter(name: &str, module: ModuleSource, order: u8, origin: ConfigOrigin) -> FilterEntry {
    FilterEntry {
        name: Arc::from(name),
        module,
        order,
        matcher: Matcher::default(),
        config: json::empty(),
        origin,
        fail: FailurePolicy::Closed,
        timeout: defaults::FILTER_TIMEOUT,
        memory: defaults::FILTER_MEMORY,
        isolation: Isolation::Reuse,
        sha256: None,
    }
}

/// The filter that a section stands for.
pub(super) fn section_filter(name: &str, order: u8, config: serde_json::Value, origin: ConfigOrigin) -> FilterEntry {
    FilterEntry { config, ..filter(name, ModuleSource::Builtin(name.into()), order, origin) }
}

/// The chain, outermost first.
pub(super) fn assemble(mut entries: Vec<Entry>, report: &Report) -> Vec<FilterEntry> {
    // Stable: within a group, the order of the text or of the file names holds.
    entries.sort_by_key(|entry| entry.group);
    let mut seen: HashMap<Arc<str>, (Group, Place)> = HashMap::new();
    for entry in &entries {
        let name = Arc::clone(&entry.filter.name);
        if let Some((group, place)) = seen.get(&name) {
            let other = match group {
                Group::Section => format!("the filter that a section makes ({place})"),
                Group::Entry | Group::DropIn => format!("the filter at {place}"),
            };
            report.error(&entry.place, format!("the name \"{name}\" is taken by {other}"));
        } else {
            seen.insert(name, (entry.group, entry.place.clone()));
        }
    }
    entries.sort_by_key(|entry| entry.filter.order);
    entries.into_iter().map(|entry| entry.filter).collect()
}

/// Shipped filters that lie in `folder` become files, which are watched: an edited one changes under live traffic.
pub(super) fn take_builtin_from(folder: &Path, filters: &mut [FilterEntry]) {
    for filter in filters {
        if let ModuleSource::Builtin(name) = &filter.module {
            let path = folder.join(format!("{name}.wasm"));
            if path.is_file() {
                filter.module = ModuleSource::File(path);
            }
        }
    }
}
