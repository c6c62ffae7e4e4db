//! The authority of a request: a host and perhaps a port, and nothing else.

use http::uri::Authority;

/// Parses `Host` or `:authority`, in lower case. Refuses what RFC 9110 section 7.2 gives no meaning and some
/// servers read differently: user information, paths, spaces, commas, ports that are no number.
#[must_use]
pub fn parse(value: &[u8]) -> Option<Authority> {
    let (host, port) = split_port(value)?;
    if !is_host(host) || !port.is_none_or(is_port) {
        return None;
    }
    if value.iter().any(u8::is_ascii_uppercase) {
        return Authority::try_from(value.to_ascii_lowercase().as_slice()).ok();
    }
    Authority::try_from(value).ok()
}

fn split_port(value: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let host_end = if value.first() == Some(&b'[') { memchr::memchr(b']', value)? + 1 } else { 0 };
    match memchr::memchr(b':', &value[host_end..]) {
        None => Some((value, None)),
        Some(colon) => Some((&value[..host_end + colon], Some(&value[host_end + colon + 1..]))),
    }
}

fn is_host(host: &[u8]) -> bool {
    if let Some(inner) = host.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")) {
        return std::str::from_utf8(inner).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok());
    }
    !host.is_empty()
        && host.len() <= 255
        && host.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'))
}

fn is_port(port: &[u8]) -> bool {
    !port.is_empty()
        && port.len() <= 5
        && port.iter().all(u8::is_ascii_digit)
        && port.iter().fold(0u32, |number, digit| number * 10 + u32::from(digit - b'0')) <= 65_535
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_and_nothing_else() {
        for good in ["example.org", "a_b:80", "127.0.0.1:9443", "[::1]", "[2001:db8::1]:443", "Example.ORG"] {
            assert_eq!(parse(good.as_bytes()).unwrap().as_str(), good.to_lowercase());
        }
        for bad in [
            "", ":80", "a:", "a:x", "a:99999", "a:-1", "user@a", "a/b", "a b", "a,b", "a:1:2", "[::1", "[x]", "::1",
            "a%41", "[::1]x", "a\\b", "a?b", "a#b",
        ] {
            assert!(parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
