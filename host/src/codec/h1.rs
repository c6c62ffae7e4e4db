//! Placeholder of the HTTP/1.1 codec, so that the listeners can be built and tried alone.

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::Settings;
use crate::message::{Connection, Drain};
use crate::pipeline::Pipeline;

/// Answers one request without reading it and closes.
pub async fn serve<IO>(
    mut io: IO,
    prefix: Bytes,
    _connection: Arc<Connection>,
    _pipeline: Pipeline,
    _settings: Settings,
    _drain: Drain,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let body = format!("prefix {}\n", prefix.len());
    let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let _ = io.write_all(head.as_bytes()).await;
    let _ = io.shutdown().await;
}
