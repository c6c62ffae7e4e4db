//! What can go wrong in one attempt, in the words of RFC 9209 section 2.3.

use std::io;

use crate::message::BodyError;
use crate::message::http1::{ChunkError, FramingError, HeadError};

/// Why the upstream's part of an attempt failed.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The name has no address.
    #[error("name resolution failed: {0}")]
    Dns(#[source] io::Error),
    /// Nobody listens there.
    #[error("connection refused: {0}")]
    Refused(#[source] io::Error),
    /// No connection within the connect timeout.
    #[error("connect timed out")]
    ConnectTimeout,
    /// The connection can't be made for another reason.
    #[error("connect failed: {0}")]
    Connect(#[source] io::Error),
    /// The connection ended before the response began.
    #[error("connection closed before the response: {0}")]
    Closed(#[source] io::Error),
    /// No response headers in time.
    #[error("no response headers in time")]
    ResponseTimeout,
    /// The response's head is not HTTP.
    #[error("response head: {0}")]
    Head(#[from] HeadError),
    /// The response's length is ambiguous.
    #[error("response framing: {0}")]
    Framing(#[from] FramingError),
    /// A response that nobody asked for: 101, or too many 1xx.
    #[error("unexpected informational response")]
    Unexpected,
    /// The response ended before its end.
    #[error("response body is incomplete")]
    Incomplete,
    /// The response's chunks are malformed.
    #[error("response chunks: {0}")]
    Chunks(#[from] ChunkError),
}

impl UpstreamError {
    /// The error type of `Proxy-Status`, logs and metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Dns(_) => "dns_error",
            Self::Refused(_) => "connection_refused",
            Self::ConnectTimeout => "connection_timeout",
            Self::Connect(_) => "destination_unavailable",
            Self::Closed(_) => "connection_terminated",
            Self::ResponseTimeout => "http_response_timeout",
            Self::Head(HeadError::TooLarge) => "http_response_header_section_size",
            Self::Head(_) | Self::Framing(_) | Self::Unexpected | Self::Chunks(_) => "http_protocol_error",
            Self::Incomplete => "http_response_incomplete",
        }
    }
}

/// Why one attempt gave no response.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// The upstream's fault.
    #[error("{error}")]
    Upstream {
        /// What happened.
        #[source]
        error: UpstreamError,
        /// How far the request had come.
        progress: Progress,
    },
    /// The client's fault: its body broke off, came too slowly or grew too large.
    #[error("{0}")]
    RequestBody(#[source] BodyError),
}

/// How much of a request an upstream may have seen when its attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Not one byte.
    NotSent,
    /// Something, over a connection that had served before: most likely it was closing already.
    SentOnReused,
    /// Something, over a fresh connection.
    Sent,
}
