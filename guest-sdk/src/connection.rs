//! Facts about the downstream connection of the request in progress.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::imports::connection;

/// The protocol that the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// HTTP/3.
    Http3,
}

/// The client: the socket's peer, or what a trusted proxy in front says.
#[must_use]
pub fn peer() -> SocketAddr {
    address(&connection::peer())
}

/// The listener's address.
#[must_use]
pub fn local() -> SocketAddr {
    address(&connection::local())
}

/// The protocol that the client speaks.
#[must_use]
pub fn protocol() -> Protocol {
    match connection::protocol() {
        connection::HttpVersion::Http1 => Protocol::Http1,
        connection::HttpVersion::Http2 => Protocol::Http2,
        connection::HttpVersion::Http3 => Protocol::Http3,
    }
}

/// Whether the connection is encrypted.
#[must_use]
pub fn tls() -> bool {
    connection::tls()
}

/// The server name of the TLS handshake.
#[must_use]
pub fn sni() -> Option<String> {
    connection::sni()
}

/// The application protocol of the TLS handshake.
#[must_use]
pub fn alpn() -> Option<String> {
    connection::alpn()
}

/// The client's certificate in DER, where one was asked for.
#[must_use]
pub fn client_certificate() -> Option<Vec<u8>> {
    connection::client_certificate()
}

/// Whether the request came before the handshake was complete, and so may be a replay (RFC 8470).
#[must_use]
pub fn early_data() -> bool {
    connection::early_data()
}

/// Smoothed round-trip time, where the transport knows it.
#[must_use]
pub fn rtt() -> Option<Duration> {
    connection::rtt().map(|micros| Duration::from_micros(micros.into()))
}

fn address(endpoint: &connection::Endpoint) -> SocketAddr {
    let ip = match endpoint.address.as_slice() {
        &[a, b, c, d] => IpAddr::from([a, b, c, d]),
        bytes => <[u8; 16]>::try_from(bytes).map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::from),
    };
    SocketAddr::new(ip, endpoint.port)
}
