//! A TCP client that sends exactly the bytes it is given, in the clear or inside TLS, and reads what comes back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::certificate::trusting_client;
use crate::poll::within;
use crate::strict::find;

/// A byte stream in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// How long any single read may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// One connection.
pub struct RawClient {
    stream: Box<dyn Duplex>,
    buffer: Vec<u8>,
}

/// A response as it stood on the wire.
#[derive(Debug)]
pub struct RawReply {
    /// Status code.
    pub status: u16,
    /// The head, as text.
    pub head: String,
    /// The decoded body.
    pub body: Vec<u8>,
}

impl RawReply {
    /// The value of a header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// Whether the connection ends after this response.
    pub fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

impl RawClient {
    /// Connects in the clear.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the proxy accepts");
        stream.set_nodelay(true).unwrap();
        Self { stream: Box::new(stream), buffer: Vec::new() }
    }

    /// Connects with TLS and those application protocols.
    pub async fn connect_tls(address: SocketAddr, alpn: &[&[u8]]) -> Self {
        let stream = TcpStream::connect(address).await.expect("the proxy accepts");
        stream.set_nodelay(true).unwrap();
        let (config, _) = trusting_client(alpn);
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("a TLS handshake");
        Self { stream: Box::new(stream), buffer: Vec::new() }
    }

    /// Sends bytes. That the other side has closed already is no error here: the reply tells.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.stream.write_all(bytes.as_ref()).await;
        let _ = self.stream.flush().await;
        self
    }

    /// Sends bytes as fast as the other side takes them; how many went before it stopped or `limit` was over.
    pub async fn flood(&mut self, bytes: &[u8], times: usize, limit: Duration) -> usize {
        let mut sent = 0;
        let _ = tokio::time::timeout(limit, async {
            for _ in 0..times {
                if self.stream.write_all(bytes).await.is_err() {
                    return;
                }
                sent += 1;
            }
        })
        .await;
        sent
    }

    /// Says that nothing more will be sent.
    pub async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Reads more bytes; false at the end.
    async fn fill(&mut self) -> bool {
        let mut piece = vec![0; 16 * 1024];
        match self.stream.read(&mut piece).await {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.buffer.extend_from_slice(&piece[..count]);
                true
            }
        }
    }

    /// Takes exactly `count` bytes, or what came before the end.
    pub async fn take(&mut self, count: usize) -> Vec<u8> {
        within(PATIENCE, "bytes from the proxy", async { while self.buffer.len() < count && self.fill().await {} })
            .await;
        let count = count.min(self.buffer.len());
        self.buffer.drain(..count).collect()
    }

    /// Everything until the other side closes.
    pub async fn rest(&mut self) -> Vec<u8> {
        self.rest_within(PATIENCE).await
    }

    /// Everything until the other side closes, which must happen within `limit`.
    pub async fn rest_within(&mut self, limit: Duration) -> Vec<u8> {
        within(limit, "the proxy closes the connection", async { while self.fill().await {} }).await;
        std::mem::take(&mut self.buffer)
    }

    /// The next response, decoded; `None` when the connection ended before a whole head came.
    pub async fn reply(&mut self) -> Option<RawReply> {
        self.reply_to("GET").await
    }

    /// The next response to a request with `method` (HEAD has no body).
    pub async fn reply_to(&mut self, method: &str) -> Option<RawReply> {
        within(PATIENCE, "a response", async {
            loop {
                let reply = self.one_reply(method).await?;
                if reply.status >= 200 || reply.status == 101 {
                    return Some(reply);
                }
            }
        })
        .await
    }

    async fn one_reply(&mut self, method: &str) -> Option<RawReply> {
        let end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end;
            }
            if !self.fill().await {
                return None;
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        assert!(head.starts_with("HTTP/1.1 "), "not a response: {head:?}");
        let status = head[9..12].parse().expect("a status");
        let mut reply = RawReply { status, head, body: Vec::new() };
        if status < 200 || status == 204 || status == 304 || method == "HEAD" {
            return Some(reply);
        }
        if reply.header("transfer-encoding").is_some() {
            reply.body = self.chunks().await;
        } else if let Some(length) = reply.header("content-length") {
            reply.body = self.take(length.parse().expect("a length")).await;
        } else {
            while self.fill().await {}
            reply.body = std::mem::take(&mut self.buffer);
        }
        Some(reply)
    }

    async fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await;
            let Ok(size) = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16) else {
                return body;
            };
            if size == 0 {
                while !self.line().await.is_empty() {}
                return body;
            }
            body.extend(self.take(size).await);
            self.take(2).await;
        }
    }

    async fn line(&mut self) -> String {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return String::from_utf8_lossy(&line[..end]).into_owned();
            }
            if !self.fill().await {
                return String::new();
            }
        }
    }
}
