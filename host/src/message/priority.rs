//! The `Priority` field (RFC 9218 section 4).

use super::exchange::Priority;

/// Reads `u=N` and `i`; unknown and malformed parameters are ignored, as the RFC wants.
#[must_use]
pub fn parse(value: &[u8]) -> Priority {
    let mut priority = Priority::default();
    for member in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        match member {
            [b'u', b'=', digit @ b'0'..=b'7'] => priority.urgency = digit - b'0',
            b"i" | b"i=?1" => priority.incremental = true,
            b"i=?0" => priority.incremental = false,
            _ => {}
        }
    }
    priority
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_knows() {
        assert_eq!(parse(b"u=1, i"), Priority { urgency: 1, incremental: true });
        assert_eq!(parse(b"u=9, x=1,i=?0"), Priority::default());
    }
}
