//! Randomness, from the host's operating system. Not available in [`Filter::new`](crate::Filter::new): the state
//! after it is shared by every instance, so a number drawn there would not be random.

use crate::imports::random;

/// `len` random bytes, at most 4,096.
#[must_use]
pub fn bytes(len: u32) -> Vec<u8> {
    random::bytes(len)
}

/// A random number.
#[must_use]
pub fn u64() -> u64 {
    random::u64()
}
