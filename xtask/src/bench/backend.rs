//! What all proxies forward to: an nginx on the load generators' core that answers from memory.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Result;

use super::machine::{LOAD_CORE, pinned};
use super::server::{Process, Site, free_port};
use crate::process::find;

/// Bytes of the large body.
const LARGE: usize = 100_000_000;
/// A folder in memory.
const MEMORY: &str = "/dev/shm";

/// The running backend.
pub struct Backend {
    port: u16,
    large: PathBuf,
    _process: Process,
}

impl Backend {
    /// Writes its files and starts it.
    pub fn start(site: &Site) -> Result<Self> {
        let port = free_port()?;
        let folder = PathBuf::from(MEMORY).join(format!("gpanel-bench-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        write_large(&folder.join("100m"))?;
        let config = site.folder.join("backend.conf");
        fs::write(&config, configuration(&site.folder.to_string_lossy(), &folder.to_string_lossy(), port))?;
        let mut nginx = pinned(LOAD_CORE, find("nginx").unwrap_or_else(|| "nginx".into()));
        nginx.arg("-c").arg(&config);
        let mut process = Process::start(nginx, site.folder.join("backend.log"))?;
        process.wait_listening(port)?;
        Ok(Self { port, large: folder, _process: process })
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.large));
    }
}

fn write_large(file: &std::path::Path) -> Result<()> {
    let mut out = fs::File::create(file)?;
    let block = vec![b'x'; 1_000_000];
    for _ in 0..LARGE / block.len() {
        out.write_all(&block)?;
    }
    Ok(())
}

fn configuration(logs: &str, files: &str, port: u16) -> String {
    let kilobyte = "k".repeat(1_000);
    format!(
        "worker_processes 1;\ndaemon off;\nuser root;\npid {logs}/backend.pid;\nerror_log {logs}/backend-error.log;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n\
         access_log off;\nsendfile on;\ntcp_nodelay on;\nkeepalive_requests 1000000000;\nkeepalive_timeout 300s;\n\
         client_body_temp_path {logs}/backend-tmp;\nproxy_temp_path {logs}/backend-tmp;\n\
         fastcgi_temp_path {logs}/backend-tmp;\nuwsgi_temp_path {logs}/backend-tmp;\nscgi_temp_path {logs}/backend-tmp;\n\
         server {{\n\
         listen 127.0.0.1:{port} backlog=4096;\ndefault_type text/plain;\n\
         location = /2 {{ return 200 \"ok\"; }}\n\
         location = /1k {{ return 200 \"{kilobyte}\"; }}\n\
         location = /100m {{ root {files}; }}\n\
         }}\n}}\n"
    )
}
