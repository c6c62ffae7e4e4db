//! The heads of a request and a response, after hygiene: parsed, normalised, safe to serialise.

use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Method, StatusCode};

/// The scheme that the client used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Cleartext.
    Http,
    /// Encrypted.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A request's head. No `Host`, hop-by-hop, `Content-Length` or forwarding field is in `headers` unless
/// the proxy itself means it: hygiene took them out, and forwarding writes its own.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The scheme that the client used.
    pub scheme: Scheme,
    /// Host and port that the client asked for; sent upstream as `Host`.
    pub authority: Authority,
    /// Normalised path and the query as it came (RFC 3986 section 6.2.2).
    pub path_and_query: PathAndQuery,
    /// The end-to-end fields.
    pub headers: HeaderMap,
}

/// A response's head. No hop-by-hop field is in `headers`; `Content-Length` is, where it is known.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// 200 to 599.
    pub status: StatusCode,
    /// The end-to-end fields.
    pub headers: HeaderMap,
}

impl ResponseHead {
    /// A head with that status and no fields.
    #[must_use]
    pub fn new(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new() }
    }
}
