//! The QUIC listener of one worker: handshakes, address validation when there are many, 0-RTT, and the hand-over
//! to HTTP/3.

use std::future::Future;
use std::net::UdpSocket;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use quinn::crypto::rustls::HandshakeData;
use quinn::{Connecting, Endpoint, Incoming, Runtime, ServerConfig, TokioRuntime, VarInt};

use super::limits::{ConnectionLimits, Counters, Permit};
use super::quic::stats::Registry;
use super::{Context, Open};
use crate::codec::h3::Handshake;
use crate::codec::{self, Service};
use crate::message::connection::Tls;
use crate::message::{Connection, Phase, Protocol, WorkerId};
use crate::telemetry::{ConnectionFailure, Listener};

pub(super) mod route;
pub mod stats;
mod transport;

/// H3_NO_ERROR (RFC 9114 section 8.1).
const NO_ERROR: VarInt = VarInt::from_u32(0x100);

/// One worker's endpoint.
pub(super) struct Server {
    endpoint: Endpoint,
}

impl Server {
    /// Puts a QUIC endpoint on the socket. Must be called on the worker's runtime.
    pub(super) fn new<S: Service>(
        udp: UdpSocket,
        routes: Arc<route::Routes>,
        worker: WorkerId,
        context: &Context<S>,
    ) -> std::io::Result<Self> {
        let runtime = Arc::new(TokioRuntime);
        let mut config = routes.endpoint();
        let socket = route::RoutedSocket::wrap(
            runtime.wrap_udp_socket(udp)?,
            Arc::clone(&routes),
            worker,
            Arc::clone(&context.connections),
        );
        config.cid_generator(move || Box::new(route::Generator::new(Arc::clone(&routes), worker)));
        let server = server_config(context);
        let endpoint = Endpoint::new_with_abstract_socket(config, server, socket, runtime)?;
        Ok(Self { endpoint })
    }

    /// Accepts connections until the drain begins, and refuses them from then on: the endpoint must go on to
    /// serve those that are there.
    pub(super) fn accept<S: Service>(
        &self,
        context: Arc<Context<S>>,
        open: Open,
    ) -> impl Future<Output = ()> + Send + 'static {
        let endpoint = self.endpoint.clone();
        async move {
            let mut drain = context.drain.clone();
            let mut open = Some(open);
            let mut draining = pin!(drain.reached(Phase::Draining));
            loop {
                let mut accept = pin!(endpoint.accept());
                let incoming = std::future::poll_fn(|cx| {
                    if open.is_some() && draining.as_mut().poll(cx).is_ready() {
                        open = None;
                    }
                    accept.as_mut().poll(cx)
                })
                .await;
                match (incoming, &open) {
                    (None, _) => return,
                    (Some(incoming), None) => incoming.refuse(),
                    (Some(incoming), Some(open)) => admit(incoming, &context, open),
                }
            }
        }
    }

    /// Ends every connection, and gives the last packets a moment to leave.
    pub(super) async fn close(self) {
        self.endpoint.close(NO_ERROR, b"");
        let _ = tokio::time::timeout(Duration::from_millis(250), self.endpoint.wait_idle()).await;
    }
}

fn server_config<S>(context: &Context<S>) -> Option<ServerConfig> {
    let mut config = context.certs.tls().quic.clone()?;
    config
        .transport_config(Arc::new(transport::config(&context.quic)))
        // Connections are accepted at once; what piles up before that is an attack.
        .max_incoming(4096)
        .incoming_buffer_size(64 * 1024)
        .incoming_buffer_size_total(16 * 1024 * 1024);
    Some(config)
}

/// Counts a handshake while it lasts.
struct Pending(Arc<ConnectionLimits>);

impl Pending {
    fn new(connections: &Arc<ConnectionLimits>) -> Self {
        connections.counters().quic_handshakes.fetch_add(1, Relaxed);
        Self(Arc::clone(connections))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.counters().quic_handshakes.fetch_sub(1, Relaxed);
    }
}

