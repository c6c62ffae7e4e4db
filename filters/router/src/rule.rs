//! One rule: as it is written, checked, and what it does to a path.

use gpanel_filter::{ConfigError, JsonSchema, Request};
use serde::Deserialize;

use crate::pattern::Pattern;

const PERMANENT_REDIRECT: u16 = 308;

/// One rule as it is written.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRule {
    /// `/x` (that path alone) or `/x/*` (`/x` and everything below).
    pattern: String,
    /// A backend, `static` or `internal`.
    target: Option<String>,
    /// Whether the rule is from `[routing.custom]`, which beats `[routing.rules]` on the same pattern.
    #[serde(default)]
    custom: bool,
    /// Whether the target sees the path without the pattern's prefix.
    #[serde(default)]
    strip_prefix: bool,
    /// What the target sees in place of the pattern's prefix.
    replace_prefix: Option<String>,
    /// The `Host` that the target sees.
    host: Option<String>,
    /// Answers with a redirect instead of a target's response.
    redirect: Option<RawRedirect>,
    /// Patterns that this rule leaves to others, though its own matches.
    #[serde(default)]
    except: Vec<String>,
}

/// A redirect as it is written.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawRedirect {
    /// `{path}` stands for the path (rewritten, where the rule does that), `{query}` for the query with its `?`.
    location: String,
    /// 301, 302, 303, 307 or 308 (the default).
    status: Option<u16>,
}

/// A checked rule.
pub(crate) struct Rule {
    pub(crate) pattern: Pattern,
    pub(crate) custom: bool,
    pub(crate) except: Vec<Pattern>,
    pub(crate) action: Action,
    pub(crate) host: Option<String>,
    pub(crate) rewrite: Option<Rewrite>,
}

pub(crate) enum Action {
    Forward(String),
    Redirect(Redirect),
}

/// Puts `replacement` in place of the first `prefix` bytes of a path.
pub(crate) struct Rewrite {
    prefix: String,
    replacement: String,
}

/// A redirect, its placeholders found.
pub(crate) struct Redirect {
    pub(crate) status: u16,
    parts: Vec<Part>,
}

enum Part {
    Text(String),
    Path,
    Query,
}

impl Rule {
    pub(crate) fn new(raw: RawRule) -> Result<Self, ConfigError> {
        let pattern = Pattern::parse(raw.pattern).map_err(|error| error.at("pattern"))?;
        let mut except = Vec::with_capacity(raw.except.len());
        for (index, text) in raw.except.into_iter().enumerate() {
            except.push(Pattern::parse(text).map_err(|error| error.at(index).at("except"))?);
        }
        let action = match (raw.target, raw.redirect) {
            (Some(target), None) if target.is_empty() => return Err(ConfigError::new("is empty").at("target")),
            (Some(target), None) => Action::Forward(target),
            (None, Some(redirect)) => Action::Redirect(Redirect::new(&redirect).map_err(|e| e.at("redirect"))?),
            (Some(_), Some(_)) => return Err(ConfigError::new("a rule has a target or a redirect, not both")),
            (None, None) => return Err(ConfigError::new("a rule needs a target or a redirect")),
        };
        let rewrite = match (raw.strip_prefix, raw.replace_prefix) {
            (true, Some(_)) => return Err(ConfigError::new("strip_prefix is already set").at("replace_prefix")),
            (true, None) => Rewrite::new(&pattern, ""),
            (false, Some(prefix)) if !prefix.starts_with('/') || !is_visible(&prefix) => {
                return Err(ConfigError::new("is not a path that starts with `/`").at("replace_prefix"));
            }
            (false, Some(prefix)) => Rewrite::new(&pattern, prefix.trim_end_matches('/')),
            (false, None) => None,
        };
        if let Some(host) = &raw.host {
            check_host(host, &action).map_err(|error| error.at("host"))?;
        }
        Ok(Self { pattern, custom: raw.custom, except, action, host: raw.host, rewrite })
    }

    pub(crate) fn excludes(&self, path: &[u8]) -> bool {
        self.except.iter().any(|pattern| pattern.matches(path))
    }
}

fn check_host(host: &str, action: &Action) -> Result<(), ConfigError> {
    if matches!(action, Action::Redirect(_)) {
        return Err(ConfigError::new("has no effect on a redirect"));
    }
    if host.is_empty() || !is_visible(host) || host.contains(['/', '?', '#', '@', '\\']) {
        return Err(ConfigError::new(format!("\"{host}\" is not a host name with or without a port")));
    }
    Ok(())
}

fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

impl Rewrite {
    /// Nothing, where it would change nothing.
    fn new(pattern: &Pattern, replacement: &str) -> Option<Self> {
        let prefix = String::from_utf8_lossy(pattern.base()).trim_end_matches('/').to_owned();
        (prefix != replacement).then(|| Self { prefix, replacement: replacement.to_owned() })
    }

    /// What was taken away; empty where the pattern is `/*`.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(crate) fn path(&self, path: &[u8]) -> Vec<u8> {
        let rest = path.get(self.prefix.len()..).unwrap_or_default();
        let mut path = Vec::with_capacity(self.replacement.len() + rest.len() + 64);
        path.extend_from_slice(self.replacement.as_bytes());
        push_path(&mut path, rest);
        if path.is_empty() {
            path.push(b'/');
        }
        path
    }
}

/// Adds a path with one slash at its start: `//host` and `/\host` would name another server to who reads a path as
/// a reference (RFC 3986 section 4.2, and browsers take a backslash for a slash).
fn push_path(out: &mut Vec<u8>, path: &[u8]) {
    let slashes = path.iter().take_while(|byte| matches!(byte, b'/' | b'\\')).count();
    if slashes > 0 {
        out.push(b'/');
    }
    out.extend_from_slice(path.get(slashes..).unwrap_or_default());
}

impl Redirect {
    fn new(raw: &RawRedirect) -> Result<Self, ConfigError> {
        let status = raw.status.unwrap_or(PERMANENT_REDIRECT);
        if !matches!(status, 301 | 302 | 303 | 307 | PERMANENT_REDIRECT) {
            return Err(ConfigError::new(format!("{status} is none of 301, 302, 303, 307 and 308")).at("status"));
        }
        if raw.location.is_empty() || !is_visible(&raw.location) {
            return Err(ConfigError::new("is not a URL: only visible ASCII, at least one").at("location"));
        }
        let parts = parse_location(&raw.location).map_err(|error| error.at("location"))?;
        Ok(Self { status, parts })
    }

    pub(crate) fn location(&self, path: &[u8], request: &Request) -> Vec<u8> {
        let mut location = Vec::with_capacity(128);
        for part in &self.parts {
            match part {
                Part::Text(text) => location.extend_from_slice(text.as_bytes()),
                Part::Path => push_path(&mut location, path),
                Part::Query => {
                    if let Some(query) = request.query() {
                        location.push(b'?');
                        location.extend_from_slice(&query);
                    }
                }
            }
        }
        location
    }
}

fn parse_location(text: &str) -> Result<Vec<Part>, ConfigError> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        if !before.is_empty() {
            parts.push(Part::Text(before.to_owned()));
        }
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        parts.push(match name {
            "path" => Part::Path,
            "query" => Part::Query,
            other => return Err(ConfigError::new(format!("unknown placeholder {{{other}}}: path or query"))),
        });
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.to_owned()));
    }
    Ok(parts)
}
