//! One filter at its place in the chain: enter it, read its verdict, apply its failure policy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::model::FailurePolicy;
use crate::message::{Body, Exchange, WorkerId};
use crate::wasm::{CallError, Guest, GuestCounters, Hooks, RequestVerdict, ResponseVerdict};

use super::breaker::{Breaker, BreakerState};
use super::build::Key;
use super::failure::{FilterFailure, Warnings};
use super::matcher::Matcher;
use super::{reply, verdict};

/// A filter with all that is known of its health. Outlives a reload that does not change it.
pub(super) struct Filter {
    pub(super) name: Arc<str>,
    /// What it was made from.
    pub(super) key: Key,
    pub(super) guest: Guest,
    breaker: Breaker,
    warnings: Warnings,
    failures: AtomicU64,
    invalid_verdicts: AtomicU64,
    refused: AtomicU64,
}

impl Filter {
    pub(super) fn new(name: Arc<str>, key: Key, guest: Guest) -> Self {
        Self {
            name,
            key,
            guest,
            breaker: Breaker::default(),
            warnings: Warnings::default(),
            failures: AtomicU64::new(0),
            invalid_verdicts: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }
}

/// What stands at a position.
pub(super) enum Occupant {
    /// A filter.
    Filter(Arc<Filter>),
    /// A filter with `fail = "open"` that can't be loaded, and why.
    Missing {
        /// Its name.
        name: Arc<str>,
        /// The error of loading it.
        error: String,
    },
}

/// One place in the chain.
pub(super) struct Position {
    pub(super) occupant: Occupant,
    pub(super) matcher: Matcher,
    pub(super) fail: FailurePolicy,
}

/// What a position answered on the way down.
pub(super) enum RequestStep {
    /// On to the next.
    Next,
    /// It failed, and counts as if it were not there.
    Skipped,
    /// A reply; its head is in the exchange.
    Reply(Body),
    /// It failed, and the request with it.
    Failed(FilterFailure),
}

/// What a position answered on the way up.
pub(super) enum ResponseStep {
    /// The response, as it is now, goes on up with this body.
    Next(Body),
    /// It failed, and the response with it.
    Failed(FilterFailure),
}

/// State of a filter, for the admin page and metrics.
#[derive(Clone, Debug)]
pub struct FilterStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Why it was not loaded.
    pub error: Option<String>,
    /// What its failures do to requests.
    pub fail: FailurePolicy,
    /// The hooks that it declared.
    pub hooks: Hooks,
    /// Whether its instances start from a snapshot.
    pub snapshotted: bool,
    /// How its breaker stands.
    pub breaker: BreakerState,
    /// How often the breaker opened.
    pub breaker_opened: u64,
    /// Requests and responses that the open breaker kept out.
    pub refused: u64,
    /// Calls without a usable verdict, for any reason.
    pub failures: u64,
    /// Calls whose verdict broke a rule.
    pub invalid_verdicts: u64,
    /// What happened in its guest.
    pub guest: GuestCounters,
}

impl Position {
    pub(super) fn hooks(&self) -> Hooks {
        match &self.occupant {
            Occupant::Filter(filter) => filter.guest.hooks(),
            Occupant::Missing { .. } => Hooks::default(),
        }
    }

    /// Whether the answer of the matcher matters to a hook.
    pub(super) fn is_conditional(&self) -> bool {
        !self.matcher.matches_all()
    }

    /// Calls the request hook.
    pub(super) async fn request(&self, worker: WorkerId, mut exchange: Box<Exchange>) -> (Box<Exchange>, RequestStep) {
        let Occupant::Filter(filter) = &self.occupant else { return (exchange, RequestStep::Skipped) };
        let Some(entry) = filter.breaker.enter() else {
            let step = self.refused(filter).map_or(RequestStep::Skipped, RequestStep::Failed);
            return (exchange, step);
        };
        let (back, result) = filter.guest.request_headers(worker, exchange).await;
        exchange = back;
        let applied = match result {
            Ok(RequestVerdict::Next) => Ok(RequestStep::Next),
            Ok(RequestVerdict::Edit(edits)) => {
                verdict::edit_request(&mut exchange, edits).map(|()| RequestStep::Next).map_err(CallError::from)
            }
            Ok(RequestVerdict::Respond(reply)) => match reply::parse(reply) {
                Ok((head, body)) => {
                    exchange.response = Some(head);
                    Ok(RequestStep::Reply(body))
                }
                Err(invalid) => Err(invalid.into()),
            },
            Err(error) => Err(error),
        };
        let step = match applied {
            Ok(step) => {
                entry.succeeded();
                step
            }
            Err(error) => {
                if error.is_guests_fault() {
                    filter.opened(entry.failed());
                }
                self.failed(filter, "request-headers", &error).map_or(RequestStep::Skipped, RequestStep::Failed)
            }
        };
        (exchange, step)
    }

