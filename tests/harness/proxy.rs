//! Starts the real proxy for one test and ends it with the test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use toml::{Table, Value};

use crate::admin::{self, Metrics};
use crate::certificate::{replace, write_certificate};
use crate::client::{Client, Protocol, Reply};
use crate::environment;
use crate::gate::{self, Company, Pass};
use crate::log::{Log, field};
use crate::poll::within;
use crate::process::{self, Stats};
use crate::raw::RawClient;

/// A cold start compiles filters; a loaded machine takes its time.
const START: Duration = Duration::from_secs(60);

/// What to start; reads as a sentence and ends in `start`.
pub struct ProxyBuilder {
    folder: TempDir,
    config: Table,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    company: Company,
}

impl Default for ProxyBuilder {
    fn default() -> Self {
        let folder = tempfile::Builder::new().prefix("gpanel-it-").tempdir().unwrap();
        let text = format!(
            r#"
            [proxy]
            quic_addr = "127.0.0.1:0"
            http_addr = "127.0.0.1:0"
            dev_mode = true
            workers = 2
            cache_dir = "{}"
            [metrics]
            listen_addr = "127.0.0.1:0"
            [logging]
            format = "json"
            level = "info"
            output = "stdout"
            "#,
            environment::compile_cache().display()
        );
        let config = text.parse().unwrap();
        Self { folder, config, arguments: Vec::new(), variables: Vec::new(), company: Company::Shared }
    }
}

impl ProxyBuilder {
    /// Adds configuration; what is there already is replaced key by key, lists grow.
    #[must_use]
    pub fn config(mut self, text: &str) -> Self {
        merge(&mut self.config, text.parse().unwrap_or_else(|error| panic!("{error} in {text}")));
        self
    }

    /// Adds a backend, and a catch-all rule to it unless there are rules already.
    #[must_use]
    pub fn backend(self, name: &str, address: SocketAddr) -> Self {
        let has_rules = self.config.get("routing").is_some();
        let this = self.config(&format!("[backends.{name}]\nurl = \"http://{address}\"\nretries = 0"));
        if has_rules { this } else { this.route("/*", name) }
    }

    /// Adds a routing rule with a plain target.
    #[must_use]
    pub fn route(self, pattern: &str, target: &str) -> Self {
        self.route_with(pattern, &format!("\"{target}\""))
    }

    /// Adds a routing rule whose value is TOML.
    #[must_use]
    pub fn route_with(self, pattern: &str, value: &str) -> Self {
        self.config(&format!("[routing.rules]\n\"{pattern}\" = {value}"))
    }

    /// Adds a filter to the chain: its name, its component, and further keys of its entry as TOML.
    #[must_use]
    pub fn filter(self, name: &str, module: &Path, keys: &str) -> Self {
        self.config(&format!("[[filters]]\nname = \"{name}\"\nmodule = \"{}\"\n{keys}", module.display()))
    }

    /// Watches a drop-in folder, `filters` in the test's own folder.
    #[must_use]
    pub fn drop_in_folder(self) -> Self {
        let folder = self.folder.path().join("filters");
        std::fs::create_dir_all(&folder).unwrap();
        self.config(&format!("[proxy]\nfilters_dir = \"{}\"", folder.display()))
    }

    /// Real certificate files instead of development mode.
    #[must_use]
    pub fn certificate_files(self) -> Self {
        let files = write_certificate(self.folder.path());
        self.config(&format!(
            "[proxy]\ndev_mode = false\ncert_path = \"{}\"\nkey_path = \"{}\"",
            files.certificate.display(),
            files.key.display()
        ))
    }

    /// Adds a command line argument.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs while no other test does.
    #[must_use]
    pub fn alone(mut self) -> Self {
        self.company = Company::Alone;
        self
    }

    /// The test's own folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the proxy and waits until it is ready.
    pub async fn start(self) -> Proxy {
        let pass = gate::enter(self.company).await;
        let path = self.folder.path().join("proxy.toml");
        std::fs::write(&path, toml::to_string(&self.config).unwrap()).unwrap();
        let begun = Instant::now();
        let mut child = Command::new(environment::proxy_binary())
            .arg("--config")
            .arg(&path)
            .args(&self.arguments)
            .env_remove("RUST_LOG")
            .env("RUST_BACKTRACE", "1")
            .envs(self.variables.iter().cloned())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the proxy starts");
        let log = Arc::new(Log::default());
        let output = [
            tokio::spawn(collect(child.stdout.take().unwrap(), Arc::clone(&log))),
            tokio::spawn(collect(child.stderr.take().unwrap(), Arc::clone(&log))),
        ];
        let pid = child.id().unwrap();
        await_ready(&mut child, &log, output).await;
        let address = |listener: &str| listening(&log, listener);
        Proxy {
            http: address("http").expect("a `listening` line of the http listener"),
            tls: address("tls").expect("a `listening` line of the tls listener"),
            admin: address("admin").expect("a `listening` line of the admin listener"),
            start_time: begun.elapsed(),
            child,
            pid,
            log,
            config: self.config,
            folder: self.folder,
            pass,
        }
    }
}

