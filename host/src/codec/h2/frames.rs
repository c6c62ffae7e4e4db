//! Watches an HTTP/2 client's frames go by and says when it floods us. Sees frame headers only and keeps no
//! payload; the protocol itself is the `h2` crate's, which bounds memory but answers control frames for ever.

use crate::codec::budget::Budget;

const PREFACE: usize = 24;
const HEADER: usize = 9;

const HEADERS: u8 = 0x1;
const DATA: u8 = 0x0;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const CONTINUATION: u8 = 0x9;
const END_HEADERS: u8 = 0x4;

/// What of the client's half-open states is over the line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    /// No SETTINGS frame has come yet.
    pub(super) settings: bool,
    /// A header block has begun and not ended.
    pub(super) headers: bool,
}

/// The state between two reads.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes of the connection preface still to come.
    preface: usize,
    header: [u8; HEADER],
    filled: usize,
    /// Bytes of the current frame's payload still to come.
    payload: usize,
    waiting: Waiting,
    control: Budget,
    resets: Budget,
    written: u64,
}

impl Frames {
    /// Budgets: 2,000 control frames at once and 500 a second, plus what requests and responses earn; 150 resets
    /// at once and 50 a second.
    pub(super) fn new() -> Self {
        Self {
            preface: PREFACE,
            header: [0; HEADER],
            filled: 0,
            payload: 0,
            waiting: Waiting { settings: true, headers: false },
            control: Budget::new(2_000, 500),
            resets: Budget::new(150, 50),
            written: 0,
        }
    }

    /// What the client keeps us waiting for.
    pub(super) fn waiting(&self) -> Waiting {
        self.waiting
    }

    /// A reader of large responses sends many WINDOW_UPDATE frames: one for every KiB is fine.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.written += bytes as u64;
        if self.written >= 1024 {
            self.control.earn(self.written / 1024);
            self.written %= 1024;
        }
    }

    /// Looks at the next bytes from the client; `false` means that it floods.
    #[must_use]
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> bool {
        let skipped = self.preface.min(bytes.len());
        self.preface -= skipped;
        bytes = &bytes[skipped..];
        while !bytes.is_empty() {
            if self.filled < HEADER {
                let length = (HEADER - self.filled).min(bytes.len());
                self.header[self.filled..self.filled + length].copy_from_slice(&bytes[..length]);
                self.filled += length;
                bytes = &bytes[length..];
                if self.filled < HEADER {
                    return true;
                }
                self.payload =
                    usize::from(self.header[0]) << 16 | usize::from(self.header[1]) << 8 | usize::from(self.header[2]);
                if !self.begin() {
                    return false;
                }
            }
            let length = self.payload.min(bytes.len());
            self.payload -= length;
            bytes = &bytes[length..];
            if self.payload == 0 {
                self.filled = 0;
                self.end();
            }
        }
        true
    }

    /// A frame's header is complete.
    fn begin(&mut self) -> bool {
        match self.header[3] {
            // Data, header blocks and their continuations are bounded by the `h2` crate.
            DATA | CONTINUATION => true,
            HEADERS => {
                self.waiting.headers = true;
                // A request may be accompanied by a few control frames.
                self.control.earn(4);
                true
            }
            RST_STREAM => self.resets.take(),
            _ => self.control.take(),
        }
    }

    /// A frame's payload is complete.
    fn end(&mut self) {
        match self.header[3] {
            HEADERS | CONTINUATION if self.header[4] & END_HEADERS != 0 => self.waiting.headers = false,
            SETTINGS => self.waiting.settings = false,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, u8::try_from(payload.len() >> 8).unwrap(), u8::try_from(payload.len() & 255).unwrap()];
        bytes.extend([kind, flags, 0, 0, 0, 1]);
        bytes.extend(payload);
        bytes
    }

    fn opened() -> Frames {
        let mut frames = Frames::new();
        assert!(frames.read(&[b'x'; PREFACE]));
        assert!(frames.read(&frame(SETTINGS, 0, &[0; 6])));
        frames
    }

    #[test]
    fn half_open_states_are_seen_under_any_chunking() {
        let mut bytes = vec![b'x'; PREFACE];
        bytes.extend(frame(SETTINGS, 0, &[0; 6]));
        bytes.extend(frame(HEADERS, 0, &[0; 40]));
        bytes.extend(frame(CONTINUATION, END_HEADERS, &[0; 300]));
        for size in 1..bytes.len() {
            let mut frames = Frames::new();
            let mut seen = vec![frames.waiting()];
            for chunk in bytes.chunks(size) {
                assert!(frames.read(chunk));
                seen.push(frames.waiting());
            }
            assert!(seen[0].settings && !seen[0].headers);
            assert_eq!(seen.last(), Some(&Waiting::default()), "chunks of {size}");
        }
    }

    #[test]
    fn floods_are_told_from_traffic() {
        let mut frames = opened();
        let ping = frame(0x6, 0, &[0; 8]);
        assert!((0..1_900).all(|_| frames.read(&ping)));
        assert!(!(0..200).all(|_| frames.read(&ping)), "2,000 pings at once are a flood");

        let mut frames = opened();
        let update = frame(0x8, 0, &[0; 4]);
        for _ in 0..100_000 {
            frames.wrote(16_384);
            assert!(frames.read(&update), "a reader that keeps up is not");
        }

        let mut frames = opened();
        let reset = frame(RST_STREAM, 0, &[0; 4]);
        assert!((0..150).all(|_| frames.read(&reset)));
        assert!(!frames.read(&reset));
    }

    #[tokio::test(start_paused = true)]
    async fn budgets_refill() {
        let mut frames = opened();
        let reset = frame(RST_STREAM, 0, &[0; 4]);
        for _ in 0..1_000 {
            assert!(frames.read(&reset));
            tokio::time::advance(Duration::from_millis(21)).await;
        }
    }
}
