//! Making one connection to an endpoint.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::backend::Endpoint;
use super::error::UpstreamError;

/// Connects to the first address of the endpoint that answers, each within `limit`.
///
/// # Errors
/// What the last address said.
pub async fn connect(endpoint: &Endpoint, limit: Duration) -> Result<TcpStream, UpstreamError> {
    let addresses = match timeout(limit, endpoint.resolver.addresses()).await {
        Ok(found) => found.map_err(UpstreamError::Dns)?,
        Err(_) => return Err(UpstreamError::Dns(io::ErrorKind::TimedOut.into())),
    };
    let mut last = UpstreamError::ConnectTimeout;
    for address in addresses.iter() {
        match timeout(limit, open(*address)).await {
            Ok(Ok(stream)) => {
                endpoint.resolver.prefer(*address);
                return Ok(stream);
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => last = UpstreamError::Refused(error),
            Ok(Err(error)) => last = UpstreamError::Connect(error),
            Err(_) => last = UpstreamError::ConnectTimeout,
        }
    }
    Err(last)
}

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
