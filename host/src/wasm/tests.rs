//! Guests that behave, and guests that do their worst.

use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;

use super::testing::{REQUEST, RESPONSE, TestEdit, TestEdits, TestGuest, exchange, spec};
use super::*;
use crate::config::model::Isolation;
use crate::message::{ResponseHead, WorkerId};

const WORKER: WorkerId = WorkerId(0);

/// One for all tests, as there is one in the program.
static ENGINE: LazyLock<Engine> =
    LazyLock::new(|| Engine::new(EngineOptions { workers: 2, cache_dir: None }).unwrap());

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
        text += &format!(
            "(i32.store (i32.add (i32.load (i32.const {})) (i32.const 12)) (i32.const {}))",
            address + 4,
            value[0]
        );
        text + &edit
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
                    headers: &[
                        TestEdit::Set("a", b"\xff"),
                        TestEdit::Append("b", b""),
                        TestEdit::Remove("c"),
                    ],
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
    let guest = prepare(TestGuest::new().on_request(|guest| {
        format!("(drop (memory.grow (i32.const 32))) {}", guest.next())
    }));
    run(async {
        for _ in 0..4 {
            call(&guest).await.unwrap();
        }
    });
    let counters = guest.counters();
    assert_eq!((counters.instances_created, counters.instances_live()), (4, 0));
}

#[test]
fn a_loop_ends_and_others_go_on_meanwhile() {
    let looping = prepare(TestGuest::new().on_request(|_| LOOP.into()));
    let well = prepare(TestGuest::new());
    run(async {
        let progress = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&progress);
        let other = tokio::spawn(async move {
            loop {
                call(&well).await.unwrap();
                // Sockets and timers are looked after, too.
                tokio::time::timeout(Duration::from_secs(5), tokio::task::yield_now()).await.unwrap();
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        let start = Instant::now();
        let ticks = tokio::spawn(async {
            let mut ticks = 0_u32;
            let mut interval = tokio::time::interval(Duration::from_millis(1));
            loop {
                interval.tick().await;
                ticks += 1;
                if ticks == 3 {
                    break;
                }
            }
        });
        let result = call(&looping).await;
        assert!(matches!(result, Err(CallError::Timeout)), "{result:?}");
        assert!(start.elapsed() < Duration::from_secs(5));
        assert!(progress.load(Ordering::Relaxed) >= 3, "the other task was starved");
        assert!(ticks.is_finished(), "the timers were starved");
        other.abort();
    });
    let counters = looping.counters();
    assert_eq!((counters.timeouts, counters.instances_live()), (1, 0));
}

#[test]
fn a_loop_without_branches_back_and_one_of_bulk_memory_end_too() {
    let calls = "(call $again) unreachable";
    let extra = "(func $again (call $one) (call $one)) (func $one (call $two) (call $two)) (func $two (call $three) (call $three))
        (func $three (loop $l (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536)) (br $l)))";
    let guest = prepare(TestGuest::new().extra(extra).on_request(|_| calls.into()));
    run(async {
        assert!(matches!(call(&guest).await, Err(CallError::Timeout)));
    });
}

#[test]
fn memory_is_bounded() {
    // Grows until it can't, then gives up as a compiler's allocator does.
    let bomb = "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable";
    let guest = prepare(TestGuest::new().on_request(|_| bomb.into()));
    run(async {
        assert!(matches!(call(&guest).await, Err(CallError::OutOfMemory)));
        assert!(matches!(call(&guest).await, Err(CallError::OutOfMemory)));
    });
    assert_eq!((guest.counters().out_of_memory, guest.counters().instances_live()), (2, 0));
}

#[test]
fn recursion_is_a_trap() {
    let guest = prepare(
        TestGuest::new()
            .extra("(func $deep (param i64) (result i64) (i64.add (call $deep (local.get 0)) (i64.const 1)))")
            .on_request(|_| "(drop (call $deep (i64.const 0))) unreachable".into()),
    );
    run(async {
        let Err(CallError::Trap { message, backtrace }) = call(&guest).await else { panic!("no trap") };
        assert!(message.contains("stack"), "{message}");
        assert!(backtrace.contains("wasm"), "{backtrace}");
    });
}

#[test]
fn a_flood_of_hostcalls_is_cut_off() {
    let guest = prepare(TestGuest::new().on_request(|_| "(loop $l (drop (call $now)) (br $l)) unreachable".into()));
    run(async {
        assert!(matches!(call(&guest).await, Err(CallError::HostcallBudget)));
    });
    assert_eq!(guest.counters().hostcall_budget, 1);
}

#[test]
fn log_lines_are_dropped_beyond_their_number() {
    let guest = prepare(TestGuest::new().on_request(|guest| {
        let line = guest.constant("again and again");
        let next = guest.next();
        format!(
            "(loop $l (call $log (i32.const 1) (i32.const {}) (i32.const {}) (i32.const 0) (i32.const 0))
              (local.set $i (i32.add (local.get $i) (i32.const 1))) (br_if $l (i32.lt_u (local.get $i) (i32.const 100))))
             {next}",
            line[0], line[1]
        )
    }));
    run(async {
        call(&guest).await.unwrap();
    });
    assert_eq!(guest.counters().log_lines_dropped, 84);
}

