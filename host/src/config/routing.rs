//! `[routing]`: a short way of configuring the `router` filter. Rules become its JSON in the order of the
//! text; deciding which rule wins for a request is the filter's.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use super::chain::{self, Entry, Group};
use super::defaults;
use super::diagnostic::{Located, Place};
use super::model::{Backend, ConfigOrigin, Strategy};
use super::parse;
use super::reader::Section;
use super::suggest::did_you_mean;
use super::value::Value;
use crate::message::Target;

/// The name and the built-in module of the filter.
const ROUTER: &str = "router";
/// The target that serves files.
const STATIC: &str = "static";
/// The target that the proxy answers itself.
const INTERNAL: &str = "internal";
/// The catch-all that must not answer calls of an API with a page.
const CATCH_ALL: &str = "/*";
/// What the catch-all leaves to a 404.
const API: &str = "/api/*";
const REDIRECTS: [u64; 5] = [301, 302, 303, 307, 308];
const STRATEGIES: [(&str, Strategy); 3] = [
    ("round_robin", Strategy::RoundRobin),
    ("least_connections", Strategy::LeastConnections),
    ("weighted", Strategy::Weighted),
];

/// What the rules are checked against.
pub(super) struct Targets<'a> {
    /// By name.
    pub(super) backends: &'a BTreeMap<Arc<str>, Backend>,
    /// The folder behind `static`.
    pub(super) static_root: Option<&'a Path>,
}

impl Targets<'_> {
    /// Reports a name that is no target, and one that leads nowhere.
    fn check(&self, value: &Value<'_>, name: &str) {
        let known = name == STATIC || name == INTERNAL || self.backends.contains_key(name);
        if !known {
            let names = || self.backends.keys().map(AsRef::as_ref).chain([INTERNAL, STATIC]);
            let list = names().collect::<Vec<_>>().join(", ");
            value.missing(format_args!("no backend \"{name}\" (there are {list}){}", did_you_mean(name, names())));
        }
        if name == STATIC && self.static_root.is_none() {
            value.warning("there is no [static] root: requests that come here are answered by 404");
        }
    }
}

/// `[proxy] default_backend`: where a request goes that no filter gave a target.
pub(super) fn read_default(value: &Value<'_>, targets: &Targets<'_>) -> Option<Target> {
    let name = value.string()?.value;
    targets.check(value, name);
    Some(match name {
        STATIC => Target::Static,
        INTERNAL => Target::Internal,
        backend => Target::Backend(backend.into()),
    })
}

/// `[routing.load_balancing] strategy`.
pub(super) fn read_strategy(routing: &Section<'_>) -> Strategy {
    let section = routing.section("load_balancing");
    section.choice("strategy", &STRATEGIES).map_or(defaults::STRATEGY, |strategy| strategy.value)
}

/// The `router` entry; none where `[routing.rules]` is there and empty, and there is no custom rule.
pub(super) fn read(routing: &Section<'_>, targets: &Targets<'_>) -> Option<Entry> {
    let place = if routing.is_present() { routing.place().clone() } else { Place::default() };
    let mut rules = Rules { json: Vec::new(), origin: ConfigOrigin::at(&place), targets };
    let built_in = routing.section("rules");
    if built_in.is_present() {
        rules.read(&built_in, Rank::Rule);
    } else {
        rules.add_built_in();
    }
    let custom = routing.section("custom");
    if custom.is_present() {
        rules.read(&custom, Rank::Custom);
    }
    if rules.json.is_empty() {
        return None;
    }
    rules.add_health();
    let config = json!({ "rules": rules.json });
    Some(Entry {
        filter: chain::section_filter(ROUTER, defaults::ROUTER_ORDER, config, rules.origin),
        group: Group::Section,
        place,
    })
}

/// On a tie, custom rules stand before the others.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rank {
    Custom,
    Rule,
}

/// The rules read so far.
struct Rules<'a> {
    json: Vec<Json>,
    origin: ConfigOrigin,
    targets: &'a Targets<'a>,
}

