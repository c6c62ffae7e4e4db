//! HTTP/3 (RFC 9114) towards clients, on the `h3` crate over quinn. This file is the connection: accept requests,
//! mark those that came in early data, close when idle or told to drain.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h3::error::ConnectionError;
use h3::server::RequestResolver;
use quinn::{TransportErrorCode, ZeroRttAccepted};
use tokio::time::Instant;

use super::activity::Activity;
use super::phase::Phases;
use super::{Service, Settings};
use crate::message::{Connection, Drain, Phase};
use stream::{Opened, Shared};

mod body;
mod scan;
mod stream;
mod transport;

pub(crate) use transport::SEND_WINDOW;

/// How a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The handshake was not over in time.
    #[error("the handshake took too long")]
    Handshake,
    /// The control streams could not be opened in time.
    #[error("the client allows no control streams")]
    ControlStreams,
    /// The client broke the protocol, or the network broke.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

/// How far the handshake is.
pub enum Handshake {
    /// Over.
    Done,
    /// Under way: what comes now is early data.
    InProgress {
        /// Resolves when it is over.
        accepted: ZeroRttAccepted,
        /// When it must be.
        deadline: Instant,
        /// Goes when it is over.
        pending: Box<dyn Send + Sync>,
    },
}

impl Handshake {
    /// Whether it is over now.
    fn poll_done(&mut self, cx: &mut Context<'_>) -> bool {
        if let Self::InProgress { accepted, .. } = self
            && Pin::new(accepted).poll(cx).is_ready()
        {
            *self = Self::Done;
        }
        matches!(self, Self::Done)
    }
}

/// How far the end of the connection is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    No,
    /// GOAWAY was sent for what is not on its way yet.
    Announced,
    /// GOAWAY was sent for everything new.
    Final,
}

/// Requests that may be on their way while the first GOAWAY is.
const ON_THEIR_WAY: usize = 1000;
/// Time that the last response gets to arrive, and the client to close by itself.
const LINGER: Duration = Duration::from_millis(500);

#[allow(
    clippy::large_enum_variant,
    reason = "lives on the stack for one round of the loop; a box would be one more allocation per request"
)]
enum Event {
    Request(RequestResolver<transport::Connection, Bytes>),
    Closed,
    Failed(ConnectionError),
    HandshakeDone,
    Phase(Phase),
    Timer,
}

type H3 = h3::server::Connection<transport::Connection, Bytes>;

/// Serves one connection until it ends. `streams` counts those that either side opens.
///
/// # Errors
/// The connection ended by something else than its regular close.
pub async fn serve<S: Service>(
    quic: quinn::Connection,
    mut handshake: Handshake,
    connection: Arc<Connection>,
    service: S,
    settings: Settings,
    drain: Drain,
    streams: Arc<AtomicU64>,
) -> Result<(), Error> {
    let frame_limit = 4 * settings.max_header_size.max(16 * 1024) as u64;
    let mut builder = h3::server::builder();
    builder.max_field_section_size(settings.max_header_size as u64).send_grease(false);
    let built = builder.build::<_, Bytes>(transport::Connection::new(quic.clone(), frame_limit, streams));
    let built = tokio::time::timeout(settings.request_head, built).await;
    let mut h3: H3 = match built.map_err(|_| Error::ControlStreams)? {
        Ok(h3) => h3,
        Err(error) => return regular(&quic, error),
    };

    let keep_alive = settings.keep_alive;
    let shared = Arc::new(Shared { connection, service, settings });
    let activity = Activity::new();
    let mut phases = Phases::new(drain);
    let first_deadline = match &handshake {
        Handshake::Done => Instant::now() + keep_alive,
        Handshake::InProgress { deadline, .. } => *deadline,
    };
    let mut timer = pin!(tokio::time::sleep_until(first_deadline));
    let mut ending = Ending::No;
    loop {
        let in_handshake = matches!(handshake, Handshake::InProgress { .. });
        let event = std::future::poll_fn(|cx| {
            // Before requests are accepted: one that is accepted after the handshake is no early data any more.
            if handshake.poll_done(cx) && in_handshake {
                return Poll::Ready(Event::HandshakeDone);
            }
            match pin!(h3.accept()).poll(cx) {
                Poll::Ready(Ok(Some(resolver))) => return Poll::Ready(Event::Request(resolver)),
                Poll::Ready(Ok(None)) => return Poll::Ready(Event::Closed),
                Poll::Ready(Err(error)) => return Poll::Ready(Event::Failed(error)),
                Poll::Pending => {}
            }
            if let Poll::Ready(phase) = phases.poll_next(cx) {
                return Poll::Ready(Event::Phase(phase));
            }
            timer.as_mut().poll(cx).map(|()| Event::Timer)
        })
        .await;
        match event {
            Event::Request(resolver) => {
                let stopped = h3.inner.conn.take_stopped();
                let opened = Opened { resolver, stopped, early_data: in_handshake, in_progress: activity.begin() };
                // Boxed before it is spawned: the runtime would move it several times.
                tokio::spawn(Box::pin(stream::serve(opened, Arc::clone(&shared))));
            }
            Event::Closed | Event::Phase(Phase::Stopping) => return Ok(()),
            Event::Failed(error) => return regular(&quic, error),
            Event::HandshakeDone => timer.as_mut().reset(Instant::now() + keep_alive),
            Event::Timer if in_handshake => return Err(Error::Handshake),
            Event::Phase(_) if ending == Ending::No => {
                goaway(&mut h3, ON_THEIR_WAY).await;
                ending = Ending::Announced;
                timer.as_mut().reset(Instant::now() + on_its_way(&quic));
            }
            Event::Phase(_) => {}
            Event::Timer => match ending {
                Ending::No => {
                    let idle_at = activity.idle_at(keep_alive);
                    if idle_at.is_none() {
                        goaway(&mut h3, ON_THEIR_WAY).await;
                        ending = Ending::Announced;
                    }
                    timer.as_mut().reset(idle_at.unwrap_or_else(|| Instant::now() + on_its_way(&quic)));
                }
                Ending::Announced => {
                    goaway(&mut h3, 0).await;
                    ending = Ending::Final;
                    timer.as_mut().reset(Instant::now() + LINGER);
                }
                Ending::Final => match activity.idle_at(LINGER) {
                    Some(at) => timer.as_mut().reset(at),
                    None => return Ok(()),
                },
            },
        }
    }
}

/// Tells the client to send no more requests, those apart that it may have sent already.
async fn goaway(h3: &mut H3, on_their_way: usize) {
    // An error is one of the connection, which the next accept tells.
    let _ = tokio::time::timeout(LINGER, h3.shutdown(on_their_way)).await;
}

/// Time until a GOAWAY has arrived and what was sent before that has come.
fn on_its_way(quic: &quinn::Connection) -> Duration {
    (2 * quic.rtt()).clamp(Duration::from_millis(50), LINGER)
}

/// Tells regular ends from failures.
fn regular(quic: &quinn::Connection, error: ConnectionError) -> Result<(), Error> {
    match quic.close_reason() {
        // The client closes when it likes, with whatever code; silence is how most connections end.
        Some(quinn::ConnectionError::ApplicationClosed(_) | quinn::ConnectionError::TimedOut) => Ok(()),
        Some(quinn::ConnectionError::ConnectionClosed(close)) if close.error_code == TransportErrorCode::NO_ERROR => {
            Ok(())
        }
        _ if error.is_h3_no_error() => Ok(()),
        _ => Err(error.into()),
    }
}
