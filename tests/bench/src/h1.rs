//! http/1.1: one request after the other. Answers need a Content-Length, which the backend of the benchmark sends.

use std::sync::atomic::Ordering;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::target::Received;

/// TCP, or TLS over it.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Bytes read at once.
const BUFFER: usize = 64 * 1024;

/// One connection.
pub(crate) struct Client {
    stream: Box<dyn Stream>,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) fn new(stream: Box<dyn Stream>, name: &str, path: &str) -> Self {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {name}\r\nuser-agent: bench-load\r\naccept: */*\r\n\r\n");
        Self { stream, request: request.into_bytes(), buffer: vec![0; BUFFER] }
    }

    pub(crate) async fn request(&mut self, received: &Received) -> Result<()> {
        self.stream.write_all(&self.request).await?;
        let mut filled = 0;
        let head = loop {
            let count = self.read(filled).await?;
            filled += count;
            if let Some(end) = self.buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            ensure!(filled < BUFFER, "a head without an end");
        };
        let length = content_length(&self.buffer[..head])?;
        let mut body = filled - head;
        received.fetch_add(body as u64, Ordering::Relaxed);
        while body < length {
            let count = self.read(0).await?;
            body += count;
            received.fetch_add(count as u64, Ordering::Relaxed);
        }
        ensure!(body == length, "more bytes than the answer has");
        Ok(())
    }

    async fn read(&mut self, from: usize) -> Result<usize> {
        let count = self.stream.read(&mut self.buffer[from..]).await?;
        ensure!(count > 0, "the server closed the connection");
        Ok(count)
    }
}

/// The length that a head of status 200 announces.
fn content_length(head: &[u8]) -> Result<usize> {
    let head = std::str::from_utf8(head)?;
    ensure!(head.starts_with("HTTP/1.1 200"), "status line `{}`", head.lines().next().unwrap_or_default());
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = fields
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .context("the answer has no Content-Length")?;
    Ok(value.trim().parse()?)
}
