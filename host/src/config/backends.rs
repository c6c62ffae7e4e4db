//! `[backends.*]`: named sets of endpoints. `bolt` and `agent` always exist, because flags, variables and
//! `[proxy]` can name their address without a table.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::defaults;
use super::diagnostic::{Located, Place, Report};
use super::inactive::{Gate, Shape};
use super::model::{Backend, Endpoint, EndpointScheme, Strategy, UpstreamProtocol};
use super::overrides::{Outside, outside};
use super::parse;
use super::proxy::{ProxySection, TIMEOUT_SECONDS};
use super::reader::Section;
use super::value::Value;

/// What stands for a backend's address outside of its table.
#[derive(Default)]
struct Address {
    /// From a flag or a variable: wins over the table.
    above: Option<Located<Endpoint>>,
    /// From `[proxy]`: holds where the table has none.
    below: Option<Located<Endpoint>>,
    /// Holds where nothing else is said.
    default: Option<Endpoint>,
}

/// Reads the tables.
pub(super) fn read(
    root: &Section<'_>,
    proxy: &ProxySection,
    from_outside: &Outside,
    strategy: Strategy,
) -> BTreeMap<Arc<str>, Backend> {
    let report = root.report();
    let mut addresses = BTreeMap::from([
        (
            "bolt",
            Address {
                above: outside(from_outside.overrides.bolt_api.as_ref(), report, parse::endpoint),
                below: proxy.bolt_api.clone(),
                default: parse::endpoint(defaults::BOLT_API_URL).ok(),
            },
        ),
        (
            "agent",
            Address {
                above: None,
                below: proxy.agent_api.clone(),
                default: parse::endpoint(defaults::AGENT_API_URL).ok(),
            },
        ),
    ]);
    let mut backends = BTreeMap::new();
    for (name, place, value) in root.section("backends").entries() {
        let address = addresses.remove(name).unwrap_or_default();
        let Some(section) = value.section() else { continue };
        let backend = read_backend(name, &section, address, strategy);
        match parse::backend_name(name) {
            Ok(_) => drop(backends.insert(Arc::clone(&backend.name), backend)),
            Err(problem) => report.error(&place, format!("backends: {problem}")),
        }
    }
    for (name, address) in addresses {
        let said = address.above.or(address.below);
        let endpoint = match said {
            Some(said) => {
                check_endpoints(name, std::slice::from_ref(&said), report, None);
                Some(said.value)
            }
            None => address.default,
        };
        let backend = absent_table(name, endpoint, strategy);
        backends.insert(Arc::clone(&backend.name), backend);
    }
    backends
}

/// A backend that has no table.
fn absent_table(name: &str, endpoint: Option<Endpoint>, strategy: Strategy) -> Backend {
    Backend {
        name: name.into(),
        protocol: endpoint.as_ref().map_or(UpstreamProtocol::Auto, |endpoint| protocol_of(endpoint.scheme)),
        endpoints: endpoint.into_iter().collect(),
        strategy,
        timeout: defaults::BACKEND_TIMEOUT,
        retries: defaults::BACKEND_RETRIES,
        health_check: None,
        health_check_interval: defaults::HEALTH_CHECK_INTERVAL,
    }
}

fn read_backend(name: &str, section: &Section<'_>, address: Address, strategy: Strategy) -> Backend {
    let protocol = read_protocol(section);
    let endpoints = read_endpoints(section, address);
    check_endpoints(name, &endpoints, section.report(), protocol);
    let endpoints: Vec<Endpoint> = endpoints.into_iter().map(|endpoint| endpoint.value).collect();
    let first = endpoints.first().map_or(EndpointScheme::Http, |endpoint| endpoint.scheme);
    let mut backend = absent_table(name, None, strategy);
    backend.endpoints = endpoints;
    backend.protocol = protocol.unwrap_or_else(|| protocol_of(first));
    if let Some(timeout) = section.seconds("timeout", &TIMEOUT_SECONDS) {
        backend.timeout = timeout.value;
    }
    if let Some(retries) = section.integer("retries", &(0..=10)) {
        backend.retries = u32::try_from(retries.value).unwrap_or(defaults::BACKEND_RETRIES);
    }
    if let Some(check) = section.take("health_check") {
        backend.health_check = check.parsed(parse::path_and_query).map(|path| path.value.into());
        check.warning("does not act yet: endpoints are not probed, every one counts as healthy");
    }
    if let Some(interval) = section.take("health_check_interval") {
        if let Some(seconds) = interval.integer(&TIMEOUT_SECONDS) {
            backend.health_check_interval = std::time::Duration::from_secs(seconds.value);
        }
        interval.warning("does not act yet: endpoints are not probed, every one counts as healthy");
    }
    section.inactive(
        "failover_enabled",
        Shape::Flag,
        Gate::On,
        "does not act yet: a failing endpoint is not taken out of the rotation",
    );
    backend
}

