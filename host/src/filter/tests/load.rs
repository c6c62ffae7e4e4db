//! Building a chain: errors with their places, and what a reload keeps.

use super::*;

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
