//! Files change under a running proxy: what is good is swapped in, what isn't changes nothing and is told.

use std::fs;
use std::time::Duration;

use harness::certificate::replace;
use harness::client::{Client, Protocol, empty};
use harness::environment::test_guest;
use harness::{Origin, Proxy, RawOrigin, eventually, guest};
use http::Request;
use rustix::process::Signal;

const SOON: Duration = Duration::from_secs(15);

/// Waits until a GET of `path` answers `text`.
async fn until_answers(proxy: &Proxy, path: &str, text: &str) {
    eventually(SOON, &format!("{path} answers {text:?}"), || async {
        (proxy.h1().await.get(path).await.text() == text).then_some(())
    })
    .await;
}

async fn version(proxy: &Proxy) -> Option<String> {
    proxy.h1().await.get("/").await.header("x-filter-version").map(str::to_owned)
}

async fn until_version(proxy: &Proxy, expected: Option<&str>) {
    eventually(SOON, &format!("x-filter-version is {expected:?}"), || async {
        (version(proxy).await.as_deref() == expected).then_some(())
    })
    .await;
}

/// Waits until a refusal shows where it must: log, `/ready`, metric; and the proxy is ready all the same.
async fn until_refused(proxy: &Proxy, kind: &str, before: f64, words: &[&str]) {
    eventually(SOON, &format!("a refused reload of {kind} is counted"), || async {
        let metrics = proxy.metrics().await;
        (refused(&metrics) > before).then_some(())
    })
    .await;
    let ready = proxy.admin("/ready").await;
    assert_eq!(ready.status, 200, "a refused reload does not make the proxy unready: {}", ready.text());
    for word in words {
        assert!(ready.text().contains(word), "/ready does not say {word:?}: {}", ready.text());
    }
    proxy.log().wait_for(words).await;
}

fn refused(metrics: &harness::admin::Metrics) -> f64 {
    metrics.sum("gpanel_proxy_reloads_total", &[("result", "refused")])
}

async fn refused_so_far(proxy: &Proxy) -> f64 {
    refused(&proxy.metrics().await)
}

#[tokio::test]
async fn an_edited_configuration_is_taken() {
    let (one, two) = (Origin::start("one").await, Origin::start("two").await);
    let mut proxy = Proxy::builder().backend("app", one.address()).start().await;
    let mut kept = Vec::new();
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        assert_eq!(client.get("/").await.text(), "hello from one", "{protocol:?}");
        kept.push(client);
    }
    proxy.change_config(&format!("[backends.app]\nurl = \"http://{}\"", two.address()));
    until_answers(&proxy, "/", "hello from two").await;
    // Connections that were open go on, and see the new configuration.
    for mut client in kept {
        assert_eq!(client.get("/").await.text(), "hello from two", "{:?}", client.protocol());
    }
    eventually(SOON, "the old generation is freed", || async {
        let alive = proxy.metrics().await.sum("gpanel_proxy_generations_alive", &[]);
        (alive < 1.5).then_some(())
    })
    .await;
}

#[tokio::test]
async fn sighup_reloads() {
    let (one, two) = (Origin::start("one").await, Origin::start("two").await);
    let proxy = Proxy::builder().backend("app", one.address()).start().await;
    let before = proxy.metrics().await.sum("gpanel_proxy_reloads_total", &[]);
    proxy.signal(Signal::HUP);
    eventually(SOON, "SIGHUP reloads even where nothing changed", || async {
        (proxy.metrics().await.sum("gpanel_proxy_reloads_total", &[]) > before).then_some(())
    })
    .await;
    drop(two);
    assert_eq!(proxy.h1().await.get("/").await.text(), "hello from one");
}

