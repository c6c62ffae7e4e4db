//! Chains of small guests: order, edits, replies, failures, reloads.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::{HeaderMap, StatusCode};

use super::*;
use crate::config::model::{ConfigOrigin, FailurePolicy, FilterEntry, Isolation, Matcher, ModuleSource};
use crate::message::{Body, Exchange, ResponseHead, Target, WorkerId};
use crate::wasm::testing::{RESPONSE, TestEdit, TestEdits, TestGuest, exchange};
use crate::wasm::{Engine, EngineOptions};

const WORKER: WorkerId = WorkerId(0);

static ENGINE: LazyLock<Engine> =
    LazyLock::new(|| Engine::new(EngineOptions { workers: 1, cache_dir: None }).unwrap());

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
fn edits_change_the_request() {
    let edits = TestEdits {
        headers: &[TestEdit::Set("X-Tier", b"iron"), TestEdit::Remove("accept")],
        method: Some("POST"),
        path: Some("/new//./path?q=%2e"),
        authority: Some("other.example:8080"),
        backend: Some("blue"),
        route: Some("/a/*"),
        timeout: Some(250),
        priority: Some((1, true)),
        tags: &[("user", "42")],
        status: None,
    };
    let chain = Bench::new("edits").guest("a", editing(&edits)).build();
    let (exchange, served) = serve(&chain);
    assert_eq!(served, Served::Forwarded);
    assert_eq!(values(&exchange.request.headers, "x-tier"), ["iron"]);
    assert!(!exchange.request.headers.contains_key("accept"));
    assert_eq!(exchange.request.method, "POST");
    assert_eq!(exchange.request.path_and_query, "/new/path?q=%2e");
    assert_eq!(exchange.request.authority, "other.example:8080");
    assert_eq!(exchange.target, Some(Target::Backend("blue".into())));
    assert_eq!(exchange.route.as_deref(), Some("/a/*"));
    assert_eq!(exchange.timeout, Some(Duration::from_millis(250)));
    assert_eq!((exchange.priority.urgency, exchange.priority.incremental), (1, true));
    assert_eq!(exchange.tags, [("user".into(), "42".into())]);
}

#[test]
fn the_targets_that_are_not_backends() {
    for (name, target) in [("static", Target::Static), ("internal", Target::Internal)] {
        let edits = TestEdits { backend: Some(name), ..TestEdits::default() };
        let chain = Bench::new(&format!("target-{name}")).guest("a", editing(&edits)).build();
        assert_eq!(serve(&chain).0.target, Some(target));
    }
}

#[test]
fn an_invalid_verdict_is_a_failure_and_changes_nothing() {
    let good = [TestEdit::Set("x-good", b"1")];
    let none = TestEdits { headers: &good, ..TestEdits::default() };
    let long = "x".repeat(300);
    let cases = [
        TestEdits { headers: &[TestEdit::Set("x-good", b"1"), TestEdit::Set("a", b"b\r\nc: d")], ..none },
        TestEdits { headers: &[TestEdit::Set(":path", b"/")], ..none },
        TestEdits { headers: &[TestEdit::Set("Content-Length", b"0")], ..none },
        TestEdits { headers: &[TestEdit::Append("transfer-encoding", b"chunked")], ..none },
        TestEdits { headers: &[TestEdit::Set("host", b"x")], ..none },
        TestEdits { method: Some("GE T"), ..none },
        TestEdits { method: Some("CONNECT"), ..none },
        TestEdits { method: Some(""), ..none },
        TestEdits { path: Some("no-slash"), ..none },
        TestEdits { path: Some("/a\r\nb"), ..none },
        TestEdits { path: Some("/a b"), ..none },
        TestEdits { path: Some("/a#b"), ..none },
        TestEdits { path: Some("/..%2fb"), ..none },
        TestEdits { path: Some("http://other/"), ..none },
        TestEdits { authority: Some("a b"), ..none },
        TestEdits { authority: Some("user@host"), ..none },
        TestEdits { authority: Some("host:"), ..none },
        TestEdits { authority: Some("host:99999"), ..none },
        TestEdits { authority: Some("host/path"), ..none },
        TestEdits { authority: Some(""), ..none },
        TestEdits { backend: Some(""), ..none },
        TestEdits { backend: Some("a\nb"), ..none },
        TestEdits { route: Some(&long), ..none },
        TestEdits { timeout: Some(0), ..none },
        TestEdits { priority: Some((8, false)), ..none },
        TestEdits { tags: &[("k", "a\nb")], ..none },
    ];
    for (number, edits) in cases.iter().enumerate() {
        let chain = Bench::new(&format!("invalid-{number}")).guest("bad", editing(edits)).build();
        let (exchange, served) = serve(&chain);
        assert_eq!(served, Served::Failed("bad".into(), "invalid_verdict"), "case {number}");
        assert!(!exchange.request.headers.contains_key("x-good"), "case {number} changed something");
        assert_eq!(exchange.request.path_and_query, "/a?b=c");
        assert_eq!(chain.status()[0].invalid_verdicts, 1);
    }
}

