//! The life of a request after its codec: hygiene, the chain down, dispatch, the chain up, the record of it.
//!
//! Read `handle` and `exchange` first; everything else here is one of their steps.

pub mod error;
pub mod forward;
pub mod hygiene;
pub mod internal;
pub mod record;
mod dispatch;
mod local_reply;
mod metered;
mod respond;

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{Request, Response};

use crate::filter::RequestOutcome;
use crate::message::{Body, Connection, Exchange, ResponseHead, WorkerId};
use crate::snapshot::Snapshot;
use crate::telemetry::Telemetry;
pub use error::{RequestError, Side};
use hygiene::Rules;
use record::Record;

/// What the pipelines of all workers share.
pub struct Shared {
    /// The generation that new requests see.
    pub snapshot: ArcSwap<Snapshot>,
    /// Metrics and the access log.
    pub telemetry: Arc<Telemetry>,
}

/// The pipeline of one worker; cheap to clone.
#[derive(Clone)]
pub struct Pipeline {
    worker: WorkerId,
    shared: Arc<Shared>,
}

impl Pipeline {
    /// The pipeline of `worker`.
    #[must_use]
    pub fn new(worker: WorkerId, shared: Arc<Shared>) -> Self {
        Self { worker, shared }
    }

    /// The worker that it runs on.
    #[must_use]
    pub fn worker(&self) -> WorkerId {
        self.worker
    }

    /// Answers one request, whatever happens. Dropping the future gives the request up on every side.
    pub async fn handle(
        &self,
        connection: &Arc<Connection>,
        request: Request<Body>,
        early_data: bool,
    ) -> Response<Body> {
        // One generation for the whole request: what a reload changes meanwhile concerns the next one.
        let snapshot = self.shared.snapshot.load_full();
        let mut record = Record::begin(self, &snapshot, connection, early_data);
        record.asked(&request);

        // What comes out holds nothing that filters or upstreams could read in two ways.
        let rules = Rules { limits: &snapshot.config.limits, trusted: &snapshot.config.proxy.trusted_proxies };
        let (head, body) = match hygiene::admit(connection, request, early_data, record.id(), rules) {
            Ok((exchange, body)) => self.exchange(&snapshot, exchange, body, &mut record).await,
            Err(error) => local_reply::make(&error, &mut record),
        };

        // The record goes with the body, and is written when its last byte is out.
        respond::respond(head, body, record)
    }

    /// Answers a request whose head could not even be read.
    #[must_use]
    pub fn refuse(&self, connection: &Arc<Connection>, error: &RequestError) -> Response<Body> {
        let snapshot = self.shared.snapshot.load_full();
        let mut record = Record::begin(self, &snapshot, connection, false);
        let (head, body) = local_reply::make(error, &mut record);
        respond::respond(head, body, record)
    }

    /// Down the chain, to the target, and up the chain again.
    async fn exchange(
        &self,
        snapshot: &Arc<Snapshot>,
        exchange: Box<Exchange>,
        body: Body,
        record: &mut Record,
    ) -> (ResponseHead, Body) {
        record.admitted(&exchange);
        // Early data may be replayed by an attacker (RFC 8470 section 3): only what changes nothing is served.
        if exchange.early_data && !exchange.request.method.is_safe() {
            return local_reply::make(&RequestError::TooEarly, record);
        }
        let body = metered::meter(body, snapshot.config.limits.max_request_size, record);

        // Each filter wraps those further down, so a reply of one still passes the response side of those above.
        let (mut exchange, outcome) = snapshot.chain.request(self.worker, exchange).await;
        record.routed(&exchange);
        let answer = match outcome {
            RequestOutcome::Forward => dispatch::dispatch(self, snapshot, &exchange, body, record).await,
            RequestOutcome::Reply(body) => Ok((exchange.response.take().unwrap_or_else(local_reply::empty), body)),
            RequestOutcome::Failed(failure) => Err(RequestError::Filter(failure)),
        };
        let (head, body) = answer.unwrap_or_else(|error| local_reply::make(&error, record));

        exchange.response = Some(head);
        let (mut exchange, body) = snapshot.chain.response(self.worker, exchange, body).await;
        record.answered(&mut exchange);
        (exchange.response.take().unwrap_or_else(local_reply::empty), body)
    }
}