    /// Calls the response hook.
    pub(super) async fn response(
        &self,
        worker: WorkerId,
        mut exchange: Box<Exchange>,
        mut body: Body,
    ) -> (Box<Exchange>, ResponseStep) {
        let Occupant::Filter(filter) = &self.occupant else { return (exchange, ResponseStep::Next(body)) };
        let Some(entry) = filter.breaker.enter() else {
            let step = self.refused(filter).map_or(ResponseStep::Next(body), ResponseStep::Failed);
            return (exchange, step);
        };
        let (back, result) = filter.guest.response_headers(worker, exchange).await;
        exchange = back;
        let applied = match result {
            Ok(ResponseVerdict::Next) => Ok(()),
            Ok(ResponseVerdict::Edit(edits)) => {
                verdict::edit_response(&mut exchange, &mut body, edits).map_err(CallError::from)
            }
            Ok(ResponseVerdict::Respond(reply)) => match reply::parse(reply) {
                Ok((head, new)) => {
                    exchange.response = Some(head);
                    body = new;
                    Ok(())
                }
                Err(invalid) => Err(invalid.into()),
            },
            Err(error) => Err(error),
        };
        let step = match applied {
            Ok(()) => {
                entry.succeeded();
                ResponseStep::Next(body)
            }
            Err(error) => {
                if error.is_guests_fault() {
                    filter.opened(entry.failed());
                }
                self.failed(filter, "response-headers", &error).map_or(ResponseStep::Next(body), ResponseStep::Failed)
            }
        };
        (exchange, step)
    }

    /// Counts and logs a failure; `Some` if it ends the request.
    fn failed(&self, filter: &Filter, phase: &str, error: &CallError) -> Option<FilterFailure> {
        filter.failures.fetch_add(1, Ordering::Relaxed);
        if matches!(error, CallError::InvalidVerdict { .. }) {
            filter.invalid_verdicts.fetch_add(1, Ordering::Relaxed);
        }
        filter.warnings.failed(&filter.name, phase, error);
        self.policy(filter, error.label())
    }

    /// Counts that the breaker kept somebody out; `Some` if that ends the request.
    fn refused(&self, filter: &Filter) -> Option<FilterFailure> {
        filter.refused.fetch_add(1, Ordering::Relaxed);
        self.policy(filter, "breaker_open")
    }

    fn policy(&self, filter: &Filter, reason: &'static str) -> Option<FilterFailure> {
        match self.fail {
            FailurePolicy::Closed => Some(FilterFailure { filter: Arc::clone(&filter.name), reason }),
            FailurePolicy::Open => None,
        }
    }

    pub(super) fn status(&self) -> FilterStatus {
        match &self.occupant {
            Occupant::Filter(filter) => FilterStatus {
                name: Arc::clone(&filter.name),
                error: None,
                fail: self.fail,
                hooks: filter.guest.hooks(),
                snapshotted: filter.guest.is_snapshotted(),
                breaker: filter.breaker.state(),
                breaker_opened: filter.breaker.opened(),
                refused: filter.refused.load(Ordering::Relaxed),
                failures: filter.failures.load(Ordering::Relaxed),
                invalid_verdicts: filter.invalid_verdicts.load(Ordering::Relaxed),
                guest: filter.guest.counters(),
            },
            Occupant::Missing { name, error } => FilterStatus {
                name: Arc::clone(name),
                error: Some(error.clone()),
                fail: self.fail,
                hooks: Hooks::default(),
                snapshotted: false,
                breaker: BreakerState::Closed,
                breaker_opened: 0,
                refused: 0,
                failures: 0,
                invalid_verdicts: 0,
                guest: GuestCounters::default(),
            },
        }
    }
}

impl Filter {
    fn opened(&self, opened: bool) {
        if opened {
            tracing::warn!(
                component = "filter",
                filter = &*self.name,
                "filter keeps failing: it is not entered for a while"
            );
        }
    }
}
