//! The addresses of one run: those of the shipped configuration, or free ones where something else sits on them.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use toml::{Table, Value};

use crate::progress::detail;
use crate::workspace::Workspace;

/// Where the demo services would like to be: the ports of the shipped configuration.
pub const BOLT_PORT: u16 = 8080;
/// See `BOLT_PORT`.
pub const AGENT_PORT: u16 = 8000;

/// Where everything listens in this run.
#[derive(Clone)]
pub struct Addresses {
    /// HTTP/3 on UDP, h2 and http/1.1 on TLS.
    pub quic: SocketAddr,
    /// Cleartext.
    pub http: SocketAddr,
    /// Health, readiness, metrics.
    pub admin: SocketAddr,
    /// Port of the service behind `bolt`.
    pub bolt: u16,
    /// Port of the service behind `agent`.
    pub agent: u16,
}

impl Addresses {
    /// Those of the shipped configuration, as far as they are free.
    pub fn choose(config: &Table, bolt: u16, agent: u16) -> Result<Self> {
        let quic = configured(config, "proxy", "quic_addr", 9443);
        let http = configured(config, "proxy", "http_addr", 9080);
        let admin = configured(config, "metrics", "listen_addr", 9090);
        Ok(Self { quic: free(quic, true)?, http: free(http, false)?, admin: free(admin, false)?, bolt, agent })
    }

    /// Ports on loopback that the system chose: for a check that must not meet anybody.
    pub fn on_loopback(bolt: u16, agent: u16) -> Result<Self> {
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Ok(Self { quic: any_port(ip, true)?, http: any_port(ip, false)?, admin: any_port(ip, false)?, bolt, agent })
    }

    /// The configuration to run with: the shipped file itself, or a copy with other addresses.
    pub fn config_file(&self, workspace: &Workspace, shipped: &Path, config: &Table) -> Result<PathBuf> {
        let unchanged = self.bolt == BOLT_PORT
            && self.agent == AGENT_PORT
            && self.quic == configured(config, "proxy", "quic_addr", 9443)
            && self.http == configured(config, "proxy", "http_addr", 9080)
            && self.admin == configured(config, "metrics", "listen_addr", 9090);
        if unchanged {
            return Ok(shipped.to_path_buf());
        }
        let mut copy = config.clone();
        set(&mut copy, &["proxy", "quic_addr"], self.quic.to_string());
        set(&mut copy, &["proxy", "http_addr"], self.http.to_string());
        set(&mut copy, &["metrics", "listen_addr"], self.admin.to_string());
        set(&mut copy, &["backends", "bolt", "url"], format!("http://127.0.0.1:{}", self.bolt));
        set(&mut copy, &["backends", "agent", "url"], format!("http://127.0.0.1:{}", self.agent));
        // Beside the shipped file, because relative paths in it are relative to its folder.
        let file = workspace.path("config/proxy.run.toml");
        let heading = "# Written by `cargo xtask run`: proxy.toml with other addresses.\n\n";
        fs::write(&file, format!("{heading}{}", toml::to_string_pretty(&copy)?))?;
        detail(format!("this run has other addresses than the shipped ones: {}", file.display()));
        Ok(file)
    }

    /// The TLS listener as a client on this machine reaches it.
    pub fn tls_url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.quic.port())
    }
}

/// The shipped configuration as a table.
pub fn read(shipped: &Path) -> Result<Table> {
    let text = fs::read_to_string(shipped).with_context(|| format!("cannot read {}", shipped.display()))?;
    text.parse().with_context(|| format!("{} is not TOML", shipped.display()))
}

/// The same address on loopback where it was "every address": for connecting.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), address.port())
    } else {
        address
    }
}

fn configured(config: &Table, section: &str, key: &str, port: u16) -> SocketAddr {
    let value = config.get(section).and_then(|section| section.get(key)).and_then(Value::as_str);
    let any = IpAddr::V4(if section == "metrics" { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED });
    value.and_then(|value| value.parse().ok()).unwrap_or(SocketAddr::new(any, port))
}

/// The address, or the same with a free port.
fn free(address: SocketAddr, with_udp: bool) -> Result<SocketAddr> {
    if is_free(address, with_udp) { Ok(address) } else { any_port(address.ip(), with_udp) }
}

/// A port that the system chose.
fn any_port(ip: IpAddr, with_udp: bool) -> Result<SocketAddr> {
    for _ in 0..20 {
        let other = SocketAddr::new(ip, TcpListener::bind((ip, 0))?.local_addr()?.port());
        if is_free(other, with_udp) {
            return Ok(other);
        }
    }
    anyhow::bail!("found no free port on {ip}")
}

/// A taken port shows only on the very address, so loopback is tried too.
fn is_free(address: SocketAddr, with_udp: bool) -> bool {
    [address, reachable(address)]
        .iter()
        .all(|address| TcpListener::bind(address).is_ok() && (!with_udp || UdpSocket::bind(address).is_ok()))
}

fn set(table: &mut Table, path: &[&str], value: String) {
    if let [key] = path {
        table.insert((*key).to_owned(), Value::String(value));
    } else if let [key, rest @ ..] = path {
        let inner = table.entry((*key).to_owned()).or_insert_with(|| Value::Table(Table::new()));
        if let Some(inner) = inner.as_table_mut() {
            set(inner, rest, value);
        }
    }
}