#[tokio::test]
async fn a_request_in_flight_keeps_its_generation() {
    let (one, two) = (Origin::start("one").await, Origin::start("two").await);
    let mut proxy = Proxy::builder().backend("app", one.address()).start().await;
    let mut waiting = Vec::new();
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        waiting.push(tokio::spawn(async move { client.get("/hold").await }));
    }
    eventually(SOON, "the requests are at the origin", || async { (one.requests() == 5).then_some(()) }).await;
    proxy.change_config(&format!("[backends.app]\nurl = \"http://{}\"", two.address()));
    until_answers(&proxy, "/", "hello from two").await;
    let alive = proxy.metrics().await.sum("gpanel_proxy_generations_alive", &[]);
    assert!(alive > 1.5, "the old generation still serves requests, but {alive} are said to be alive");
    one.gate().open();
    for request in waiting {
        assert_eq!(request.await.unwrap().text(), "held");
    }
    eventually(SOON, "the old generation is freed", || async {
        (proxy.metrics().await.sum("gpanel_proxy_generations_alive", &[]) < 1.5).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_bad_configuration_is_refused_whole() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).start().await;
    let good = fs::read_to_string(proxy.folder().join("proxy.toml")).unwrap();
    for (bad, words) in [
        ("this is not toml = = =".to_owned(), &["proxy.toml"][..]),
        (good.clone() + "\n[nonsense]\nkey = 1\n", &["nonsense"]),
        (good.clone() + "\n[routing.custom]\n\"/x/*\" = \"no-such-backend\"\n", &["no-such-backend"]),
        (good[..good.len() / 2].to_owned() + "\n\"half", &["proxy.toml"]),
        (String::new(), &["cert_path"]),
    ] {
        let before = refused_so_far(&proxy).await;
        proxy.write_config(&bad);
        until_refused(&proxy, "config", before, words).await;
        assert_eq!(proxy.h1().await.get("/").await.text(), "hello from app", "the old one keeps serving");
    }
    proxy.write_config(&(good + "\n# good again\n"));
    until_forgotten(&proxy).await;
}

#[tokio::test]
async fn drop_in_filters_come_and_go() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().drop_in_folder().backend("app", origin.address()).start().await;
    assert_eq!(version(&proxy).await, None);
    replace(&proxy.drop_in("50-tag.toml"), b"config = { version = \"one\" }");
    replace(&proxy.drop_in("50-tag.wasm"), &fs::read(test_guest("tagging")).unwrap());
    until_version(&proxy, Some("one")).await;
    // New settings alone.
    replace(&proxy.drop_in("50-tag.toml"), b"config = { version = \"two\" }");
    until_version(&proxy, Some("two")).await;
    // A second one, further out: on the way up it is last.
    replace(&proxy.drop_in("20-outer.toml"), b"config = { version = \"outer\" }");
    replace(&proxy.drop_in("20-outer.wasm"), &fs::read(test_guest("tagging")).unwrap());
    until_version(&proxy, Some("outer")).await;
    fs::remove_file(proxy.drop_in("20-outer.wasm")).unwrap();
    until_version(&proxy, Some("two")).await;
    fs::remove_file(proxy.drop_in("50-tag.wasm")).unwrap();
    until_version(&proxy, None).await;
}

#[tokio::test]
async fn bad_filters_are_refused_and_the_old_one_serves() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().drop_in_folder().backend("app", origin.address()).start().await;
    let good = fs::read(test_guest("tagging")).unwrap();
    replace(&proxy.drop_in("50-tag.toml"), b"config = { version = \"good\" }");
    replace(&proxy.drop_in("50-tag.wasm"), &good);
    until_version(&proxy, Some("good")).await;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("half-written", good[..good.len() / 2].to_vec()),
        ("corrupt", good.iter().enumerate().map(|(at, byte)| if at % 97 == 50 { !byte } else { *byte }).collect()),
        ("random", harness::payload::whole(50_000).to_vec()),
        ("ELF", fs::read("/proc/self/exe").unwrap()[..50_000].to_vec()),
        ("text", b"(component)".to_vec()),
        ("core module", guest::core_module()),
        ("wrong world", guest::wrong_world()),
    ];
    for (name, bytes) in cases {
        let before = refused_so_far(&proxy).await;
        let lines = proxy.log().count(&["refused", "50-tag"]);
        replace(&proxy.drop_in("50-tag.wasm"), &bytes);
        eventually(SOON, &format!("{name}: refused"), || async {
            (refused_so_far(&proxy).await > before).then_some(())
        })
        .await;
        assert_eq!(version(&proxy).await.as_deref(), Some("good"), "{name}: the old one keeps serving");
        let ready = proxy.admin("/ready").await;
        assert!(ready.status == 200 && ready.text().contains("tag"), "{name}: {}", ready.text());
        eventually(SOON, &format!("{name}: the log says so"), || async {
            (proxy.log().count(&["refused", "50-tag"]) > lines).then_some(())
        })
        .await;
    }
    replace(&proxy.drop_in("50-tag.toml"), b"config = { version = \"again\" }");
    replace(&proxy.drop_in("50-tag.wasm"), &guest::variant(&good, 1));
    until_version(&proxy, Some("again")).await;
}

