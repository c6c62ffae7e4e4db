//! One finished request, as the pipeline hands it to metrics and the access log.

use std::net::SocketAddr;
use std::time::Duration;

use http::Method;

use crate::message::Protocol;

/// Everything that metrics and the access log want to know of a finished request; all borrowed.
///
/// There is deliberately no query, header or cookie: what is not here cannot leak into a log.
#[derive(Clone, Copy, Debug)]
pub struct RequestRecord<'a> {
    /// The id of the request.
    pub id: &'a str,
    /// The client as far as it can be trusted.
    pub client: SocketAddr,
    /// The protocol of the downstream connection.
    pub protocol: Protocol,
    /// Whether the downstream connection is encrypted.
    pub tls: bool,
    /// The method as it came.
    pub method: &'a Method,
    /// Host and port that the client asked for; empty if it was not understood.
    pub host: &'a str,
    /// The path without the query; empty if it was not understood.
    pub path: &'a str,
    /// The route label; `None` when the request got no further than that.
    pub route: Option<&'a str>,
    /// The target: a backend's name, `static` or `internal`.
    pub backend: Option<&'a str>,
    /// The endpoint that answered, or that was tried last.
    pub endpoint: Option<&'a str>,
    /// The status that the client got; 499 when the client left first.
    pub status: u16,
    /// The error label (RFC 9209 section 2.3, or one of our own).
    pub error: Option<&'a str>,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the response's body.
    pub bytes_out: u64,
    /// From the request's head to the response's last byte.
    pub duration: Duration,
    /// From the request's head to the upstream's response head.
    pub upstream: Option<Duration>,
    /// Whether the request came in 0-RTT data.
    pub early_data: bool,
    /// What the filters want to see in the log.
    pub tags: &'a [(Box<str>, Box<str>)],
}
