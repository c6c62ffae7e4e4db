//! The TLS policy of the configuration as rustls and quinn want it. Made once; certificates come through the
//! resolver and may change underneath.

use std::sync::Arc;

use quinn::crypto::rustls::QuicServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, Ticketer, cipher_suite::TLS13_AES_128_GCM_SHA256};
use rustls::server::{ResolvesServerCert, ServerSessionMemoryCache};
use rustls::{ServerConfig, SupportedCipherSuite, SupportedProtocolVersion, version};

use crate::config::model::TlsPolicy;

/// Sessions kept for resumption with early data: each serves once, which is what keeps replays out.
const SESSIONS: usize = 16 * 1024;
/// Bytes of early data that a client may send over TCP.
const TCP_EARLY_DATA: u32 = 16 * 1024;

/// The policy can't be met.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No such cipher suite.
    #[error("unknown TLS cipher suite {0:?}")]
    UnknownSuite(Box<str>),
    /// HTTP/3 needs TLS 1.3.
    #[error("cipher_suites has none of TLS 1.3, which QUIC needs")]
    NoQuicSuite,
    /// rustls says no.
    #[error("TLS settings: {0}")]
    Rustls(#[from] rustls::Error),
}

/// TLS settings of the listeners.
pub(super) struct Tls {
    /// ALPN h2 and http/1.1.
    pub(super) tcp: Arc<ServerConfig>,
    /// ALPN h3; `None` when HTTP/3 is not served. Holds the key of address-validation tokens, which all workers
    /// share.
    pub(super) quic: Option<quinn::ServerConfig>,
}

/// Looks a cipher suite up by its IANA name (`TLS_AES_256_GCM_SHA384`), or rustls' own (`TLS13_...`).
#[must_use]
pub fn cipher_suite(name: &str) -> Option<SupportedCipherSuite> {
    aws_lc_rs::ALL_CIPHER_SUITES.iter().copied().find(|suite| {
        let known = format!("{:?}", suite.suite());
        known == name || known.replacen("TLS13_", "TLS_", 1) == name
    })
}

/// Builds the settings.
///
/// # Errors
/// A name is unknown, or nothing that is left works.
pub(super) fn build(
    policy: &TlsPolicy,
    early_data: bool,
    serve_quic: bool,
    resolver: &Arc<dyn ResolvesServerCert>,
) -> Result<Tls, TlsError> {
    let provider = Arc::new(provider(policy)?);
    let tcp_versions: &[&SupportedProtocolVersion] =
        if policy.allow_tls12 { &[&version::TLS13, &version::TLS12] } else { &[&version::TLS13] };
    let mut tcp = server(&provider, tcp_versions, resolver, early_data)?;
    tcp.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    if early_data {
        tcp.max_early_data_size = TCP_EARLY_DATA;
    }
    let quic = if serve_quic {
        let mut quic = server(&provider, &[&version::TLS13], resolver, early_data)?;
        quic.alpn_protocols = vec![b"h3".to_vec()];
        if early_data {
            // QUIC knows only all or nothing (RFC 9001 section 4.6.1); its flow control is the limit.
            quic.max_early_data_size = u32::MAX;
        }
        // QUIC's first packets are encrypted with AES-128-GCM whatever the handshake agrees on (RFC 9001 section
        // 5.2), so this suite is needed even where the policy leaves it out for data.
        let initial = TLS13_AES_128_GCM_SHA256.tls13().and_then(rustls::Tls13CipherSuite::quic_suite);
        let initial = initial.ok_or(TlsError::NoQuicSuite)?;
        let crypto = QuicServerConfig::with_initial(Arc::new(quic), initial).map_err(|_| TlsError::NoQuicSuite)?;
        Some(quinn::ServerConfig::with_crypto(Arc::new(crypto)))
    } else {
        None
    };
    Ok(Tls { tcp: Arc::new(tcp), quic })
}

fn provider(policy: &TlsPolicy) -> Result<CryptoProvider, TlsError> {
    let mut provider = aws_lc_rs::default_provider();
    if !policy.cipher_suites.is_empty() {
        provider.cipher_suites = policy
            .cipher_suites
            .iter()
            .map(|name| cipher_suite(name).ok_or_else(|| TlsError::UnknownSuite(name.clone())))
            .collect::<Result<_, _>>()?;
    }
    Ok(provider)
}

fn server(
    provider: &Arc<CryptoProvider>,
    versions: &[&'static SupportedProtocolVersion],
    resolver: &Arc<dyn ResolvesServerCert>,
    early_data: bool,
) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::clone(resolver));
    if early_data {
        // Early data needs sessions that are used up; rustls refuses it with stateless tickets.
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    } else {
        config.ticketer = Ticketer::new()?;
    }
    Ok(config)
}
