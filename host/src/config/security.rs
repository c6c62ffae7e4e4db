//! `[security]` and its tables. What the proxy itself enforces becomes limits and TLS policy,
//! `[security.validation]` makes the `security-headers` entry of the chain, and what nothing enforces yet
//! is warned of loudly: a security setting must never seem to hold.

use serde_json::{Map, Value as Json};

use super::chain::{self, Entry, Group};
use super::defaults;
use super::diagnostic::Place;
use super::inactive::{Gate, Shape};
use super::model::{ConfigOrigin, Limits, TlsPolicy};
use super::parse;
use super::reader::Section;
use super::suggest::did_you_mean;
use super::value::Value;

/// The name and the built-in module of the filter.
const SECURITY_HEADERS: &str = "security-headers";
/// The suites of TLS 1.3 that can be chosen.
const TLS13_SUITES: [&str; 3] = ["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"];
/// The suites of TLS 1.2 that can be chosen.
const TLS12_SUITES: [&str; 6] = [
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];

/// What the tables say.
pub(super) struct Security {
    /// Bounds on what a client may send and hold.
    pub(super) limits: Limits,
    /// TLS policy of the listeners.
    pub(super) tls: TlsPolicy,
    /// The `security-headers` entry, unless it is switched off.
    pub(super) headers: Option<Entry>,
}

/// Reads the tables; `max_request_size` is the bound from `[proxy.memory]`, the smaller one wins.
pub(super) fn read(root: &Section<'_>, max_request_size: Option<u64>) -> Security {
    let section = root.section("security");
    read_access(&section);
    read_auth(&section.section("auth"));
    let network = section.section("network");
    let max_connections_per_ip = read_network(&network);
    let tls = read_tls(&network);
    let validation = section.section("validation");
    let limits = Limits { max_connections_per_ip, ..read_limits(&validation, max_request_size) };
    Security { limits, tls, headers: read_headers(&validation) }
}

fn read_access(section: &Section<'_>) {
    let cors = section.inactive(
        "enable_cors",
        Shape::Flag,
        Gate::On,
        "CORS does not act yet: no Access-Control field is added, and preflight requests go to the backend",
    );
    section.inactive_all(
        &[
            ("cors_allowed_origins", Shape::Texts),
            ("cors_allowed_methods", Shape::Texts),
            ("cors_allowed_headers", Shape::Texts),
        ],
        cors,
        "does not act yet: CORS is not part of this version",
    );
    let rates = section.inactive(
        "enable_rate_limiting",
        Shape::Flag,
        Gate::On,
        "request rates are not limited by this version: every request is let through",
    );
    section.inactive_all(
        &[("rate_limit_requests_per_minute", Shape::Number), ("rate_limit_burst", Shape::Number)],
        rates,
        "does not act yet: request rates are not limited by this version",
    );
    let auth = section.inactive(
        "require_auth",
        Shape::Flag,
        Gate::On,
        "authentication is not enforced by this version: every request is let through without a token",
    );
    section.inactive_all(
        &[("auth_header", Shape::Text), ("auth_prefix", Shape::Text)],
        auth,
        "does not act yet: authentication is not enforced by this version",
    );
}

fn read_auth(section: &Section<'_>) {
    section.inactive_all(
        &[
            ("jwt_secret", Shape::Text),
            ("jwt_algorithm", Shape::Text),
            ("jwt_expiration", Shape::Number),
            ("required_claims", Shape::Texts),
            ("issuer", Shape::Text),
            ("audience", Shape::Text),
        ],
        Gate::On,
        "does not act yet: tokens are not checked by this version",
    );
    section.inactive_all(
        &[("rate_limit_per_user", Shape::Number), ("rate_limit_burst", Shape::Number)],
        Gate::On,
        "does not act yet: requests per user are not limited by this version",
    );
}

