//! What is remembered of a request until its last byte is out: then metrics count it and the access log gets
//! its line. A record that is dropped early says that the client left.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::uri::{Authority, PathAndQuery};
use http::{Method, Request};

use super::Pipeline;
use crate::message::{Body, Connection, Exchange, RequestId, Target};
use crate::snapshot::Snapshot;
use crate::telemetry::RequestRecord;
use crate::upstream::Endpoint;

/// The client left before the response was complete (the status that nginx made known).
const CLIENT_CLOSED: u16 = 499;

/// One request's record. Everything in it is cheap to clone from the exchange.
pub struct Record {
    pipeline: Pipeline,
    /// Keeps the generation alive until the response has ended.
    _snapshot: Arc<Snapshot>,
    connection: Arc<Connection>,
    started: Instant,
    id: RequestId,
    client: std::net::SocketAddr,
    method: Method,
    authority: Option<Authority>,
    path: Option<PathAndQuery>,
    route: Option<Arc<str>>,
    target: Option<Target>,
    endpoint: Option<Arc<Endpoint>>,
    upstream: Option<Duration>,
    error: Option<&'static str>,
    early_data: bool,
    tags: Vec<(Box<str>, Box<str>)>,
    bytes_in: u64,
    /// Counts a streamed request body, which other hands hold.
    streamed_in: Option<Arc<AtomicU64>>,
    pub(super) bytes_out: u64,
    status: Option<u16>,
    pub(super) complete: bool,
}

impl Record {
    pub(super) fn begin(
        pipeline: &Pipeline,
        snapshot: &Arc<Snapshot>,
        connection: &Arc<Connection>,
        early_data: bool,
    ) -> Self {
        pipeline.shared.telemetry.request_started(pipeline.worker);
        Self {
            pipeline: pipeline.clone(),
            _snapshot: Arc::clone(snapshot),
            connection: Arc::clone(connection),
            started: Instant::now(),
            id: new_id(),
            client: connection.peer,
            method: Method::GET,
            authority: None,
            path: None,
            route: None,
            target: None,
            endpoint: None,
            upstream: None,
            error: None,
            early_data,
            tags: Vec::new(),
            bytes_in: 0,
            streamed_in: None,
            bytes_out: 0,
            status: None,
            complete: false,
        }
    }

    /// Notes what was asked, before anything is known to be well-formed.
    pub(super) fn asked(&mut self, request: &Request<Body>) {
        self.method = request.method().clone();
        self.path = request.uri().path_and_query().cloned();
    }

    /// Notes who asked, once it is known.
    pub(super) fn admitted(&mut self, exchange: &Exchange) {
        self.id = exchange.id.clone();
        self.client = exchange.client;
        self.authority = Some(exchange.request.authority.clone());
        self.path = Some(exchange.request.path_and_query.clone());
        self.early_data = exchange.early_data;
    }

    /// Notes what the chain decided.
    pub(super) fn routed(&mut self, exchange: &Exchange) {
        self.route.clone_from(&exchange.route);
        self.target.clone_from(&exchange.target);
    }

    /// Notes where the request goes when no filter said so.
    pub(super) fn defaulted(&mut self, target: &Target) {
        self.target = Some(target.clone());
    }

    /// Notes the endpoint of an attempt.
    pub(super) fn attempted(&mut self, endpoint: &Arc<Endpoint>) {
        self.endpoint = Some(Arc::clone(endpoint));
    }

    /// Notes that the upstream's response has begun.
    pub(super) fn upstream_answered(&mut self) {
        self.upstream = Some(self.started.elapsed());
    }

    /// Notes what the response side of the chain left for the log.
    pub(super) fn answered(&mut self, exchange: &mut Exchange) {
        self.tags = std::mem::take(&mut exchange.tags);
    }

    /// Notes the error that the client is told.
    pub(super) fn failed(&mut self, label: &'static str) {
        self.error = Some(label);
    }

    pub(super) fn status(&mut self, status: http::StatusCode) {
        self.status = Some(status.as_u16());
    }

    pub(super) fn id(&self) -> &RequestId {
        &self.id
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    /// Counts a request body that is here already.
    pub(super) fn received(&mut self, bytes: usize) {
        self.bytes_in = bytes as u64;
    }

    /// The counter of a request body that is still to come.
    pub(super) fn receives(&mut self) -> Arc<AtomicU64> {
        Arc::clone(self.streamed_in.get_or_insert_default())
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// 128 random bits as 32 hexadecimal digits.
fn new_id() -> RequestId {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut bits = fastrand::u128(..);
    let mut text = String::with_capacity(32);
    for _ in 0..32 {
        text.push(char::from(DIGITS[(bits & 15) as usize]));
        bits >>= 4;
    }
    RequestId(text.into())
}

impl Drop for Record {
    fn drop(&mut self) {
        let left = !self.complete && self.error.is_none();
        let record = RequestRecord {
            id: &self.id.0,
            client: self.client,
            protocol: self.connection.protocol,
            tls: self.connection.tls.is_some(),
            method: &self.method,
            host: self.authority.as_ref().map_or("", Authority::as_str),
            path: self.path.as_ref().map_or("", PathAndQuery::path),
            route: self.route.as_deref(),
            backend: self.target.as_ref().map(Target::name),
            endpoint: self.endpoint.as_ref().map(|endpoint| &*endpoint.label),
            status: if left { CLIENT_CLOSED } else { self.status.unwrap_or(CLIENT_CLOSED) },
            error: if left { Some("client_closed") } else { self.error },
            bytes_in: self.bytes_in + self.streamed_in.as_ref().map_or(0, |counter| counter.load(Ordering::Relaxed)),
            bytes_out: self.bytes_out,
            duration: self.started.elapsed(),
            upstream: self.upstream,
            early_data: self.early_data,
            tags: &self.tags,
        };
        self.pipeline.shared.telemetry.request_finished(self.pipeline.worker, &record);
    }
}
