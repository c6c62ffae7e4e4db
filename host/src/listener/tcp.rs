//! The TCP listeners: accept, TLS handshake, find out which protocol is spoken, hand over to its codec.
//!
//! Each connection gets its task before its handshake, so that a silent client stalls nobody; an error of the
//! accept call is logged, and the loop goes on.

use std::future::Future;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::limits::Permit;
use super::{Context, Open};
use crate::codec::{self, Service};
use crate::message::connection::Tls;
use crate::message::{Connection, Phase, Protocol};
use crate::telemetry::{ConnectionFailure, Listener};

/// The first bytes of an HTTP/2 connection (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Accepts until the drain begins, then what the kernel has already taken in, and returns.
pub(super) async fn accept<S: Service>(listener: TcpListener, kind: Listener, context: Arc<Context<S>>, open: Open) {
    let mut drain = context.drain.clone();
    let mut draining = std::pin::pin!(drain.reached(Phase::Draining));
    loop {
        let accepted = std::future::poll_fn(|cx| match draining.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => listener.poll_accept(cx).map(Some),
        })
        .await;
        match accepted {
            None => break,
            Some(Ok((stream, peer))) => admit(stream, peer, kind, &context, &open),
            Some(Err(error)) => {
                tracing::warn!(listener = kind.label(), %error, "accept failed");
                if out_of_resources(&error) {
                    // Nothing gets better by trying again at once; connections that end free descriptors.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
    // Whoever is in the kernel's queue now would see a reset, perhaps after having sent a request. The socket
    // itself is asked: the runtime may not know of them yet.
    let Ok(listener) = listener.into_std() else { return };
    while let Ok((stream, peer)) = listener.accept() {
        if let Ok(stream) = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
            admit(stream, peer, kind, &context, &open);
        }
    }
}

/// Why a connection did not come to its first request.
fn failure(error: &io::Error) -> ConnectionFailure {
    match error.kind() {
        io::ErrorKind::TimedOut => ConnectionFailure::Timeout,
        io::ErrorKind::InvalidData => ConnectionFailure::Handshake,
        _ => ConnectionFailure::Transport,
    }
}

/// EMFILE, ENFILE, ENOBUFS, ENOMEM.
fn out_of_resources(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(24 | 23 | 105 | 12))
}

fn admit<S: Service>(stream: TcpStream, peer: SocketAddr, kind: Listener, context: &Arc<Context<S>>, open: &Open) {
    let peer = super::canonical(peer);
    let permit = match context.connections.admit(context.service.worker(), kind, peer.ip()) {
        Ok(permit) => permit,
        Err(refusal) => {
            tracing::debug!(listener = kind.label(), %peer, %refusal, "connection refused");
            return;
        }
    };
    let (context, open) = (Arc::clone(context), open.clone());
    tokio::spawn(async move {
        let served = serve(stream, peer, kind, &context, &permit).await;
        if let Err(error) = served {
            permit.failed(failure(&error));
            tracing::debug!(listener = kind.label(), %peer, %error, "connection ended before its first request");
        }
        drop((permit, open));
    });
}

/// Serves one connection; errors are those of the time before its protocol is known.
async fn serve<S: Service>(
    stream: TcpStream,
    peer: SocketAddr,
    kind: Listener,
    context: &Arc<Context<S>>,
    permit: &Permit,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let local = super::canonical(stream.local_addr()?);
    if kind == Listener::Http {
        let detected = tokio::time::timeout(context.settings.request_head, detect(stream)).await;
        let (stream, prefix, protocol) = detected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let connection = Connection { peer, local, protocol, tls: None, rtt: None };
        hand_over(stream, prefix, connection, context, permit).await;
        return Ok(());
    }
    let acceptor = TlsAcceptor::from(Arc::clone(&context.certs.tls().tcp));
    let handshake = tokio::time::timeout(context.tls_handshake, acceptor.accept(stream)).await;
    let mut stream = handshake.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let prefix = early_data(stream.get_mut().1)?;
    let session = stream.get_ref().1;
    let tls = Tls {
        sni: session.server_name().map(Into::into),
        alpn: session.alpn_protocol().map(|alpn| String::from_utf8_lossy(alpn).into()),
        client_certificate: session
            .peer_certificates()
            .and_then(|chain| chain.first())
            .map(|leaf| leaf.as_ref().into()),
    };
    let protocol = if tls.alpn.as_deref() == Some("h2") { Protocol::Http2 } else { Protocol::Http1 };
    let connection = Connection { peer, local, protocol, tls: Some(tls), rtt: None };
    hand_over(stream, prefix, connection, context, permit).await;
    Ok(())
}

/// Takes what came in early data. The handshake is over by now, so nobody replays it, and its requests are as good
/// as any (RFC 8470 section 3: held back until then).
fn early_data(session: &mut ServerConnection) -> io::Result<Bytes> {
    let mut bytes = Vec::new();
    if let Some(mut early) = session.early_data() {
        early.read_to_end(&mut bytes)?;
    }
    Ok(bytes.into())
}

/// Reads as far as needed to tell an HTTP/2 client with prior knowledge from an HTTP/1.1 one: at most 24 bytes.
async fn detect(mut stream: TcpStream) -> io::Result<(TcpStream, Bytes, Protocol)> {
    let mut read = BytesMut::with_capacity(PREFACE.len());
    loop {
        if read.len() == PREFACE.len() {
            return Ok((stream, read.freeze(), Protocol::Http2));
        }
        let mut rest = (&mut stream).take((PREFACE.len() - read.len()) as u64);
        if rest.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !PREFACE.starts_with(&read) {
            return Ok((stream, read.freeze(), Protocol::Http1));
        }
    }
}

async fn hand_over<IO, S>(io: IO, prefix: Bytes, connection: Connection, context: &Arc<Context<S>>, permit: &Permit)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service,
{
    let protocol = connection.protocol;
    let _established = permit.established(protocol);
    let settings =
        if connection.tls.is_some() { context.settings.clone() } else { context.settings.clone().cleartext() };
    let (service, drain) = (context.service.clone(), context.drain.clone());
    let connection = Arc::new(connection);
    match protocol {
        Protocol::Http1 => service.http1(io, prefix, connection, settings, drain).await,
        Protocol::Http2 => {
            let peer = connection.peer;
            if let Err(error) = codec::h2::serve(io, prefix, connection, service, settings, drain).await {
                permit.failed(ConnectionFailure::Protocol);
                tracing::debug!(%peer, %error, "HTTP/2 connection ended");
            }
        }
        // Never over TCP.
        Protocol::Http3 => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resource_errors_are_told_from_the_rest() {
        assert!(out_of_resources(&io::Error::from_raw_os_error(24)));
        assert!(!out_of_resources(&io::Error::from(io::ErrorKind::ConnectionAborted)));
    }
}
