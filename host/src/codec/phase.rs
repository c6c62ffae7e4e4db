//! Waits for the next step of the shutdown, in a form that a connection's task can poll again and again.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::message::{Drain, Phase};

/// Yields `Draining`, then `Stopping`, each once.
pub(crate) struct Phases {
    drain: Drain,
    next: Option<Pin<Box<dyn Future<Output = Phase> + Send>>>,
}

impl Phases {
    pub(crate) fn new(drain: Drain) -> Self {
        let next = Some(after(drain.clone(), Phase::Draining));
        Self { drain, next }
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Phase> {
        let Some(next) = &mut self.next else { return Poll::Pending };
        let Poll::Ready(phase) = next.as_mut().poll(cx) else { return Poll::Pending };
        self.next = (phase < Phase::Stopping).then(|| after(self.drain.clone(), Phase::Stopping));
        Poll::Ready(phase)
    }
}

fn after(mut drain: Drain, phase: Phase) -> Pin<Box<dyn Future<Output = Phase> + Send>> {
    Box::pin(async move {
        drain.reached(phase).await;
        // A control that is gone counts as reached: the process is going down.
        drain.phase().max(phase)
    })
}
