//! HTTP/2 by hand: frames as bytes, for what no well-behaved library sends. Header blocks are made of literals
//! without indexing, which every decoder takes and which need no state.

use std::net::SocketAddr;
use std::time::Duration;

use crate::poll::within;
use crate::raw::RawClient;

/// Frame types of RFC 9113 section 6.
pub mod kind {
    #![allow(missing_docs, reason = "the names are the documentation")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flag of DATA and HEADERS.
pub const END_STREAM: u8 = 1;
/// Flag of HEADERS and CONTINUATION.
pub const END_HEADERS: u8 = 4;
/// Flag of SETTINGS and PING.
pub const ACK: u8 = 1;

/// A frame as bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block of literals, in that order.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        string(&mut bytes, name.as_bytes());
        string(&mut bytes, value.as_bytes());
    }
    bytes
}

fn string(bytes: &mut Vec<u8>, text: &[u8]) {
    if text.len() < 127 {
        bytes.push(u8::try_from(text.len()).unwrap());
    } else {
        bytes.push(127);
        let mut rest = text.len() - 127;
        while rest >= 128 {
            bytes.push(u8::try_from(rest % 128).unwrap() | 128);
            rest /= 128;
        }
        bytes.push(u8::try_from(rest).unwrap());
    }
    bytes.extend(text);
}

/// The fields of an ordinary GET.
pub const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", "/h2")];

/// A frame that came.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Type.
    pub kind: u8,
    /// Flags.
    pub flags: u8,
    /// Stream, 0 for the connection.
    pub stream: u32,
    /// Payload.
    pub payload: Vec<u8>,
}

/// What became of a stream or its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A response with that status.
    Status(u16),
    /// RST_STREAM with that code.
    Reset(u32),
    /// GOAWAY with that code.
    GoAway(u32),
    /// The connection ended without a word.
    Closed,
}

/// One cleartext HTTP/2 connection, prefaced.
pub struct H2Frames {
    client: RawClient,
}

impl H2Frames {
    /// Connects, sends the preface and empty SETTINGS.
    pub async fn connect(address: SocketAddr) -> Self {
        let mut client = RawClient::connect(address).await;
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        client.send(frame(kind::SETTINGS, 0, 0, &[])).await;
        Self { client }
    }

    /// The bytes below.
    pub fn raw(&mut self) -> &mut RawClient {
        &mut self.client
    }

    /// Sends a frame.
    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.client.send(frame(kind, flags, stream, payload)).await;
    }

    /// Sends a request's header section, whole.
    pub async fn headers(&mut self, stream: u32, flags: u8, fields: &[(&str, &str)]) {
        self.send(kind::HEADERS, flags | END_HEADERS, stream, &block(fields)).await;
    }

    /// The next frame; `None` at the end of the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        let head = self.client.take(9).await;
        let [a, b, c, kind, flags, d, e, f, g] = head.try_into().ok()?;
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap();
        let payload = self.client.take(length).await;
        Some(Frame { kind, flags, stream: u32::from_be_bytes([d, e, f, g]), payload })
    }

    /// Reads until it is clear what became of `stream`; answers PING and SETTINGS on the way.
    pub async fn outcome(&mut self, stream: u32) -> Outcome {
        self.outcome_within(stream, Duration::from_secs(15)).await
    }

    /// The same with another limit.
    pub async fn outcome_within(&mut self, stream: u32, limit: Duration) -> Outcome {
        within(limit, "an outcome of the HTTP/2 stream", async {
            while let Some(frame) = self.next().await {
                match frame.kind {
                    kind::SETTINGS if frame.flags & ACK == 0 => self.send(kind::SETTINGS, ACK, 0, &[]).await,
                    kind::PING if frame.flags & ACK == 0 => self.send(kind::PING, ACK, 0, &frame.payload).await,
                    kind::HEADERS if frame.stream == stream => return Outcome::Status(status(&frame.payload)),
                    kind::RST_STREAM if frame.stream == stream => return Outcome::Reset(code(&frame.payload[0..4])),
                    kind::GOAWAY => {
                        // A graceful GOAWAY (code 0) lets the stream go on.
                        let code = code(&frame.payload[4..8]);
                        if code != 0 {
                            return Outcome::GoAway(code);
                        }
                    }
                    _ => {}
                }
            }
            Outcome::Closed
        })
        .await
    }
}

fn code(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().expect("four bytes"))
}

/// The `:status` at the start of a header block (RFC 7541): an entry of the static table, or a literal with the
/// name of one, its value plain or in Huffman code, of which digits are the easy part.
fn status(block: &[u8]) -> u16 {
    const STATIC: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    // A table size update may come first.
    let block = if block[0] & 0xe0 == 0x20 { &block[1..] } else { block };
    if block[0] & 0x80 != 0 {
        return STATIC[usize::from(block[0] & 0x7f) - 8];
    }
    let (huffman, length) = (block[1] & 0x80 != 0, usize::from(block[1] & 0x7f));
    let value = &block[2..2 + length];
    if !huffman {
        return String::from_utf8_lossy(value).parse().expect("a status");
    }
    let bits: Vec<u8> = value.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let mut at = 0;
    let mut status = 0;
    for _ in 0..3 {
        let five = bits[at..at + 5].iter().fold(0_u16, |number, bit| number << 1 | u16::from(*bit));
        let digit = if five < 3 {
            at += 5;
            five
        } else {
            let six = five << 1 | u16::from(bits[at + 5]);
            at += 6;
            six - 0x19 + 3
        };
        status = status * 10 + digit;
    }
    status
}