#[test]
fn after_a_trap_the_next_call_gets_a_fresh_instance() {
    // Traps on every second call of an instance.
    let guest = prepare(TestGuest::new().on_request(|guest| {
        format!("(if (i32.eq (global.get $calls) (i32.const 2)) (then unreachable)) {}", guest.next())
    }));
    run(async {
        for _ in 0..3 {
            assert!(call(&guest).await.is_ok());
            assert!(matches!(call(&guest).await, Err(CallError::Trap { .. })));
        }
    });
    let counters = guest.counters();
    assert_eq!((counters.traps, counters.instances_created, counters.instances_live()), (3, 3, 0));
}

#[test]
fn a_thousand_traps_leave_nothing_behind() {
    let guest = prepare(TestGuest::new().on_request(|_| "unreachable".into()));
    run(async {
        for _ in 0..1_500 {
            assert!(matches!(call(&guest).await, Err(CallError::Trap { .. })));
        }
    });
    let counters = guest.counters();
    assert_eq!((counters.traps, counters.instances_live()), (1_500, 0));
}

#[test]
fn a_call_that_is_given_up_discards_its_instance() {
    let guest = prepare(TestGuest::new().on_request(|_| LOOP.into()));
    run(async {
        let gave_up = tokio::time::timeout(Duration::from_millis(5), call(&guest)).await;
        // Either the client was faster or the CPU budget; the instance is gone in both cases.
        drop(gave_up);
    });
    assert_eq!(guest.counters().instances_live(), 0);
}

#[test]
fn a_handle_that_is_not_given_back_is_a_trap() {
    let guest = prepare(TestGuest::new().on_request(|guest| format!("(return {})", guest.next())));
    run(async {
        assert!(matches!(call(&guest).await, Err(CallError::Trap { .. })));
    });
}

#[test]
fn a_verdict_out_of_bounds_is_a_trap() {
    for address in ["-4", "0x7ffffffc", "3"] {
        let guest = prepare(TestGuest::new().on_request(|_| format!("(i32.const {address})")));
        run(async {
            assert!(matches!(call(&guest).await, Err(CallError::Trap { .. })), "{address}");
        });
    }
}

#[test]
fn random_numbers_are_for_hooks_only() {
    let guest = prepare(TestGuest::new().on_request(|guest| format!("(drop (call $random)) {}", guest.next())));
    run(async { call(&guest).await }).unwrap();
    let error = load_error(TestGuest::new().configure("(drop (call $random))").build());
    let LoadError::Failed { function: "`configure`", error: CallError::Trap { message, .. } } = error else {
        panic!("{error}")
    };
    assert!(message.contains("would not be random"), "{message}");
}

#[test]
fn there_is_no_connection_while_configuring() {
    let error = load_error(TestGuest::new().configure("(drop (call $tls))").build());
    assert!(error.to_string().contains("no message in progress"), "{error}");
}

#[test]
fn a_rejected_configuration_says_where() {
    let error = load_error(TestGuest::new().rejects(&["rules", "3", "backend"], "no such backend").build());
    assert_eq!(error.to_string(), "config.rules.3.backend: no such backend");
}

