//! Forwarding: attempts at the endpoints of a backend until one answers, and the fields that tell the upstream
//! who asked.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::BytesMut;
use http::HeaderValue;
use http::header::ALT_SVC;

use super::error::RequestError;
use super::record::Record;
use crate::message::headers::strip_hop_by_hop;
use crate::message::http1::encode;
use crate::message::{Body, Exchange, Protocol, ResponseHead, WorkerId};
use crate::snapshot::{BackendSlot, Snapshot};
use crate::telemetry::Attempt;
use crate::upstream::client::AttemptLimits;
use crate::upstream::error::Progress;
use crate::upstream::{AttemptError, Outgoing, UpstreamError, send};

/// Attempts that found their idle connection closed count for nothing, up to this many.
const MAX_STALE: u32 = 3;

/// Sends the request to an endpoint of the backend, to another one where it can be tried again.
pub(super) async fn forward(
    worker: WorkerId,
    snapshot: &Snapshot,
    slot: &BackendSlot,
    exchange: &Exchange,
    mut body: Body,
    record: &mut Record,
) -> Result<(ResponseHead, Body), RequestError> {
    let backend = &slot.backend;
    let limits = AttemptLimits {
        connect: backend.connect_timeout,
        response: exchange.timeout.unwrap_or(backend.timeout),
        read: snapshot.config.pool.response_buffer,
    };
    let request = &exchange.request;
    let extra = |out: &mut BytesMut| write_provenance(out, exchange);
    let counters = &slot.counters[worker.index()];
    let outgoing = Outgoing {
        method: &request.method,
        target: request.path_and_query.as_str(),
        host: request.authority.as_str(),
        headers: &request.headers,
        extra: &extra,
        counters,
    };
    let mut tried = Vec::new();
    let (mut failures, mut stale) = (0, 0);
    loop {
        let (endpoint, in_flight) = backend.pick(&tried);
        record.attempted(&endpoint);
        let spare = spare(&body);
        let begun = record.elapsed();
        let error = match send(Arc::clone(&endpoint), in_flight, worker, &outgoing, &mut body, limits).await {
            Ok((mut head, body)) => {
                record.upstream_answered();
                counters.attempt(Attempt::Answered(record.elapsed().saturating_sub(begun)));
                strip_hop_by_hop(&mut head.headers);
                // It speaks of the backend's own address, where clients have no business (RFC 7838 section 2.1).
                head.headers.remove(ALT_SVC);
                return Ok((head, body));
            }
            Err(error) => error,
        };
        let (error, progress) = match error {
            // The client's fault is no mark against the upstream.
            AttemptError::RequestBody(error) => return Err(error.into()),
            AttemptError::Upstream { error, progress } => (error, progress),
        };
        let again = match progress {
            Progress::NotSent => true,
            Progress::SentOnReused | Progress::Sent => {
                request.method.is_idempotent() && spare.is_some() && !matches!(error, UpstreamError::ResponseTimeout)
            }
        };
        if progress == Progress::SentOnReused && stale < MAX_STALE {
            stale += 1;
        } else {
            counters.attempt(Attempt::Failed);
            failures += 1;
            tried.push(endpoint);
        }
        if !again || failures > backend.retries {
            return Err(error.into());
        }
        if let Some(spare) = spare {
            body = spare;
        }
    }
}

/// A copy of a body that can be sent a second time.
fn spare(body: &Body) -> Option<Body> {
    match body {
        Body::Empty => Some(Body::Empty),
        Body::Full(bytes) => Some(Body::Full(bytes.clone())),
        Body::Stream(_) => None,
    }
}

/// `X-Forwarded-*`, `Forwarded` (RFC 7239), `Via` (RFC 9110 section 7.6.3), `X-Request-Id`, `Early-Data` (RFC 8470).
fn write_provenance(out: &mut BytesMut, exchange: &Exchange) {
    let provenance = &exchange.provenance;
    let peer = exchange.connection.peer.ip();
    let scheme = exchange.request.scheme.as_str();

    list(out, "x-forwarded-for: ", provenance.forwarded_for.as_ref());
    let _ = write!(out, "{peer}\r\n");
    value_or(out, "x-forwarded-proto", provenance.forwarded_proto.as_ref(), scheme);
    value_or(out, "x-forwarded-host", provenance.forwarded_host.as_ref(), provenance.authority.as_str());
    list(out, "forwarded: ", provenance.forwarded.as_ref());
    let _ = match peer {
        IpAddr::V4(peer) => write!(out, "for={peer}"),
        IpAddr::V6(peer) => write!(out, "for=\"[{peer}]\""),
    };
    let _ = write!(out, ";host=\"{}\";proto={scheme}\r\n", provenance.authority);
    list(out, "via: ", provenance.via.as_ref());
    out.extend_from_slice(match exchange.connection.protocol {
        Protocol::Http1 => b"1.1 gpanel-proxy\r\n",
        Protocol::Http2 => b"2 gpanel-proxy\r\n",
        Protocol::Http3 => b"3 gpanel-proxy\r\n",
    });
    encode::field(out, "x-request-id", exchange.id.0.as_bytes());
    if exchange.early_data {
        encode::field(out, "early-data", b"1");
    }
}

/// Begins a list field with the members that were there already.
fn list(out: &mut BytesMut, name: &str, before: Option<&HeaderValue>) {
    out.extend_from_slice(name.as_bytes());
    if let Some(before) = before.filter(|before| !before.is_empty()) {
        out.extend_from_slice(before.as_bytes());
        out.extend_from_slice(b", ");
    }
}

fn value_or(out: &mut BytesMut, name: &str, value: Option<&HeaderValue>, otherwise: &str) {
    encode::field(out, name, value.map_or(otherwise.as_bytes(), HeaderValue::as_bytes));
}
