//! HTTP/2 (RFC 9113) towards clients, over TLS or cleartext with prior knowledge, on the `h2` crate. This file is
//! the connection: accept streams, close when idle, flooded or told to drain.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::activity::Activity;
use super::phase::Phases;
use super::{Prefixed, Service, Settings};
use crate::message::{Connection, Drain, Phase};
use guard::Guard;
use stream::Shared;

mod body;
mod frames;
mod guard;
mod stream;
#[cfg(test)]
mod tests;

/// How a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No preface in time.
    #[error("the client sent no HTTP/2 preface in time")]
    Preface,
    /// Too many control frames or resets.
    #[error("the client floods")]
    Flood,
    /// Everything else.
    #[error(transparent)]
    H2(#[from] h2::Error),
}

/// Time that a connection which should end, and has no request in progress, gets for its goodbyes.
const LINGER: Duration = Duration::from_secs(1);

type Accepted = (Request<RecvStream>, SendResponse<Bytes>);

#[allow(
    clippy::large_enum_variant,
    reason = "lives on the stack for one round of the loop; a box would be one more allocation per request"
)]
enum Event {
    Request(Accepted),
    Closed,
    Failed(h2::Error),
    Flood,
    Phase(Phase),
    Timer,
}

/// Serves one connection until it ends.
///
/// # Errors
/// The connection ended by something else than its regular close.
pub async fn serve<IO, S>(
    io: IO,
    prefix: Bytes,
    connection: Arc<Connection>,
    service: S,
    settings: Settings,
    drain: Drain,
) -> Result<(), Error>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service,
{
    let guard = Guard::new(Prefixed::new(prefix, io), settings.request_head, settings.write_stall);
    let flood = guard.flood();
    let handshake = builder(&settings).handshake::<_, Bytes>(guard);
    let mut h2 = tokio::time::timeout(settings.request_head, handshake).await.map_err(|_| Error::Preface)??;

    let keep_alive = settings.keep_alive;
    let shared = Arc::new(Shared { connection, service, settings });
    let activity = Activity::new();
    let mut phases = Phases::new(drain);
    let mut timer = pin!(tokio::time::sleep(keep_alive));
    let mut ending = false;
    loop {
        let event = std::future::poll_fn(|cx| {
            let accepted = pin!(h2.accept()).poll(cx);
            if flood.seen() {
                return Poll::Ready(Event::Flood);
            }
            match accepted {
                Poll::Ready(Some(Ok(accepted))) => return Poll::Ready(Event::Request(accepted)),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Event::Failed(error)),
                Poll::Ready(None) => return Poll::Ready(Event::Closed),
                Poll::Pending => {}
            }
            if let Poll::Ready(phase) = phases.poll_next(cx) {
                return Poll::Ready(Event::Phase(phase));
            }
            timer.as_mut().poll(cx).map(|()| Event::Timer)
        })
        .await;
        match event {
            Event::Request((request, respond)) => {
                // Boxed before it is spawned: the runtime would move it several times.
                let served = stream::serve(request, respond, Arc::clone(&shared), activity.begin());
                tokio::spawn(Box::pin(served));
            }
            Event::Closed | Event::Phase(Phase::Stopping) => return Ok(()),
            Event::Failed(error) => return Err(error.into()),
            Event::Flood => {
                h2.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                let _ = tokio::time::timeout(LINGER, std::future::poll_fn(|cx| h2.poll_closed(cx))).await;
                return Err(Error::Flood);
            }
            Event::Phase(_) => {
                ending = true;
                h2.graceful_shutdown();
                timer.as_mut().reset(Instant::now() + LINGER);
            }
            Event::Timer if ending && activity.active() == 0 => return Ok(()),
            Event::Timer if ending => timer.as_mut().reset(Instant::now() + LINGER),
            Event::Timer => {
                let idle_at = activity.idle_at(keep_alive);
                if idle_at.is_none() {
                    ending = true;
                    h2.graceful_shutdown();
                }
                timer.as_mut().reset(idle_at.unwrap_or_else(|| Instant::now() + LINGER));
            }
        }
    }
}

fn builder(settings: &Settings) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(settings.h2_max_streams)
        .initial_window_size(settings.h2_stream_window)
        .initial_connection_window_size(settings.h2_connection_window)
        .max_header_list_size(u32::try_from(settings.max_header_size).unwrap_or(u32::MAX))
        .max_send_buffer_size(64 * 1024)
        // Streams that the client reset before we saw them, and those that we had to reset: more is an attack
        // (CVE-2023-44487, CVE-2025-8671).
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(Some(100))
        .max_concurrent_reset_streams(50);
    builder
}
