//! Guests that behave; `hostile` and `load` have the others.

use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;

use super::testing::{REQUEST, RESPONSE, TestEdit, TestEdits, TestGuest, UNKNOWN, WASI_RANDOM, exchange, spec};
use super::*;
use crate::config::model::Isolation;
use crate::message::{ResponseHead, WorkerId};

mod hostile;
mod load;

const WORKER: WorkerId = WorkerId(0);

/// One for all tests, as there is one in the program.
static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new(EngineOptions { workers: 2, cache_dir: None }).unwrap());

fn prepare(guest: TestGuest) -> Guest {
    Guest::prepare(&ENGINE, spec(guest.build())).unwrap()
}

fn load_error(component: Arc<[u8]>) -> LoadError {
    match Guest::prepare(&ENGINE, spec(component)) {
        Ok(_) => panic!("it was loaded"),
        Err(error) => error,
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

async fn call(guest: &Guest) -> Result<RequestVerdict, CallError> {
    guest.request_headers(WORKER, exchange()).await.1
}

/// Text that writes a global as one digit over the first byte of a constant.
fn digit(address: u32, global: &str) -> String {
    format!("(i32.store8 (i32.const {address}) (i32.add (i32.const 48) (global.get {global})))")
}

/// A guest that sets `x-state` to its counters: calls of `configure`, calls of hooks.
fn stateful() -> TestGuest {
    TestGuest::new().on_request(|guest| {
        let value = guest.constant("??");
        let mut text = digit(value[0], "$configured");
        text += &digit(value[0] + 1, "$calls");
        // An edit's words: the value is where the digits are written.
        let edit = guest.edit(&TestEdits { headers: &[TestEdit::Set("x-state", b"??")], ..TestEdits::default() });
        let address: u32 = edit.trim_start_matches("(i32.const ").trim_end_matches(')').parse().unwrap();
        let store = format!(
            "(i32.store (i32.add (i32.load (i32.const {})) (i32.const 12)) (i32.const {}))",
            address + 4,
            value[0]
        );
        text + &store + &edit
    })
}

fn state(verdict: &RequestVerdict) -> String {
    match verdict {
        RequestVerdict::Edit(edits) => match &edits.headers[0] {
            HeaderEdit::Set(header) => String::from_utf8(header.value.clone()).unwrap(),
            HeaderEdit::Append(_) | HeaderEdit::Remove(_) => panic!("not a set"),
        },
        RequestVerdict::Next | RequestVerdict::Respond(_) => panic!("not an edit"),
    }
}

const LOOP: &str = "(loop $l (br $l)) unreachable";

#[test]
fn next_leaves_the_exchange_as_it_was() {
    let guest = prepare(TestGuest::new());
    assert!(guest.is_snapshotted());
    assert_eq!(guest.hooks(), Hooks { request_headers: true, response_headers: true });
    assert_eq!(guest.schema(), "{\"type\":\"object\"}");
    run(async {
        let mut message = exchange();
        message.response = Some(ResponseHead::new(StatusCode::OK));
        let (message, verdict) = guest.request_headers(WORKER, message).await;
        assert!(matches!(verdict, Ok(RequestVerdict::Next)));
        assert_eq!(message.request.headers.len(), 3);
        let (message, verdict) = guest.response_headers(WORKER, message).await;
        assert!(matches!(verdict, Ok(ResponseVerdict::Next)));
        assert_eq!(message.id.0.len(), 32);
    });
    let counters = guest.counters();
    assert_eq!((counters.calls, counters.instances_created, counters.instances_live()), (2, 1, 1));
}

#[test]
fn a_verdict_comes_out_whole() {
    let guest = prepare(
        TestGuest::new()
            .on_request(|guest| {
                guest.edit(&TestEdits {
                    headers: &[TestEdit::Set("a", b"\xff"), TestEdit::Append("b", b""), TestEdit::Remove("c")],
                    method: Some("PUT"),
                    path: Some("/x?y"),
                    authority: Some("h:1"),
                    backend: Some("blue"),
                    route: Some("/x/*"),
                    timeout: Some(1500),
                    priority: Some((7, true)),
                    tags: &[("k", "v")],
                    status: None,
                })
            })
            .on_response(|guest| guest.respond(418, &[("x", "y")], "tea")),
    );
    run(async {
        let (mut message, verdict) = guest.request_headers(WORKER, exchange()).await;
        let RequestVerdict::Edit(edits) = verdict.unwrap() else { panic!("not an edit") };
        assert!(matches!(&edits.headers[0], HeaderEdit::Set(header) if header.value == b"\xff"));
        assert!(matches!(&edits.headers[1], HeaderEdit::Append(header) if header.name == "b"));
        assert!(matches!(&edits.headers[2], HeaderEdit::Remove(name) if name == "c"));
        assert_eq!(edits.method.as_deref(), Some("PUT"));
        assert_eq!(edits.path.as_deref(), Some(b"/x?y".as_slice()));
        assert_eq!(edits.authority.as_deref(), Some("h:1"));
        assert_eq!(edits.backend.as_deref(), Some("blue"));
        assert_eq!(edits.route.as_deref(), Some("/x/*"));
        assert_eq!(edits.timeout_ms, Some(1500));
        assert!(edits.priority.is_some_and(|priority| priority.urgency == 7 && priority.incremental));
        assert_eq!(edits.tags, [("k".to_owned(), "v".to_owned())]);
        message.response = Some(ResponseHead::new(StatusCode::OK));
        let (_, verdict) = guest.response_headers(WORKER, message).await;
        let ResponseVerdict::Respond(reply) = verdict.unwrap() else { panic!("not a reply") };
        assert_eq!((reply.status, reply.body.as_slice()), (418, b"tea".as_slice()));
        assert_eq!(reply.headers[0].name, "x");
    });
}

#[test]
fn a_header_is_read_in_place() {
    let guest = prepare(TestGuest::new().on_request(|guest| {
        let name = guest.constant("X-Tier");
        let (yes, no) = (guest.respond(200, &[], ""), guest.respond(404, &[], ""));
        // The result of `header` is at 0: whether there is one, its address, its length. `gold` is one.
        format!(
            "(call $header (local.get $request) (i32.const {}) (i32.const {}) (i32.const 0))
             (if (result i32) (i32.and (i32.load8_u (i32.const 0)) (i32.eq (i32.load (i32.load (i32.const 4))) (i32.const 0x646c6f67)))
               (then {yes}) (else {no}))",
            name[0], name[1]
        )
    }));
    run(async {
        for _ in 0..3 {
            assert!(matches!(call(&guest).await, Ok(RequestVerdict::Respond(Reply { status: 200, .. }))));
        }
        let mut message = exchange();
        message.request.headers.clear();
        let (_, verdict) = guest.request_headers(WORKER, message).await;
        assert!(matches!(verdict, Ok(RequestVerdict::Respond(Reply { status: 404, .. }))));
    });
}

#[test]
fn instances_start_after_configure_and_are_reused() {
    let guest = prepare(stateful());
    assert!(guest.is_snapshotted());
    run(async {
        for calls in 1..=5 {
            assert_eq!(state(&call(&guest).await.unwrap()), format!("1{calls}"));
        }
        assert_eq!(state(&guest.request_headers(WorkerId(1), exchange()).await.1.unwrap()), "11");
    });
    assert_eq!(guest.counters().instances_live(), 2);
}

#[test]
fn isolation_gives_every_request_the_same_start() {
    let component = stateful().build();
    let spec = GuestSpec { isolation: Isolation::Request, ..spec(component) };
    let guest = Guest::prepare(&ENGINE, spec).unwrap();
    run(async {
        for _ in 0..5 {
            assert_eq!(state(&call(&guest).await.unwrap()), "11");
        }
    });
    assert_eq!(guest.counters().instances_live(), 0);
}

#[test]
fn a_guest_that_cannot_be_snapshotted_is_configured_for_each_instance() {
    // Wizer can't record what happens to a table.
    let extra = "(table $t 1 funcref) (func (table.set $t (i32.const 0) (ref.null func)))";
    let guest = prepare(stateful().extra(extra));
    assert!(!guest.is_snapshotted());
    run(async {
        assert_eq!(state(&call(&guest).await.unwrap()), "11");
        assert_eq!(state(&call(&guest).await.unwrap()), "12");
    });
}

#[test]
fn an_instance_is_replaced_after_so_many_calls() {
    let guest = prepare(TestGuest::new());
    run(async {
        for _ in 0..2500 {
            call(&guest).await.unwrap();
        }
    });
    let counters = guest.counters();
    assert_eq!((counters.instances_created, counters.instances_live()), (3, 1));
}

#[test]
fn an_instance_that_grew_is_replaced() {
    let guest =
        prepare(TestGuest::new().on_request(|guest| format!("(drop (memory.grow (i32.const 32))) {}", guest.next())));
    run(async {
        for _ in 0..4 {
            call(&guest).await.unwrap();
        }
    });
    let counters = guest.counters();
    assert_eq!((counters.instances_created, counters.instances_live()), (4, 0));
}
