//! The listeners: sockets, TLS and QUIC handshakes, certificates, limits on connections. Each worker has its own
//! sockets on the same addresses and serves what the kernel gives to them. Requests are the codecs'.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::codec::{self, Service};
use crate::config::model::{Config, Quic};
use crate::message::{Drain, Phase};
use crate::pipeline::Pipeline;
use crate::telemetry::Listener;

mod bind;
pub mod certs;
pub mod limits;
pub mod quic;
mod tcp;
#[cfg(test)]
mod tests;
pub mod tls;
mod validity;

pub use bind::{Addresses, BindError, Bound, WorkerSockets, bind};
use limits::ConnectionLimits;

/// What a worker's listeners need.
pub struct Context<S = Pipeline> {
    /// Where requests go.
    pub service: S,
    /// The certificate and the TLS settings.
    pub certs: Arc<certs::Store>,
    /// What the codecs need, `Alt-Svc` included.
    pub settings: codec::Settings,
    /// From accept to the end of the TLS or QUIC handshake.
    pub tls_handshake: Duration,
    /// QUIC.
    pub quic: Quic,
    /// Where the proxy listens.
    pub addresses: Addresses,
    /// Limits on connections, over all workers, and the counters.
    pub connections: Arc<ConnectionLimits>,
    /// The shutdown.
    pub drain: Drain,
}

impl<S: Service> Context<S> {
    /// Takes the values from the configuration.
    #[must_use]
    pub fn new(
        config: &Config,
        addresses: Addresses,
        service: S,
        certs: Arc<certs::Store>,
        connections: Arc<ConnectionLimits>,
        drain: Drain,
    ) -> Self {
        Self {
            service,
            certs,
            settings: codec::Settings::new(config, addresses.quic.map(|address| address.port())),
            tls_handshake: config.timeouts.tls_handshake,
            quic: config.quic,
            addresses,
            connections,
            drain,
        }
    }
}

/// Held by everything that is open; the last one to go tells `serve`.
type Open = mpsc::Sender<Infallible>;

/// A worker's listeners can't run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The sockets can't be registered with the worker's runtime.
    #[error("cannot serve on a socket: {0}")]
    Socket(#[from] std::io::Error),
}

/// Runs one worker's listeners. Returns once the drain has begun and every connection has ended, or when it is
/// over.
///
/// # Errors
/// The sockets can't be used at all; nothing was served.
pub async fn serve<S: Service>(sockets: WorkerSockets, context: Context<S>) -> Result<(), ServeError> {
    let context = Arc::new(context);
    let (open, mut ended) = mpsc::channel::<Infallible>(1);
    let tls = tokio::net::TcpListener::from_std(sockets.tls)?;
    let http = tokio::net::TcpListener::from_std(sockets.http)?;
    let quic = sockets.udp.map(|udp| quic::Server::new(udp, sockets.routes, sockets.worker, &context)).transpose()?;

    tokio::spawn(tcp::accept(tls, Listener::Tls, Arc::clone(&context), open.clone()));
    tokio::spawn(tcp::accept(http, Listener::Http, Arc::clone(&context), open.clone()));
    if let Some(quic) = &quic {
        tokio::spawn(quic.accept(Arc::clone(&context), open.clone()));
    }
    drop(open);

    let mut drain = context.drain.clone();
    let mut stopping = pin!(drain.reached(Phase::Stopping));
    std::future::poll_fn(|cx| match ended.poll_recv(cx) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => stopping.as_mut().poll(cx),
    })
    .await;
    if let Some(quic) = quic {
        quic.close().await;
    }
    Ok(())
}

/// IPv4 clients of a dual-stack socket are written as IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
