//! Opens the sockets, for every worker its own on the same addresses (SO_REUSEPORT), before any of them serves:
//! a taken port is an error at start, not a line in a log later.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};

use super::quic::route::Routes;
use crate::config::model::Config;
use crate::message::WorkerId;
use crate::telemetry::Listener;

/// Connections that the kernel may hold for us before they are accepted.
const BACKLOG: i32 = 4096;
/// Ports to try when the system chose one for TCP whose UDP twin is taken.
const PORT_TRIES: usize = 32;

/// A listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({})", listener.label())]
pub struct BindError {
    /// Which listener.
    pub listener: Listener,
    /// Where.
    pub address: SocketAddr,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// Where the proxy listens, ports filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// UDP; `None` when HTTP/3 is not served.
    pub quic: Option<SocketAddr>,
    /// TCP with TLS, the same port.
    pub tls: SocketAddr,
    /// Cleartext TCP.
    pub http: SocketAddr,
}

/// The sockets of one worker.
#[derive(Debug)]
pub struct WorkerSockets {
    /// Whose they are.
    pub worker: WorkerId,
    /// TCP with TLS.
    pub tls: TcpListener,
    /// Cleartext TCP.
    pub http: TcpListener,
    /// UDP, if HTTP/3 is served.
    pub udp: Option<UdpSocket>,
    /// How datagrams find the worker that owns their connection.
    pub(super) routes: Arc<Routes>,
}

/// All sockets.
#[derive(Debug)]
pub struct Bound {
    addresses: Addresses,
    workers: Vec<WorkerSockets>,
}

impl Bound {
    /// Where the proxy listens.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The sockets, one set for each worker.
    #[must_use]
    pub fn workers(self) -> Vec<WorkerSockets> {
        self.workers
    }
}

/// Opens every socket that the configuration asks for.
///
/// # Errors
/// A listener can't be opened.
pub fn bind(config: &Config) -> Result<Bound, BindError> {
    let workers = config.proxy.workers.max(1);
    let claims = [
        (Listener::Tls, config.proxy.quic_addr, Type::STREAM, Protocol::TCP),
        (Listener::Quic, config.proxy.quic_addr, Type::DGRAM, Protocol::UDP),
        (Listener::Http, config.proxy.http_addr, Type::STREAM, Protocol::TCP),
    ];
    for (listener, address, kind, protocol) in claims {
        local(listener, address, probe(address, kind, protocol).map(|()| address))?;
    }
    let (tls, udp) = secure_pair(config)?;
    let addresses = Addresses {
        quic: match &udp {
            Some(udp) => Some(local(Listener::Quic, config.proxy.quic_addr, udp.local_addr())?),
            None => None,
        },
        tls: local(Listener::Tls, config.proxy.quic_addr, tls.local_addr())?,
        http: config.proxy.http_addr,
    };
    let http = tcp(Listener::Http, config.proxy.http_addr)?;
    let addresses = Addresses { http: local(Listener::Http, config.proxy.http_addr, http.local_addr())?, ..addresses };
    let routes = Arc::new(Routes::new(workers));
    let first = WorkerSockets { worker: WorkerId(0), tls, http, udp, routes: Arc::clone(&routes) };
    let mut sets = vec![first];
    for worker in 1..u16::try_from(workers).unwrap_or(u16::MAX) {
        sets.push(WorkerSockets {
            worker: WorkerId(worker),
            tls: tcp(Listener::Tls, addresses.tls)?,
            http: tcp(Listener::Http, addresses.http)?,
            udp: addresses.quic.map(|address| self::udp(config, address, Warn::No)).transpose()?,
            routes: Arc::clone(&routes),
        });
    }
    Ok(Bound { addresses, workers: sets })
}

/// TCP and UDP on the same port, which with port 0 the system chooses for TCP, not knowing about UDP.
fn secure_pair(config: &Config) -> Result<(TcpListener, Option<UdpSocket>), BindError> {
    let address = config.proxy.quic_addr;
    let mut tries = 0;
    loop {
        let tls = tcp(Listener::Tls, address)?;
        if !config.quic.enabled {
            return Ok((tls, None));
        }
        let chosen = local(Listener::Tls, address, tls.local_addr())?;
        match udp(config, chosen, Warn::Yes) {
            Ok(udp) => return Ok((tls, Some(udp))),
            Err(error)
                if address.port() == 0 && error.source.kind() == io::ErrorKind::AddrInUse && tries < PORT_TRIES =>
            {
                tries += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

fn local(listener: Listener, address: SocketAddr, result: io::Result<SocketAddr>) -> Result<SocketAddr, BindError> {
    result.map_err(|source| BindError { listener, address, source })
}

fn tcp(listener: Listener, address: SocketAddr) -> Result<TcpListener, BindError> {
    let open = || {
        let socket = socket(address, Type::STREAM, Protocol::TCP)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    open().map_err(|source| BindError { listener, address, source })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Warn {
    Yes,
    No,
}

fn udp(config: &Config, address: SocketAddr, warn: Warn) -> Result<UdpSocket, BindError> {
    let open = || {
        let socket = socket(address, Type::DGRAM, Protocol::UDP)?;
        // The default buffer overflows when a thousand clients connect at once, and they then wait for seconds.
        let _ = socket.set_recv_buffer_size(config.quic.receive_buffer_size);
        let _ = socket.set_send_buffer_size(config.quic.send_buffer_size);
        if warn == Warn::Yes {
            warn_if_small("receive", "net.core.rmem_max", config.quic.receive_buffer_size, socket.recv_buffer_size()?);
            warn_if_small("send", "net.core.wmem_max", config.quic.send_buffer_size, socket.send_buffer_size()?);
        }
        socket.bind(&address.into())?;
        Ok(socket.into())
    };
    open().map_err(|source| BindError { listener: Listener::Quic, address, source })
}

/// The kernel reports twice what it gives, because it counts its own overhead.
fn warn_if_small(which: &str, limit: &str, asked: usize, reported: usize) {
    let given = reported / 2;
    if given < asked {
        tracing::warn!(
            asked,
            given,
            "the system gives the UDP sockets a smaller {which} buffer than configured: raise {limit}"
        );
    }
}

/// Whether somebody is there already. With SO_REUSEPORT on both sides the kernel would let two proxies share a port
/// and give each a part of the clients.
fn probe(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    if kind == Type::STREAM {
        // Connections of a predecessor that are in TIME_WAIT are no reason.
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        // One socket for both families; a specific IPv6 address takes no IPv4 anyway.
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
