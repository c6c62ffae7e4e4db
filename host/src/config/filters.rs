//! `[[filters]]`: explicit entries of the chain. The settings that they share with drop-in files are read here;
//! loading the module is not.

use std::path::PathBuf;

use super::chain::{self, Entry, Group};
use super::defaults;
use super::json;
use super::model::{ConfigOrigin, FailurePolicy, FilterEntry, Isolation, Matcher, ModuleSource};
use super::parse;
use super::reader::Section;
use super::suggest::did_you_mean;
use super::value::Value;

/// What `module` begins with where the filter is inside the binary.
const BUILTIN: &str = "builtin:";
/// A page of linear memory up to what one slot of the pool may ever hold.
const MEMORY: std::ops::RangeInclusive<u64> = 65_536..=1_073_741_824;

/// Reads the entries, in the order of the text.
pub(super) fn read(root: &Section<'_>) -> Vec<Entry> {
    root.sections("filters").iter().filter_map(read_entry).collect()
}

fn read_entry(section: &Section<'_>) -> Option<Entry> {
    let report = section.report();
    let name = section.parsed("name", |text| parse::filter_name(text).map(str::to_owned));
    let module = section.take("module");
    let order = section.integer("order", &(0..=99)).and_then(|order| u8::try_from(order.value).ok());
    for key in ["name", "module"] {
        if !section.has(key) {
            report.missing(section.place(), format!("{}: every filter needs a {key}", section.name_of(key)));
        }
    }
    let source = module.as_ref().and_then(read_module);
    let place = name.as_ref().map_or(section.place(), |name| &name.place).clone();
    let mut filter = chain::filter(
        name.as_ref().map_or("", |name| &name.value),
        source.clone().unwrap_or(ModuleSource::File(PathBuf::new())),
        order.unwrap_or(defaults::FILTER_ORDER),
        ConfigOrigin::at(section.place()),
    );
    read_settings(section, &mut filter);
    check_module(module.as_ref(), source.as_ref()?, filter.fail);
    name.map(|_| Entry { filter, group: Group::Entry, place })
}

fn read_module(value: &Value<'_>) -> Option<ModuleSource> {
    let text = value.string()?.value;
    let Some(name) = text.strip_prefix(BUILTIN) else {
        return value.path().map(|path| ModuleSource::File(path.value));
    };
    if !defaults::BUILTIN_FILTERS.contains(&name) {
        let hint = did_you_mean(name, defaults::BUILTIN_FILTERS);
        let known = defaults::BUILTIN_FILTERS.join(", ");
        value.error(format_args!("no filter \"{name}\" is built in (there are {known}){hint}"));
    }
    Some(ModuleSource::Builtin(name.into()))
}

/// A module that is not there can't be loaded, which `fail = "open"` forgives.
fn check_module(value: Option<&Value<'_>>, source: &ModuleSource, fail: FailurePolicy) {
    let (Some(value), ModuleSource::File(path)) = (value, source) else { return };
    if path.is_file() {
        return;
    }
    match fail {
        FailurePolicy::Closed => value.missing(format_args!("there is no file {}", path.display())),
        FailurePolicy::Open => {
            value.warning(format_args!("there is no file {}: requests pass without this filter", path.display()));
        }
    }
}

/// Reads the settings that an entry and a drop-in file have in common.
pub(super) fn read_settings(section: &Section<'_>, filter: &mut FilterEntry) {
    filter.matcher = read_matcher(&section.section("match"));
    if let Some(table) = section.take("config") {
        filter.config = json::table(&table, &mut filter.origin);
    }
    let policies = [("closed", FailurePolicy::Closed), ("open", FailurePolicy::Open)];
    if let Some(fail) = section.choice("fail", &policies) {
        filter.fail = fail.value;
    }
    if let Some(timeout) = section.millis("timeout", &(1..=60_000)) {
        filter.timeout = timeout.value;
    }
    if let Some(memory) = section.memory("memory", &MEMORY) {
        filter.memory = memory;
    }
    let isolations = [("reuse", Isolation::Reuse), ("request", Isolation::Request)];
    if let Some(isolation) = section.choice("isolation", &isolations) {
        filter.isolation = isolation.value;
    }
    filter.sha256 = section.parsed("sha256", parse::sha256).map(|digest| digest.value);
    for capability in section.take("allow").and_then(|value| value.list()).unwrap_or_default() {
        if let Some(name) = capability.string() {
            capability.error(format_args!(
                "\"{}\" can't be granted: this version grants nothing beyond log, clock, random, config and \
                 connection facts",
                name.value
            ));
        }
    }
}

fn read_matcher(section: &Section<'_>) -> Matcher {
    let list = |key, parse: fn(&str) -> Result<Box<str>, String>| {
        let values = section.list(key, parse).unwrap_or_default();
        values.into_iter().map(|item| item.value).collect::<Vec<Box<str>>>()
    };
    let mut headers = Vec::new();
    for (name, place, value) in section.section("headers").entries() {
        if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            section.report().error(&place, format!("\"{name}\" is not the name of a header"));
        }
        let wanted = match value.raw().as_bool() {
            Some(true) => None,
            Some(false) => {
                value.error("must be the value that the header has, or true for any");
                None
            }
            None => match value.parsed(parse::header_value) {
                Some(text) => Some(text.value.into_boxed_str()),
                None => continue,
            },
        };
        headers.push((name.to_ascii_lowercase().into_boxed_str(), wanted));
    }
    Matcher {
        hosts: list("hosts", host_pattern),
        paths: list("paths", |text| parse::pattern(text).map(Box::from)),
        methods: list("methods", method),
        headers,
    }
}

/// A host name, or `*.` and the name that it stands below; no port.
fn host_pattern(text: &str) -> Result<Box<str>, String> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    match parse::authority(name) {
        Ok((_, None)) => Ok(text.to_ascii_lowercase().into()),
        Ok((_, Some(_))) | Err(_) => Err(format!("\"{text}\" is not a host name, or *. and a host name")),
    }
}

fn method(text: &str) -> Result<Box<str>, String> {
    let known = text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
    match http::Method::from_bytes(text.as_bytes()) {
        Ok(_) if known => Ok(text.into()),
        _ => Err(format!("\"{text}\" is not a method; methods are written in capitals")),
    }
}
