//! HTTP/2 on the h2 crate.

use std::sync::atomic::Ordering;

use anyhow::{Result, ensure};
use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, StatusCode};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::target::Received;

/// Flow control windows that never hold a stream back on loopback.
const WINDOW: u32 = 4 * 1024 * 1024;

/// A handle to a connection.
#[derive(Clone)]
pub(crate) struct Client {
    send: SendRequest<Bytes>,
    request: Request<()>,
}

/// Shakes hands and leaves the connection to a task of its own.
pub(crate) async fn open(stream: TlsStream<TcpStream>, name: &str, path: &str) -> Result<Client> {
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(WINDOW).initial_connection_window_size(WINDOW).enable_push(false);
    let (send, connection) = builder.handshake(stream).await?;
    tokio::spawn(async move { drop(connection.await) });
    let request = Request::get(format!("https://{name}{path}")).header("user-agent", "bench-load").body(())?;
    Ok(Client { send, request })
}

impl Client {
    pub(crate) async fn request(&mut self, received: &Received) -> Result<()> {
        let mut send = self.send.clone().ready().await?;
        let (response, _) = send.send_request(self.request.clone(), true)?;
        let response = response.await?;
        ensure!(response.status() == StatusCode::OK, "status {}", response.status());
        let mut body = response.into_body();
        while let Some(data) = body.data().await {
            let data = data?;
            received.fetch_add(data.len() as u64, Ordering::Relaxed);
            body.flow_control().release_capacity(data.len())?;
        }
        Ok(())
    }
}