/// Connections per address.
fn read_network(section: &Section<'_>) -> Option<usize> {
    section.inactive(
        "allowed_ips",
        Shape::Networks,
        Gate::On,
        "addresses are not checked by this version: clients from everywhere are let in",
    );
    section.inactive(
        "blocked_ips",
        Shape::Networks,
        Gate::On,
        "addresses are not checked by this version: these clients are let in",
    );
    let protects = section.boolean("enable_ddos_protection").is_some_and(|on| on.value);
    section.inactive(
        "connection_rate_limit",
        Shape::Number,
        Gate::from(protects),
        "does not act yet: connections per address are bounded in number, not in rate",
    );
    let per_ip = section.count("max_connections_per_ip", &(1..=10_000_000)).unwrap_or(defaults::MAX_CONNECTIONS_PER_IP);
    protects.then_some(per_ip)
}

fn read_tls(section: &Section<'_>) -> TlsPolicy {
    let allow_tls12 = section.choice("min_tls_version", &[("1.3", false), ("1.2", true)]).is_some_and(|on| on.value);
    let suites = section.take("cipher_suites");
    let known = || TLS13_SUITES.into_iter().chain(TLS12_SUITES);
    let parse = |text: &str| {
        if known().any(|suite| suite == text) {
            Ok(Box::from(text))
        } else {
            Err(format!("no cipher suite \"{text}\" is supported{}", did_you_mean(text, known())))
        }
    };
    let list = suites.as_ref().and_then(Value::list).unwrap_or_default();
    let cipher_suites: Vec<Box<str>> =
        list.iter().filter_map(|value| value.parsed(parse)).map(|suite| suite.value).collect();
    let has_tls13 = cipher_suites.iter().any(|suite| TLS13_SUITES.contains(&&**suite));
    if let Some(value) = suites.filter(|_| cipher_suites.len() == list.len() && !has_tls13) {
        value.error(format_args!("TLS 1.3 and QUIC need at least one of {}", TLS13_SUITES.join(", ")));
    }
    for value in list.iter().filter(|_| !allow_tls12) {
        if value.raw().as_str().is_some_and(|suite| TLS12_SUITES.contains(&suite)) {
            value.warning("has no effect: it is a suite of TLS 1.2, which min_tls_version does not allow");
        }
    }
    TlsPolicy { allow_tls12, cipher_suites }
}

fn read_limits(section: &Section<'_>, max_request_size: Option<u64>) -> Limits {
    let own = section.size("max_request_size", &(1..=u64::MAX)).map(|size| size.value);
    let checks = section.inactive(
        "validate_content_type",
        Shape::Flag,
        Gate::On,
        "content types are not checked by this version: every type is let through",
    );
    section.inactive(
        "allowed_content_types",
        Shape::Texts,
        checks,
        "does not act yet: content types are not checked by this version",
    );
    Limits {
        max_request_size: own.into_iter().chain(max_request_size).min(),
        max_header_size: section.memory("max_header_size", &(256..=1_048_576)).unwrap_or(defaults::MAX_HEADER_SIZE),
        max_header_count: defaults::MAX_HEADER_COUNT,
        max_uri_length: section.memory("max_uri_length", &(64..=65_536)).unwrap_or(defaults::MAX_URI_LENGTH),
        max_connections_per_ip: None,
    }
}

/// The entry for the fields that tell browsers what to refuse. An empty value means that the field is not set.
fn read_headers(section: &Section<'_>) -> Option<Entry> {
    let enabled = section.boolean("enable_security_headers").is_none_or(|on| on.value);
    let mut config = Map::new();
    let place = if section.is_present() { section.place().clone() } else { Place::default() };
    let mut origin = ConfigOrigin::at(&place);
    for (key, default) in [
        ("content_security_policy", None),
        ("x_frame_options", Some(defaults::X_FRAME_OPTIONS)),
        ("x_content_type_options", Some(defaults::X_CONTENT_TYPE_OPTIONS)),
    ] {
        let said = section.parsed(key, parse::header_value);
        if let Some(said) = &said {
            origin.note(&[key], &said.place);
        }
        let value = said.map(|said| said.value).or(default.map(str::to_owned));
        config.extend(value.filter(|value| !value.is_empty()).map(|value| (key.to_owned(), Json::from(value))));
    }
    let order = defaults::SECURITY_HEADERS_ORDER;
    let filter = chain::section_filter(SECURITY_HEADERS, order, Json::Object(config), origin);
    enabled.then_some(Entry { filter, group: Group::Section, place })
}
