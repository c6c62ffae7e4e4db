//! Strings of the configuration that mean something: addresses, networks, URLs, sizes, path patterns, names.
//! Pure functions; the error says what is wrong with the text, the caller knows where it stands.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use ipnet::IpNet;

use super::defaults;
use super::model::{Endpoint, EndpointScheme};

/// An address with a port.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("\"{text}\" is not an address with a port, such as 0.0.0.0:9443 or [::]:9443"))
}

/// An IP address or a network in CIDR notation.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let problem = || format!("\"{text}\" is neither an IP address nor a network such as 10.0.0.0/8");
    text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| problem())
}

/// A whole number within a range, from a flag or a variable.
pub(super) fn whole(text: &str, range: &RangeInclusive<u64>) -> Result<u64, String> {
    let number: u64 = text.parse().map_err(|_| format!("\"{text}\" is not a whole number"))?;
    if range.contains(&number) {
        Ok(number)
    } else {
        Err(format!("must be {} to {}, is {text}", range.start(), range.end()))
    }
}

/// A yes or no from a variable.
pub(super) fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!("must be true or false, is \"{text}\"")),
    }
}

/// Bytes: `"512"`, `"16MiB"`, `"64 KiB"`, `"1GB"`.
pub(super) fn byte_size(text: &str) -> Result<u64, String> {
    let problem = || format!("\"{text}\" is not a size such as 65536 or \"16MiB\"");
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return Err(problem()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(problem)
}

/// A host name or address without brackets, and a port where one is written: `HOST[:PORT]`.
pub(super) fn authority(text: &str) -> Result<(&str, Option<u16>), String> {
    let problem = || format!("\"{text}\" is not a host with an optional port");
    let (host, rest) = if let Some(inner) = text.strip_prefix('[') {
        let (host, rest) = inner.split_once(']').ok_or_else(problem)?;
        host.parse::<std::net::Ipv6Addr>().map_err(|_| problem())?;
        (host, rest)
    } else {
        let (host, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
        let name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if host.is_empty() || !host.bytes().all(name) {
            return Err(problem());
        }
        (host, rest)
    };
    match rest.strip_prefix(':') {
        None if rest.is_empty() => Ok((host, None)),
        None => Err(problem()),
        Some(port) => match port.parse::<u16>() {
            Ok(number) if number != 0 && port.bytes().all(|b| b.is_ascii_digit()) => Ok((host, Some(number))),
            _ => Err(format!("\"{port}\" is not a port from 1 to 65535")),
        },
    }
}

/// The URL of an endpoint: `http`, `https` or `bolt`, a host and a port, nothing behind them.
pub(super) fn endpoint(text: &str) -> Result<Endpoint, String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(format!("\"{text}\" is not a URL such as http://localhost:8080"));
    };
    let (scheme, default_port) = match scheme {
        "http" => (EndpointScheme::Http, 80),
        "https" => (EndpointScheme::Https, 443),
        "bolt" => (EndpointScheme::Bolt, defaults::BOLT_PORT),
        _ => return Err(format!("\"{text}\": the scheme must be http, https or bolt, is \"{scheme}\"")),
    };
    let place = rest.strip_suffix('/').unwrap_or(rest);
    if place.contains('@') {
        return Err(format!("\"{text}\": a user name or password is not supported"));
    }
    if place.contains(['/', '?', '#']) {
        return Err(format!("\"{text}\": a path is not supported; a routing rule can replace the prefix"));
    }
    let (host, port) = authority(place).map_err(|problem| format!("\"{text}\" is not a URL: {problem}"))?;
    Ok(Endpoint { scheme, host: host.to_ascii_lowercase().into(), port: port.unwrap_or(default_port), weight: 1 })
}

/// A path pattern: `/x/*` for `/x` and everything below, anything else exactly.
pub(super) fn pattern(text: &str) -> Result<&str, String> {
    let literal = text.strip_suffix("/*").unwrap_or(text);
    if !text.starts_with('/') {
        Err(format!("the pattern \"{text}\" must begin with /"))
    } else if literal.contains('*') {
        Err(format!("the pattern \"{text}\" may have * only as its last segment, as in /x/*"))
    } else if literal.contains(['?', '#']) || !literal.bytes().all(|b| b.is_ascii_graphic()) {
        Err(format!("the pattern \"{text}\" must be a path: no query, no fragment, other bytes percent-encoded"))
    } else if !is_normal(text) {
        Err(format!("the pattern \"{text}\" can never match: paths are normalised, no //, /./ or /../ is left in them"))
    } else {
        Ok(text)
    }
}

