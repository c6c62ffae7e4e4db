//! The least that a filter can do and still look at a message: one header on each side. For benchmarks.

use gpanel_filter::{ConfigError, Filter, Hook, JsonSchema, Request, RequestVerdict, Response, ResponseVerdict};
use serde::Deserialize;

/// No settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {}

/// The filter.
pub struct Noop;

impl Filter for Noop {
    type Config = Config;
    const HOOKS: &'static [Hook] = &[Hook::Request, Hook::Response];

    fn new(_: Config) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn on_request(&self, request: &Request) -> RequestVerdict {
        std::hint::black_box(request.header("accept"));
        RequestVerdict::next()
    }

    fn on_response(&self, _: &Request, response: &Response) -> ResponseVerdict {
        std::hint::black_box(response.header("content-type"));
        ResponseVerdict::next()
    }
}

gpanel_filter::export!(Noop, schema = "../schema.json");

#[cfg(test)]
mod tests {
    #[test]
    fn schema_is_current() {
        gpanel_filter::testing::check_schema::<super::Noop>(concat!(env!("CARGO_MANIFEST_DIR"), "/schema.json"));
    }
}
