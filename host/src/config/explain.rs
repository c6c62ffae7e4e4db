//! `gpanel-proxy explain`: the configuration as it takes effect, for people: the chain with where each filter
//! was configured, the routing table by precedence, and what both would do with one request.
//!
//! It follows the same rules as the filters and native matchers do, but runs none of them.

use std::cmp::Reverse;
use std::fmt::Write;

use http::{Method, Uri};
use serde::Deserialize;

use crate::message::path;

use super::model::{Config, FailurePolicy, FilterEntry, Isolation, Matcher, ModuleSource};

/// A rule as `[routing]` hands it to the router.
#[derive(Deserialize)]
struct Rule {
    pattern: String,
    target: Option<String>,
    redirect: Option<Redirect>,
    custom: bool,
    #[serde(default)]
    strip_prefix: bool,
    replace_prefix: Option<String>,
    host: Option<String>,
    #[serde(default)]
    except: Vec<String>,
}

#[derive(Deserialize)]
struct Redirect {
    location: String,
    status: u16,
}

/// The chain and the routing table.
#[must_use]
pub fn explain(config: &Config) -> String {
    let mut text = String::from("Filter chain (requests run down it, responses up):\n");
    if config.filters.is_empty() {
        text.push_str("  none\n");
    }
    for (index, filter) in config.filters.iter().enumerate() {
        describe(&mut text, index + 1, filter);
    }
    text.push_str("\nRoutes (the first that matches wins):\n");
    let rules = rules(config);
    if rules.is_empty() {
        text.push_str("  none: every request that no filter answers is a 404\n");
    }
    let width = rules.iter().map(|rule| rule.pattern.len()).max().unwrap_or(0);
    for rule in &rules {
        line(&mut text, format_args!("  {:width$}  -> {}", rule.pattern, action(rule)));
    }
    text.push_str("\nBackends:\n");
    for backend in config.backends.values() {
        let endpoints: Vec<String> = backend.endpoints.iter().map(|e| format!("{}:{}", e.host, e.port)).collect();
        let timeout = backend.timeout.as_secs();
        line(&mut text, format_args!("  {}  {}  timeout {timeout} s", backend.name, endpoints.join(", ")));
    }
    text
}

/// Which filters a request would enter, and which rule would match it.
///
/// # Errors
/// What is wrong with the method or the URL.
pub fn explain_request(config: &Config, method: &str, url: &str) -> Result<String, String> {
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| format!("\"{method}\" is not a method"))?;
    let uri: Uri = url.parse().map_err(|error| format!("\"{url}\" is neither a URL nor a path: {error}"))?;
    if !uri.path().starts_with('/') {
        return Err(format!("\"{url}\" is neither a URL nor a path"));
    }
    if matches!(method, Method::CONNECT | Method::TRACE) {
        return Ok(format!("{method} {url}\n  refused: this method is not served (405)\n"));
    }
    let target = uri.path_and_query().ok_or_else(|| format!("\"{url}\" has no path"))?;
    let target = match path::normalise_target(target) {
        Ok(target) => target,
        Err(error) => return Ok(format!("{method} {url}\n  refused: {error} (400)\n")),
    };
    let mut text = format!("{method} {url}\n");
    if target.path() != uri.path() {
        line(&mut text, format_args!("  normalised to {}", target.path()));
    }
    let mut parts = uri.into_parts();
    parts.path_and_query = Some(target);
    let uri = Uri::from_parts(parts).map_err(|error| format!("\"{url}\": {error}"))?;
    for filter in &config.filters {
        let verdict = match enters(&filter.matcher, &method, &uri) {
            Entry::Yes => "enters".to_owned(),
            Entry::If(condition) => format!("enters if {condition}"),
            Entry::No(reason) => format!("skipped: {reason}"),
        };
        line(&mut text, format_args!("  {:02} {}  {verdict}", filter.order, filter.name));
    }
    match rules(config).iter().find(|rule| applies(rule, uri.path())) {
        Some(rule) => line(&mut text, format_args!("  route {}  -> {}", rule.pattern, action(rule))),
        None => text.push_str("  no route: 404\n"),
    }
    Ok(text)
}

/// Writing into a `String` cannot fail.
fn append(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(arguments);
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    append(text, arguments);
    text.push('\n');
}