/// Whether normalisation would leave a path as it is (RFC 3986 section 5.2.4, and slashes merged).
fn is_normal(path: &str) -> bool {
    !path.contains("//") && path.split('/').all(|segment| !matches!(segment, "." | ".."))
}

/// Where a redirect leads: a URL or a path in which `{path}` and `{query}` stand for those of the request.
pub(super) fn location(text: &str) -> Result<String, String> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("{text:?} is not a URL or a path"));
    }
    let open = text.replace("{path}", "").replace("{query}", "");
    if open.contains(['{', '}']) {
        return Err(format!("\"{text}\": only {{path}} and {{query}} can stand in braces"));
    }
    Ok(text.to_owned())
}

/// A path that replaces another: begins with `/`, no query.
pub(super) fn path(text: &str) -> Result<String, String> {
    let clean = text.bytes().all(|b| b.is_ascii_graphic()) && !text.contains(['?', '#', '*']);
    if text.starts_with('/') && clean {
        Ok(text.to_owned())
    } else {
        Err(format!("\"{text}\" is not a path: it must begin with / and have no query"))
    }
}

/// A request target in origin form.
pub(super) fn path_and_query(text: &str) -> Result<String, String> {
    let (path_part, query) = text.split_once('?').unwrap_or((text, ""));
    if query.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        path(path_part)?;
        Ok(text.to_owned())
    } else {
        Err(format!("\"{text}\" is not a path with an optional query"))
    }
}

/// The name of a filter: what is safe in logs, metrics, file names and error bodies.
pub(super) fn filter_name(text: &str) -> Result<&str, String> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !text.is_empty() && text.len() <= 64 && text.bytes().all(allowed) {
        Ok(text)
    } else {
        Err(format!("\"{text}\" is not a name of a-z, 0-9 and -, at most 64 characters"))
    }
}

/// The name of a backend.
pub(super) fn backend_name(text: &str) -> Result<&str, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if matches!(text, "internal" | "static") {
        Err(format!("\"{text}\" is a target of its own and cannot name a backend"))
    } else if !text.is_empty() && text.len() <= 64 && text.bytes().all(allowed) {
        Ok(text)
    } else {
        Err(format!("\"{text}\" is not a name of letters, digits, _ and -, at most 64 characters"))
    }
}

/// Something that can stand in a header field as a value.
pub(super) fn header_value(text: &str) -> Result<String, String> {
    match http::HeaderValue::from_str(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!("{text:?} cannot be the value of a header")),
    }
}

/// A SHA-256 in hexadecimal.
pub(super) fn sha256(text: &str) -> Result<[u8; 32], String> {
    let problem = || "must be a SHA-256: 64 hexadecimal digits".to_owned();
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(problem());
    }
    let mut digest = [0; 32];
    for (index, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).map_err(|_| problem())?;
    }
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        for (text, scheme, host, port) in [
            ("http://localhost:8000", EndpointScheme::Http, "localhost", 8000),
            ("http://Prometheus/", EndpointScheme::Http, "prometheus", 80),
            ("https://[::1]:8443", EndpointScheme::Https, "::1", 8443),
            ("bolt://bolt-1", EndpointScheme::Bolt, "bolt-1", 8080),
        ] {
            assert_eq!(endpoint(text), Ok(Endpoint { scheme, host: host.into(), port, weight: 1 }), "{text}");
        }
        for text in [
            "nope",
            "http://",
            "http://:80",
            "http://a:0",
            "http://a:99999",
            "http://a:+1",
            "http://u@a",
            "ftp://a",
            "http://a/b",
            "http://a?b",
            "http://[::1",
            "http://[1.2.3.4]",
            "http://a b",
            "http://a:",
            "bolt:/a",
        ] {
            assert!(endpoint(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in
            [("0", 0), ("65536", 65_536), ("16MiB", 16 << 20), ("64 KiB", 64 << 10), ("1GB", 1_000_000_000)]
        {
            assert_eq!(byte_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "1.5MiB", "-1", "16 mib", "99999999999GiB"] {
            assert!(byte_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn patterns() {
        for text in ["/", "/*", "/x/*", "/a/b", "/a/b/", "/a%20b/*"] {
            assert!(pattern(text).is_ok(), "{text}");
        }
        for text in [
            "", "x", "*", "/x*", "/*/x", "/x/*/y", "/x?y", "/x#y", "/ä", "/a b", "//", "/a//b", "/a/../b", "/./*",
            "//*",
        ] {
            assert!(pattern(text).is_err(), "{text}");
        }
    }
}
