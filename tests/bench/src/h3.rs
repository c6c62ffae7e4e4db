//! HTTP/3 on quinn, with the few frames that one fixed request needs written by hand: a general HTTP/3 library would
//! cost more on the generator's core than the servers cost on theirs, and they would never be busy.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Result, ensure};
use bytes::Bytes;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Endpoint, RecvStream, SendStream, VarInt};

use crate::target::Received;
use crate::tls::Connector;

/// Frame types (RFC 9114 section 7.2).
const DATA: u64 = 0x0;
const HEADERS: u64 = 0x1;
/// A control stream that opens with an empty SETTINGS frame: no dynamic table, so nothing ever waits for one.
const CONTROL: [u8; 3] = [0x0, 0x4, 0x0];
/// `H3_NO_ERROR`.
const NO_ERROR: u32 = 0x100;
/// A field section that starts with `:status: 200` from the static table (RFC 9204 appendix A, index 25).
const STATUS_200: [u8; 3] = [0x0, 0x0, 0xd9];

/// One UDP socket for all connections.
pub(crate) fn endpoint(towards: SocketAddr, tls: &Connector) -> Result<Endpoint> {
    let local: SocketAddr =
        if towards.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let mut endpoint = Endpoint::client(local)?;
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls.config())?));
    let mut transport = quinn::TransportConfig::default();
    transport.max_concurrent_uni_streams(8_u32.into()).receive_window(VarInt::from_u32(16 * 1024 * 1024));
    config.transport_config(Arc::new(transport));
    endpoint.set_default_client_config(config);
    Ok(endpoint)
}

/// A handle to a connection.
#[derive(Clone)]
pub(crate) struct Client {
    connection: quinn::Connection,
    request: Bytes,
    /// Dropping it would close the control stream, which ends the connection (RFC 9114 section 6.2.1).
    _control: Arc<SendStream>,
}

/// Connects and opens the control stream.
pub(crate) async fn open(endpoint: &Endpoint, address: SocketAddr, name: &str, path: &str) -> Result<Client> {
    let connection = endpoint.connect(address, name)?.await?;
    let mut control = connection.open_uni().await?;
    control.write_all(&CONTROL).await?;
    Ok(Client { connection, request: request_frame(name, path), _control: Arc::new(control) })
}

impl Client {
    pub(crate) async fn request(&mut self, received: &Received) -> Result<()> {
        let (mut send, recv) = self.connection.open_bi().await?;
        send.write_chunk(self.request.clone()).await?;
        send.finish()?;
        read_answer(recv, received).await
    }

    pub(crate) fn close(self) {
        self.connection.close(VarInt::from_u32(NO_ERROR), b"");
    }
}

/// Where in the sequence of frames the reading is.
#[derive(Default)]
struct Frames {
    /// Bytes of an incomplete frame header or of a field section's start.
    pending: Vec<u8>,
    /// Payload bytes of the current frame still to come, and whether they are a body's.
    rest: u64,
    is_data: bool,
    has_status: bool,
    body: u64,
}

async fn read_answer(mut recv: RecvStream, received: &Received) -> Result<()> {
    let mut frames = Frames::default();
    while let Some(chunk) = recv.read_chunk(usize::MAX, true).await? {
        frames.push(&chunk.bytes)?;
        received.fetch_add(std::mem::take(&mut frames.body), Ordering::Relaxed);
    }
    ensure!(frames.has_status, "the answer has no head");
    ensure!(frames.rest == 0 && frames.pending.is_empty(), "the answer ends inside a frame");
    Ok(())
}

