//! Facts about one downstream connection, fixed once its handshake is done.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The protocol that the client speaks on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1 (RFC 9112).
    Http1,
    /// HTTP/2 (RFC 9113).
    Http2,
    /// HTTP/3 (RFC 9114).
    Http3,
}

impl Protocol {
    /// The label of logs and metrics: `http1`, `http2`, `http3`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Http3 => "http3",
        }
    }
}

/// What the TLS handshake settled.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Server name that the client asked for.
    pub sni: Option<Box<str>>,
    /// Negotiated application protocol.
    pub alpn: Option<Box<str>>,
    /// The client's leaf certificate in DER.
    pub client_certificate: Option<Box<[u8]>>,
}

/// Asks the transport for its smoothed round-trip time.
pub type RttSource = dyn Fn() -> Option<Duration> + Send + Sync;

/// One downstream connection.
pub struct Connection {
    /// The socket's peer; IPv4-mapped IPv6 addresses are written as IPv4.
    pub peer: SocketAddr,
    /// The listener's address.
    pub local: SocketAddr,
    /// The protocol spoken.
    pub protocol: Protocol,
    /// `None` on a cleartext listener.
    pub tls: Option<Tls>,
    /// Where the transport can tell its round-trip time.
    pub rtt: Option<Arc<RttSource>>,
}
