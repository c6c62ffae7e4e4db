//! Header edits of a verdict: checked like a client's header section, then applied.

use http::HeaderMap;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

use crate::wasm::{Header, HeaderEdit};

use super::verdict::Invalid;

/// Edits of one verdict.
const MAX_EDITS: usize = 256;
/// Bytes of names and values of one verdict.
const MAX_BYTES: usize = 64 << 10;

/// A checked edit.
pub(super) enum Edit {
    Set(HeaderName, HeaderValue),
    Append(HeaderName, HeaderValue),
    Remove(HeaderName),
}

/// Checks all of them.
pub(super) fn parse_edits(edits: Vec<HeaderEdit>) -> Result<Vec<Edit>, Invalid> {
    if edits.len() > MAX_EDITS {
        return Err(Invalid::TooMany { what: "header edits", limit: MAX_EDITS });
    }
    let mut bytes = 0;
    edits
        .into_iter()
        .map(|edit| match edit {
            HeaderEdit::Set(header) => {
                let (name, value) = parse(header, &mut bytes)?;
                Ok(Edit::Set(name, value))
            }
            HeaderEdit::Append(header) => {
                let (name, value) = parse(header, &mut bytes)?;
                Ok(Edit::Append(name, value))
            }
            HeaderEdit::Remove(name) => Ok(Edit::Remove(parse_name(&name)?)),
        })
        .collect()
}

/// Checks a reply's whole header section.
pub(super) fn parse_section(headers: Vec<Header>) -> Result<HeaderMap, Invalid> {
    if headers.len() > MAX_EDITS {
        return Err(Invalid::TooMany { what: "headers", limit: MAX_EDITS });
    }
    let mut bytes = 0;
    // Room for what the proxy adds.
    let mut map = HeaderMap::with_capacity(headers.len() + 2);
    for header in headers {
        let (name, value) = parse(header, &mut bytes)?;
        map.append(name, value);
    }
    Ok(map)
}

/// Applies edits in their order. An error only where the section would grow past what any section may have; then it
/// may be half changed.
pub(super) fn apply(headers: &mut HeaderMap, edits: Vec<Edit>) -> Result<(), Invalid> {
    const FULL: Invalid = Invalid::TooMany { what: "headers", limit: 24_576 };
    for edit in edits {
        match edit {
            Edit::Set(name, value) => {
                headers.try_insert(name, value).map_err(|_| FULL)?;
            }
            Edit::Append(name, value) => {
                headers.try_append(name, value).map_err(|_| FULL)?;
            }
            Edit::Remove(name) => {
                headers.remove(name);
            }
        }
    }
    Ok(())
}

fn parse(header: Header, bytes: &mut usize) -> Result<(HeaderName, HeaderValue), Invalid> {
    *bytes += header.name.len() + header.value.len();
    if *bytes > MAX_BYTES {
        return Err(Invalid::TooLong { what: "header section", limit: MAX_BYTES });
    }
    let name = parse_name(&header.name)?;
    // Takes the bytes as they are; refuses CR, LF, NUL and other control characters.
    let value = HeaderValue::from_maybe_shared(bytes::Bytes::from(header.value))
        .map_err(|_| Invalid::HeaderValue(name.clone()))?;
    Ok((name, value))
}

fn parse_name(name: &str) -> Result<HeaderName, Invalid> {
    // A token (RFC 9110 section 5.1), so no pseudo-header; written in lower case.
    let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Invalid::HeaderName(name.to_owned()))?;
    if is_framing(&parsed) || is_written_by_the_proxy(&parsed) {
        Err(Invalid::ReservedHeader(parsed))
    } else {
        Ok(parsed)
    }
}

/// Fields that say where a message ends or belong to one connection (RFC 9110 section 7.6.1): the proxy's own.
fn is_framing(name: &HeaderName) -> bool {
    // Compared by what `http` has as a number first; the rest by text.
    [CONNECTION, CONTENT_LENGTH, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, EXPECT].contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

/// Fields by which the proxy tells the upstream who asked: a second one of them would be believed or not, by chance.
fn is_written_by_the_proxy(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "forwarded"
            | "x-forwarded-for"
            | "x-forwarded-proto"
            | "x-forwarded-host"
            | "via"
            | "x-request-id"
            | "early-data"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &[u8]) -> HeaderEdit {
        HeaderEdit::Set(Header { name: name.into(), value: value.into() })
    }

    #[test]
    fn edits_apply_in_order() {
        let mut headers = HeaderMap::new();
        headers.append("a", "1".parse().unwrap());
        headers.append("a", "2".parse().unwrap());
        let edits = vec![
            set("A", b"3"),
            HeaderEdit::Append(Header { name: "a".into(), value: b"\xff".to_vec() }),
            set("b", b""),
            HeaderEdit::Remove("B".into()),
        ];
        apply(&mut headers, parse_edits(edits).unwrap()).unwrap();
        let values: Vec<_> = headers.get_all("a").iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(values, [b"3".as_slice(), b"\xff"]);
        assert!(!headers.contains_key("b"));
    }

    #[test]
    fn what_a_client_may_not_send_a_filter_may_not_either() {
        for (name, value) in [
            ("", "x"),
            (":path", "/"),
            ("a b", "x"),
            ("a\r\nb", "x"),
            ("é", "x"),
            ("a", "x\r\ny: z"),
            ("a", "x\ny"),
            ("a", "x\0"),
            ("content-length", "5"),
            ("Transfer-Encoding", "chunked"),
            ("connection", "close"),
            ("host", "evil"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("keep-alive", "1"),
            ("proxy-connection", "close"),
            ("http2-settings", "x"),
            ("x-forwarded-for", "192.0.2.1"),
        ] {
            let result = parse_edits(vec![set(name, value.as_bytes())]);
            assert!(result.is_err(), "{name:?}: {value:?}");
        }
        assert!(parse_edits(vec![HeaderEdit::Remove("content-length".into())]).is_err());
    }

    #[test]
    fn the_list_is_bounded() {
        let many = (0..=MAX_EDITS).map(|_| set("a", b"")).collect();
        assert!(matches!(parse_edits(many), Err(Invalid::TooMany { .. })));
        let long = vec![set("a", &vec![b'x'; MAX_BYTES])];
        assert!(matches!(parse_edits(long), Err(Invalid::TooLong { .. })));
    }
}