async fn await_ready(child: &mut Child, log: &Arc<Log>, output: [tokio::task::JoinHandle<()>; 2]) {
    tokio::select! {
        () = within(START, "the proxy says that it is ready", async {
            while log.lines().iter().all(|line| field(line, "message").as_deref() != Some("ready")) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }) => {}
        status = child.wait() => {
            for reader in output {
                let _ = reader.await;
            }
            panic!("the proxy ended at start with {status:?}:\n{}", log.lines().join("\n"));
        }
    }
}

fn listening(log: &Log, listener: &str) -> Option<SocketAddr> {
    log.lines().iter().find_map(|line| {
        let matches = field(line, "message")? == "listening" && field(line, "listener")? == listener;
        if matches { field(line, "addr")?.parse().ok() } else { None }
    })
}

async fn collect(source: impl AsyncRead + Unpin, log: Arc<Log>) {
    let mut lines = BufReader::new(source).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        log.push(line);
    }
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            (Some(Value::Array(into)), Value::Array(from)) => into.extend(from),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// A running proxy; it is killed when it is dropped.
pub struct Proxy {
    http: SocketAddr,
    tls: SocketAddr,
    admin: SocketAddr,
    start_time: Duration,
    child: Child,
    pid: u32,
    log: Arc<Log>,
    config: Table,
    folder: TempDir,
    #[expect(dead_code, reason = "held for its Drop")]
    pass: Arc<Pass>,
}

impl Proxy {
    /// A proxy to be: in development mode, on free ports of 127.0.0.1, with two workers.
    pub fn builder() -> ProxyBuilder {
        ProxyBuilder::default()
    }

    /// The listener that `protocol` goes to.
    pub fn address(&self, protocol: Protocol) -> SocketAddr {
        match protocol {
            Protocol::H1 | Protocol::H2c => self.http,
            Protocol::H1Tls | Protocol::H2 | Protocol::H3 => self.tls,
        }
    }

    /// The admin listener.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// From the start of the process to its `ready` line.
    pub fn start_time(&self) -> Duration {
        self.start_time
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The log so far.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The test's own folder, with `proxy.toml`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A file in the drop-in folder.
    pub fn drop_in(&self, name: &str) -> PathBuf {
        self.folder.path().join("filters").join(name)
    }

    /// Connects with `protocol`.
    pub async fn client(&self, protocol: Protocol) -> Client {
        Client::connect(protocol, self.address(protocol))
            .await
            .unwrap_or_else(|error| panic!("no {protocol:?} connection: {error}"))
    }

    /// HTTP/1.1 in the clear.
    pub async fn h1(&self) -> Client {
        self.client(Protocol::H1).await
    }

    /// HTTP/1.1 in TLS.
    pub async fn h1_tls(&self) -> Client {
        self.client(Protocol::H1Tls).await
    }

    /// HTTP/2 in TLS.
    pub async fn h2(&self) -> Client {
        self.client(Protocol::H2).await
    }

    /// HTTP/2 in the clear.
    pub async fn h2c(&self) -> Client {
        self.client(Protocol::H2c).await
    }

    /// HTTP/3.
    pub async fn h3(&self) -> Client {
        self.client(Protocol::H3).await
    }

    /// Bytes to the cleartext listener.
    pub async fn raw(&self) -> RawClient {
        RawClient::connect(self.http).await
    }

    /// Figures of the process.
    pub fn stats(&self) -> Stats {
        process::stats(self.pid)
    }

    /// A page of the admin listener.
    pub async fn admin(&self, path: &str) -> Reply {
        admin::fetch(self.admin, path).await
    }

    /// A scrape.
    pub async fn metrics(&self) -> Metrics {
        Metrics::parse(&self.admin("/metrics").await.text())
    }

    /// Changes the configuration file: merges `text` into it and puts it in place at once.
    pub fn change_config(&mut self, text: &str) {
        merge(&mut self.config, text.parse().unwrap());
        self.write_config(&toml::to_string(&self.config).unwrap());
    }

    /// Takes the tables or values at those dotted paths out of the configuration file.
    pub fn remove_config(&mut self, path: &str) {
        let mut table = &mut self.config;
        let mut keys: Vec<&str> = path.split('.').collect();
        let last = keys.pop().unwrap();
        for key in keys {
            table = table.get_mut(key).and_then(Value::as_table_mut).expect("a table");
        }
        table.remove(last).expect("a value to remove");
        self.write_config(&toml::to_string(&self.config).unwrap());
    }

    /// Replaces the configuration file by that text.
    pub fn write_config(&self, text: &str) {
        replace(&self.folder.path().join("proxy.toml"), text.as_bytes());
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid).unwrap()).unwrap();
        kill_process(pid, signal).expect("the proxy runs");
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Waits for the process to end.
    pub async fn ended(&mut self) -> ExitStatus {
        within(Duration::from_secs(60), "the proxy ends", self.child.wait()).await.unwrap()
    }

    /// Panics when the process is gone.
    pub fn assert_running(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "the proxy ended with {ended:?}");
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines = self.log.lines();
            let last = &lines[lines.len().saturating_sub(80)..];
            eprintln!("--- the proxy's log ends with:\n{}\n---", last.join("\n"));
        }
    }
}