/// Decides about one client's first packet.
fn admit<S: Service>(incoming: Incoming, context: &Arc<Context<S>>, open: &Open) {
    let counters: &Counters = context.connections.counters();
    let peer = super::canonical(incoming.remote_address());
    // Under load a client proves its address first. It keeps forged addresses from costing us memory, and closes
    // the gap in quinn's count of the bytes that an unproven address may be sent.
    if counters.quic_handshakes.load(Relaxed) >= context.quic.retry_threshold
        && !incoming.remote_address_validated()
        && incoming.may_retry()
    {
        counters.quic_retries.fetch_add(1, Relaxed);
        // It only fails for a client that was sent a Retry before, which may_retry has ruled out.
        let _ = incoming.retry();
        return;
    }
    let permit = match context.connections.admit(context.service.worker(), Listener::Quic, peer.ip()) {
        Ok(permit) => permit,
        Err(refusal) => {
            tracing::debug!(listener = "quic", %peer, %refusal, "connection refused");
            incoming.refuse();
            return;
        }
    };
    let pending = Pending::new(&context.connections);
    let connecting = match incoming.accept() {
        Ok(connecting) => connecting,
        Err(error) => {
            permit.failed(ConnectionFailure::Handshake);
            tracing::debug!(%peer, %error, "QUIC connection not accepted");
            return;
        }
    };
    let (context, open) = (Arc::clone(context), open.clone());
    tokio::spawn(async move {
        serve(connecting, pending, &context, &permit).await;
        drop((permit, open));
    });
}

/// Finishes the handshake and serves HTTP/3.
async fn serve<S: Service>(mut connecting: Connecting, pending: Pending, context: &Arc<Context<S>>, permit: &Permit) {
    let peer = super::canonical(connecting.remote_address());
    let failed = |reason: &dyn std::fmt::Display| {
        permit.failed(ConnectionFailure::Handshake);
        tracing::debug!(listener = "quic", %peer, %reason, "handshake failed");
    };
    let deadline = tokio::time::Instant::now() + context.tls_handshake;
    let data = match tokio::time::timeout_at(deadline, connecting.handshake_data()).await {
        Ok(Ok(data)) => data,
        Ok(Err(error)) => return failed(&error),
        Err(elapsed) => return failed(&elapsed),
    };
    let tls = data.downcast::<HandshakeData>().map_or_else(
        |_| Tls::default(),
        |data| Tls {
            sni: data.server_name.map(Into::into),
            alpn: data.protocol.map(|alpn| String::from_utf8_lossy(&alpn).into()),
            client_certificate: None,
        },
    );
    // With early data allowed, requests are served before the handshake is over, and marked as such.
    let early = if context.quic.early_data { connecting.into_0rtt() } else { Err(connecting) };
    let (quic, handshake) = match early {
        Ok((quic, accepted)) => (quic, Handshake::InProgress { accepted, deadline, pending: Box::new(pending) }),
        Err(connecting) => match tokio::time::timeout_at(deadline, connecting).await {
            Ok(Ok(quic)) => {
                drop(pending);
                (quic, Handshake::Done)
            }
            Ok(Err(error)) => return failed(&error),
            Err(elapsed) => return failed(&elapsed),
        },
    };
    let rtt = quic.clone();
    let local = local_address(&quic, context);
    let connection = Arc::new(Connection {
        peer,
        local,
        protocol: Protocol::Http3,
        tls: Some(tls),
        rtt: Some(Arc::new(move || Some(rtt.rtt()))),
    });
    let _established = permit.established(Protocol::Http3);
    let registry = permit.counters().quic(context.service.worker());
    if let Some(registry) = registry {
        registry.insert(&quic);
    }
    let settings = context.settings.clone();
    let streams = registry.map(Registry::streams).unwrap_or_default();
    let (service, drain) = (context.service.clone(), context.drain.clone());
    let served = codec::h3::serve(quic.clone(), handshake, connection, service, settings, drain, streams);
    if let Err(error) = served.await {
        permit.failed(ConnectionFailure::Protocol);
        tracing::debug!(%peer, %error, "HTTP/3 connection ended");
    }
    if let Some(registry) = registry {
        registry.remove(&quic);
    }
    // Whatever the reason was: nothing of it stays open.
    quic.close(NO_ERROR, b"");
}

/// The address that the client reached us at, as far as the system says.
fn local_address<S>(quic: &quinn::Connection, context: &Context<S>) -> std::net::SocketAddr {
    let bound = context.addresses.quic.unwrap_or(context.addresses.tls);
    let ip = quic.local_ip().unwrap_or(bound.ip());
    super::canonical(std::net::SocketAddr::new(ip, bound.port()))
}
