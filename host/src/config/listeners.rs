//! That listeners do not share a port: every worker binds with `SO_REUSEPORT`, so the system would let two of
//! them have the same address and deal out connections between them.

use std::net::SocketAddr;

use super::diagnostic::{Located, Place, Report};

/// An address to listen on and the key that says so.
pub(super) struct Listen {
    /// The key.
    pub(super) name: String,
    /// The address, at no place where it is the default.
    pub(super) address: Located<SocketAddr>,
}

/// Reports each pair that shares a port, at the place of one that was set.
pub(super) fn check(listeners: &[Listen], report: &Report) {
    for (index, second) in listeners.iter().enumerate() {
        for first in listeners.iter().take(index) {
            if overlap(first.address.value, second.address.value) {
                let place = [first, second].map(|listen| &listen.address.place).into_iter();
                let place = place.max_by_key(|place| **place != Place::default()).cloned().unwrap_or_default();
                let (address, other) = (second.address.value, first.address.value);
                report.error(&place, format!("{} {address} and {} {other} share a port", second.name, first.name));
            }
        }
    }
}

/// Port 0 is any free one.
fn overlap(left: SocketAddr, right: SocketAddr) -> bool {
    let (a, b) = (left.ip(), right.ip());
    let same_family = a.is_ipv4() == b.is_ipv4();
    left.port() == right.port()
        && left.port() != 0
        && (a == b || (same_family && (a.is_unspecified() || b.is_unspecified())))
}
