//! The test host: what a filter finds around it when it runs natively. Time stands still until a test moves it,
//! randomness comes from a seed, log lines are kept.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use super::imports::log::Level as RawLevel;
use super::message::{TestRequest, TestResponse};
use crate::connection::Protocol;
use crate::filter::{ConfigError, Filter, Hook, parse};
use crate::log::Level;
use crate::message::{Request, Response};
use crate::verdict::{RequestVerdict, ResponseVerdict};

/// Facts about the client's connection, as [`crate::connection`] will tell them.
#[derive(Clone, Debug)]
pub struct TestConnection {
    /// The client.
    pub peer: SocketAddr,
    /// The listener.
    pub local: SocketAddr,
    /// The protocol spoken.
    pub protocol: Protocol,
    /// Whether it is encrypted.
    pub tls: bool,
    /// Server name of the TLS handshake.
    pub sni: Option<String>,
    /// Application protocol of the TLS handshake.
    pub alpn: Option<String>,
    /// The client's certificate in DER.
    pub client_certificate: Option<Vec<u8>>,
    /// Whether the request came in 0-RTT data.
    pub early_data: bool,
    /// Round-trip time in microseconds.
    pub rtt_micros: Option<u32>,
}

impl Default for TestConnection {
    /// HTTP/2 over TLS from 192.0.2.1 (an address for documentation, RFC 5737).
    fn default() -> Self {
        Self {
            peer: SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 50_000),
            local: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9443),
            protocol: Protocol::Http2,
            tls: true,
            sni: Some("localhost".to_owned()),
            alpn: Some("h2".to_owned()),
            client_certificate: None,
            early_data: false,
            rtt_micros: None,
        }
    }
}

/// A line that the filter logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: Level,
    /// The text.
    pub message: String,
    /// The fields, in order.
    pub fields: Vec<(String, String)>,
}

pub(crate) struct State {
    pub(crate) wall: u64,
    pub(crate) monotonic: u64,
    pub(crate) level: RawLevel,
    pub(crate) lines: Vec<LogLine>,
    pub(crate) connection: TestConnection,
    pub(crate) configuring: bool,
    random: u64,
}