#[test]
fn configure_is_bounded() {
    let error = load_error(TestGuest::new().configure("(loop $l (br $l))").build());
    assert!(matches!(error, LoadError::Failed { function: "`configure`", error: CallError::Timeout }), "{error}");
    let error = load_error(TestGuest::new().configure("unreachable").build());
    assert!(matches!(error, LoadError::Failed { error: CallError::Trap { .. }, .. }), "{error}");
    let bomb = "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable";
    let error = load_error(TestGuest::new().configure(bomb).build());
    assert!(matches!(error, LoadError::Failed { error: CallError::OutOfMemory, .. }), "{error}");
}

#[test]
fn a_start_function_is_bounded() {
    let error = load_error(TestGuest::new().extra("(func $start (loop $l (br $l))) (start $start)").build());
    assert!(matches!(error, LoadError::Failed { function: "its start", error: CallError::Timeout }), "{error}");
    let error = load_error(TestGuest::new().extra("(func $start unreachable) (start $start)").build());
    assert!(matches!(error, LoadError::Failed { function: "its start", .. }), "{error}");
}

#[test]
fn hooks_must_be_known_and_exported() {
    let error = load_error(TestGuest::new().hooks(&["request-body"]).build());
    assert!(matches!(&error, LoadError::UnknownHook { hook } if hook == "request-body"), "{error}");
    let error = load_error(TestGuest::new().exports(&[REQUEST]).build());
    assert!(matches!(error, LoadError::MissingHook { hook: RESPONSE }), "{error}");
    let fewer = prepare(TestGuest::new().hooks(&[REQUEST]).exports(&[REQUEST]));
    assert_eq!(fewer.hooks(), Hooks { request_headers: true, response_headers: false });
    let none = prepare(TestGuest::new().hooks(&[]).exports(&[]));
    assert_eq!(none.hooks(), Hooks::default());
}

#[test]
fn an_import_that_is_not_offered_is_named() {
    let error = load_error(TestGuest::new().extra_import("import other;").build());
    assert!(matches!(&error, LoadError::Import(message) if message.contains("test:guest/other")), "{error}");
}

#[test]
fn a_memory_larger_than_the_limit_is_refused() {
    let error = load_error(TestGuest::new().pages(1024).build());
    assert!(matches!(error, LoadError::Memory { limit: 16_777_216 }), "{error}");
}

#[test]
fn what_is_not_a_component_gets_a_name() {
    let good = TestGuest::new().build();
    let cut = |length: usize| good[..length].into();
    assert!(matches!(load_error(cut(good.len() - 1)), LoadError::Invalid(_)));
    assert!(matches!(load_error(cut(good.len() / 2)), LoadError::Invalid(_)));
    assert!(matches!(load_error(cut(9)), LoadError::Invalid(_)));
    let mut flipped = good.to_vec();
    flipped[good.len() / 3] ^= 0xff;
    // Wherever that hits, it is an error or a working filter, never a crash.
    let _ = Guest::prepare(&ENGINE, spec(flipped.into()));
    for (bytes, expected) in [
        (b"".as_slice(), "an empty file"),
        (b"\x7fELF\x02\x01\x01\0", "ELF"),
        (b"(component)", "as text"),
        (b"#!/bin/sh\necho", "text"),
        (b"\xde\xad\xbe\xef\0\0\0\0", "something else"),
    ] {
        let error = load_error(bytes.into());
        assert!(matches!(error, LoadError::NotWasm { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let error = load_error(b"\0asm\x01\0\0\0".as_slice().into());
    assert!(matches!(error, LoadError::CoreModule), "{error}");
    let error = load_error(b"\0asm\x0d\0\x01\0".as_slice().into());
    assert!(matches!(error, LoadError::Export { .. }), "{error}");
    let error = load_error(vec![0; MAX_COMPONENT_SIZE + 1].into());
    assert!(matches!(error, LoadError::TooLarge { .. }), "{error}");
}

#[test]
fn compiled_code_is_found_again() {
    let dir = std::env::temp_dir().join(format!("gpanel-cache-test-{}", std::process::id()));
    for _ in 0..2 {
        let engine = Engine::new(EngineOptions { workers: 1, cache_dir: Some(dir.clone()) }).unwrap();
        let guest = Guest::prepare(&engine, spec(stateful().build())).unwrap();
        assert_eq!(state(&run(call(&guest)).unwrap()), "11");
    }
    let found = std::fs::read_dir(&dir).unwrap().count();
    assert!(found > 0, "nothing was kept");
    std::fs::remove_dir_all(&dir).unwrap();
}
