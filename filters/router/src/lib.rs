//! The filter `router`: chooses where a request goes, from the table of `[routing]`.
//!
//! It stands last on the request side, so that it sees the path as the filters further out left it. What it does
//! not do: answer 404 where nothing matches (that is dispatch), or know whether a backend exists (that is the
//! host's check of the configuration).

mod pattern;
mod rule;
mod table;

use gpanel_filter::{ConfigError, Filter, Hook, JsonSchema, Reply, Request, RequestEdits, RequestVerdict};
use serde::Deserialize;

use rule::{Action, RawRule, Rule};
use table::Table;

/// The routing table.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// In any order: what matters is how exactly a pattern matches.
    rules: Vec<RawRule>,
}

/// The filter.
pub struct Router {
    table: Table,
    rules: Vec<Rule>,
}

impl Filter for Router {
    type Config = Config;
    const HOOKS: &'static [Hook] = &[Hook::Request];

    fn new(config: Config) -> Result<Self, ConfigError> {
        let mut rules = Vec::with_capacity(config.rules.len());
        for (index, raw) in config.rules.into_iter().enumerate() {
            rules.push(Rule::new(raw).map_err(|error| error.at(index).at("rules"))?);
        }
        let table = Table::new(&rules).map_err(|error| error.at("rules"))?;
        Ok(Self { table, rules })
    }

    fn on_request(&self, request: &Request) -> RequestVerdict {
        let path = request.path();
        match self.table.find(&path, &self.rules) {
            Some(rule) => rule.verdict(&path, request),
            None => RequestVerdict::next(),
        }
    }
}

impl Rule {
    fn verdict(&self, path: &[u8], request: &Request) -> RequestVerdict {
        let rewritten = self.rewrite.as_ref().map(|rewrite| rewrite.path(path));
        let target = match &self.action {
            Action::Forward(target) => target,
            Action::Redirect(redirect) => {
                let location = redirect.location(rewritten.as_deref().unwrap_or(path), request);
                return Reply::new(redirect.status).header("location", location).into();
            }
        };
        let mut edits = RequestEdits::new().backend(target.as_str()).route(self.pattern.as_str());
        if let Some(host) = &self.host {
            edits = edits.authority(host.as_str());
        }
        if let (Some(mut path), Some(rewrite)) = (rewritten, &self.rewrite) {
            if let Some(query) = request.query() {
                path.push(b'?');
                path.extend_from_slice(&query);
            }
            edits = edits.path(path);
            // The target needs it to write links that work on our side.
            if !rewrite.prefix().is_empty() {
                edits = edits.set_header("x-forwarded-prefix", rewrite.prefix());
            }
        }
        edits.into()
    }
}

gpanel_filter::export!(Router, schema = "../schema.json");

#[cfg(test)]
mod tests;