fn describe(text: &mut String, position: usize, filter: &FilterEntry) {
    let module = match &filter.module {
        ModuleSource::Builtin(name) => format!("builtin:{name}"),
        ModuleSource::File(path) => path.display().to_string(),
    };
    let origin = match (&filter.origin.file, filter.origin.position) {
        (None, _) => "defaults".to_owned(),
        (Some(file), (0, _)) => file.display().to_string(),
        (Some(file), (line, column)) => format!("{}:{line}:{column}", file.display()),
    };
    let fail = match filter.fail {
        FailurePolicy::Closed => "closed",
        FailurePolicy::Open => "open",
    };
    let isolation = match filter.isolation {
        Isolation::Reuse => "reuse",
        Isolation::Request => "request",
    };
    line(text, format_args!("  {position}. order {:02}  {}  {module}", filter.order, filter.name));
    line(text, format_args!("     from {origin}"));
    line(text, format_args!("     match {}", matcher(&filter.matcher)));
    let (timeout, memory) = (filter.timeout.as_millis(), filter.memory / 1024);
    line(text, format_args!("     fail {fail}, timeout {timeout} ms, memory {memory} KiB, isolation {isolation}"));
}

fn matcher(matcher: &Matcher) -> String {
    let mut parts = Vec::new();
    for (name, values) in [("hosts", &matcher.hosts), ("paths", &matcher.paths), ("methods", &matcher.methods)] {
        if !values.is_empty() {
            parts.push(format!("{name} {}", values.join(" ")));
        }
    }
    parts.extend(matcher.headers.iter().map(header_condition));
    if parts.is_empty() { "every request".to_owned() } else { parts.join(", ") }
}

fn header_condition((name, value): &(Box<str>, Option<Box<str>>)) -> String {
    match value {
        Some(value) => format!("header {name} is {value:?}"),
        None => format!("header {name} is there"),
    }
}

/// The rules, the one that wins first.
fn rules(config: &Config) -> Vec<Rule> {
    let is_router =
        |filter: &&FilterEntry| matches!(&filter.module, ModuleSource::Builtin(name) if &**name == "router");
    let read = |filter: &FilterEntry| {
        let list = filter.config.get("rules").and_then(|rules| rules.as_array()).cloned().unwrap_or_default();
        list.into_iter().filter_map(|rule| serde_json::from_value(rule).ok()).collect::<Vec<Rule>>()
    };
    let mut rules: Vec<Rule> = config.filters.iter().filter(is_router).flat_map(read).collect();
    rules.sort_by_key(|rule| match rule.pattern.strip_suffix("/*") {
        None => (0, Reverse(0), !rule.custom),
        Some(prefix) => (1, Reverse(prefix.len()), !rule.custom),
    });
    rules
}

fn action(rule: &Rule) -> String {
    let mut text = match (&rule.redirect, &rule.target) {
        (Some(redirect), _) => format!("{} to {}", redirect.status, redirect.location),
        (None, Some(target)) => target.clone(),
        (None, None) => "nothing".to_owned(),
    };
    if rule.strip_prefix {
        text.push_str(", prefix stripped");
    }
    if let Some(prefix) = &rule.replace_prefix {
        append(&mut text, format_args!(", prefix replaced by {prefix}"));
    }
    if let Some(host) = &rule.host {
        append(&mut text, format_args!(", host {host}"));
    }
    if !rule.except.is_empty() {
        append(&mut text, format_args!(", except {}", rule.except.join(" ")));
    }
    if rule.custom {
        text.push_str(" (custom)");
    }
    text
}

fn applies(rule: &Rule, path: &str) -> bool {
    matches(&rule.pattern, path) && !rule.except.iter().any(|pattern| matches(pattern, path))
}

/// `/x/*` matches `/x` and everything below, anything else exactly.
fn matches(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix("/*") {
        None => pattern == path,
        Some(prefix) => path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
    }
}

/// Whether a request enters a filter.
enum Entry {
    Yes,
    If(String),
    No(String),
}

fn enters(matcher: &Matcher, method: &Method, uri: &Uri) -> Entry {
    let any =
        |patterns: &[Box<str>], test: &dyn Fn(&str) -> bool| patterns.is_empty() || patterns.iter().any(|p| test(p));
    if !any(&matcher.methods, &|wanted| wanted == method.as_str()) {
        return Entry::No(format!("only methods {}", matcher.methods.join(" ")));
    }
    if !any(&matcher.paths, &|pattern| matches(pattern, uri.path())) {
        return Entry::No(format!("only paths {}", matcher.paths.join(" ")));
    }
    let mut conditions = Vec::new();
    match uri.host().map(str::to_ascii_lowercase) {
        Some(host) if !any(&matcher.hosts, &|pattern| host_matches(pattern, &host)) => {
            return Entry::No(format!("only hosts {}", matcher.hosts.join(" ")));
        }
        None if !matcher.hosts.is_empty() => conditions.push(format!("the host is one of {}", matcher.hosts.join(" "))),
        Some(_) | None => {}
    }
    conditions.extend(matcher.headers.iter().map(header_condition));
    if conditions.is_empty() { Entry::Yes } else { Entry::If(conditions.join(" and ")) }
}

fn host_matches(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
        None => pattern == host,
    }
}