#[test]
fn an_invalid_reply_is_a_failure() {
    let bench = Bench::new("bad-reply").guest("a", replying(99));
    assert_eq!(serve(&bench.build()).1, Served::Failed("a".into(), "invalid_verdict"));
    let bench = Bench::new("bad-reply-2").guest(
        "a",
        TestGuest::new().on_request(|guest| guest.respond(200, &[("transfer-encoding", "chunked")], "0\r\n\r\n")),
    );
    assert_eq!(serve(&bench.build()).1, Served::Failed("a".into(), "invalid_verdict"));
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
fn a_response_filter_changes_status_and_drops_a_body_that_may_not_be() {
    let edits = TestEdits { status: Some(204), ..TestEdits::default() };
    let chain =
        Bench::new("status").guest("a", TestGuest::new().on_response(|guest| guest.edit_response(&edits))).build();
    run(async {
        let (mut exchange, _) = chain.request(WORKER, exchange()).await;
        let mut head = ResponseHead::new(StatusCode::OK);
        head.headers.insert("content-length", "4".parse().unwrap());
        exchange.response = Some(head);
        let (exchange, body) = chain.response(WORKER, exchange, Body::Full("body".into())).await;
        assert_eq!(response(&exchange).status, StatusCode::NO_CONTENT);
        assert!(!response(&exchange).headers.contains_key("content-length"));
        assert!(body.is_empty());
    });
}

#[test]
fn a_response_filter_can_reply() {
    let chain = Bench::new("up-reply")
        .guest("a", marking("a"))
        .guest("b", TestGuest::new().on_response(|guest| guest.respond(404, &[], "gone")))
        .build();
    run(async {
        let (mut exchange, _) = chain.request(WORKER, exchange()).await;
        exchange.response = Some(ResponseHead::new(StatusCode::OK));
        let (exchange, body) = chain.response(WORKER, exchange, Body::Full("body".into())).await;
        assert_eq!(response(&exchange).status, StatusCode::NOT_FOUND);
        assert_eq!(values(&response(&exchange).headers, "x-trace"), ["a"]);
        assert!(matches!(body, Body::Full(bytes) if bytes == "gone"));
    });
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
    for _ in 0..5 {
        assert_eq!(serve(&closed).1, Served::Failed("a".into(), "trap"));
    }
    assert_eq!(serve(&closed).1, Served::Failed("a".into(), "breaker_open"));
    let status = &closed.status()[0];
    assert_eq!((status.breaker, status.breaker_opened, status.refused), (BreakerState::Open, 1, 1));
    assert_eq!(status.guest.traps, 5);

    let open = Bench::new("breaker-open").guest("a", trapping()).open().build();
    for _ in 0..8 {
        assert_eq!(serve(&open).1, Served::Forwarded);
    }
    assert_eq!(open.status()[0].guest.traps, 5);
}

#[test]
fn every_filter_that_cannot_be_loaded_is_named() {
    let mut bench = Bench::new("load")
        .guest("good", TestGuest::new())
        .bytes("text", b"hello")
        .guest("pinned", TestGuest::new())
        .with(|entry| entry.sha256 = Some([0; 32]))
        .guest("rejects", TestGuest::new().rejects(&["rules", "1"], "no such backend"))
        .with(|entry| entry.origin.values = vec![(vec!["rules".into(), "1".into()], (15, 7))])
        .bytes("missing", b"");
    std::fs::remove_file(bench.file("missing")).unwrap();
    bench.entries.push(FilterEntry {
        name: "builtin".into(),
        module: ModuleSource::Builtin("nope".into()),
        ..bench.entries[0].clone()
    });
    let errors = bench.errors();
    assert_eq!(errors.len(), 5, "{errors:?}");
    assert!(errors[0].starts_with("proxy.toml:12:1: filter \"text\": "), "{errors:?}");
    assert!(errors[0].ends_with("text.wasm: it is not WebAssembly but text"), "{errors:?}");
    assert!(errors[1].contains("its SHA-256 is"), "{errors:?}");
    assert_eq!(errors[2], "proxy.toml:15:7: filter \"rejects\": config.rules.1: no such backend");
    assert!(errors[3].contains("missing.wasm: No such file"), "{errors:?}");
    assert!(errors[4].contains("builtin:nope: there is no builtin filter"), "{errors:?}");
}

#[test]
fn fail_open_covers_a_filter_that_cannot_be_loaded() {
    let bench = Bench::new("load-open").guest("a", marking("a")).bytes("b", b"hello").open().guest("c", marking("c"));
    let chain = bench.build();
    let (exchange, served) = serve(&chain);
    assert_eq!((served, exchange.depth), (Served::Forwarded, 3));
    assert_eq!(values(&response(&exchange).headers, "x-trace"), ["c", "a"]);
    assert!(chain.status()[1].error.as_ref().is_some_and(|error| error.contains("not WebAssembly")));
    // It did not run before, so a reload does not stumble over it either.
    assert!(bench.try_build(Some(&chain)).is_ok());
}

#[test]
fn a_filter_that_did_not_change_keeps_its_instances() {
    let bench = Bench::new("reload").guest("a", marking("a")).guest("b", marking("b"));
    let first = bench.build();
    serve(&first);
    let bench = bench.with(|entry| entry.config = serde_json::json!({ "new": true }));
    let second = bench.try_build(Some(&first)).unwrap();
    let (old, new) = (first.status(), second.status());
    assert_eq!(old[0].guest, new[0].guest, "the same filter");
    assert_eq!((old[1].guest.calls, new[1].guest.calls), (2, 0), "another one");
    assert!(Arc::ptr_eq(first.filter("a").unwrap(), second.filter("a").unwrap()));
}

#[test]
fn a_broken_replacement_is_refused_even_with_fail_open() {
    let bench = Bench::new("replace").guest("a", marking("a")).open();
    let first = bench.build();
    std::fs::write(bench.file("a"), b"half writ").unwrap();
    assert!(bench.try_build(Some(&first)).is_err());
    assert_eq!(serve(&first).1, Served::Forwarded);
}
