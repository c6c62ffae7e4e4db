//! How a log line is put together: times, JSON strings, `key=value` pairs. Appends to a byte buffer, nothing else.

use std::cell::Cell;
use std::io::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Capacity that a thread keeps for its next line.
const KEEP: usize = 16 * 1024;

thread_local! {
    static LINE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lends the thread's line buffer, empty, and takes it back. A line that is built while another one is (a
/// `Display` that logs) gets a buffer of its own.
pub(super) fn with_line<R>(build: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    let mut line = LINE.take();
    line.clear();
    let result = build(&mut line);
    if line.capacity() <= KEEP {
        LINE.set(line);
    }
    result
}

/// Appends `text` as a JSON string with its quotes.
pub fn json_string(out: &mut Vec<u8>, text: &str) {
    let start = out.len();
    if serde_json::to_writer(&mut *out, text).is_err() {
        // Writing a string to a Vec cannot fail; if it ever did, the line must stay well-formed.
        out.truncate(start);
        out.extend_from_slice(b"\"\"");
    }
}

/// Appends `text` as the value of a `key=value` pair: bare if that is unmistakable, else as a JSON string, so
/// that no client can forge a line or a pair.
pub fn text_value(out: &mut Vec<u8>, text: &str) {
    let bare = !text.is_empty()
        && text.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '"' && c != '=' && c != '\\');
    if bare { out.extend_from_slice(text.as_bytes()) } else { json_string(out, text) }
}

/// Appends `text` as it is, but with control characters escaped.
pub fn text_message(out: &mut Vec<u8>, text: &str) {
    for c in text.chars() {
        if c.is_control() {
            // Vec never fails to take bytes.
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}

/// Appends a number.
pub fn integer(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends a duration in milliseconds with three decimals.
pub fn milliseconds(out: &mut Vec<u8>, duration: Duration) {
    let micros = duration.as_micros();
    integer(out, micros / 1000);
    out.push(b'.');
    digits(out, micros % 1000, 3);
}

/// Appends `number` with leading zeros.
fn digits(out: &mut Vec<u8>, number: u128, width: usize) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(number);
    out.extend(std::iter::repeat_n(b'0', width.saturating_sub(text.len())));
    out.extend_from_slice(text.as_bytes());
}

/// Appends a time in UTC with milliseconds (RFC 3339 section 5.6).
pub fn rfc3339(out: &mut Vec<u8>, time: SystemTime) {
    // A clock before 1970 is wrong anyway.
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    digits(out, year.into(), 4);
    for (separator, number) in
        [(b'-', month), (b'-', day), (b'T', second / 3600), (b':', second / 60 % 60), (b':', second % 60)]
    {
        out.push(separator);
        digits(out, number.into(), 2);
    }
    out.push(b'.');
    digits(out, since.subsec_millis().into(), 3);
    out.push(b'Z');
}

/// Year, month and day of a day counted from 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date
/// algorithms", `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    // Days from 0000-03-01: the leap day is the last one of such a year.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times() {
        for (seconds, millis, expected) in [
            (0, 0, "1970-01-01T00:00:00.000Z"),
            (951_782_399, 7, "2000-02-28T23:59:59.007Z"),
            (951_782_400, 0, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199, 999, "2024-02-29T23:59:59.999Z"),
            (1_735_689_600, 10, "2025-01-01T00:00:00.010Z"),
            (4_102_444_800, 0, "2100-01-01T00:00:00.000Z"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(millis);
            assert_eq!(written(|out| rfc3339(out, time)), expected);
        }
    }

    #[test]
    fn durations_have_three_decimals() {
        assert_eq!(written(|out| milliseconds(out, Duration::from_micros(5))), "0.005");
        assert_eq!(written(|out| milliseconds(out, Duration::from_micros(12_340))), "12.340");
    }

    #[test]
    fn a_value_that_could_forge_a_pair_is_quoted() {
        assert_eq!(written(|out| text_value(out, "/a/b?c")), "/a/b?c");
        assert_eq!(written(|out| text_value(out, "a b")), r#""a b""#);
        assert_eq!(written(|out| text_value(out, "a=b")), r#""a=b""#);
        assert_eq!(written(|out| text_value(out, "a\nb")), r#""a\nb""#);
        assert_eq!(written(|out| text_value(out, "")), r#""""#);
        assert_eq!(written(|out| text_message(out, "one\ntwo \u{1b}[0m é")), "one\\ntwo \\u{1b}[0m é");
    }
}
