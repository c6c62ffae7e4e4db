//! How a call into a guest ends when it does not end well.

use wasmtime::{PoolConcurrencyLimitError, Trap};

use super::limits::Limiter;

/// Why a filter gave no verdict that can be used.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The guest trapped: it panicked, overflowed its stack, used a handle that it does not have.
    #[error("{message}")]
    Trap {
        /// What happened, in one line.
        message: String,
        /// Where in the guest, frame by frame.
        backtrace: String,
    },
    /// The guest used up its CPU time.
    #[error("it used more CPU time than its timeout allows")]
    Timeout,
    /// The guest wanted more memory than its limit, and did not go on without.
    #[error("it wanted more memory than its limit allows")]
    OutOfMemory,
    /// The guest called the host too often during one hook.
    #[error("it called the host more than {} times in one call", super::limits::HOSTCALLS_PER_CALL)]
    HostcallBudget,
    /// Every instance that the process may have is in use.
    #[error("no instance is free")]
    NoInstance,
    /// The verdict breaks a rule of the contract.
    #[error("its verdict is invalid: {reason}")]
    InvalidVerdict {
        /// Which rule.
        reason: String,
    },
}

impl CallError {
    /// The word of logs and metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Trap { .. } => "trap",
            Self::Timeout => "timeout",
            Self::OutOfMemory => "out_of_memory",
            Self::HostcallBudget => "hostcall_budget",
            Self::NoInstance => "no_instance",
            Self::InvalidVerdict { .. } => "invalid_verdict",
        }
    }

    /// Where in the guest it happened, if that is known.
    #[must_use]
    pub fn backtrace(&self) -> Option<&str> {
        match self {
            Self::Trap { backtrace, .. } => Some(backtrace),
            Self::Timeout
            | Self::OutOfMemory
            | Self::HostcallBudget
            | Self::NoInstance
            | Self::InvalidVerdict { .. } => None,
        }
    }

    /// Whether the guest is to blame; `false` where the host had no room for it.
    #[must_use]
    pub fn is_guests_fault(&self) -> bool {
        !matches!(self, Self::NoInstance)
    }

    /// Reads the error of a call or an instantiation.
    pub(super) fn from_wasmtime(error: &wasmtime::Error, limiter: &Limiter) -> Self {
        match error.downcast_ref::<Abort>() {
            Some(Abort::CpuTime) => return Self::Timeout,
            Some(Abort::Hostcalls) => return Self::HostcallBudget,
            Some(Abort::RandomInConfigure | Abort::NoMessage | Abort::RandomTooLong) | None => {}
        }
        if error.is::<PoolConcurrencyLimitError>() {
            return Self::NoInstance;
        }
        if error.downcast_ref::<Trap>() == Some(&Trap::Interrupt) {
            return Self::Timeout;
        }
        if limiter.was_refused() {
            return Self::OutOfMemory;
        }
        Self::Trap { message: error.root_cause().to_string(), backtrace: format!("{error:?}") }
    }
}

/// Why the host ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Abort {
    #[error("the CPU time of this call is used up")]
    CpuTime,
    #[error("too many hostcalls in one call")]
    Hostcalls,
    #[error(
        "`random` is not available while `configure` runs: every instance starts from the state after it, so the number would not be random; draw it in a hook"
    )]
    RandomInConfigure,
    #[error("`random` gives at most {} bytes a call", super::limits::RANDOM_BYTES)]
    RandomTooLong,
    #[error("there is no message in progress")]
    NoMessage,
}