impl State {
    /// SplitMix64: short, and the same on every machine.
    pub(crate) fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

thread_local! {
    /// The host of the filter that is being called on this thread.
    static CURRENT: RefCell<Option<Rc<RefCell<State>>>> = const { RefCell::new(None) };
}

/// Answers a hostcall.
pub(crate) fn with<R>(answer: impl FnOnce(&mut State) -> R) -> R {
    let current = CURRENT.with_borrow(Clone::clone);
    let state = current.unwrap_or_else(|| no_host());
    let mut state = state.borrow_mut();
    answer(&mut state)
}

#[allow(clippy::panic, reason = "a mistake in a test, and this ends the test with a reason")]
fn no_host() -> ! {
    panic!("a host function was called outside a filter; start the filter with gpanel_filter::testing::run")
}

/// Makes `state` the current host, and on drop the one before it again, also when the filter panics.
struct Entered(Option<Rc<RefCell<State>>>);

impl Entered {
    fn new(state: &Rc<RefCell<State>>) -> Self {
        Self(CURRENT.replace(Some(Rc::clone(state))))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

/// A host to run filters natively.
///
/// ```
/// # use gpanel_filter::{ConfigError, Filter, Hook, Request, RequestEdits, RequestVerdict, clock};
/// # pub struct Stamp;
/// impl Filter for Stamp {
///     type Config = std::collections::BTreeMap<String, String>;
///     const HOOKS: &'static [Hook] = &[Hook::Request];
///
///     fn new(_: Self::Config) -> Result<Self, ConfigError> {
///         Ok(Self)
///     }
///
///     fn on_request(&self, _: &Request) -> RequestVerdict {
///         RequestEdits::new().tag("seconds", clock::now().as_secs().to_string()).into()
///     }
/// }
///
/// use std::time::Duration;
/// use gpanel_filter::testing::{TestHost, TestRequest};
///
/// # fn main() -> Result<(), ConfigError> {
/// let host = TestHost::new();
/// let stamp = host.run::<Stamp>("{}")?;
/// host.set_time(Duration::from_secs(60));
/// host.advance(Duration::from_secs(5));
/// let verdict = stamp.on_request(&TestRequest::get("/"));
/// assert_eq!(verdict, RequestEdits::new().tag("seconds", "65").into());
/// # Ok(())
/// # }
/// ```
pub struct TestHost(Rc<RefCell<State>>);

impl Default for TestHost {
    fn default() -> Self {
        Self::new()
    }
}

impl TestHost {
    /// A host on 2026-01-01T00:00:00Z, with seed 0 and a [`TestConnection::default`].
    #[must_use]
    pub fn new() -> Self {
        const NEW_YEAR_2026: Duration = Duration::from_hours(20_454 * 24);
        Self(Rc::new(RefCell::new(State {
            wall: nanos(NEW_YEAR_2026),
            monotonic: 0,
            level: RawLevel::Trace,
            lines: Vec::new(),
            connection: TestConnection::default(),
            configuring: false,
            random: 0,
        })))
    }

    /// The same host with another connection.
    #[must_use]
    pub fn connection(self, connection: TestConnection) -> Self {
        self.0.borrow_mut().connection = connection;
        self
    }

    /// The same host with another seed for [`crate::random`].
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        self.0.borrow_mut().random = seed;
        self
    }

    /// The same host, logging nothing below `level`.
    #[must_use]
    pub fn log_level(self, level: Level) -> Self {
        self.0.borrow_mut().level = level.raw();
        self
    }

    /// Sets the wall clock to a time since 1970-01-01T00:00:00Z.
    pub fn set_time(&self, since_epoch: Duration) {
        self.0.borrow_mut().wall = nanos(since_epoch);
    }

    /// Lets time pass on both clocks.
    pub fn advance(&self, by: Duration) {
        let mut state = self.0.borrow_mut();
        state.wall = state.wall.saturating_add(nanos(by));
        state.monotonic = state.monotonic.saturating_add(nanos(by));
    }

    /// What was logged since the last call.
    #[must_use]
    pub fn take_logs(&self) -> Vec<LogLine> {
        std::mem::take(&mut self.0.borrow_mut().lines)
    }

    /// Configures a filter from JSON text.
    ///
    /// # Errors
    /// The configuration's fault, as the proxy would report it.
    pub fn run<F: Filter>(&self, config_json: &str) -> Result<Running<F>, ConfigError> {
        let _entered = Entered::new(&self.0);
        self.0.borrow_mut().configuring = true;
        let filter = parse(config_json.as_bytes()).and_then(F::new);
        self.0.borrow_mut().configuring = false;
        let filter = filter?;
        let hooks = filter.hooks();
        Ok(Running { host: Rc::clone(&self.0), filter, hooks, not_send: PhantomData })
    }
}

/// A configured filter, called as the proxy would call it.
pub struct Running<F> {
    host: Rc<RefCell<State>>,
    filter: F,
    hooks: Vec<Hook>,
    not_send: PhantomData<*const ()>,
}

impl<F: Filter> Running<F> {
    /// The filter itself.
    #[must_use]
    pub fn filter(&self) -> &F {
        &self.filter
    }

    /// The hooks that it declared.
    #[must_use]
    pub fn hooks(&self) -> &[Hook] {
        &self.hooks
    }

    /// Calls the request hook; [`RequestVerdict::Next`] if the filter did not declare it.
    pub fn on_request(&self, request: &TestRequest) -> RequestVerdict {
        if !self.hooks.contains(&Hook::Request) {
            return RequestVerdict::Next;
        }
        let _entered = Entered::new(&self.host);
        self.filter.on_request(&Request::new(&request.0))
    }

    /// Calls the response hook; [`ResponseVerdict::Next`] if the filter did not declare it.
    pub fn on_response(&self, request: &TestRequest, response: &TestResponse) -> ResponseVerdict {
        if !self.hooks.contains(&Hook::Response) {
            return ResponseVerdict::Next;
        }
        let _entered = Entered::new(&self.host);
        self.filter.on_response(&Request::new(&request.0), &Response::new(&response.0))
    }
}

/// Configures a filter from JSON text, on a [`TestHost::new`].
///
/// # Errors
/// The configuration's fault, as the proxy would report it.
pub fn run<F: Filter>(config_json: &str) -> Result<Running<F>, ConfigError> {
    TestHost::new().run(config_json)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