impl Frames {
    fn push(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            if self.rest > 0 {
                let count = bytes.len().min(usize::try_from(self.rest).unwrap_or(usize::MAX));
                self.rest -= count as u64;
                self.body += if self.is_data { count as u64 } else { 0 };
                bytes = &bytes[count..];
                continue;
            }
            self.pending.push(bytes[0]);
            bytes = &bytes[1..];
            self.try_frame()?;
        }
        Ok(())
    }

    /// Takes the pending bytes as a frame's head, once they are complete.
    fn try_frame(&mut self) -> Result<()> {
        let Some((kind, kind_length)) = varint(&self.pending) else { return Ok(()) };
        let Some((length, length_length)) = varint(&self.pending[kind_length..]) else { return Ok(()) };
        let head = kind_length + length_length;
        let start = &self.pending[head..];
        if kind == HEADERS && !self.has_status {
            if start.len() < STATUS_200.len() {
                ensure!(length >= STATUS_200.len() as u64, "a head without a status");
                return Ok(());
            }
            ensure!(start == STATUS_200, "the head starts with {start:02x?}, which is not status 200");
            self.has_status = true;
        }
        self.rest = length - start.len() as u64;
        self.is_data = kind == DATA;
        self.pending.clear();
        Ok(())
    }
}

/// A variable-length integer (RFC 9000 section 16) and how many bytes it took.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = 1 << (first >> 6);
    let rest = bytes.get(1..length)?;
    let value = rest.iter().fold(u64::from(first & 0x3f), |value, byte| (value << 8) | u64::from(*byte));
    Some((value, length))
}

/// The HEADERS frame of the request, from the static table and literals without Huffman coding.
fn request_frame(name: &str, path: &str) -> Bytes {
    let mut section = vec![0x0, 0x0];
    section.push(indexed(17)); // :method: GET
    section.push(indexed(23)); // :scheme: https
    literal(&mut section, 0, name); // :authority
    literal(&mut section, 1, path); // :path
    section.push(indexed(29)); // accept: */*
    literal(&mut section, 95, "bench-load"); // user-agent
    let mut frame = vec![0x1];
    // A QUIC integer of two bytes; the section is a few dozen bytes long.
    let [high, low] = u16::try_from(section.len()).unwrap_or_default().to_be_bytes();
    frame.extend_from_slice(&[0x40 | high, low]);
    frame.extend_from_slice(&section);
    frame.into()
}

/// A field line that stands whole in the static table, at an index below 63 (RFC 9204 section 4.5.2).
fn indexed(index: u8) -> u8 {
    0xc0 | index
}

/// A field line with its name from the static table (RFC 9204 section 4.5.4).
fn literal(section: &mut Vec<u8>, index: u8, value: &str) {
    // The prefix has four bits: larger indices continue in a second byte.
    if index < 15 {
        section.push(0x50 | index);
    } else {
        section.extend_from_slice(&[0x5f, index - 15]);
    }
    // Seven bits of length; names and paths of the benchmark are shorter.
    let length = value.len().min(126);
    section.push(u8::try_from(length).unwrap_or_default());
    section.extend_from_slice(&value.as_bytes()[..length]);
}

#[cfg(test)]
mod tests {
    use super::{Frames, varint};

    #[test]
    fn integers_of_every_length() {
        assert_eq!(varint(&[0x25]), Some((37, 1)));
        assert_eq!(varint(&[0x7b, 0xbd]), Some((15_293, 2)));
        assert_eq!(varint(&[0x9d, 0x7f, 0x3e, 0x7d]), Some((494_878_333, 4)));
        assert_eq!(varint(&[0x7b]), None);
    }

    #[test]
    fn frames_in_any_pieces() {
        let answer = [0x1, 0x4, 0x0, 0x0, 0xd9, 0xff, 0x0, 0x2, b'o', b'k'];
        for size in 1..=answer.len() {
            let mut frames = Frames::default();
            for piece in answer.chunks(size) {
                frames.push(piece).unwrap();
            }
            assert!(frames.has_status && frames.rest == 0 && frames.pending.is_empty());
            assert_eq!(frames.body, 2);
        }
        assert!(Frames::default().push(&[0x1, 0x3, 0x0, 0x0, 0xda]).is_err());
    }
}
