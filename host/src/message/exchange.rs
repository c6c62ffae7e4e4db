//! One request and its response on their way through the filter chain.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::uri::Authority;

use super::connection::Connection;
use super::head::{RequestHead, ResponseHead};

/// The id of a request: 32 lower-case hexadecimal digits, or what a trusted proxy in front sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub Arc<str>);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How soon a response is wanted (RFC 9218 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority {
    /// 0 (first) to 7 (last).
    pub urgency: u8,
    /// Whether parts of the response are of use before the rest.
    pub incremental: bool,
}

impl Default for Priority {
    fn default() -> Self {
        Self { urgency: 3, incremental: false }
    }
}

/// Where dispatch sends a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The named backend of the configuration.
    Backend(Arc<str>),
    /// The folder of static files.
    Static,
    /// The proxy's own endpoints under `/api`.
    Internal,
}

impl Target {
    /// The name as the configuration and filters write it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Backend(name) => name,
            Self::Static => "static",
            Self::Internal => "internal",
        }
    }
}

/// Who asked, as told to the upstream: what a trusted proxy in front said, and what this proxy saw.
#[derive(Clone, Debug)]
pub struct Provenance {
    /// `X-Forwarded-For` of a trusted peer.
    pub forwarded_for: Option<HeaderValue>,
    /// `Forwarded` (RFC 7239) of a trusted peer.
    pub forwarded: Option<HeaderValue>,
    /// `X-Forwarded-Proto` of a trusted peer.
    pub forwarded_proto: Option<HeaderValue>,
    /// `X-Forwarded-Host` of a trusted peer.
    pub forwarded_host: Option<HeaderValue>,
    /// `Via` as it came, from whomever.
    pub via: Option<HeaderValue>,
    /// The authority that the client asked for, whatever filters make of it later.
    pub authority: Authority,
}

impl Provenance {
    /// A client that came by itself, without a proxy in front.
    #[must_use]
    pub fn direct(authority: Authority) -> Self {
        Self { forwarded_for: None, forwarded: None, forwarded_proto: None, forwarded_host: None, via: None, authority }
    }
}

/// What the filters see and change. It moves into the wasm store for the time of a call and out again, so it
/// lives in a `Box`.
pub struct Exchange {
    /// The downstream connection.
    pub connection: Arc<Connection>,
    /// The client as far as it can be trusted: the socket's peer, or what a trusted proxy in front said.
    pub client: SocketAddr,
    /// The id of the request.
    pub id: RequestId,
    /// Who asked, as the upstream will be told.
    pub provenance: Provenance,
    /// Whether the request came in 0-RTT data (RFC 8470).
    pub early_data: bool,
    /// The request as the next filter, or the upstream, will see it.
    pub request: RequestHead,
    /// What the chain chose; nothing chosen is a 404.
    pub target: Option<Target>,
    /// The route label of metrics and logs.
    pub route: Option<Arc<str>>,
    /// Overrides the backend's time to response headers.
    pub timeout: Option<Duration>,
    /// RFC 9218 priority: from the client, unless a filter decided otherwise.
    pub priority: Priority,
    /// Key and value pairs for the access log.
    pub tags: Vec<(Box<str>, Box<str>)>,
    /// The response's head while the response side of the chain runs.
    pub response: Option<ResponseHead>,
    /// How many filters the request entered: the response passes those, from the last to the first.
    pub depth: usize,
    /// Positions of the chain, as bits, that this request did not enter: their response side is skipped too.
    pub skipped: u128,
}
