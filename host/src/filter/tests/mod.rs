//! Chains of small guests: order, replies, failures; `verdicts` and `load` have the rest.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::*;
use crate::config::model::{ConfigOrigin, FailurePolicy, FilterEntry, Isolation, Matcher, ModuleSource};
use crate::message::{Body, Exchange, ResponseHead, Target, WorkerId};
use crate::wasm::testing::{RESPONSE, TestEdit, TestEdits, TestGuest, exchange};
use crate::wasm::{Engine, EngineOptions};

mod load;
mod verdicts;

const WORKER: WorkerId = WorkerId(0);

static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new(EngineOptions { workers: 1, cache_dir: None }).unwrap());

/// A chain in the making: each guest is a file in a folder of the test's own.
struct Bench {
    dir: PathBuf,
    entries: Vec<FilterEntry>,
}

impl Bench {
    fn new(test: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("gpanel-chain-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self { dir, entries: Vec::new() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.wasm"))
    }

    fn bytes(mut self, name: &str, bytes: &[u8]) -> Self {
        std::fs::write(self.file(name), bytes).unwrap();
        self.entries.push(FilterEntry {
            name: name.into(),
            module: ModuleSource::File(self.file(name)),
            order: 50,
            matcher: Matcher::default(),
            config: serde_json::json!({}),
            origin: ConfigOrigin { file: Some("proxy.toml".into()), position: (12, 1), values: Vec::new() },
            fail: FailurePolicy::Closed,
            timeout: Duration::from_millis(20),
            memory: 16 << 20,
            isolation: Isolation::Reuse,
            sha256: None,
        });
        self
    }

    fn guest(self, name: &str, guest: TestGuest) -> Self {
        self.bytes(name, &guest.build())
    }

    /// Changes the last entry.
    fn with(mut self, change: impl FnOnce(&mut FilterEntry)) -> Self {
        change(self.entries.last_mut().unwrap());
        self
    }

    fn open(self) -> Self {
        self.with(|entry| entry.fail = FailurePolicy::Open)
    }

    fn try_build(&self, previous: Option<&Chain>) -> Result<Chain, Vec<FilterLoadError>> {
        Chain::build(&self.entries, &ENGINE, &|_| None, previous)
    }

    fn build(&self) -> Chain {
        self.try_build(None).unwrap_or_else(|errors| panic!("{errors:?}"))
    }

    fn errors(&self) -> Vec<String> {
        match self.try_build(None) {
            Ok(_) => panic!("it was built"),
            Err(errors) => errors.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Sends an exchange down, answers it with 200 if it comes out below, and brings the response up.
fn serve(chain: &Chain) -> (Box<Exchange>, Served) {
    serve_exchange(chain, exchange())
}

#[derive(Debug, PartialEq, Eq)]
enum Served {
    Forwarded,
    Replied,
    Failed(String, &'static str),
}

fn serve_exchange(chain: &Chain, exchange: Box<Exchange>) -> (Box<Exchange>, Served) {
    run(async {
        let (mut exchange, outcome) = chain.request(WORKER, exchange).await;
        let (served, body) = match outcome {
            RequestOutcome::Forward => {
                exchange.response = Some(ResponseHead::new(StatusCode::OK));
                (Served::Forwarded, Body::Empty)
            }
            RequestOutcome::Reply(body) => (Served::Replied, body),
            RequestOutcome::Failed(failure) => {
                let (head, body) = failure.reply(None);
                exchange.response = Some(head);
                (Served::Failed(failure.filter.to_string(), failure.reason), body)
            }
        };
        let (exchange, _) = chain.response(WORKER, exchange, body).await;
        (exchange, served)
    })
}

fn response(exchange: &Exchange) -> &ResponseHead {
    exchange.response.as_ref().unwrap()
}

fn values(headers: &HeaderMap, name: &str) -> Vec<String> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

/// Appends its mark to `x-trace`, on both sides.
fn marking(mark: &str) -> TestGuest {
    let headers = [TestEdit::Append("x-trace", mark.as_bytes())];
    TestGuest::new()
        .on_request(|guest| guest.edit(&TestEdits { headers: &headers, ..TestEdits::default() }))
        .on_response(|guest| guest.edit_response(&TestEdits { headers: &headers, ..TestEdits::default() }))
}

fn replying(status: u16) -> TestGuest {
    TestGuest::new().on_request(|guest| guest.respond(status, &[("x-by", "guest")], "no"))
}

fn editing(edits: &TestEdits) -> TestGuest {
    TestGuest::new().on_request(|guest| guest.edit(edits))
}

fn trapping() -> TestGuest {
    TestGuest::new().on_request(|_| "unreachable".into()).on_response(|_| "unreachable".into())
}

#[test]
fn down_in_order_and_up_in_reverse() {
    let chain = Bench::new("order").guest("a", marking("a")).guest("b", marking("b")).guest("c", marking("c")).build();
    let (exchange, served) = serve(&chain);
    assert_eq!(served, Served::Forwarded);
    assert_eq!(exchange.depth, 3);
    assert_eq!(values(&exchange.request.headers, "x-trace"), ["a", "b", "c"]);
    assert_eq!(values(&response(&exchange).headers, "x-trace"), ["c", "b", "a"]);
}

#[test]
fn a_request_can_move_between_threads() {
    fn is_send(_: &(impl Send + Sync)) {}
    fn future_is_send(_: &impl Send) {}
    let chain = Bench::new("send").build();
    is_send(&chain);
    future_is_send(&chain.request(WORKER, exchange()));
    future_is_send(&chain.response(WORKER, exchange(), Body::Empty));
}

#[test]
fn an_empty_chain_lets_everything_through() {
    let chain = Bench::new("empty").build();
    assert!(chain.is_empty());
    assert_eq!(serve(&chain).1, Served::Forwarded);
}

#[test]
fn a_reply_passes_the_filters_above_it_only() {
    let chain = Bench::new("reply")
        .guest("a", marking("a"))
        .guest("b", replying(401).on_response(|_| "unreachable".into()))
        .guest("c", marking("c"))
        .build();
    let (exchange, served) = serve(&chain);
    assert_eq!((served, exchange.depth), (Served::Replied, 1));
    assert_eq!(response(&exchange).status, StatusCode::UNAUTHORIZED);
    assert_eq!(values(&response(&exchange).headers, "x-trace"), ["a"]);
    assert_eq!(response(&exchange).headers["content-length"], "2");
    assert_eq!(values(&exchange.request.headers, "x-trace"), ["a"]);
}

#[test]
fn fail_closed_ends_the_request_and_the_filters_above_see_it() {
    let chain = Bench::new("closed").guest("a", marking("a")).guest("b", trapping()).guest("c", marking("c")).build();
    let (exchange, served) = serve(&chain);
    assert_eq!(served, Served::Failed("b".into(), "trap"));
    assert_eq!((exchange.depth, response(&exchange).status), (1, StatusCode::SERVICE_UNAVAILABLE));
    assert_eq!(values(&response(&exchange).headers, "x-trace"), ["a"]);
}

#[test]
fn fail_open_is_as_if_the_filter_were_not_there() {
    let chain =
        Bench::new("open").guest("a", marking("a")).guest("b", trapping()).open().guest("c", marking("c")).build();
    let (exchange, served) = serve(&chain);
    assert_eq!((served, exchange.depth), (Served::Forwarded, 3));
    assert_eq!(values(&response(&exchange).headers, "x-trace"), ["c", "a"]);
    let status = &chain.status()[1];
    // Its response side was not entered either.
    assert_eq!((status.failures, status.guest.calls), (1, 1));
}

#[test]
fn a_response_filter_that_fails_closed_puts_a_503_in_its_place() {
    let failing = || TestGuest::new().on_response(|_| "unreachable".into());
    let chain = Bench::new("up").guest("a", marking("a")).guest("b", failing()).guest("c", marking("c")).build();
    let (exchange, served) = serve(&chain);
    assert_eq!(served, Served::Forwarded);
    let head = response(&exchange);
    assert_eq!(head.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(values(&head.headers, "x-trace"), ["a"], "the old response is gone, the filters above see the new one");
    assert_eq!(head.headers["proxy-status"], "gpanel-proxy; error=filter_failed");

    let chain = Bench::new("up-open").guest("a", marking("a")).guest("b", failing()).open().build();
    let (exchange, _) = serve(&chain);
    assert_eq!(response(&exchange).status, StatusCode::OK);
    assert_eq!(values(&response(&exchange).headers, "x-trace"), ["a"]);
}

#[test]
fn who_does_not_match_does_not_enter() {
    let paths = |pattern: &str| {
        let paths = vec![pattern.into()];
        move |entry: &mut FilterEntry| entry.matcher.paths = paths
    };
    let chain = Bench::new("match")
        .guest("a", marking("a"))
        .with(paths("/other"))
        .guest("b", marking("b"))
        .guest("c", marking("c").hooks(&[RESPONSE]))
        .with(paths("/a"))
        // Changes what the matchers above it looked at.
        .guest("d", editing(&TestEdits { path: Some("/other"), ..TestEdits::default() }))
        .guest("e", marking("e"))
        .with(paths("/other"))
        .build();
    let (exchange, _) = serve(&chain);
    assert_eq!(values(&exchange.request.headers, "x-trace"), ["b", "e"]);
    assert_eq!(values(&response(&exchange).headers, "x-trace"), ["e", "c", "b"]);
    assert_eq!(chain.status()[0].guest.calls, 0);
}

#[test]
fn the_breaker_keeps_requests_out() {
    let closed = Bench::new("breaker").guest("a", trapping()).build();
    for _ in 0..10 {
        assert_eq!(serve(&closed).1, Served::Failed("a".into(), "trap"));
    }
    assert_eq!(serve(&closed).1, Served::Failed("a".into(), "breaker_open"));
    let status = &closed.status()[0];
    assert_eq!((status.breaker, status.breaker_opened, status.refused), (BreakerState::Open, 1, 1));
    assert_eq!(status.guest.traps, 10);

    let open = Bench::new("breaker-open").guest("a", trapping()).open().build();
    for _ in 0..13 {
        assert_eq!(serve(&open).1, Served::Forwarded);
    }
    assert_eq!(open.status()[0].guest.traps, 10);
}
