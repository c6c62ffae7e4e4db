//! What one instance carries: the exchange in progress, its limits, and what is left of this call's budgets.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Method};
use wasmtime::{Store, UpdateDeadline};

use crate::message::{Connection, Exchange, Priority, Protocol, Provenance, RequestHead, RequestId, Scheme};

use super::counters::WorkerCounters;
use super::host::wasi::Wasi;
use super::limits::{self, Limiter};
use super::trap::Abort;

/// What is the same for every instance of a filter.
pub(super) struct Facts {
    /// The filter's name.
    pub(super) name: Arc<str>,
    /// Its own table as JSON text.
    pub(super) config: Box<[u8]>,
    /// Bytes of linear memory.
    pub(super) memory: usize,
    /// CPU time of one hook.
    pub(super) ticks: u32,
    /// Counts, by worker.
    pub(super) counters: Box<[WorkerCounters]>,
}

/// What the guest is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// `configure` or `schema`: there is no message, and no randomness if the state is going to be shared.
    Lifecycle,
    /// A hook.
    Hook,
}

/// The data of a store.
pub(super) struct GuestState {
    /// The exchange in progress; an empty one while the instance waits in its pool. Not an `Option`: the borrow that
    /// the guest holds then always means something.
    pub(super) exchange: Box<Exchange>,
    pub(super) facts: Arc<Facts>,
    pub(super) limiter: Limiter,
    pub(super) stage: Stage,
    /// Log lines that this call may still write.
    pub(super) log_lines: u32,
    /// Log lines that this call could not write.
    pub(super) log_lines_dropped: u32,
    /// Made when the guest first asks for it: most never do.
    pub(super) wasi: Option<Box<Wasi>>,
    ticks: u32,
    hostcalls: u32,
}

impl GuestState {
    /// Counts one call into the host.
    pub(super) fn charge(&mut self) -> wasmtime::Result<()> {
        match self.hostcalls.checked_sub(1) {
            Some(left) => {
                self.hostcalls = left;
                Ok(())
            }
            None => Err(Abort::Hostcalls.into()),
        }
    }

    /// Counts one call into the host, and gives the exchange that it is about.
    pub(super) fn message(&mut self) -> wasmtime::Result<&Exchange> {
        self.charge()?;
        match self.stage {
            Stage::Hook => Ok(&self.exchange),
            Stage::Lifecycle => Err(Abort::NoMessage.into()),
        }
    }

    /// Fills the budgets for a call.
    fn begin(&mut self, stage: Stage, ticks: u32) {
        self.stage = stage;
        self.ticks = ticks;
        self.hostcalls = limits::HOSTCALLS_PER_CALL;
        self.log_lines = limits::LOG_LINES_PER_CALL;
        self.log_lines_dropped = 0;
        self.limiter.begin_call();
        if let Some(wasi) = &self.wasi {
            wasi.begin_call();
        }
    }

    /// Log lines dropped in this call, also those on standard output and standard error.
    pub(super) fn log_lines_dropped(&self) -> u32 {
        self.log_lines_dropped + self.wasi.as_ref().map_or(0, |wasi| wasi.lines_dropped())
    }

    /// Uses up a tick; an error once there is none left.
    fn tick(&mut self) -> wasmtime::Result<UpdateDeadline> {
        match self.ticks.checked_sub(1) {
            Some(left) if left > 0 => {
                self.ticks = left;
                // tokio's own yield polls sockets and timers before it comes back; wasmtime's would only go to the
                // end of the queue, and a guest that loops would starve them.
                Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
            }
            Some(_) | None => Err(Abort::CpuTime.into()),
        }
    }
}

/// Makes a store for one instance.
pub(super) fn new_store(engine: &wasmtime::Engine, facts: &Arc<Facts>) -> Store<GuestState> {
    let state = GuestState {
        exchange: idle_exchange(),
        facts: Arc::clone(facts),
        limiter: Limiter::new(facts.memory),
        stage: Stage::Lifecycle,
        log_lines: 0,
        log_lines_dropped: 0,
        wasi: None,
        ticks: 0,
        hostcalls: 0,
    };
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.limiter);
    store.epoch_deadline_callback(|mut context| context.data_mut().tick());
    store.set_hostcall_fuel(limits::TRANSFER_PER_CALL);
    store
}

/// Readies a store for a call of a hook.
pub(super) fn begin_hook(store: &mut Store<GuestState>) {
    let ticks = store.data().facts.ticks;
    store.data_mut().begin(Stage::Hook, ticks);
    store.set_epoch_deadline(1);
}

/// Readies a store for instantiation, `configure` or `schema`.
pub(super) fn begin_lifecycle(store: &mut Store<GuestState>, time: Duration) {
    store.data_mut().begin(Stage::Lifecycle, limits::ticks(time));
    store.set_epoch_deadline(1);
}

/// The exchange of an instance that has none.
fn idle_exchange() -> Box<Exchange> {
    static NOBODY: LazyLock<Arc<Connection>> = LazyLock::new(|| {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Arc::new(Connection { peer: nowhere, local: nowhere, protocol: Protocol::Http1, tls: None, rtt: None })
    });
    Box::new(Exchange {
        connection: Arc::clone(&NOBODY),
        client: NOBODY.peer,
        id: RequestId(Arc::default()),
        provenance: Provenance::direct(Authority::from_static("localhost")),
        early_data: false,
        request: RequestHead {
            method: Method::GET,
            scheme: Scheme::Http,
            authority: Authority::from_static("localhost"),
            path_and_query: PathAndQuery::from_static("/"),
            headers: HeaderMap::new(),
        },
        target: None,
        route: None,
        timeout: None,
        priority: Priority::default(),
        tags: Vec::new(),
        response: None,
        depth: 0,
        skipped: 0,
    })
}
