//! The filter `security-headers`: adds the response headers that tell a browser to be careful.
//!
//! It stands first, so that its response side runs last and sees every response: a backend's, a filter's and the
//! proxy's own. What a backend set itself stays: it knows its pages better.

use gpanel_filter::{
    ConfigError, Filter, Hook, JsonSchema, Request, Response, ResponseEdits, ResponseVerdict, connection,
};
use serde::Deserialize;

/// The value of each header; one that is not there is not sent.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `Content-Security-Policy` (CSP Level 3), for example `default-src 'self'`.
    content_security_policy: Option<String>,
    /// `X-Frame-Options` (RFC 7034): `DENY` or `SAMEORIGIN`.
    x_frame_options: Option<String>,
    /// `X-Content-Type-Options`: `nosniff`.
    x_content_type_options: Option<String>,
    /// `Referrer-Policy`, for example `strict-origin-when-cross-origin`.
    referrer_policy: Option<String>,
    /// `Strict-Transport-Security` (RFC 6797), for example `max-age=31536000`. Sent over TLS only, as section
    /// 7.2 asks.
    strict_transport_security: Option<String>,
    /// `Permissions-Policy`, for example `camera=()`.
    permissions_policy: Option<String>,
}

/// The filter.
pub struct SecurityHeaders {
    always: Vec<(&'static str, String)>,
    over_tls: Option<(&'static str, String)>,
}

impl Filter for SecurityHeaders {
    type Config = Config;
    const HOOKS: &'static [Hook] = &[Hook::Response];

    fn new(config: Config) -> Result<Self, ConfigError> {
        let always = [
            ("content_security_policy", "content-security-policy", config.content_security_policy),
            ("x_frame_options", "x-frame-options", config.x_frame_options),
            ("x_content_type_options", "x-content-type-options", config.x_content_type_options),
            ("referrer_policy", "referrer-policy", config.referrer_policy),
            ("permissions_policy", "permissions-policy", config.permissions_policy),
        ];
        let always = always.into_iter().filter_map(|(key, name, value)| Some(checked(key, name, value?)));
        let over_tls = config.strict_transport_security;
        let over_tls = over_tls.map(|value| checked("strict_transport_security", "strict-transport-security", value));
        Ok(Self { always: always.collect::<Result<_, _>>()?, over_tls: over_tls.transpose()? })
    }

    /// Without a header to add, the filter costs nothing.
    fn hooks(&self) -> Vec<Hook> {
        if self.always.is_empty() && self.over_tls.is_none() { Vec::new() } else { Self::HOOKS.to_vec() }
    }

    fn on_response(&self, _: &Request, response: &Response) -> ResponseVerdict {
        let over_tls = self.over_tls.as_ref().filter(|_| connection::tls());
        let missing = self.always.iter().chain(over_tls).filter(|(name, _)| response.header(name).is_none());
        let edits = missing.fold(ResponseEdits::new(), |edits, (name, value)| edits.set_header(*name, value.as_str()));
        if edits.is_empty() { ResponseVerdict::next() } else { edits.into() }
    }
}

/// A value that a header cannot have would fail every response; better to say so when it is written.
fn checked(key: &str, name: &'static str, value: String) -> Result<(&'static str, String), ConfigError> {
    if value.trim().is_empty() {
        return Err(ConfigError::new("is empty; leave it out to send no such header").at(key));
    }
    if !value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        return Err(ConfigError::new("is not visible ASCII on one line").at(key));
    }
    Ok((name, value))
}

gpanel_filter::export!(SecurityHeaders, schema = "../schema.json");

#[cfg(test)]
mod tests {
    use gpanel_filter::testing::{cases, check_schema, run};

    use super::SecurityHeaders;

    #[test]
    fn cases_are_met() {
        cases::check::<SecurityHeaders>(include_str!("../cases.toml"));
    }

    #[test]
    fn schema_is_current() {
        check_schema::<SecurityHeaders>(concat!(env!("CARGO_MANIFEST_DIR"), "/schema.json"));
    }

    #[test]
    fn nothing_to_add_wants_no_hook() {
        assert!(run::<SecurityHeaders>("{}").unwrap().hooks().is_empty());
    }
}
