//! A proxy while it runs, and what all of them are given.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::cell::{Cell, Measured, Protocol};
use super::load::Generators;
use super::machine;
use super::peers::Contender;
use crate::process::{run, signal, tail};

/// From start to the first accepted connection.
const START_WITHIN: Duration = Duration::from_secs(20);
/// After the first connection, before idle memory is read.
const SETTLE: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(50);
/// More failed requests than this share make a measurement worthless.
const TOLERATED_ERRORS: f64 = 0.01;

/// Files that all proxies share.
pub struct Site {
    pub folder: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Site {
    /// One ECDSA P-256 certificate for everybody.
    pub fn prepare(folder: &Path) -> Result<Self> {
        let site = Self {
            folder: folder.to_path_buf(),
            certificate: folder.join("certificate.pem"),
            key: folder.join("key.pem"),
        };
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        openssl.args(["-days", "30", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
        run(openssl.arg("-keyout").arg(&site.key).arg("-out").arg(&site.certificate).stderr(Stdio::null()))?;
        Ok(site)
    }
}

/// Where a proxy listens; TLS on TCP and UDP share a port number.
#[derive(Clone, Copy)]
pub struct Ports {
    pub plain: u16,
    pub tls: u16,
}

impl Ports {
    pub fn free() -> Result<Self> {
        Ok(Self { plain: free_port()?, tls: free_port()? })
    }
}

/// A port that is free for TCP and UDP.
pub fn free_port() -> Result<u16> {
    for _ in 0..50 {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = tcp.local_addr()?.port();
        if UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("found no free port")
}

/// A process that ends with its value.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a command with its output in a file.
    pub fn start(mut command: Command, log: PathBuf) -> Result<Self> {
        let out = File::create(&log)?;
        let child = command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).spawn()?;
        Ok(Self { child, log })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it accepts connections.
    pub fn wait_listening(&mut self, port: u16) -> Result<()> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let deadline = Instant::now() + START_WITHIN;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}: {}", self.last_words());
            }
            if TcpStream::connect(address).is_ok() {
                return Ok(());
            }
            thread::sleep(POLL);
        }
        bail!("it does not listen on port {port}: {}", self.last_words())
    }

    fn last_words(&self) -> String {
        tail(&fs::read_to_string(&self.log).unwrap_or_default(), 5)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Masters take their workers along on SIGTERM, which SIGKILL would not let them do.
        signal(self.child.id(), "TERM");
        let deadline = Instant::now() + Duration::from_secs(3);
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(POLL);
        }
        for pid in machine::family(self.child.id()) {
            signal(pid, "KILL");
        }
        drop(self.child.wait());
    }
}

/// Starts a contender on ports of its own and waits until both listeners accept.
fn launch(contender: &Contender, site: &Site, backend: u16) -> Result<(Process, Ports)> {
    let ports = Ports::free()?;
    let command = (contender.command)(site, ports, backend)?;
    let log = site.folder.join(format!("{}.log", contender.name));
    let mut process = Process::start(command, log).context("cannot start it")?;
    process.wait_listening(ports.plain)?;
    process.wait_listening(ports.tls)?;
    Ok((process, ports))
}

/// A contender that serves.
pub struct Running {
    pub name: String,
    pub ports: Ports,
    http3: bool,
    process: Process,
    idle_mb: f64,
}

impl Running {
    /// Starts it on its core and waits until both listeners accept.
    pub fn start(contender: &Contender, site: &Site, backend: u16) -> Result<Self> {
        if contender.primed {
            launch(contender, site, backend)?;
        }
        let (process, ports) = launch(contender, site, backend)?;
        thread::sleep(SETTLE);
        let idle_mb = machine::memory_mb(&machine::family(process.pid()), "VmRSS");
        Ok(Self { name: contender.name.clone(), ports, http3: contender.http3, process, idle_mb })
    }

    pub fn speaks(&self, protocol: Protocol) -> bool {
        protocol != Protocol::H3 || self.http3
    }

    /// Resident memory before the first request.
    pub fn idle_megabytes(&self) -> f64 {
        (self.idle_mb * 10.0).round() / 10.0
    }

    /// One load, with the proxy's CPU time around it.
    pub fn measure(&self, generators: &Generators, cell: Cell, length: Duration) -> Result<Measured> {
        let family = machine::family(self.process.pid());
        machine::forget_peak(&family);
        let before = machine::cpu_us(&family)?;
        let seen = generators.load(self, cell, length)?;
        let cpu_us = machine::cpu_us(&family)? - before;
        let peak_mb = machine::memory_mb(&family, "VmHWM");
        #[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
        let share = seen.errors as f64 / (seen.requests + seen.errors).max(1) as f64;
        ensure!(share <= TOLERATED_ERRORS, "{} of {} requests failed", seen.errors, seen.requests + seen.errors);
        ensure!(seen.requests > 0 || seen.bytes > 0, "nothing was answered");
        Ok(Measured { seen, cpu_us, peak_mb })
    }
}
