//! Reads until when a certificate is valid. The TLS library checks that for certificates of others, but does not
//! tell it about our own.

use std::time::{Duration, SystemTime};

/// The two times of `Validity` (RFC 5280 section 4.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
}

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Finds the validity in a certificate in DER; `None` if it is not one.
pub(super) fn of(certificate: &[u8]) -> Option<Validity> {
    let (certificate, _) = expect(certificate, SEQUENCE)?;
    let (mut tbs, _) = expect(certificate, SEQUENCE)?;
    if tbs.first() == Some(&VERSION) {
        (_, _, tbs) = element(tbs)?;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        (_, _, tbs) = element(tbs)?;
    }
    let (validity, _) = expect(tbs, SEQUENCE)?;
    let (kind, not_before, rest) = element(validity)?;
    let not_before = time(kind, not_before)?;
    let (kind, not_after, _) = element(rest)?;
    Some(Validity { not_before, not_after: time(kind, not_after)? })
}

/// Tag, contents, and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk::<2>()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((tag, contents, rest))
}

fn expect(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, contents, rest) = element(der)?;
    (found == tag).then_some((contents, rest))
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`; before 1970 counts as 1970.
fn time(kind: u8, text: &[u8]) -> Option<SystemTime> {
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0u64, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0')))
    };
    let (year, rest) = match kind {
        UTC_TIME => {
            let (digits, rest) = text.split_at_checked(2)?;
            let year = number(digits)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (digits, rest) = text.split_at_checked(4)?;
            (number(digits)?, rest)
        }
        _ => return None,
    };
    let part = |index: usize| rest.get(index..index + 2).and_then(number);
    let (month, day, hour, minute, second) = (part(0)?, part(2)?, part(4)?, part(6)?, part(8)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let days = days_from_civil(year, month, day);
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400 + hour * 3_600 + minute * 60 + second))
}

/// Days since 1970 (the well-known algorithm by Howard Hinnant, years from March).
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    days.saturating_sub(719_468)
}

/// Year, month and day of a time.
pub(super) fn civil(time: SystemTime) -> (i32, u8, u8) {
    let days = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400) + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    // All three are small by construction.
    (i32::try_from(year).unwrap_or(i32::MAX), u8::try_from(month).unwrap_or(1), u8::try_from(day).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn times_in_both_forms() {
        assert_eq!(time(UTC_TIME, b"700101000000Z"), Some(at(0)));
        assert_eq!(time(UTC_TIME, b"240229235959Z"), Some(at(1_709_251_199)));
        assert_eq!(time(GENERALIZED_TIME, b"20500101000000Z"), Some(at(2_524_608_000)));
        assert_eq!(time(UTC_TIME, b"24x229235959Z"), None);
        assert_eq!(time(UTC_TIME, b"2413"), None);
    }

    #[test]
    fn civil_is_the_inverse() {
        for day in (0..40_000).step_by(13) {
            let (year, month, date) = civil(at(day * 86_400 + 4_000));
            assert_eq!(days_from_civil(u64::try_from(year).unwrap(), month.into(), date.into()), day);
        }
    }

    #[test]
    fn a_real_certificate() {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 2, 29);
        params.not_after = rcgen::date_time_ymd(2061, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let validity = of(certificate.der()).unwrap();
        assert_eq!(civil(validity.not_before), (2020, 2, 29));
        assert_eq!(civil(validity.not_after), (2061, 1, 1));
        for length in 0..certificate.der().len() {
            let _ = of(&certificate.der()[..length]);
        }
        assert_eq!(of(b"not a certificate"), None);
    }
}