#[tokio::test]
async fn settings_that_the_filter_rejects_are_refused() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().drop_in_folder().backend("app", origin.address()).start().await;
    replace(&proxy.drop_in("50-tag.toml"), b"config = { version = \"good\" }");
    replace(&proxy.drop_in("50-tag.wasm"), &fs::read(test_guest("tagging")).unwrap());
    until_version(&proxy, Some("good")).await;
    for (settings, words) in [
        ("config = { version = 7 }", &["version"][..]),
        ("config = { version = \"x\", surplus = 1 }", &["surplus"]),
        ("config = {}", &["version"]),
        ("nonsense", &["50-tag.toml"]),
    ] {
        let before = refused_so_far(&proxy).await;
        replace(&proxy.drop_in("50-tag.toml"), settings.as_bytes());
        until_refused(&proxy, "filters", before, words).await;
        assert_eq!(version(&proxy).await.as_deref(), Some("good"), "{settings}");
    }
    replace(&proxy.drop_in("50-tag.toml"), b"config = { version = \"good\" }");
    until_forgotten(&proxy).await;
    let misbehaving = fs::read(test_guest("misbehaving")).unwrap();
    for behaviour in ["reject-config", "spin-config", "hungry-config", "trap-config", "random-config"] {
        let before = refused_so_far(&proxy).await;
        replace(&proxy.drop_in("60-bad.toml"), format!("config = {{ behaviour = \"{behaviour}\" }}").as_bytes());
        replace(&proxy.drop_in("60-bad.wasm"), &misbehaving);
        until_refused(&proxy, "filters", before, &["bad"]).await;
        assert_eq!(version(&proxy).await.as_deref(), Some("good"), "{behaviour}");
        fs::remove_file(proxy.drop_in("60-bad.wasm")).unwrap();
        until_forgotten(&proxy).await;
    }
}

/// Waits until `/ready` says nothing of a refusal any more.
async fn until_forgotten(proxy: &Proxy) {
    eventually(SOON, "/ready forgets the refusal", || async {
        (!proxy.admin("/ready").await.text().contains("refused")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_file_that_grows_slowly_is_taken_when_it_is_whole() {
    let origin = RawOrigin::plain().await;
    let proxy = Proxy::builder().drop_in_folder().backend("app", origin.address()).start().await;
    let good = fs::read(test_guest("tagging")).unwrap();
    replace(&proxy.drop_in("50-tag.toml"), b"config = { version = \"slow\" }");
    let mut file = tokio::fs::File::create(proxy.drop_in("50-tag.wasm")).await.unwrap();
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    for piece in good.chunks(good.len() / 20 + 1) {
        ticks.tick().await;
        tokio::io::AsyncWriteExt::write_all(&mut file, piece).await.unwrap();
        tokio::io::AsyncWriteExt::flush(&mut file).await.unwrap();
    }
    drop(file);
    until_version(&proxy, Some("slow")).await;
    assert!(!proxy.admin("/ready").await.text().contains("refused"));
}

#[tokio::test]
async fn a_filter_of_the_configuration_is_watched_too() {
    let origin = RawOrigin::plain().await;
    let builder = Proxy::builder();
    let module = builder.folder().join("mine.wasm");
    fs::copy(test_guest("noop"), &module).unwrap();
    let mut proxy = builder.filter("mine", &module, "").backend("app", origin.address()).start().await;
    assert_eq!(version(&proxy).await, None);
    // The new component wants settings, which it has not got: refused until they are there.
    let before = refused_so_far(&proxy).await;
    replace(&module, &fs::read(test_guest("tagging")).unwrap());
    until_refused(&proxy, "filters", before, &["mine"]).await;
    let text = fs::read_to_string(proxy.folder().join("proxy.toml")).unwrap();
    proxy.write_config(&text.replace("name = \"mine\"", "name = \"mine\"\nconfig = { version = \"new\" }"));
    until_version(&proxy, Some("new")).await;
    proxy.assert_running();
}

#[tokio::test]
async fn listeners_that_cannot_move_are_told() {
    let app = Origin::start("app").await;
    let mut proxy = Proxy::builder().backend("app", app.address()).start().await;
    let address = proxy.address(Protocol::H1);
    proxy.change_config("[proxy]\nhttp_addr = \"127.0.0.1:1\"");
    proxy.log().wait_for(&["http_addr"]).await;
    let mut client = Client::connect(Protocol::H1, address).await.unwrap();
    let reply = client.fetch(Request::get("/").body(empty()).unwrap()).await;
    assert_eq!(reply.status, 200, "the old address keeps serving");
}
