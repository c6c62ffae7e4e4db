//! Time, from the host: the guest has no clock of its own.

use std::time::Duration;

use crate::imports::clock;

/// Time since 1970-01-01T00:00:00Z.
#[must_use]
pub fn now() -> Duration {
    Duration::from_nanos(clock::now())
}

/// Time since an arbitrary moment; never goes back.
#[must_use]
pub fn monotonic() -> Duration {
    Duration::from_nanos(clock::monotonic())
}