fn read_protocol(section: &Section<'_>) -> Option<UpstreamProtocol> {
    let words = [("quic", UpstreamProtocol::Quic), ("http", UpstreamProtocol::Http), ("auto", UpstreamProtocol::Auto)];
    let value = section.take("protocol")?;
    let protocol = value.parsed(|text| super::value::choose(text, &words))?.value;
    if protocol != UpstreamProtocol::Http {
        value.warning("QUIC towards backends does not act yet: HTTP/1.1 is spoken over TCP to the same port");
    }
    Some(protocol)
}

/// `url` or `instances`, or what stands for them outside of the table.
fn read_endpoints(section: &Section<'_>, address: Address) -> Vec<Located<Endpoint>> {
    let report = section.report();
    let url = section.take("url");
    let instances = section.take("instances");
    if let (Some(url), Some(_)) = (&url, &instances) {
        url.error("a backend has either a url or instances, not both");
    }
    let is_said = url.is_some() || instances.is_some();
    let url = url.and_then(|value| value.parsed(parse::endpoint));
    let instances = instances.as_ref().map(read_instances).unwrap_or_default();
    if let Some(above) = address.above {
        return vec![above];
    }
    if let Some(url) = url {
        if let Some(below) = address.below.filter(|below| below.value != url.value) {
            let message = format!("this URL has no effect: {} at {} wins", section.name_of("url"), url.place);
            report.warning(&below.place, message);
        }
        return vec![url];
    }
    if is_said {
        return instances;
    }
    let default = address.default.map(|value| Located { value, place: Place::default() });
    let endpoint = address.below.or(default);
    if endpoint.is_none() {
        report.missing(section.place(), format!("{}: a backend needs a url or instances", section.name_of("url")));
    }
    endpoint.into_iter().collect()
}

/// Each one a URL, or `{ url, weight }`.
fn read_instances(value: &Value<'_>) -> Vec<Located<Endpoint>> {
    let Some(items) = value.list() else { return Vec::new() };
    if items.is_empty() {
        value.error("must not be empty");
    }
    let read = |item: &Value<'_>| {
        if !item.raw().is_table() {
            return item.parsed(parse::endpoint);
        }
        let section = item.section()?;
        let url = section.parsed("url", parse::endpoint);
        let weight = section.integer("weight", &(1..=1_000));
        if !section.has("url") {
            item.missing("an instance needs a url");
        }
        let mut endpoint = url?;
        endpoint.value.weight = weight.map_or(1, |weight| u32::try_from(weight.value).unwrap_or(1));
        Some(endpoint)
    };
    items.iter().filter_map(read).collect()
}

/// What this version can't do with an endpoint; said once where it holds for all of them.
fn check_endpoints(name: &str, endpoints: &[Located<Endpoint>], report: &Report, protocol: Option<UpstreamProtocol>) {
    for endpoint in endpoints.iter().filter(|endpoint| endpoint.value.scheme == EndpointScheme::Https) {
        let message = "https:// towards backends is not supported yet: use http://";
        report.error(&endpoint.place, format!("backends.{name}: {message}"));
    }
    // A `protocol` key says itself what comes of it, and nobody wrote a default.
    let is_bolt = |e: &&Located<Endpoint>| e.value.scheme == EndpointScheme::Bolt && e.place != Place::default();
    if let (Some(endpoint), None) = (endpoints.iter().find(is_bolt), protocol) {
        let message = "bolt:// does not act as QUIC yet: HTTP/1.1 is spoken over TCP to the same port";
        report.warning(&endpoint.place, format!("backends.{name}: {message}"));
    }
}

fn protocol_of(scheme: EndpointScheme) -> UpstreamProtocol {
    match scheme {
        EndpointScheme::Bolt => UpstreamProtocol::Auto,
        EndpointScheme::Http | EndpointScheme::Https => UpstreamProtocol::Http,
    }
}
