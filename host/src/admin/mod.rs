//! The admin listener: `/health`, `/ready` and the metrics page, for operators and their machines.
//!
//! It runs on the control runtime, away from the workers, and is no part of the path of requests: a plain
//! hyper HTTP/1.1 server is enough for it. It has no authentication and answers nothing that changes anything;
//! who may reach it is decided by its address.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::message::{Drain, Phase};
use crate::telemetry::Telemetry;
use crate::telemetry::exporter::{CONTENT_TYPE as METRICS_TYPE, Exporter, ExporterError};
use crate::telemetry::health::{Audience, health_body, ready_body};

/// Connections at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 64;
/// Time for a request's head, and the time that a connection may be idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after a failed accept, which mostly means that descriptors ran out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the admin listener answers from.
pub struct Admin {
    telemetry: Arc<Telemetry>,
    exporter: Exporter,
    /// `None` where metrics are switched off.
    metrics_path: Option<Box<str>>,
}

impl Admin {
    /// Declares the metrics; they are served at `metrics_path`, if there is one.
    ///
    /// # Errors
    /// Two metrics of the same name: a mistake in this program.
    pub fn new(telemetry: Arc<Telemetry>, metrics_path: Option<Box<str>>) -> Result<Arc<Self>, ExporterError> {
        let exporter = Exporter::new(&telemetry)?;
        Ok(Arc::new(Self { telemetry, exporter, metrics_path }))
    }

    /// Serves until the process stops: while it drains, `/ready` is what says so.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, mut drain: Drain) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            // The semaphore is never closed.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = drain.reached(Phase::Stopping) => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (admin, drain) = (Arc::clone(&self), drain.clone());
                    tokio::spawn(async move {
                        admin.connection(stream, drain).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(component = "server", %error, "admin listener: accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, mut drain: Drain) {
        let service = service_fn(|request: Request<hyper::body::Incoming>| {
            let response = self.answer(request.method(), request.uri().path());
            async move { Ok::<_, Infallible>(response) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            ended = connection => if let Err(error) = ended {
                tracing::debug!(component = "server", %error, "admin connection");
            },
            () = drain.reached(Phase::Stopping) => {}
        }
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let known = matches!(path, "/health" | "/ready") || self.metrics_path.as_deref() == Some(path);
        if !known {
            return error(StatusCode::NOT_FOUND, "not_found", "There is no such endpoint.");
        }
        if method != Method::GET && method != Method::HEAD {
            let mut response =
                error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Only GET and HEAD are served.");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        // hyper leaves the body out of an answer to HEAD and keeps its length.
        match path {
            "/health" => json(StatusCode::OK, health_body(&self.telemetry, Audience::Operator)),
            "/ready" => {
                let (ready, body) = ready_body(&self.telemetry, Audience::Operator);
                json(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, body)
            }
            _ => self.metrics(),
        }
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        match self.exporter.render() {
            Ok(page) => reply(StatusCode::OK, METRICS_TYPE, page),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(component = "server", error, "metrics page");
                self::error(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "The metrics cannot be rendered.")
            }
        }
    }
}

fn error(status: StatusCode, code: &str, message: &str) -> Response<Full<Bytes>> {
    let error = serde_json::json!({ "status": status.as_u16(), "code": code, "message": message });
    json(status, format!("{}\n", serde_json::json!({ "error": error })))
}

fn json(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    reply(status, "application/json", body)
}

fn reply(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::message::drain::drain;
    use crate::telemetry::health::{Check, CheckState};

    /// Sends requests over one connection to a running listener and returns the answers.
    async fn ask(telemetry: &Arc<Telemetry>, metrics: Option<&str>, requests: &[&str]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (control, signal) = drain();
        let admin = Admin::new(Arc::clone(telemetry), metrics.map(Into::into)).unwrap();
        let server = tokio::spawn(admin.serve(listener, signal));
        let mut stream = TcpStream::connect(address).await.unwrap();
        for (index, request) in requests.iter().enumerate() {
            let close = if index + 1 == requests.len() { "Connection: close\r\n" } else { "" };
            stream.write_all(format!("{request} HTTP/1.1\r\nHost: x\r\n{close}\r\n").as_bytes()).await.unwrap();
        }
        let mut answers = String::new();
        stream.read_to_string(&mut answers).await.unwrap();
        control.enter(Phase::Stopping);
        server.await.unwrap();
        answers
    }

    #[tokio::test]
    async fn health_and_metrics() {
        let telemetry = Telemetry::new(1);
        let answers = ask(&telemetry, Some("/m"), &["GET /health", "GET /m", "HEAD /health", "GET /metrics"]).await;
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
        assert!(answers.contains(r#""status":"healthy""#), "{answers}");
        assert!(answers.contains("content-type: text/plain; version=0.0.4"), "{answers}");
        assert!(answers.contains("\ngpanel_proxy_generation 0\n"), "{answers}");
        assert_eq!(answers.matches("HTTP/1.1 404 Not Found").count(), 1, "{answers}");
        assert!(answers.contains(r#""code":"not_found""#), "{answers}");
    }

    #[tokio::test]
    async fn ready_is_503_until_it_is() {
        let telemetry = Telemetry::new(1);
        let answer = ask(&telemetry, None, &["GET /ready"]).await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains(r#""ready":false"#), "{answer}");
        for check in [Check::QuicServer, Check::HttpServer, Check::TlsCertificates] {
            telemetry.readiness().set(check, CheckState::Ok);
        }
        let answer = ask(&telemetry, None, &["GET /ready"]).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(r#""ready":true"#), "{answer}");
    }

    #[tokio::test]
    async fn other_methods_and_metrics_switched_off() {
        let telemetry = Telemetry::new(1);
        let answers = ask(&telemetry, None, &["DELETE /health", "GET /metrics"]).await;
        assert!(answers.starts_with("HTTP/1.1 405 ") && answers.contains("allow: GET, HEAD\r\n"), "{answers}");
        assert!(answers.contains("HTTP/1.1 404 "), "{answers}");
    }
}
