//! What HTTP/2 and HTTP/3 have in common when a request's head has come: the rules of their message format that
//! `http::Request` can show (RFC 9113 section 8.2, RFC 9114 section 4.2). What the fields mean is the pipeline's.

use http::Method;
use http::header::{CONNECTION, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;

use crate::message::http1::framing;

/// Why a head is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// A field that belongs to HTTP/1.1 connections.
    #[error("connection-specific field")]
    ConnectionSpecific,
    /// `Content-Length` is not one number.
    #[error("content-length is not one number")]
    ContentLength,
    /// User information in `:authority`.
    #[error("user information in :authority")]
    UserInfo,
    /// No `:scheme` or `:path`.
    #[error("no :scheme or :path")]
    Target,
    /// More or fewer bytes than `Content-Length` says.
    #[error("the body's length is not what content-length says")]
    Length,
}

/// Fields that must not occur (RFC 9113 section 8.2.2).
const CONNECTION_SPECIFIC: [HeaderName; 5] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Checks a head and yields its `Content-Length`.
///
/// # Errors
/// The request is malformed.
pub(crate) fn check(parts: &Parts) -> Result<Option<u64>, Malformed> {
    let headers = &parts.headers;
    if CONNECTION_SPECIFIC.iter().any(|name| headers.contains_key(name)) {
        return Err(Malformed::ConnectionSpecific);
    }
    if headers.get_all(TE).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"trailers")) {
        return Err(Malformed::ConnectionSpecific);
    }
    if parts.uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(Malformed::UserInfo);
    }
    // Without an authority `http::Uri` has no place for a scheme: `Host` then stands for both.
    let has_origin = parts.uri.scheme().is_some() || headers.contains_key(HOST);
    if parts.method != Method::CONNECT && !(has_origin && parts.uri.path_and_query().is_some()) {
        return Err(Malformed::Target);
    }
    framing::content_length(headers).map_err(|_| Malformed::ContentLength)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn head(uri: &str, fields: &[(&str, &str)]) -> Result<Option<u64>, Malformed> {
        let mut builder = Request::builder().uri(uri);
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        check(&builder.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn content_length_is_one_number_or_an_error() {
        assert_eq!(head("https://a/", &[]), Ok(None));
        assert_eq!(head("https://a/", &[("content-length", "12")]), Ok(Some(12)));
        assert_eq!(head("https://a/", &[("content-length", "5"), ("content-length", "5")]), Ok(Some(5)));
        for bad in ["+6", "-1", "", "0x5", "5, 6", "9999999999999999999"] {
            assert_eq!(head("https://a/", &[("content-length", bad)]), Err(Malformed::ContentLength), "{bad:?}");
        }
        assert_eq!(
            head("https://a/", &[("content-length", "5"), ("content-length", "6")]),
            Err(Malformed::ContentLength)
        );
    }

    #[test]
    fn fields_of_http1_connections_are_malformed() {
        for name in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
            assert_eq!(head("https://a/", &[(name, "x")]), Err(Malformed::ConnectionSpecific), "{name}");
        }
        assert_eq!(head("https://a/", &[("te", "trailers")]), Ok(None));
        assert_eq!(head("https://a/", &[("te", "gzip")]), Err(Malformed::ConnectionSpecific));
        assert_eq!(head("https://user@a/", &[]), Err(Malformed::UserInfo));
        assert_eq!(head("a.example", &[]), Err(Malformed::Target));
    }
}
