//! The validated configuration: what the rest of the program reads. Made by `validate` alone.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::message::Target;

/// The whole configuration, defaults filled in, names resolved.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it came from, if any; relative paths in it are relative to its folder.
    pub path: Option<PathBuf>,
    /// `[proxy]`: listeners, workers, trust.
    pub proxy: Proxy,
    /// `[proxy.timeouts]`.
    pub timeouts: Timeouts,
    /// Bounds on what a client may send and hold.
    pub limits: Limits,
    /// `[proxy.memory]`: upstream connections kept idle.
    pub pool: Pool,
    /// `[quic]` and `[quic.performance]`, merged.
    pub quic: Quic,
    /// `[backends.*]` by name.
    pub backends: BTreeMap<Arc<str>, Backend>,
    /// The chain, outermost first: from the sections, `[[filters]]` and the drop-in folder's settings.
    pub filters: Vec<FilterEntry>,
    /// `[static]`: the folder behind the target `static`; `None` answers 404.
    pub static_root: Option<PathBuf>,
    /// `[logging]`.
    pub logging: Logging,
    /// `[metrics]`: the admin listener.
    pub admin: Admin,
    /// `[security.network]` TLS settings.
    pub tls: TlsPolicy,
}

/// `[proxy]`.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// UDP for HTTP/3 and TCP for TLS with h2 and http/1.1.
    pub quic_addr: SocketAddr,
    /// TCP for cleartext HTTP/1.1 and h2c.
    pub http_addr: SocketAddr,
    /// PEM certificate chain; `None` only in development mode.
    pub cert_path: Option<PathBuf>,
    /// PEM private key; `None` only in development mode.
    pub key_path: Option<PathBuf>,
    /// PEM roots for TLS towards backends.
    pub ca_path: Option<PathBuf>,
    /// Downstream connections at once, over all listeners.
    pub max_connections: usize,
    /// A connection without a request in progress is closed after this.
    pub idle_timeout: Duration,
    /// PING interval on QUIC connections.
    pub keep_alive_interval: Option<Duration>,
    /// Self-signed certificate in memory; implies `allow_insecure`.
    pub dev_mode: bool,
    /// Certificates of backends are not verified.
    pub allow_insecure: bool,
    /// Threads, each with its own listeners, pools and filter instances.
    pub workers: usize,
    /// Peers whose `X-Forwarded-*`, `Forwarded` and `X-Request-Id` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How long requests in flight may go on after SIGTERM.
    pub drain_timeout: Duration,
    /// Where a request goes that no filter gave a target; `None` answers 404.
    pub default_backend: Option<Target>,
    /// Folder whose `NN-name.wasm` files join the chain by their number.
    pub filters_dir: Option<PathBuf>,
    /// Compiled filters are kept here between runs.
    pub cache_dir: Option<PathBuf>,
}

/// `[proxy.timeouts]`: how long a half-open state may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From accept to the end of the TLS or QUIC handshake.
    pub tls_handshake: Duration,
    /// From the first byte of a request's head to its last; also the h2 preface.
    pub request_head: Duration,
    /// A keep-alive connection without a request in progress.
    pub keep_alive: Duration,
    /// Time before `body_min_rate` applies.
    pub body_grace: Duration,
    /// Bytes per second that a request body must keep up after the grace time.
    pub body_min_rate: u64,
    /// A response that the client does not read.
    pub write_stall: Duration,
    /// TCP connect to an endpoint.
    pub connect: Duration,
}

/// Bounds on what a client may send and hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a request body; more is 413.
    pub max_request_size: Option<u64>,
    /// Bytes of a header section, names and values; more is 431.
    pub max_header_size: usize,
    /// Fields of a header section; more is 431.
    pub max_header_count: usize,
    /// Bytes of a request target; more is 414.
    pub max_uri_length: usize,
    /// Connections from one address; more are refused.
    pub max_connections_per_ip: Option<usize>,
}

/// `[proxy.memory]`: upstream connections kept idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Idle connections in total, over all workers and endpoints.
    pub max_idle: usize,
    /// How long one may stay idle.
    pub idle_timeout: Duration,
    /// Bytes of a request body that may wait between client and upstream.
    pub request_buffer: usize,
    /// Bytes of a response body that may wait between upstream and client.
    pub response_buffer: usize,
}

/// Which congestion controller QUIC uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CongestionControl {
    /// RFC 9438.
    Cubic,
    /// quinn's BBR.
    Bbr,
    /// RFC 9002 appendix B.
    NewReno,
}

/// `[quic]` and `[quic.performance]`, merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quic {
    /// Whether the UDP side (and so HTTP/3) is served.
    pub enabled: bool,
    /// Request streams that a client may have open.
    pub max_concurrent_bidi_streams: u32,
    /// Unidirectional streams that a client may have open; at least 3 for HTTP/3.
    pub max_concurrent_uni_streams: u32,
    /// Connection window in bytes.
    pub connection_window: u32,
    /// Stream window in bytes.
    pub stream_window: u32,
    /// SO_SNDBUF in bytes.
    pub send_buffer_size: usize,
    /// SO_RCVBUF in bytes.
    pub receive_buffer_size: usize,
    /// Congestion controller.
    pub congestion_control: CongestionControl,
    /// Initial congestion window in packets of the current MTU.
    pub initial_window_packets: u32,
    /// A silent connection is closed after this.
    pub max_idle_timeout: Duration,
    /// PING interval.
    pub keep_alive_interval: Option<Duration>,
    /// Whether 0-RTT data is accepted (safe methods only, RFC 8470), on QUIC and on TCP.
    pub early_data: bool,
    /// Handshakes in progress from which on new clients must prove their address with a Retry.
    pub retry_threshold: usize,
}

