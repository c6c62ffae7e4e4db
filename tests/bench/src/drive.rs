//! The three ways of loading: closed loop, fixed rate, new connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::sample::Sample;
use crate::target::{Connection, Received, Target};

/// A refused or broken connection is not tried again at once: the server's core has better things to do.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(20);

/// What is under way when the time is over may still end; a large body is cut off after this.
const GRACE: Duration = Duration::from_secs(1);

/// One run.
pub(crate) struct Load {
    target: Arc<Target>,
    connections: usize,
    streams: usize,
    length: Duration,
}

/// When requests are sent.
#[derive(Clone)]
enum Pace {
    /// As soon as the one before is answered.
    Closed,
    /// At `start + n * interval`, `n` taken from the counter that all share.
    Rate { start: Instant, interval: Duration, next: Arc<AtomicU64> },
}

impl Load {
    pub(crate) fn new(target: Target, connections: usize, streams: usize, length: Duration) -> Self {
        Self { target: Arc::new(target), connections, streams, length }
    }

    /// Every stream sends its next request when the last one is answered.
    pub(crate) async fn closed(self) -> Sample {
        self.paced(|_| Pace::Closed).await
    }

    /// A fixed number of requests per second over all streams, whatever the answers take.
    pub(crate) async fn rate(self, per_second: u32) -> Sample {
        let interval = Duration::from_secs(1) / per_second;
        let next = Arc::new(AtomicU64::new(0));
        self.paced(|start| Pace::Rate { start, interval, next: Arc::clone(&next) }).await
    }

    async fn paced(self, pace: impl Fn(Instant) -> Pace) -> Sample {
        let began = Instant::now();
        let deadline = began + self.length;
        let pace = pace(began);
        let mut tasks = JoinSet::new();
        for _ in 0..self.connections {
            tasks.spawn(keep_connected(Arc::clone(&self.target), self.streams, pace.clone(), deadline));
        }
        gather(tasks).await.took(began.elapsed())
    }

    /// Every request on a connection of its own, `connections` of them at a time.
    pub(crate) async fn connect(self) -> Sample {
        let began = Instant::now();
        let deadline = began + self.length;
        let mut tasks = JoinSet::new();
        for _ in 0..self.connections {
            let target = Arc::clone(&self.target);
            tasks.spawn(async move {
                let mut sample = Sample::default();
                let received = Received::default();
                while Instant::now() < deadline {
                    let began = Instant::now();
                    let outcome = timeout_at(deadline + GRACE, async {
                        let mut connection = target.open().await?;
                        connection.request(&received).await?;
                        connection.close();
                        anyhow::Ok(())
                    });
                    match outcome.await {
                        Ok(Ok(())) => sample.record(began.elapsed(), received.swap(0, Ordering::Relaxed)),
                        Ok(Err(error)) => {
                            sample.fail(&error);
                            tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                        }
                        Err(_) => break,
                    }
                }
                sample
            });
        }
        gather(tasks).await.took(began.elapsed())
    }
}

async fn gather(mut tasks: JoinSet<Sample>) -> Sample {
    let mut all = Sample::default();
    while let Some(sample) = tasks.join_next().await {
        all.merge(sample.unwrap_or_default());
    }
    all
}

/// Opens a connection and loads it; opens another when it breaks, until the time is over.
async fn keep_connected(target: Arc<Target>, streams: usize, pace: Pace, deadline: Instant) -> Sample {
    let mut all = Sample::default();
    while Instant::now() < deadline {
        match timeout_at(deadline, target.open()).await {
            Ok(Ok(connection)) => {
                let mut tasks = JoinSet::new();
                for handle in connection.share(streams) {
                    tasks.spawn(stream(handle, pace.clone(), deadline));
                }
                all.merge(gather(tasks).await);
            }
            Ok(Err(error)) => {
                all.fail(&error);
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            }
            Err(_) => break,
        }
    }
    all
}

/// Sends requests one after the other until the time is over or one fails.
async fn stream(mut connection: Connection, pace: Pace, deadline: Instant) -> Sample {
    let mut sample = Sample::default();
    let received = Received::default();
    loop {
        let due = match &pace {
            Pace::Closed => Instant::now(),
            Pace::Rate { start, interval, next } => {
                let number = u32::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap_or(u32::MAX);
                *start + *interval * number
            }
        };
        if due >= deadline {
            break;
        }
        // Late because all streams were busy: the wait counts. Late because timers are coarse: it does not.
        let began = if due > Instant::now() {
            sleep_until(due).await;
            Instant::now()
        } else {
            due
        };
        match timeout_at(deadline + GRACE, connection.request(&received)).await {
            Ok(Ok(())) => sample.record(began.elapsed(), received.swap(0, Ordering::Relaxed)),
            Ok(Err(error)) => {
                sample.fail(&error);
                break;
            }
            Err(_) => break,
        }
    }
    sample.add_bytes(received.load(Ordering::Relaxed));
    sample
}
