//! The listeners as a whole, with real sockets on loopback and clients that are not ours underneath: quinn and
//! `h3`, rustls, the `h2` crate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tokio::task::JoinHandle;

use super::certs::Store;
use super::limits::ConnectionLimits;
use super::*;
use crate::codec::testing::Stub;
use crate::config::model::{
    Admin, CongestionControl, Limits, LogFormat, LogOutput, Logging, Pool, Proxy, Timeouts, TlsPolicy,
};
use crate::message::drain::{DrainControl, drain};
use crate::telemetry::{ConnectionFailure, Telemetry};

mod certificates;
mod http3;
mod quic_transport;
mod tcp_listener;

/// The defaults, on loopback and any port, in development mode.
fn config(workers: usize) -> Config {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let seconds = Duration::from_secs;
    Config {
        path: None,
        proxy: Proxy {
            default_backend: None,
            quic_addr: loopback,
            http_addr: loopback,
            cert_path: None,
            key_path: None,
            ca_path: None,
            max_connections: 1000,
            idle_timeout: seconds(60),
            keep_alive_interval: None,
            dev_mode: true,
            allow_insecure: true,
            workers,
            trusted_proxies: Vec::new(),
            drain_timeout: seconds(30),
            filters_dir: None,
            cache_dir: None,
        },
        timeouts: Timeouts {
            tls_handshake: seconds(10),
            request_head: seconds(10),
            keep_alive: seconds(60),
            body_grace: seconds(10),
            body_min_rate: 500,
            write_stall: seconds(30),
            connect: seconds(5),
        },
        limits: Limits {
            max_request_size: None,
            max_header_size: 32 * 1024,
            max_header_count: 100,
            max_uri_length: 8 * 1024,
            max_connections_per_ip: None,
        },
        pool: Pool { max_idle: 16, idle_timeout: seconds(60), request_buffer: 65_536, response_buffer: 65_536 },
        quic: Quic {
            enabled: true,
            max_concurrent_bidi_streams: 100,
            max_concurrent_uni_streams: 100,
            connection_window: 4 << 20,
            stream_window: 1 << 20,
            send_buffer_size: 1 << 20,
            receive_buffer_size: 1 << 20,
            congestion_control: CongestionControl::Cubic,
            initial_window_packets: 32,
            max_idle_timeout: seconds(30),
            keep_alive_interval: None,
            early_data: false,
            retry_threshold: 1000,
        },
        backends: std::collections::BTreeMap::new(),
        filters: Vec::new(),
        static_root: None,
        logging: Logging {
            filter: "info".into(),
            format: LogFormat::Text,
            output: LogOutput::Stdout,
            access_log: false,
        },
        admin: Admin { metrics: true, listen_addr: loopback, metrics_path: "/metrics".into() },
        tls: TlsPolicy { allow_tls12: true, cipher_suites: Vec::new() },
    }
}

/// Listeners at work.
struct Running {
    addresses: Addresses,
    certs: Arc<Store>,
    connections: Arc<ConnectionLimits>,
    telemetry: Arc<Telemetry>,
    control: DrainControl,
    workers: Vec<JoinHandle<Result<(), ServeError>>>,
}

#[allow(clippy::needless_pass_by_value, reason = "callers make it in place")]
fn start(config: &Config, service: Stub) -> Running {
    let bound = bind(config).unwrap();
    let addresses = bound.addresses();
    let certs = Arc::new(Store::open(config).unwrap());
    let telemetry = Telemetry::new(config.proxy.workers);
    let per_address = config.limits.max_connections_per_ip;
    let connections = ConnectionLimits::new(config.proxy.max_connections, per_address, Arc::clone(&telemetry));
    let (control, drain) = drain();
    let workers = bound.workers().into_iter().map(|sockets| {
        let service = service.clone().on(sockets.worker);
        let (certs, connections) = (Arc::clone(&certs), Arc::clone(&connections));
        let context = Context::new(config, addresses, service, certs, connections, drain.clone());
        tokio::spawn(serve(sockets, context))
    });
    let workers = workers.collect();
    Running { addresses, certs, connections, telemetry, control, workers }
}

impl Running {
    /// Trusts the listeners' own certificate.
    fn client_tls(&self, alpn: &[&[u8]]) -> ClientConfig {
        trusting(self.certs.certificate().unwrap(), alpn)
    }

    /// Connections that failed like that, over all workers.
    fn failed(&self, listener: Listener, failure: ConnectionFailure) -> u64 {
        self.telemetry.workers().iter().map(|worker| worker.failed(listener, failure)).sum()
    }

    /// Waits until every worker has returned.
    async fn ended(self) {
        for worker in self.workers {
            tokio::time::timeout(Duration::from_secs(10), worker).await.unwrap().unwrap().unwrap();
        }
    }
}

fn trusting(certificate: CertificateDer<'static>, alpn: &[&[u8]]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    tls
}

/// Polls until it holds, for at most ten seconds.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::task::yield_now().await;
    }
}

fn active(running: &Running, protocol: crate::message::Protocol) -> u64 {
    running.telemetry.workers().iter().map(|worker| worker.active(protocol)).sum()
}

#[tokio::test]
async fn tcp_and_udp_share_a_port_and_workers_share_it_too() {
    let bound = bind(&config(4)).unwrap();
    let addresses = bound.addresses();
    assert_eq!(addresses.quic.unwrap(), addresses.tls);
    assert_ne!(addresses.tls.port(), 0);
    for sockets in bound.workers() {
        assert_eq!(sockets.tls.local_addr().unwrap(), addresses.tls);
        assert_eq!(sockets.udp.unwrap().local_addr().unwrap(), addresses.tls);
        assert_eq!(sockets.http.local_addr().unwrap(), addresses.http);
    }
}

#[test]
fn a_taken_port_is_an_error_that_says_which() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config(1);
    config.proxy.http_addr = taken.local_addr().unwrap();
    let error = bind(&config).unwrap_err().to_string();
    assert!(error.contains(&format!("cannot listen on {} (http)", config.proxy.http_addr)), "{error}");
}
