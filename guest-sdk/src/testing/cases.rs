//! Cases: a filter's tests as data, in a `cases.toml` beside its code. The same file is run natively by [`check`]
//! and, through the component, by the proxy's own tests, which read it with [`Cases::parse`].
//!
//! ```toml
//! [config]                            # settings of every case that has none of its own
//! greeting = "hello"
//!
//! [[case]]
//! name = "a guest is greeted"
//! request = { path = "/?lang=en", headers = ["x-guest: Ada"] }
//! expect.edit = { headers = ["set x-greeting: hello Ada"] }
//!
//! [[case]]
//! name = "a response gets its language"
//! connection = { tls = false }
//! response = { status = 200 }         # there is a response, so the response hook is called
//! expect.edit = { headers = ["set content-language: en"] }
//!
//! [[case]]
//! name = "a greeting is needed"
//! config = { greeting = "" }
//! expect.reject = { path = "greeting", message = "empty" }
//! ```
//!
//! The other two expectations are `expect = "next"` and `expect.respond = { status, headers, body }`. What an
//! expectation does not list must not be there. Values are escaped as [`escape`](super::outcome::escape) says.

use std::net::SocketAddr;

use serde::Deserialize;

use super::host::{TestConnection, TestHost};
use super::message::{TestRequest, TestResponse};
use super::outcome::{Outcome, unescape};
use crate::connection::Protocol;
use crate::filter::Filter;

/// A parsed file of cases.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cases {
    /// The configuration of cases that have none of their own.
    #[serde(default = "empty")]
    pub config: serde_json::Value,
    /// The cases, in order.
    #[serde(rename = "case")]
    pub cases: Vec<Case>,
}

/// One case.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What is expected, in words; unique in the file.
    pub name: String,
    /// The filter's configuration, if not the file's.
    pub config: Option<serde_json::Value>,
    /// The client's connection.
    #[serde(default)]
    pub connection: CaseConnection,
    /// The request.
    #[serde(default)]
    pub request: CaseRequest,
    /// The response: if there is one, the response hook is called, otherwise the request hook.
    pub response: Option<CaseResponse>,
    /// What the filter must do.
    pub expect: Outcome,
}

/// The client's connection.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CaseConnection {
    /// Whether it is encrypted; true unless the case says otherwise.
    pub tls: bool,
    /// `http1`, `http2` or `http3`; `http2` unless the case says otherwise.
    pub protocol: CaseProtocol,
    /// The client's address and port.
    pub peer: SocketAddr,
    /// Server name of the TLS handshake.
    pub sni: Option<String>,
    /// Whether the request came in 0-RTT data.
    pub early_data: bool,
}

/// The protocol of a case's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaseProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// HTTP/3.
    Http3,
}

impl Default for CaseConnection {
    fn default() -> Self {
        let peer = TestConnection::default().peer;
        Self { tls: true, protocol: CaseProtocol::Http2, peer, sni: None, early_data: false }
    }
}

/// The request of a case.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CaseRequest {
    /// `GET` unless the case says otherwise.
    pub method: String,
    /// Path and query; `/` unless the case says otherwise.
    pub path: String,
    /// `localhost` unless the case says otherwise.
    pub authority: String,
    /// `name: value`, in order.
    pub headers: Vec<Field>,
}

impl Default for CaseRequest {
    fn default() -> Self {
        Self { method: "GET".to_owned(), path: "/".to_owned(), authority: "localhost".to_owned(), headers: Vec::new() }
    }
}

/// The response of a case.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseResponse {
    /// The status.
    pub status: u16,
    /// `name: value`, in order.
    #[serde(default)]
    pub headers: Vec<Field>,
}

/// A header field of a message.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Field {
    /// The name.
    pub name: String,
    /// The value.
    pub value: Vec<u8>,
}

impl TryFrom<String> for Field {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (name, value) = text.split_once(": ").ok_or("a header is written `name: value`")?;
        let value = unescape(value).ok_or(r"in a header value, a backslash begins `\\` or `\xNN`")?;
        Ok(Self { name: name.to_owned(), value })
    }
}

impl Cases {
    /// Reads a file of cases.
    ///
    /// # Errors
    /// The text is not TOML, or not of this form; the error says where.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// The configuration of a case: its own or the file's.
    #[must_use]
    pub fn config<'a>(&'a self, case: &'a Case) -> &'a serde_json::Value {
        case.config.as_ref().unwrap_or(&self.config)
    }
}

impl Case {
    /// What is wrong with `actual`, in words for a person, or nothing.
    #[must_use]
    pub fn fault(&self, actual: &Outcome) -> Option<String> {
        if self.expect.is_met_by(actual) {
            None
        } else {
            Some(format!("case \"{}\"\n  expected {:?}\n  but got  {actual:?}", self.name, self.expect))
        }
    }

    /// The request, for the test host.
    #[must_use]
    pub fn test_request(&self) -> TestRequest {
        let scheme = if self.connection.tls { "https" } else { "http" };
        let request = TestRequest::new(&self.request.method, &self.request.path);
        let request = request.authority(&self.request.authority).scheme(scheme);
        self.request.headers.iter().fold(request, |request, field| request.header(&field.name, field.value.as_slice()))
    }

    /// The response, for the test host.
    #[must_use]
    pub fn test_response(&self) -> Option<TestResponse> {
        self.response.as_ref().map(|response| {
            let start = TestResponse::new(response.status);
            response.headers.iter().fold(start, |made, field| made.header(&field.name, field.value.as_slice()))
        })
    }

    fn test_connection(&self) -> TestConnection {
        let CaseConnection { tls, protocol, peer, sni, early_data } = self.connection.clone();
        let (protocol, alpn) = match protocol {
            CaseProtocol::Http1 => (Protocol::Http1, "http/1.1"),
            CaseProtocol::Http2 => (Protocol::Http2, "h2"),
            CaseProtocol::Http3 => (Protocol::Http3, "h3"),
        };
        let alpn = tls.then(|| alpn.to_owned());
        TestConnection { peer, protocol, tls, sni, alpn, early_data, ..TestConnection::default() }
    }

    /// Runs the case natively, with `config` as the filter's configuration.
    #[must_use]
    pub fn run<F: Filter>(&self, config: &serde_json::Value) -> Outcome {
        let host = TestHost::new().connection(self.test_connection());
        let filter = match host.run::<F>(&config.to_string()) {
            Ok(filter) => filter,
            Err(error) => return Outcome::from(&error),
        };
        match self.test_response() {
            Some(response) => Outcome::from(&filter.on_response(&self.test_request(), &response)),
            None => Outcome::from(&filter.on_request(&self.test_request())),
        }
    }
}

/// Runs every case of a `cases.toml` natively. For a `#[test]`:
/// `check::<MyFilter>(include_str!("../cases.toml"))`.
///
/// # Panics
/// If a case is not met, naming all that are not; or if the text is not a file of cases.
#[allow(clippy::panic, reason = "an assertion for tests")]
pub fn check<F: Filter>(text: &str) {
    let cases = match Cases::parse(text) {
        Ok(cases) => cases,
        Err(error) => panic!("cases.toml: {error}"),
    };
    let faults: Vec<_> = cases.cases.iter().filter_map(|case| case.fault(&case.run::<F>(cases.config(case)))).collect();
    assert!(faults.is_empty(), "{} of {} cases failed\n{}", faults.len(), cases.cases.len(), faults.join("\n"));
}

fn empty() -> serde_json::Value {
    serde_json::Value::Object(serde_json::Map::new())
}
