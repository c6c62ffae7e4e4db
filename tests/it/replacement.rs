//! A thousand filter replacements under load: no failed request, every request sees one version, and the memory
//! after the thousandth is that after the hundredth.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use harness::certificate::replace;
use harness::client::{Client, Protocol, empty};
use harness::environment::test_guest;
use harness::process::mib;
use harness::{Origin, Proxy, eventually, guest};
use http::{Request, StatusCode};

const REPLACEMENTS: u64 = 1000;
const CONNECTIONS: usize = 64;

/// Sends requests one after the other until told to stop; what went wrong is kept.
async fn load(protocol: Protocol, address: std::net::SocketAddr, shared: Arc<Shared>) {
    let mut client = Client::connect(protocol, address).await.unwrap();
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !shared.stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let request = Request::get("/page").body(empty()).unwrap();
        let wrong = match client.try_fetch(request).await {
            Ok(reply) if reply.status == StatusCode::OK && reply.headers.contains_key("x-filter-version") => None,
            Ok(reply) => Some(format!("{protocol:?}: {} {}", reply.status, reply.text())),
            Err(error) => Some(format!("{protocol:?}: {error}")),
        };
        shared.requests.fetch_add(1, Ordering::Relaxed);
        if let Some(wrong) = wrong {
            shared.wrong.lock().unwrap().push(wrong);
            return;
        }
    }
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    requests: AtomicUsize,
    wrong: std::sync::Mutex<Vec<String>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_replacements_under_load() {
    let app = Origin::start("app").await;
    let cache = tempfile::tempdir().unwrap();
    let proxy = Proxy::builder()
        .config(&format!("[proxy]\ncache_dir = \"{}\"\n[logging]\naccess_log = false", cache.path().display()))
        .drop_in_folder()
        .backend("app", app.address())
        .alone()
        .start()
        .await;
    let good = fs::read(test_guest("tagging")).unwrap();
    replace(&proxy.drop_in("50-tag.toml"), b"config = { version = \"v\" }");
    replace(&proxy.drop_in("50-tag.wasm"), &good);
    eventually(Duration::from_secs(20), "the first version serves", || async {
        proxy.h1().await.get("/").await.headers.contains_key("x-filter-version").then_some(())
    })
    .await;

    let shared = Arc::new(Shared::default());
    let mut tasks = Vec::new();
    for number in 0..CONNECTIONS {
        let protocol = Protocol::ALL[number % Protocol::ALL.len()];
        tasks.push(tokio::spawn(load(protocol, proxy.address(protocol), Arc::clone(&shared))));
    }

    let begun = Instant::now();
    let mut after_hundred = 0;
    for number in 1..=REPLACEMENTS {
        // Every fifth component is one that nobody has compiled before; the others come out of the cache.
        let mark = if number % 5 == 0 { number } else { number % 2 };
        let before = proxy.log().count(&["reloaded"]);
        replace(&proxy.drop_in("50-tag.wasm"), &guest::variant(&good, mark));
        eventually(Duration::from_secs(20), &format!("replacement {number} is in"), || async {
            (proxy.log().count(&["reloaded"]) > before).then_some(())
        })
        .await;
        if number % 100 == 0 {
            println!("{number} after {:.1?}: {} MiB", begun.elapsed(), mib(proxy.stats().rss));
        }
        if number == 100 {
            after_hundred = settled(&proxy).await;
        }
    }
    let after_thousand = settled(&proxy).await;
    let took = begun.elapsed();
    shared.stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    let requests = shared.requests.load(Ordering::Relaxed);
    println!(
        "{REPLACEMENTS} replacements in {took:.1?} under {requests} requests; RSS {} MiB after 100, {} MiB after {REPLACEMENTS}",
        mib(after_hundred),
        mib(after_thousand)
    );
    let wrong = std::mem::take(&mut *shared.wrong.lock().unwrap());
    assert!(wrong.is_empty(), "{} of {requests} requests failed: {wrong:?}", wrong.len());
    assert!(requests > 5000, "only {requests} requests: that is no load");
    let growth = after_thousand.saturating_sub(after_hundred);
    assert!(growth * 20 <= after_hundred, "RSS grew from {} to {} MiB", mib(after_hundred), mib(after_thousand));
    eventually(Duration::from_secs(10), "old generations are freed", || async {
        (proxy.metrics().await.sum("gpanel_proxy_generations_alive", &[]) < 1.5).then_some(())
    })
    .await;
}

/// The smallest of a few looks at the RSS, so that one generation in the making doesn't count.
async fn settled(proxy: &Proxy) -> u64 {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let mut smallest = u64::MAX;
    for _ in 0..10 {
        ticks.tick().await;
        smallest = smallest.min(proxy.stats().rss);
    }
    smallest
}
