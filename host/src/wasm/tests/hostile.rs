//! Guests that do their worst: each costs its own call.

use super::*;

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
