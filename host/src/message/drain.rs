//! The signal that the process is shutting down, handed to every listener and connection.

use tokio::sync::watch;

/// How far the shutdown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Serving.
    Running,
    /// Nothing new is accepted; what is in flight goes on.
    Draining,
    /// The time for draining is over: drop what is left.
    Stopping,
}

/// The side that decides.
pub struct DrainControl(watch::Sender<Phase>);

/// The side that is told; cheap to clone.
#[derive(Clone)]
pub struct Drain(watch::Receiver<Phase>);

/// Makes a connected pair, running.
#[must_use]
pub fn drain() -> (DrainControl, Drain) {
    let (sender, receiver) = watch::channel(Phase::Running);
    (DrainControl(sender), Drain(receiver))
}

impl DrainControl {
    /// Moves to `phase`; going back is not possible and does nothing.
    pub fn enter(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let forward = phase > *now;
            if forward {
                *now = phase;
            }
            forward
        });
    }
}

impl Drain {
    /// The phase now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Whether nothing new should begin.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.phase() >= Phase::Draining
    }

    /// Resolves once `phase` is reached, at once if it was before.
    pub async fn reached(&mut self, phase: Phase) {
        // A dropped control means that the process is going down.
        let _ = self.0.wait_for(|now| *now >= phase).await;
    }
}
