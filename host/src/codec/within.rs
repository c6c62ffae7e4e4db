//! A time limit that costs nothing when the future is ready at once, as nearly all of the codecs' writes are.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

/// Runs `future` for at most `limit`; `None` when the time is over.
///
/// Like `tokio::time::timeout`, but the timer is made only after the first poll, and the future stays where it is:
/// moving it would cost more than most of them do.
pub(crate) async fn within<F: Future>(limit: Duration, mut future: Pin<&mut F>) -> Option<F::Output> {
    if let Poll::Ready(output) = std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
        return Some(output);
    }
    tokio::time::timeout(limit, future).await.ok()
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_limit_holds_and_is_not_needed_when_ready() {
        assert_eq!(within(Duration::ZERO, pin!(async { 1 })).await, Some(1));
        assert_eq!(within(Duration::from_secs(1), pin!(std::future::pending::<()>())).await, None);
        let slow = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            2
        };
        assert_eq!(within(Duration::from_secs(3), pin!(slow)).await, Some(2));
    }
}
