//! Marks both sides of an exchange with the version in its configuration, so that a test sees which one served a
//! request: for reloads.

use gpanel_filter::{
    ConfigError, Filter, Hook, JsonSchema, Request, RequestEdits, RequestVerdict, Response, ResponseEdits,
    ResponseVerdict,
};
use serde::Deserialize;

const HEADER: &str = "x-filter-version";

/// What to mark messages with.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The value of `x-filter-version`, on request and response.
    version: String,
}

/// The filter.
pub struct Tagging(Config);

impl Filter for Tagging {
    type Config = Config;
    const HOOKS: &'static [Hook] = &[Hook::Request, Hook::Response];

    fn new(config: Config) -> Result<Self, ConfigError> {
        Ok(Self(config))
    }

    fn on_request(&self, _: &Request) -> RequestVerdict {
        RequestEdits::new().set_header(HEADER, self.0.version.as_str()).into()
    }

    fn on_response(&self, _: &Request, _: &Response) -> ResponseVerdict {
        ResponseEdits::new().set_header(HEADER, self.0.version.as_str()).into()
    }
}

gpanel_filter::export!(Tagging, schema = "../schema.json");

#[cfg(test)]
mod tests {
    #[test]
    fn schema_is_current() {
        gpanel_filter::testing::check_schema::<super::Tagging>(concat!(env!("CARGO_MANIFEST_DIR"), "/schema.json"));
    }
}
