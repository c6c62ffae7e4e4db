//! `[proxy]`, `[proxy.timeouts]` and `[proxy.memory]`.

use std::num::NonZero;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::defaults;
use super::diagnostic::{Located, Place};
use super::inactive::{Gate, Shape};
use super::listeners::Listen;
use super::model::{Endpoint, Pool, Proxy, Timeouts};
use super::overrides::{Given, Outside, outside};
use super::parse;
use super::reader::Section;
use super::value::Value;

/// Seconds that a timeout may last: a day.
pub(super) const TIMEOUT_SECONDS: RangeInclusive<u64> = 1..=86_400;
/// Seconds where 0 means "off" or "at once".
const SECONDS_OR_OFF: RangeInclusive<u64> = 0..=86_400;
const CONNECTIONS: RangeInclusive<u64> = 1..=10_000_000;
const WORKERS: RangeInclusive<u64> = 1..=1_024;
/// Bytes that may wait between the two sides of a relay.
const BUFFER: RangeInclusive<u64> = 1_024..=64 * 1_024 * 1_024;

/// The section, and what other sections need of it.
pub(super) struct ProxySection<'t> {
    /// `[proxy]`.
    pub(super) proxy: Proxy,
    /// `quic_addr` and `http_addr` with their places.
    pub(super) addresses: [Listen; 2],
    /// `default_backend`, which names what is read later.
    pub(super) default_backend: Option<Value<'t>>,
    /// `[proxy.timeouts]`.
    pub(super) timeouts: Timeouts,
    /// `[proxy.memory]`.
    pub(super) pool: Pool,
    /// `[proxy.memory] max_request_size`.
    pub(super) max_request_size: Option<u64>,
    /// `bolt_api_url`: what `[backends.bolt]` falls back on.
    pub(super) bolt_api: Option<Located<Endpoint>>,
    /// `agent_api_url`: what `[backends.agent]` falls back on.
    pub(super) agent_api: Option<Located<Endpoint>>,
}

/// Reads the section.
pub(super) fn read<'t>(root: &Section<'t>, from_outside: &Outside) -> ProxySection<'t> {
    let section = root.section("proxy");
    let addresses = read_addresses(&section, from_outside);
    let proxy = read_proxy(&section, from_outside, &addresses);
    let timeouts = read_timeouts(&section.section("timeouts"), proxy.idle_timeout);
    let (pool, max_request_size) = read_memory(&section.section("memory"));
    let bolt_api = section.parsed("bolt_api_url", parse::endpoint);
    let agent_api = section.parsed("agent_api_url", parse::endpoint);
    let default_backend = section.take("default_backend");
    ProxySection { proxy, addresses, default_backend, timeouts, pool, max_request_size, bolt_api, agent_api }
}

/// `quic_addr` and `http_addr`.
fn read_addresses(section: &Section<'_>, from_outside: &Outside) -> [Listen; 2] {
    let read = |given: Option<&Given>, key, default| {
        let file = section.parsed(key, parse::address);
        let found = outside(given, section.report(), parse::address).or(file);
        let address = found.unwrap_or_else(|| Located { value: default, place: Place::default() });
        Listen { name: section.name_of(key), address }
    };
    let given = &from_outside.overrides;
    [
        read(given.quic_addr.as_ref(), "quic_addr", defaults::QUIC_ADDR),
        read(given.http_addr.as_ref(), "http_addr", defaults::HTTP_ADDR),
    ]
}

fn read_proxy(section: &Section<'_>, from_outside: &Outside, addresses: &[Listen; 2]) -> Proxy {
    let [quic_addr, http_addr] = addresses.each_ref().map(|listen| &listen.address);
    let report = section.report();
    let given = &from_outside.overrides;
    let number = |given: Option<&Given>, range: &RangeInclusive<u64>| {
        outside(given, report, |text| parse::whole(text, range)).map(|number| number.value)
    };
    let dev_mode = read_dev_mode(section, from_outside);
    let is_development = dev_mode.unwrap_or(false);
    let backend_tls = "does not act yet: there is no TLS towards backends in this version";
    let allow_insecure = section.inactive("allow_insecure", Shape::Flag, Gate::On, backend_tls) == Gate::On;
    let ca_path = section.take("ca_path").and_then(|value| {
        value.warning(backend_tls);
        value.path()
    });
    let max_connections = section.integer("max_connections", &CONNECTIONS).map(|number| number.value);
    let max_connections = number(given.max_connections.as_ref(), &CONNECTIONS).or(max_connections);
    let idle_timeout = section.integer("idle_timeout", &TIMEOUT_SECONDS).map(|number| number.value);
    let idle_timeout = number(given.idle_timeout.as_ref(), &TIMEOUT_SECONDS).or(idle_timeout);
    let workers = section.integer("workers", &WORKERS).map(|number| number.value);
    let workers = number(given.workers.as_ref(), &WORKERS).or(workers);
    let (cert_path, key_path) = read_certificate(section, from_outside, dev_mode);
    Proxy {
        quic_addr: quic_addr.value,
        http_addr: http_addr.value,
        cert_path,
        key_path,
        ca_path: ca_path.map(|path| path.value),
        max_connections: max_connections.map_or(defaults::MAX_CONNECTIONS, saturate),
        idle_timeout: idle_timeout.map_or(defaults::IDLE_TIMEOUT, Duration::from_secs),
        keep_alive_interval: section
            .seconds("keep_alive_interval", &SECONDS_OR_OFF)
            .map_or(Some(defaults::KEEP_ALIVE_INTERVAL), |interval| {
                (!interval.value.is_zero()).then_some(interval.value)
            }),
        dev_mode: is_development,
        allow_insecure: allow_insecure || is_development,
        workers: workers.map_or_else(cores, saturate),
        trusted_proxies: section
            .list("trusted_proxies", parse::network)
            .map_or_else(Vec::new, |list| list.into_iter().map(|network| network.value).collect()),
        drain_timeout: section.seconds("drain_timeout", &SECONDS_OR_OFF).map_or(defaults::DRAIN_TIMEOUT, |d| d.value),
        default_backend: None,
        filters_dir: read_filters_dir(section),
        cache_dir: match section.string("cache_dir") {
            None => from_outside.cache_dir.clone(),
            Some(folder) => (!folder.value.is_empty()).then(|| section.source().resolve(folder.value)),
        },
    }
}

