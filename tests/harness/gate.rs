//! Keeps heavy and timing-sensitive tests apart from the others: they run alone, the rest in parallel.

use std::cell::RefCell;
use std::sync::{Arc, LazyLock, Weak};

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

static GATE: LazyLock<Arc<RwLock<()>>> = LazyLock::new(Arc::default);

/// The right to run, held by a proxy for as long as it lives.
pub struct Pass {
    #[expect(dead_code, reason = "held for its Drop")]
    guard: Guard,
}

enum Guard {
    Shared(#[expect(dead_code, reason = "held for its Drop")] OwnedRwLockReadGuard<()>),
    Alone(#[expect(dead_code, reason = "held for its Drop")] OwnedRwLockWriteGuard<()>),
}

/// With whom a test may share the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Company {
    /// Any other test that isn't picky.
    Shared,
    /// Nobody: this one measures time or needs the whole machine.
    Alone,
}

thread_local! {
    // libtest gives every test a thread of its own, so this is "what this test already holds". A second proxy of
    // the same test must not queue behind a test that waits for the first one to end.
    static HELD: RefCell<Weak<Pass>> = const { RefCell::new(Weak::new()) };
}

/// Waits for the right to run; returns at once when this test has it already.
pub async fn enter(company: Company) -> Arc<Pass> {
    if let Some(pass) = HELD.with_borrow(Weak::upgrade) {
        return pass;
    }
    let gate = Arc::clone(&GATE);
    let guard = match company {
        Company::Shared => Guard::Shared(gate.read_owned().await),
        Company::Alone => Guard::Alone(gate.write_owned().await),
    };
    let pass = Arc::new(Pass { guard });
    HELD.with_borrow_mut(|held| *held = Arc::downgrade(&pass));
    pass
}
