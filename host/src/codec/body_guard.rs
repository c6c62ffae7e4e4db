//! Cuts a request body that comes too slowly. All three codecs wrap their bodies in it. The size limit is the
//! pipeline's; this is only about time.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::Settings;
use crate::message::BodyError;

/// How slow a body may be.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Time that a client may keep us waiting before the rate applies.
    pub grace: Duration,
    /// Bytes per second that it must keep up afterwards.
    pub min_rate: u64,
}

impl From<&Settings> for Pace {
    fn from(settings: &Settings) -> Self {
        Self { grace: settings.body_grace, min_rate: settings.body_min_rate }
    }
}

/// A body that must keep up a minimum rate.
///
/// Only time spent waiting for the client counts: while the upstream takes its time, nobody polls the body, and
/// the client is not to blame. A client may keep us waiting for the grace time plus one second for every
/// `min_rate` bytes that it has sent.
#[derive(Debug)]
pub struct BodyGuard<B> {
    body: B,
    pace: Pace,
    received: u64,
    waited: Duration,
    /// Set while the last poll was left pending.
    waiting: Option<Instant>,
    /// Made on the first wait: most bodies are there before they are asked for.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<B> BodyGuard<B> {
    /// Guards `body`.
    pub fn new(body: B, pace: Pace) -> Self {
        Self { body, pace, received: 0, waited: Duration::ZERO, waiting: None, timer: None }
    }

    fn budget(&self) -> Duration {
        let earned = self.received.checked_div(self.pace.min_rate).unwrap_or(u64::MAX);
        self.pace.grace.saturating_add(Duration::from_secs(earned))
    }

    /// The client let a poll pending: starts the clock, and says whether its time is over.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.waiting.is_none() {
            let now = Instant::now();
            self.waiting = Some(now);
            let left = self.budget().saturating_sub(self.waited);
            // Far-off deadlines are cut to a day: the timer can't go on for ever, and the next byte re-arms it.
            let deadline = now + left.min(Duration::from_hours(24));
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(deadline),
                None => self.timer = Some(Box::pin(tokio::time::sleep_until(deadline))),
            }
        }
        self.timer.as_mut().map_or(Poll::Pending, |timer| timer.as_mut().poll(cx))
    }
}

impl<B> Body for BodyGuard<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => return self.poll_deadline(cx).map(|()| Some(Err(BodyError::DownstreamTimeout))),
        };
        if let Some(since) = self.waiting.take() {
            self.waited += since.elapsed();
        }
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.received += data.len() as u64;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio::sync::mpsc;

    use super::*;

    /// A body fed by the test.
    #[derive(Debug)]
    struct Fed(mpsc::UnboundedReceiver<Bytes>);

    impl Body for Fed {
        type Data = Bytes;
        type Error = BodyError;

        fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            self.0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
        }
    }

    fn guarded(min_rate: u64) -> (mpsc::UnboundedSender<Bytes>, BodyGuard<Fed>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (sender, BodyGuard::new(Fed(receiver), Pace { grace: Duration::from_secs(10), min_rate }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_is_cut_after_the_grace_time() {
        let (_sender, mut body) = guarded(500);
        let start = Instant::now();
        assert!(matches!(body.frame().await, Some(Err(BodyError::DownstreamTimeout))));
        assert!(start.elapsed() >= Duration::from_secs(10) && start.elapsed() < Duration::from_secs(11));
    }

    #[tokio::test(start_paused = true)]
    async fn dripping_does_not_extend_the_time_but_a_fair_rate_does() {
        let (sender, mut body) = guarded(500);
        let start = Instant::now();
        let drip = tokio::spawn(async move {
            while sender.send(Bytes::from_static(b"x")).is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        while let Some(Ok(_)) = body.frame().await {}
        assert!(start.elapsed() < Duration::from_secs(12));
        drop(body);
        drip.await.unwrap();

        let (sender, mut body) = guarded(500);
        tokio::spawn(async move {
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let _ = sender.send(Bytes::from(vec![0; 600]));
            }
        });
        let mut received = 0;
        while let Some(frame) = body.frame().await {
            received += frame.unwrap().into_data().unwrap().len();
        }
        assert_eq!(received, 60_000);
    }

    #[tokio::test(start_paused = true)]
    async fn an_upstream_that_takes_its_time_costs_the_client_nothing() {
        let (sender, mut body) = guarded(500);
        for _ in 0..5 {
            sender.send(Bytes::from_static(b"x")).unwrap();
            tokio::time::sleep(Duration::from_mins(1)).await;
            assert!(body.frame().await.unwrap().is_ok());
        }
    }
}