/// `None` where it is set to something that is neither true nor false.
fn read_dev_mode(section: &Section<'_>, from_outside: &Outside) -> Option<bool> {
    let given = from_outside.overrides.dev_mode.as_ref();
    let file = section.take("dev_mode").map(|value| value.boolean());
    match (given, file) {
        (Some(_), _) => outside(given, section.report(), parse::boolean).map(|on| on.value),
        (None, Some(on)) => on.map(|on| on.value),
        (None, None) => Some(false),
    }
}

/// Certificate and key belong together, and only development mode can do without.
fn read_certificate(
    section: &Section<'_>,
    from_outside: &Outside,
    dev_mode: Option<bool>,
) -> (Option<PathBuf>, Option<PathBuf>) {
    let report = section.report();
    let given = &from_outside.overrides;
    let path = |given: Option<&Given>, key| {
        let file = section.path(key);
        outside(given, report, given_path).or(file)
    };
    let certificate = path(given.cert_path.as_ref(), "cert_path");
    let key = path(given.key_path.as_ref(), "key_path");
    let place = |found: Option<&Located<PathBuf>>| found.map_or(section.place(), |found| &found.place).clone();
    match (&certificate, &key) {
        // One that is there but unreadable has its error already.
        (None, _) if section.has("cert_path") => {}
        (_, None) if section.has("key_path") => {}
        (None, None) if dev_mode == Some(false) => report.missing(
            section.place(),
            "proxy.cert_path and proxy.key_path: a certificate and its key are needed; \
             --dev-mode makes a self-signed one for localhost",
        ),
        (Some(_), None) => report
            .missing(&place(certificate.as_ref()), "proxy.key_path: a certificate is given, but not its private key"),
        (None, Some(_)) => {
            report.missing(&place(key.as_ref()), "proxy.cert_path: a private key is given, but not its certificate");
        }
        _ => {}
    }
    (certificate.map(|path| path.value), key.map(|path| path.value))
}

/// A path from outside the file, relative to the working directory.
fn given_path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(PathBuf::from(text)) }
}

fn read_filters_dir(section: &Section<'_>) -> Option<PathBuf> {
    let value = section.take("filters_dir")?;
    let folder = value.path()?.value;
    if !folder.is_dir() {
        value.missing(format_args!("there is no folder {}", folder.display()));
    }
    Some(folder)
}

fn read_timeouts(section: &Section<'_>, idle_timeout: Duration) -> Timeouts {
    let seconds = |key, default| section.seconds(key, &TIMEOUT_SECONDS).map_or(default, |timeout| timeout.value);
    Timeouts {
        tls_handshake: seconds("tls_handshake", defaults::TLS_HANDSHAKE_TIMEOUT),
        request_head: seconds("request_head", defaults::REQUEST_HEAD_TIMEOUT),
        keep_alive: seconds("keep_alive", defaults::KEEP_ALIVE_TIMEOUT).min(idle_timeout),
        body_grace: seconds("body_grace", defaults::BODY_GRACE),
        body_min_rate: section
            .integer("body_min_rate", &(0..=1_000_000_000))
            .map_or(defaults::BODY_MIN_RATE, |rate| rate.value),
        write_stall: seconds("write_stall", defaults::WRITE_STALL_TIMEOUT),
        connect: seconds("connect", defaults::CONNECT_TIMEOUT),
    }
}

fn read_memory(section: &Section<'_>) -> (Pool, Option<u64>) {
    let cache = section.inactive(
        "enable_response_cache",
        Shape::Flag,
        Gate::On,
        "responses are not cached by this version: every request goes to its backend",
    );
    section.inactive_all(
        &[("cache_size", Shape::Number), ("cache_ttl", Shape::Number)],
        cache,
        "does not act yet: responses are not cached by this version",
    );
    let pool = Pool {
        max_idle: section.count("connection_pool_size", &(0..=1_000_000)).unwrap_or(defaults::POOL_SIZE),
        idle_timeout: section
            .seconds("connection_pool_timeout", &TIMEOUT_SECONDS)
            .map_or(defaults::POOL_IDLE_TIMEOUT, |timeout| timeout.value),
        request_buffer: section.memory("request_buffer_size", &BUFFER).unwrap_or(defaults::REQUEST_BUFFER),
        response_buffer: section.memory("response_buffer_size", &BUFFER).unwrap_or(defaults::RESPONSE_BUFFER),
    };
    (pool, section.size("max_request_size", &(1..=u64::MAX)).map(|size| size.value))
}

fn saturate(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}
