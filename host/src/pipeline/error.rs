//! Why a request got a local reply. An error carries decisions, not only text.

use http::StatusCode;

use crate::filter::FilterFailure;
use crate::message::BodyError;
use crate::upstream::UpstreamError;

/// Whose fault it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client's.
    Downstream,
    /// The upstream's.
    Upstream,
    /// A filter's.
    Filter,
    /// The proxy's own, or its configuration's.
    Internal,
}

/// Why a request got a local reply.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The request is malformed.
    #[error("{0}")]
    Malformed(&'static str),
    /// The header section is too large.
    #[error("the header section is too large")]
    HeadersTooLarge,
    /// The target is too long.
    #[error("the request target is too long")]
    TargetTooLong,
    /// The HTTP version is not served.
    #[error("this HTTP version is not served")]
    Version,
    /// A transfer coding that is not served.
    #[error("unknown transfer coding")]
    TransferCoding,
    /// A method that is not served.
    #[error("this method is not served")]
    Method,
    /// An expectation that can't be met.
    #[error("this expectation can't be met")]
    Expectation,
    /// An unsafe request in early data.
    #[error("send this again after the handshake")]
    TooEarly,
    /// The head did not arrive in time.
    #[error("the request did not arrive in time")]
    RequestTimeout,
    /// The request's body broke off, was too slow or too large.
    #[error("{0}")]
    Body(#[from] BodyError),
    /// No filter chose a target.
    #[error("nothing is served at this path")]
    NoRoute,
    /// A filter chose a backend that does not exist.
    #[error("no such backend")]
    UnknownBackend,
    /// The upstream failed.
    #[error("{0}")]
    Upstream(#[from] UpstreamError),
    /// A filter failed whose policy is `closed`.
    #[error("filter failed: {}", .0.reason)]
    Filter(FilterFailure),
}

impl RequestError {
    /// The status of the reply.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) | Self::Body(BodyError::Downstream(_)) => StatusCode::BAD_REQUEST,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::TransferCoding => StatusCode::NOT_IMPLEMENTED,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::TooEarly => StatusCode::TOO_EARLY,
            Self::RequestTimeout | Self::Body(BodyError::DownstreamTimeout) => StatusCode::REQUEST_TIMEOUT,
            Self::Body(BodyError::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body(BodyError::Upstream(_)) => StatusCode::BAD_GATEWAY,
            Self::Body(BodyError::Internal(_)) | Self::UnknownBackend => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Upstream(error) => upstream_status(error),
            Self::Filter(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The word of logs, metrics and `Proxy-Status`: RFC 9209 section 2.3 where it has one.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::Version | Self::TransferCoding | Self::Expectation => "http_request_error",
            Self::HeadersTooLarge => "http_request_header_section_size",
            Self::TargetTooLong => "http_request_uri_too_long",
            Self::Method => "http_request_method_denied",
            Self::TooEarly => "http_request_too_early",
            Self::RequestTimeout | Self::Body(BodyError::DownstreamTimeout) => "http_request_timeout",
            Self::Body(BodyError::TooLarge { .. }) => "http_request_body_size",
            Self::Body(BodyError::Downstream(_)) => "http_request_body_incomplete",
            Self::Body(BodyError::Upstream(_)) => "http_response_incomplete",
            Self::Body(BodyError::Internal(_)) => "proxy_internal_error",
            Self::NoRoute => "no_route",
            Self::UnknownBackend => "destination_not_found",
            Self::Upstream(error) => error.label(),
            Self::Filter(_) => "filter_failed",
        }
    }

    /// Whose fault it was.
    #[must_use]
    pub fn side(&self) -> Side {
        match self {
            Self::Malformed(_)
            | Self::HeadersTooLarge
            | Self::TargetTooLong
            | Self::Version
            | Self::TransferCoding
            | Self::Method
            | Self::Expectation
            | Self::TooEarly
            | Self::RequestTimeout
            | Self::NoRoute
            | Self::Body(BodyError::Downstream(_) | BodyError::DownstreamTimeout | BodyError::TooLarge { .. }) => {
                Side::Downstream
            }
            Self::Upstream(_) | Self::Body(BodyError::Upstream(_)) => Side::Upstream,
            Self::Filter(_) => Side::Filter,
            Self::UnknownBackend | Self::Body(BodyError::Internal(_)) => Side::Internal,
        }
    }

    /// What the client is told: its own faults in detail, those behind the proxy only in kind.
    #[must_use]
    pub fn public_message(&self) -> String {
        match self {
            Self::Upstream(error) => match upstream_status(error) {
                StatusCode::GATEWAY_TIMEOUT => "the service behind the proxy did not answer in time".into(),
                StatusCode::SERVICE_UNAVAILABLE => "the service behind the proxy is not available".into(),
                _ => "the service behind the proxy gave no valid answer".into(),
            },
            Self::Filter(failure) => format!("filter \"{}\" failed", failure.filter),
            Self::Body(BodyError::Downstream(_)) => "the request body is malformed or incomplete".into(),
            Self::Body(BodyError::Upstream(_) | BodyError::Internal(_)) => "the response broke off".into(),
            other => other.to_string(),
        }
    }
}

fn upstream_status(error: &UpstreamError) -> StatusCode {
    match error {
        UpstreamError::ConnectTimeout | UpstreamError::ResponseTimeout => StatusCode::GATEWAY_TIMEOUT,
        UpstreamError::Connect(_) => StatusCode::SERVICE_UNAVAILABLE,
        UpstreamError::Dns(_)
        | UpstreamError::Refused(_)
        | UpstreamError::Closed(_)
        | UpstreamError::Head(_)
        | UpstreamError::Framing(_)
        | UpstreamError::Unexpected
        | UpstreamError::Incomplete
        | UpstreamError::Chunks(_) => StatusCode::BAD_GATEWAY,
    }
}
