//! What loads, and what does not and says why.

use super::*;

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
    let error = load_error(TestGuest::new().imports(UNKNOWN).build());
    assert!(matches!(&error, LoadError::Import(message) if message.contains("test:unknown/other")), "{error}");
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

#[test]
fn wasi_is_there_but_what_configure_draws_from_it_is_not_shared() {
    let draw = "(drop (call $wasi_random))";
    let in_hook = TestGuest::new().imports(WASI_RANDOM).on_request(|guest| format!("{draw} {}", guest.next()));
    let guest = prepare(in_hook);
    assert!(guest.is_snapshotted());
    run(call(&guest)).unwrap();
    let guest = prepare(stateful().imports(WASI_RANDOM).configure(draw));
    assert!(!guest.is_snapshotted());
    assert_eq!(state(&run(call(&guest)).unwrap()), "11");
}

#[test]
fn a_compilation_that_takes_too_long_is_left_behind() {
    let engine = Engine::new(EngineOptions { workers: 1, cache_dir: None }).unwrap();
    // `configure` loops until its own limit ends it.
    let slow = spec(TestGuest::new().configure("(loop $l (br $l))").build());
    for _ in 0..2 {
        let error = Guest::prepare_within(&engine, slow.clone(), Duration::ZERO).err().unwrap();
        assert!(matches!(error, LoadError::TooSlow { .. }), "{error}");
    }
    assert!(matches!(Guest::prepare(&engine, slow.clone()), Err(LoadError::Busy)));
    let deadline = Instant::now() + Duration::from_secs(30);
    while engine.runaways().load(Ordering::Relaxed) > 0 {
        assert!(Instant::now() < deadline, "the runaways are still counted");
        std::thread::yield_now();
    }
    assert!(Guest::prepare(&engine, spec(TestGuest::new().build())).is_ok());
}