impl Rules<'_> {
    fn add_built_in(&mut self) {
        for (pattern, target) in defaults::ROUTING_RULES {
            self.json.push(json!({ "pattern": pattern, "target": target, "custom": false, "strip_prefix": false }));
        }
    }

    /// The proxy's own health on the public listeners, unless a rule gives these paths to somebody else.
    fn add_health(&mut self) {
        for pattern in defaults::HEALTH_PATHS {
            if self.json.iter().all(|rule| rule["pattern"] != pattern) {
                self.json
                    .push(json!({ "pattern": pattern, "target": INTERNAL, "custom": false, "strip_prefix": false }));
            }
        }
    }

    fn read(&mut self, section: &Section<'_>, rank: Rank) {
        for (pattern, key_place, value) in section.entries() {
            if let Err(problem) = parse::pattern(pattern) {
                section.report().error(&key_place, format!("{}: {problem}", section.name_of(pattern)));
            }
            let index = self.json.len().to_string();
            let mut rule = Map::new();
            rule.insert("pattern".into(), pattern.into());
            rule.insert("custom".into(), (rank == Rank::Custom).into());
            self.origin.note(&["rules", &index], &key_place);
            self.origin.note(&["rules", &index, "pattern"], &key_place);
            if value.raw().is_str() {
                rule.insert("strip_prefix".into(), false.into());
                self.target(&value, pattern, &index, &mut rule);
            } else if let Some(options) = value.section() {
                self.options(&value, &options, pattern, &index, &mut rule);
            }
            self.json.push(Json::Object(rule));
        }
    }

    /// A backend, `static` or `internal`.
    fn target(&mut self, value: &Value<'_>, pattern: &str, index: &str, rule: &mut Map<String, Json>) {
        let Some(Located { value: name, place }) = value.string() else { return };
        self.targets.check(value, name);
        self.origin.note(&["rules", index, "target"], &place);
        rule.insert("target".into(), name.into());
        if name == STATIC && pattern == CATCH_ALL {
            rule.insert("except".into(), json!([API]));
        }
    }

    /// `{ target | redirect, strip_prefix, replace_prefix, host, status }`.
    fn options(
        &mut self,
        value: &Value<'_>,
        options: &Section<'_>,
        pattern: &str,
        index: &str,
        rule: &mut Map<String, Json>,
    ) {
        let target = options.take("target");
        let redirect = options.take("redirect");
        let status = options.take("status");
        let strip = options.take("strip_prefix");
        let replace = options.take("replace_prefix");
        let host = options.take("host");
        match (&target, &redirect) {
            (Some(target), None) => self.target(target, pattern, index, rule),
            (None, Some(redirect)) => self.redirect(redirect, status.as_ref(), index, rule),
            (Some(_), Some(redirect)) => redirect.error("a rule has either a target or a redirect, not both"),
            (None, None) => value.missing("a rule needs a target or a redirect"),
        }
        if let (Some(status), None) = (&status, &redirect) {
            status.error("only a redirect has a status");
        }
        if let (Some(_), Some(host)) = (&redirect, &host) {
            host.error("does not go with a redirect");
        }
        if let (Some(_), Some(replace)) = (&strip, &replace) {
            replace.error("a rule either strips or replaces the prefix, not both");
        }
        let strips = strip.as_ref().and_then(Value::boolean).is_some_and(|on| on.value);
        rule.insert("strip_prefix".into(), strips.into());
        let replace = replace.and_then(|value| value.parsed(parse::path));
        let host = host.and_then(|value| value.parsed(|text| parse::authority(text).map(|_| text.to_owned())));
        for (key, text) in [("replace_prefix", replace), ("host", host)] {
            if let Some(text) = text {
                self.origin.note(&["rules", index, key], &text.place);
                rule.insert(key.into(), text.value.into());
            }
        }
    }

    fn redirect(
        &mut self,
        redirect: &Value<'_>,
        status: Option<&Value<'_>>,
        index: &str,
        rule: &mut Map<String, Json>,
    ) {
        let code = match status {
            None => Some(u64::from(defaults::REDIRECT_STATUS)),
            Some(value) => value.integer(&(300..=399)).map(|code| code.value),
        };
        if let (Some(code), Some(status)) = (code, status)
            && !REDIRECTS.contains(&code)
        {
            status.error(format_args!("must be one of 301, 302, 303, 307, 308, is {code}"));
        }
        let location = redirect.parsed(parse::location);
        if let Some(location) = location {
            self.origin.note(&["rules", index, "redirect"], &location.place);
            rule.insert("redirect".into(), json!({ "location": location.value, "status": code }));
        }
    }
}
