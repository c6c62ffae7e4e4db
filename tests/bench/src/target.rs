//! Whom to ask and over what: opens connections and sends requests over any of the protocols.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::Result;
use clap::ValueEnum;
use tokio::net::TcpStream;

use crate::{h1, h2, h3, tls};

/// What is spoken on a connection.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// Cleartext http/1.1.
    H1,
    /// http/1.1 over TLS.
    H1s,
    /// HTTP/2 over TLS.
    H2,
    /// HTTP/3.
    H3,
}

impl Protocol {
    /// Whether a connection carries several requests at once.
    pub(crate) fn is_multiplexed(self) -> bool {
        matches!(self, Self::H2 | Self::H3)
    }
}

/// Counts body bytes while they arrive.
pub(crate) type Received = Arc<AtomicU64>;

/// One server and one request to it.
pub(crate) struct Target {
    pub(crate) protocol: Protocol,
    address: SocketAddr,
    name: String,
    path: String,
    tls: tls::Connector,
    quic: Option<quinn::Endpoint>,
}

impl Target {
    /// Prepares everything that connections share.
    pub(crate) fn new(protocol: Protocol, address: SocketAddr, name: &str, path: &str) -> Result<Self> {
        let alpn: &[u8] = match protocol {
            Protocol::H1 | Protocol::H1s => b"http/1.1",
            Protocol::H2 => b"h2",
            Protocol::H3 => b"h3",
        };
        let tls = tls::Connector::new(alpn)?;
        let quic = if protocol == Protocol::H3 { Some(h3::endpoint(address, &tls)?) } else { None };
        Ok(Self { protocol, address, name: name.to_owned(), path: path.to_owned(), tls, quic })
    }

    /// A connection, handshakes done.
    pub(crate) async fn open(&self) -> Result<Connection> {
        if let Some(endpoint) = &self.quic {
            return Ok(Connection::H3(h3::open(endpoint, self.address, &self.name, &self.path).await?));
        }
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        Ok(match self.protocol {
            Protocol::H1 => Connection::H1(h1::Client::new(Box::new(tcp), &self.name, &self.path)),
            Protocol::H1s => {
                let stream = self.tls.connect(tcp, &self.name).await?;
                Connection::H1(h1::Client::new(Box::new(stream), &self.name, &self.path))
            }
            Protocol::H2 | Protocol::H3 => {
                let stream = self.tls.connect(tcp, &self.name).await?;
                Connection::H2(h2::open(stream, &self.name, &self.path).await?)
            }
        })
    }
}

/// An open connection, or a handle to a shared one.
pub(crate) enum Connection {
    H1(h1::Client),
    H2(h2::Client),
    H3(h3::Client),
}

impl Connection {
    /// Sends the request and reads the answer to its end.
    pub(crate) async fn request(&mut self, received: &Received) -> Result<()> {
        match self {
            Self::H1(client) => client.request(received).await,
            Self::H2(client) => client.request(received).await,
            Self::H3(client) => client.request(received).await,
        }
    }

    /// As many handles as requests may be under way at once; one for http/1.1.
    pub(crate) fn share(self, streams: usize) -> Vec<Self> {
        match self {
            Self::H1(client) => vec![Self::H1(client)],
            Self::H2(client) => (0..streams).map(|_| Self::H2(client.clone())).collect(),
            Self::H3(client) => (0..streams).map(|_| Self::H3(client.clone())).collect(),
        }
    }

    /// Says goodbye where the protocol has a way to.
    pub(crate) fn close(self) {
        if let Self::H3(client) = self {
            client.close();
        }
    }
}
