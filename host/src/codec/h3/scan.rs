//! Watches the frames of an HTTP/3 stream go by and bounds what the `h3` crate would buffer whole before it
//! looks: every frame but DATA. Keeps no payload.

/// DATA (RFC 9114 section 7.2.1).
const DATA: u64 = 0x0;

/// The state between two chunks.
#[derive(Debug)]
pub(super) struct Scan {
    /// Bytes that one frame other than DATA may have.
    limit: u64,
    header: [u8; 16],
    filled: usize,
    /// Bytes of the current frame's payload still to come.
    payload: u64,
}

impl Scan {
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, header: [0; 16], filled: 0, payload: 0 }
    }

    /// Looks at the next bytes of the stream; `false` means that a frame is too large.
    #[must_use]
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> bool {
        loop {
            let skipped = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
            self.payload -= skipped as u64;
            bytes = &bytes[skipped..];
            // A header is at most two integers of eight bytes.
            let Some((first, rest)) = bytes.split_first() else { return true };
            self.header[self.filled] = *first;
            self.filled += 1;
            bytes = rest;
            let Some((kind, length)) = self.parse() else { continue };
            self.filled = 0;
            if kind != DATA && length > self.limit {
                return false;
            }
            self.payload = length;
        }
    }

    /// Whether the stream may end here.
    pub(super) fn between_frames(&self) -> bool {
        self.filled == 0 && self.payload == 0
    }

    fn parse(&self) -> Option<(u64, u64)> {
        let (kind, rest) = integer(&self.header[..self.filled])?;
        let (length, _) = integer(rest)?;
        Some((kind, length))
    }
}

/// A variable-length integer (RFC 9000 section 16) and what follows it.
pub(super) fn integer(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let first = *bytes.first()?;
    let (digits, rest) = bytes.split_at_checked(1 << (first >> 6))?;
    let value = digits[1..].iter().fold(u64::from(first & 0x3f), |value, digit| value << 8 | u64::from(*digit));
    Some((value, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_frames_are_seen_under_any_chunking() {
        // HEADERS of 3 bytes, DATA of 16,000, an unknown frame of 100.
        let mut stream = vec![0x01, 3, 1, 2, 3, 0x00, 0x7e, 0x80];
        stream.extend(vec![0xff; 0x3e80]);
        stream.extend([0x40, 0x21, 0x40, 100]);
        stream.extend(vec![0; 100]);
        for size in [1, 2, 3, 5, 7, 1000, stream.len()] {
            let mut scan = Scan::new(100);
            assert!(stream.chunks(size).all(|chunk| scan.read(chunk)), "chunks of {size}");
            let mut scan = Scan::new(99);
            assert!(!stream.chunks(size).all(|chunk| scan.read(chunk)), "chunks of {size}");
        }
        let mut scan = Scan::new(100);
        let between: Vec<_> =
            [0x01, 2, 0, 0, 0x00].iter().map(|byte| scan.read(&[*byte]) && scan.between_frames()).collect();
        assert_eq!(between, [false, false, false, true, false]);
        let mut scan = Scan::new(1 << 20);
        assert!(!scan.read(&[0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]));
    }
}
