//! A reply that a filter made: checked like everything else that comes out of a guest, its length set by the proxy.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderValue};

use crate::message::{Body, ResponseHead};
use crate::wasm::Reply;

use super::fields;
use super::verdict::{Invalid, has_no_body, parse_status};

const MAX_BODY: usize = 8 << 20;

/// Checks a reply and makes a response of it.
pub(super) fn parse(reply: Reply) -> Result<(ResponseHead, Body), Invalid> {
    let status = parse_status(reply.status)?;
    if reply.body.len() > MAX_BODY {
        return Err(Invalid::TooLong { what: "body", limit: MAX_BODY });
    }
    let mut headers = fields::parse_section(reply.headers)?;
    if !has_no_body(status) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(reply.body.len()));
    } else if !reply.body.is_empty() {
        return Err(Invalid::BodyOfStatus(status));
    }
    Ok((ResponseHead { status, headers }, Body::from(Bytes::from(reply.body))))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::wasm::Header;

    fn reply(status: u16, headers: &[(&str, &str)], body: &str) -> Reply {
        let headers =
            headers.iter().map(|(name, value)| Header { name: (*name).into(), value: (*value).into() }).collect();
        Reply { status, headers, body: body.into() }
    }

    #[test]
    fn the_proxy_says_how_long_it_is() {
        let (head, body) =
            parse(reply(401, &[("WWW-Authenticate", "Bearer"), ("set-cookie", "a"), ("set-cookie", "b")], "no"))
                .unwrap();
        assert_eq!(head.status, StatusCode::UNAUTHORIZED);
        assert_eq!(head.headers["content-length"], "2");
        assert_eq!(head.headers["www-authenticate"], "Bearer");
        assert_eq!(head.headers.get_all("set-cookie").iter().count(), 2);
        assert!(matches!(body, Body::Full(bytes) if bytes == "no"));
    }

    #[test]
    fn an_empty_body_has_length_zero_unless_the_status_has_none() {
        let (head, body) = parse(reply(302, &[("location", "/x")], "")).unwrap();
        assert_eq!(head.headers["content-length"], "0");
        assert!(body.is_empty());
        let (head, _) = parse(reply(204, &[], "")).unwrap();
        assert!(!head.headers.contains_key("content-length"));
        assert!(matches!(parse(reply(204, &[], "x")), Err(Invalid::BodyOfStatus(_))));
        assert!(matches!(parse(reply(304, &[], "x")), Err(Invalid::BodyOfStatus(_))));
    }

    #[test]
    fn nonsense_is_refused() {
        for status in [0, 100, 101, 199, 600, 999, u16::MAX] {
            assert!(matches!(parse(reply(status, &[], "")), Err(Invalid::Status(_))), "{status}");
        }
        assert!(parse(reply(200, &[("content-length", "1")], "xx")).is_err());
        assert!(parse(reply(200, &[("x", "a\r\nb: c")], "")).is_err());
    }
}
