//! Bytes to `http::Request<Body>` and `http::Response<Body>` to bytes, one codec per protocol version. The codecs
//! know framing, flow control and the timeouts of half-open states; what a request means is the pipeline's.

use std::time::Duration;

use http::header::{ALT_SVC, HeaderMap, HeaderValue};

use crate::config::model::Config;

mod activity;
pub mod body_guard;
mod budget;
pub mod h1;
pub mod h2;
pub mod h3;
mod phase;
mod prefixed;
mod request;
mod service;
mod within;
#[cfg(test)]
pub(crate) mod testing;

pub use prefixed::Prefixed;
pub use service::Service;

/// Request streams that a client may have open on one HTTP/2 connection.
pub const H2_MAX_CONCURRENT_STREAMS: u32 = 100;

/// What the codecs need of the configuration; cloned once per connection.
#[derive(Clone, Debug)]
pub struct Settings {
    /// From the first byte of a request's head to its last; also the HTTP/2 preface and SETTINGS.
    pub request_head: Duration,
    /// A connection without a request in progress is closed after this.
    pub keep_alive: Duration,
    /// Time before `body_min_rate` applies.
    pub body_grace: Duration,
    /// Bytes per second that a request body must keep up after the grace time.
    pub body_min_rate: u64,
    /// A response that the client does not read is cut after this.
    pub write_stall: Duration,
    /// Bytes of a header section.
    pub max_header_size: usize,
    /// Fields of a header section.
    pub max_header_count: usize,
    /// Bytes of a request target.
    pub max_uri_length: usize,
    /// Request streams open at once on an HTTP/2 connection.
    pub h2_max_streams: u32,
    /// Bytes that an HTTP/2 client may send ahead on one stream.
    pub h2_stream_window: u32,
    /// Bytes that an HTTP/2 client may send ahead on one connection.
    pub h2_connection_window: u32,
    /// What responses over TLS say about HTTP/3; `None` where it is not served, or on the cleartext listener.
    pub alt_svc: Option<HeaderValue>,
}

impl Settings {
    /// Takes what the codecs need from the configuration. `http3_port` is where HTTP/3 is served, if it is.
    #[must_use]
    pub fn new(config: &Config, http3_port: Option<u16>) -> Self {
        Self {
            request_head: config.timeouts.request_head,
            keep_alive: config.timeouts.keep_alive,
            body_grace: config.timeouts.body_grace,
            body_min_rate: config.timeouts.body_min_rate,
            write_stall: config.timeouts.write_stall,
            max_header_size: config.limits.max_header_size,
            max_header_count: config.limits.max_header_count,
            max_uri_length: config.limits.max_uri_length,
            h2_max_streams: H2_MAX_CONCURRENT_STREAMS,
            h2_stream_window: 256 * 1024,
            h2_connection_window: 1024 * 1024,
            alt_svc: http3_port.and_then(|port| HeaderValue::from_str(&format!("h3=\":{port}\"; ma=86400")).ok()),
        }
    }

    /// The same without `Alt-Svc`: a cleartext response must not be believed about it.
    #[must_use]
    pub fn cleartext(mut self) -> Self {
        self.alt_svc = None;
        self
    }

    /// Adds `Alt-Svc` (RFC 7838) to a response, unless the upstream already sent one of its own.
    pub fn advertise(&self, headers: &mut HeaderMap) {
        if let Some(value) = &self.alt_svc
            && !headers.contains_key(ALT_SVC)
        {
            headers.insert(ALT_SVC, value.clone());
        }
    }
}
