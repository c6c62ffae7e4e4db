//! The chain of one generation: requests run down it, responses run up.

use std::sync::Arc;

use crate::message::{Body, Exchange, WorkerId};

use super::failure::FilterFailure;
use super::position::{FilterStatus, Occupant, Position, RequestStep, ResponseStep};

/// How a request came out at the other end.
pub enum RequestOutcome {
    /// Every filter let it through; the exchange says where to.
    Forward,
    /// A filter answered: its head is in the exchange's `response`, its body here.
    Reply(Body),
    /// A filter with `fail = "closed"` failed.
    Failed(FilterFailure),
}

/// The filters of one generation, outermost first.
pub struct Chain {
    positions: Box<[Position]>,
    /// Positions that have something to do on the way down, in order. Those without cost nothing.
    down: Box<[usize]>,
    /// Positions that have something to do on the way up, from the last to the first.
    up: Box<[usize]>,
}

impl Chain {
    /// Positions that a chain may have: an exchange remembers those that it skipped as bits.
    pub const MAX_POSITIONS: usize = 128;

    pub(super) fn new(positions: Vec<Position>) -> Self {
        let hooks = |index: &usize| positions[*index].hooks();
        let all = 0..positions.len();
        // A filter with a response hook alone still has its matcher asked on the way down: what it would match
        // against may have been changed by the time the response comes up.
        let down = all
            .clone()
            .filter(|index| {
                hooks(index).request_headers || (hooks(index).response_headers && positions[*index].is_conditional())
            })
            .collect();
        let up = all.rev().filter(|index| hooks(index).response_headers).collect();
        Self { positions: positions.into_boxed_slice(), down, up }
    }

    /// The request side. Sets the exchange's `depth` and `skipped`, which [`Chain::response`] reads.
    pub async fn request(&self, worker: WorkerId, mut exchange: Box<Exchange>) -> (Box<Exchange>, RequestOutcome) {
        exchange.skipped = 0;
        for &index in &self.down {
            let position = &self.positions[index];
            if !position.matcher.matches(&exchange.request) {
                exchange.skipped |= 1 << index;
                continue;
            }
            if !position.hooks().request_headers {
                continue;
            }
            let (back, step) = position.request(worker, exchange).await;
            exchange = back;
            match step {
                RequestStep::Next => {}
                RequestStep::Skipped => exchange.skipped |= 1 << index,
                RequestStep::Reply(body) => {
                    exchange.depth = index;
                    return (exchange, RequestOutcome::Reply(body));
                }
                RequestStep::Failed(failure) => {
                    exchange.depth = index;
                    return (exchange, RequestOutcome::Failed(failure));
                }
            }
        }
        exchange.depth = self.positions.len();
        (exchange, RequestOutcome::Forward)
    }

    /// The response side: the filters that the request passed, from the last to the first. The exchange has a
    /// response; a filter with `fail = "closed"` that fails puts a 503 in its place, which goes on up.
    pub async fn response(
        &self,
        worker: WorkerId,
        mut exchange: Box<Exchange>,
        mut body: Body,
    ) -> (Box<Exchange>, Body) {
        for &index in &self.up {
            if index >= exchange.depth || exchange.skipped & (1 << index) != 0 || exchange.response.is_none() {
                continue;
            }
            let (back, step) = self.positions[index].response(worker, exchange, body).await;
            exchange = back;
            body = match step {
                ResponseStep::Next(body) => body,
                ResponseStep::Failed(failure) => {
                    let (head, body) = failure.reply(Some(&exchange.id));
                    exchange.response = Some(head);
                    body
                }
            };
        }
        (exchange, body)
    }

    /// Positions, also those that are skipped.
    #[must_use]
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// Whether there is no filter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// State of each filter, outermost first.
    #[must_use]
    pub fn status(&self) -> Vec<FilterStatus> {
        self.positions.iter().map(Position::status).collect()
    }

    /// The filter of that name, if it is loaded.
    pub(super) fn filter(&self, name: &str) -> Option<&Arc<super::position::Filter>> {
        self.positions.iter().find_map(|position| match &position.occupant {
            Occupant::Filter(filter) if *filter.name == *name => Some(filter),
            Occupant::Filter(_) | Occupant::Missing { .. } => None,
        })
    }

    /// The schema of a filter's configuration, as JSON text.
    #[must_use]
    pub fn schema(&self, name: &str) -> Option<&str> {
        self.filter(name).map(|filter| filter.guest.schema())
    }
}
