//! HTTP/1.1 and HTTP/2 clients on hyper.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{BoxError, ClientBody};
use crate::certificate::{Witness, trusting_client};

const CONNECT: Duration = Duration::from_secs(20);

/// Says when the connection's task has ended.
#[derive(Clone)]
struct End(watch::Receiver<bool>);

impl End {
    fn of(connection: impl Future<Output = ()> + Send + 'static) -> Self {
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            connection.await;
            sender.send_replace(true);
        });
        Self(receiver)
    }

    async fn reached(&mut self) {
        let _ = self.0.wait_for(|ended| *ended).await;
    }
}

/// An HTTP/1.1 connection.
pub(super) struct H1 {
    sender: http1::SendRequest<ClientBody>,
    end: End,
}

/// An HTTP/2 connection.
#[derive(Clone)]
pub(super) struct H2 {
    sender: http2::SendRequest<ClientBody>,
    end: End,
}

pub(super) async fn h1(address: SocketAddr) -> Result<H1, BoxError> {
    h1_on(connect(address).await?).await
}

pub(super) async fn h1_tls(address: SocketAddr) -> Result<(H1, Arc<Witness>), BoxError> {
    let (stream, witness) = tls(address, b"http/1.1").await?;
    Ok((h1_on(stream).await?, witness))
}

pub(super) async fn h2c(address: SocketAddr) -> Result<H2, BoxError> {
    h2_on(connect(address).await?).await
}

pub(super) async fn h2(address: SocketAddr) -> Result<(H2, Arc<Witness>), BoxError> {
    let (stream, witness) = tls(address, b"h2").await?;
    Ok((h2_on(stream).await?, witness))
}

async fn connect(address: SocketAddr) -> Result<TcpStream, BoxError> {
    let stream = tokio::time::timeout(CONNECT, TcpStream::connect(address)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn tls(address: SocketAddr, alpn: &[u8]) -> Result<(TlsStream<TcpStream>, Arc<Witness>), BoxError> {
    let (config, witness) = trusting_client(&[alpn]);
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("localhost")?;
    let stream = tokio::time::timeout(CONNECT, connector.connect(name, connect(address).await?)).await??;
    let agreed = stream.get_ref().1.alpn_protocol();
    if agreed != Some(alpn) {
        return Err(format!("the proxy agreed on {agreed:?}").into());
    }
    Ok((stream, witness))
}

async fn h1_on(stream: impl crate::raw::Duplex + 'static) -> Result<H1, BoxError> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let end = End::of(async move {
        let _ = connection.await;
    });
    Ok(H1 { sender, end })
}

async fn h2_on(stream: impl crate::raw::Duplex + 'static) -> Result<H2, BoxError> {
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        .handshake(TokioIo::new(stream))
        .await?;
    let end = End::of(async move {
        let _ = connection.await;
    });
    Ok(H2 { sender, end })
}

impl H1 {
    pub(super) async fn send(&mut self, request: Request<ClientBody>) -> Result<Response<ClientBody>, BoxError> {
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?.map(|body| body.map_err(Into::into).boxed_unsync()))
    }

    pub(super) async fn closed(&mut self) {
        self.end.reached().await;
    }
}

impl H2 {
    pub(super) async fn send(&mut self, request: Request<ClientBody>) -> Result<Response<ClientBody>, BoxError> {
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?.map(|body| body.map_err(Into::into).boxed_unsync()))
    }

    pub(super) async fn closed(&mut self) {
        self.end.reached().await;
    }
}
