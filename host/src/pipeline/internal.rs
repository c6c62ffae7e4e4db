//! The target `internal`: what the proxy itself answers: `/api/stats`, `/health`, `/ready`. Reads counters and decides nothing.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};

use crate::message::reply::json_error;
use crate::message::{Body, RequestHead, RequestId, ResponseHead};
use crate::telemetry::Telemetry;
use crate::telemetry::health::{Audience, health_body, ready_body};

/// Answers a request that the chain sent to `internal`.
#[must_use]
pub fn serve(telemetry: &Telemetry, request: &RequestHead, id: Option<&RequestId>) -> (ResponseHead, Body) {
    let endpoint: Endpoint = match request.path_and_query.path() {
        "/api/stats" => stats,
        "/health" => health,
        "/ready" => ready,
        _ => return json_error(StatusCode::NOT_FOUND, "not_found", "There is no such endpoint.", id),
    };
    if request.method != Method::GET && request.method != Method::HEAD {
        let (mut head, body) =
            json_error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Only GET and HEAD are served.", id);
        head.headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return (head, body);
    }
    let (status, text) = endpoint(telemetry);
    json(status, text, &request.method)
}

/// Makes a status and a JSON text.
type Endpoint = fn(&Telemetry) -> (StatusCode, Vec<u8>);

fn stats(telemetry: &Telemetry) -> (StatusCode, Vec<u8>) {
    let text = serde_json::to_vec(&telemetry.stats());
    let status = if text.is_ok() { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
    let mut text = text.unwrap_or_else(|_| b"{}".to_vec());
    text.push(b'\n');
    (status, text)
}

/// As on the admin listener, without what only the operator should know.
fn health(telemetry: &Telemetry) -> (StatusCode, Vec<u8>) {
    (StatusCode::OK, health_body(telemetry, Audience::Public).into_bytes())
}

fn ready(telemetry: &Telemetry) -> (StatusCode, Vec<u8>) {
    let (ready, text) = ready_body(telemetry, Audience::Public);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, text.into_bytes())
}

fn json(status: StatusCode, text: Vec<u8>, method: &Method) -> (ResponseHead, Body) {
    let mut head = ResponseHead::new(status);
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
    head.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let body = if method == Method::HEAD { Body::Empty } else { Body::from(Bytes::from(text)) };
    (head, body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Scheme;

    fn ask(method: Method, path: &'static str) -> (ResponseHead, Body) {
        let request = RequestHead {
            method,
            scheme: Scheme::Https,
            authority: "localhost".parse().unwrap(),
            path_and_query: path.parse().unwrap(),
            headers: http::HeaderMap::new(),
        };
        serve(&Telemetry::new(1), &request, None)
    }

    #[test]
    fn stats_are_json() {
        let (head, body) = ask(Method::GET, "/api/stats?pretty");
        assert_eq!(head.status, StatusCode::OK);
        let Body::Full(bytes) = body else { panic!("a whole body") };
        let stats: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(stats["version"], crate::telemetry::VERSION);
        assert_eq!(stats["connections"]["active"], serde_json::json!({"http1": 0, "http2": 0, "http3": 0}));
    }

    #[test]
    fn head_has_the_length_and_no_body() {
        let (head, body) = ask(Method::HEAD, "/api/stats");
        assert!(matches!(body, Body::Empty));
        assert!(head.headers.contains_key(CONTENT_LENGTH));
    }

    #[test]
    fn other_paths_and_methods() {
        assert_eq!(ask(Method::GET, "/api/stats/").0.status, StatusCode::NOT_FOUND);
        assert_eq!(ask(Method::POST, "/api/other").0.status, StatusCode::NOT_FOUND);
        let (head, _) = ask(Method::POST, "/api/stats");
        assert_eq!(head.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(head.headers[ALLOW], "GET, HEAD");
    }
}
