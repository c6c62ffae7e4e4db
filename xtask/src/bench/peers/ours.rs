//! gpanel-proxy itself, without filters and with one, two and four.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::Contender;
use crate::bench::machine::{PROXY_CORE, pinned};
use crate::bench::server::{Ports, Site, free_port};
use crate::workspace::Workspace;

/// How long the filters are.
#[derive(Clone, Copy)]
enum Chain {
    /// None: everything goes to the default backend.
    Empty,
    /// `router`.
    One,
    /// `security-headers` and `router`.
    Two,
    /// Two that do nothing on top.
    Four,
}

/// The variants, by the number of filters in their names.
pub fn ours(workspace: &Workspace, profile: &str) -> Vec<Contender> {
    let chains = [("ours-0", Chain::Empty), ("ours-1", Chain::One), ("ours-2", Chain::Two), ("ours-4", Chain::Four)];
    chains
        .into_iter()
        .map(|(name, chain)| {
            let (binary, guests) = (workspace.binary(profile, "gpanel-proxy"), workspace.guests_out());
            Contender {
                name: name.to_owned(),
                http3: true,
                primed: true,
                command: Box::new(move |site, ports, backend| {
                    command(name, chain, &binary, &guests, site, ports, backend)
                }),
            }
        })
        .collect()
}

fn command(
    name: &str,
    chain: Chain,
    binary: &PathBuf,
    guests: &std::path::Path,
    site: &Site,
    ports: Ports,
    backend: u16,
) -> Result<Command> {
    let file = site.folder.join(format!("{name}.toml"));
    fs::write(&file, configuration(chain, guests, site, ports, backend)?)
        .with_context(|| format!("cannot write {}", file.display()))?;
    let mut command = pinned(PROXY_CORE, binary);
    command.arg("--config").arg(file);
    Ok(command)
}

fn configuration(chain: Chain, guests: &std::path::Path, site: &Site, ports: Ports, backend: u16) -> Result<String> {
    let mut text = format!(
        "[proxy]\nquic_addr = \"127.0.0.1:{tls}\"\nhttp_addr = \"127.0.0.1:{plain}\"\nworkers = 1\n\
         cert_path = \"{certificate}\"\nkey_path = \"{key}\"\nmax_connections = 10000\n{default}\n\
         [backends.bench]\nurl = \"http://127.0.0.1:{backend}\"\n\n\
         [logging]\nlevel = \"error\"\naccess_log = false\n\n\
         [metrics]\nenabled = true\nlisten_addr = \"127.0.0.1:{admin}\"\n\n\
         [security.validation]\nenable_security_headers = {headers}\n\n\
         [routing.rules]\n",
        tls = ports.tls,
        plain = ports.plain,
        certificate = site.certificate.display(),
        key = site.key.display(),
        default = if matches!(chain, Chain::Empty) { "default_backend = \"bench\"\n" } else { "" },
        admin = free_port()?,
        headers = matches!(chain, Chain::Two | Chain::Four),
    );
    // An empty table of rules means no router at all.
    if !matches!(chain, Chain::Empty) {
        text.push_str("\"/*\" = \"bench\"\n");
    }
    if matches!(chain, Chain::Four) {
        for name in ["noop-a", "noop-b"] {
            let module = guests.join("noop.wasm");
            write!(text, "\n[[filters]]\nname = \"{name}\"\nmodule = \"{}\"\n", module.display())?;
        }
    }
    Ok(text)
}