/// How the proxy speaks to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/3 only.
    Quic,
    /// HTTP/1.1.
    Http,
    /// Whichever works.
    Auto,
}

/// How a chain picks among the endpoints of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// One after the other.
    RoundRobin,
    /// The one with the fewest requests in progress.
    LeastConnections,
    /// In proportion to the weights.
    Weighted,
}

/// One `[backends.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The name of the table.
    pub name: Arc<str>,
    /// At least one.
    pub endpoints: Vec<Endpoint>,
    /// How endpoints are chosen.
    pub strategy: Strategy,
    /// Protocol wanted.
    pub protocol: UpstreamProtocol,
    /// Time to the response's headers.
    pub timeout: Duration,
    /// Extra tries for requests that can be replayed.
    pub retries: u32,
    /// Path of the active health check.
    pub health_check: Option<Box<str>>,
    /// Interval of the active health check.
    pub health_check_interval: Duration,
}

/// The scheme of an endpoint's URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointScheme {
    /// `http`: cleartext HTTP/1.1.
    Http,
    /// `https`.
    Https,
    /// `bolt`: HTTP/3 on UDP, HTTP/1.1 on TCP of the same port.
    Bolt,
}

/// One address of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Scheme of the URL.
    pub scheme: EndpointScheme,
    /// Host name or address, without brackets.
    pub host: Box<str>,
    /// Port, the scheme's default filled in.
    pub port: u16,
    /// Share of requests relative to the others, at least 1.
    pub weight: u32,
}

/// Where a filter's component comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModuleSource {
    /// Shipped inside the binary: `builtin:NAME`.
    Builtin(Box<str>),
    /// A file.
    File(PathBuf),
}

/// What happens to a request whose filter failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailurePolicy {
    /// 503 with a JSON body that names the filter.
    Closed,
    /// As if the filter were not there.
    Open,
}

/// Whether instances serve more than one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// An instance serves one request after the other.
    Reuse,
    /// A fresh instance for every call.
    Request,
}

/// Which requests enter a filter; an empty list matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matcher {
    /// Host names, in lower case; `*.example.org` matches every name below.
    pub hosts: Vec<Box<str>>,
    /// Path patterns as in `[routing]`: `/x/*` matches `/x` and below, anything else exactly.
    pub paths: Vec<Box<str>>,
    /// Methods.
    pub methods: Vec<Box<str>>,
    /// Header name (lower case) and the value that must equal, or `None` for mere presence.
    pub headers: Vec<(Box<str>, Option<Box<str>>)>,
}

/// One place in the filter chain.
#[derive(Clone, Debug)]
pub struct FilterEntry {
    /// Unique in the chain; the name in logs, metrics and error bodies.
    pub name: Arc<str>,
    /// The component.
    pub module: ModuleSource,
    /// Position: lower is further out. Sections: security-headers 10, router 90; `[[filters]]` 50 unless
    /// `order` says otherwise; drop-in files their number.
    pub order: u8,
    /// Which requests enter it.
    pub matcher: Matcher,
    /// The filter's own table as JSON.
    pub config: serde_json::Value,
    /// Where in which file each part of `config` stands.
    pub origin: ConfigOrigin,
    /// What happens when it fails.
    pub fail: FailurePolicy,
    /// CPU time that one call may take.
    pub timeout: Duration,
    /// Bytes of linear memory.
    pub memory: usize,
    /// Whether instances are reused.
    pub isolation: Isolation,
    /// SHA-256 that the file must have.
    pub sha256: Option<[u8; 32]>,
}

/// Line and column, both from 1.
pub type Position = (usize, usize);

/// Maps a path inside a filter's table back to the place in the file.
#[derive(Clone, Debug, Default)]
pub struct ConfigOrigin {
    /// The file, if the table came from one.
    pub file: Option<PathBuf>,
    /// Where the entry itself stands; line 0 for the file as a whole.
    pub position: Position,
    /// Line and column of each value, by its path (keys and indices).
    pub values: Vec<(Vec<Box<str>>, Position)>,
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOutput {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, opened for appending.
    File(PathBuf),
}

/// `[logging]`.
#[derive(Clone, Debug)]
pub struct Logging {
    /// A `tracing` filter: `[logging] level`, or `RUST_LOG`, which wins.
    pub filter: Box<str>,
    /// Form.
    pub format: LogFormat,
    /// Destination.
    pub output: LogOutput,
    /// Whether each request gets a line.
    pub access_log: bool,
}

/// `[metrics]`: the admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Whether `/metrics` is served; `/health` and `/ready` always are.
    pub metrics: bool,
    /// Address of the admin listener.
    pub listen_addr: SocketAddr,
    /// Path of the metrics page.
    pub metrics_path: Box<str>,
}

/// TLS policy of the listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsPolicy {
    /// Whether TLS 1.2 is accepted on TCP; QUIC is always 1.3.
    pub allow_tls12: bool,
    /// Names of the cipher suites allowed, in order; empty means the library's default.
    pub cipher_suites: Vec<Box<str>>,
}
