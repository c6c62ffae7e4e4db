//! The proxies that are measured, each with the same task: everything to one cleartext http/1.1 backend, connections
//! kept, one worker, no access log.

mod debian;
mod ours;
mod pypi;

pub use self::ours::ours;

use std::process::Command;

use anyhow::Result;

use super::options::Options;
use super::server::{Ports, Site};
use crate::process::find;
use crate::progress::detail;
use crate::workspace::Workspace;

/// Makes the command that starts a proxy, with the backend's port as its last argument.
pub type Launch = Box<dyn Fn(&Site, Ports, u16) -> Result<Command>>;

/// A proxy that could be measured.
pub struct Contender {
    pub name: String,
    /// Whether it serves HTTP/3; every one serves the rest.
    pub http3: bool,
    /// Whether it is started once before, to fill its compile cache: the figures are those of every later start.
    pub primed: bool,
    pub command: Launch,
}

/// All peers that were asked for and can be had.
pub fn others(workspace: &Workspace, options: &Options) -> Result<Vec<Contender>> {
    let mut contenders = pypi::contenders(workspace, options)?;
    let mut missing = Vec::new();
    for (name, program, package, launch) in debian::PEERS {
        if !options.wants(name) {
            continue;
        }
        if find(program).is_some() {
            contenders.push(Contender {
                name: (*name).to_owned(),
                http3: false,
                primed: false,
                command: Box::new(launch),
            });
        } else {
            missing.push(*package);
        }
    }
    if !missing.is_empty() {
        detail(format!("without some peers; to have them: sudo apt-get install {}", missing.join(" ")));
    }
    Ok(contenders)
}
