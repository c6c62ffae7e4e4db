//! What the proxy weighs at rest and how soon it answers; printed, with bounds that a busy machine keeps too.

use std::time::{Duration, Instant};

use harness::client::{Client, Protocol};
use harness::process::mib;
use harness::{Origin, Proxy};

/// From the start of the process to the first whole answer.
async fn first_answer(cache: &std::path::Path, app: &Origin) -> (Duration, Proxy) {
    let begun = Instant::now();
    let proxy = Proxy::builder()
        .config(&format!(
            "[proxy]\ncache_dir = \"{}\"\n[security.validation]\nenable_security_headers = true",
            cache.display()
        ))
        .backend("app", app.address())
        .alone()
        .start()
        .await;
    // Waiting for other tests to end is not the proxy's time.
    let started = proxy.start_time();
    let asked = Instant::now();
    let mut client = Client::connect(Protocol::H1, proxy.address(Protocol::H1)).await.unwrap();
    assert_eq!(client.get("/").await.status, 200);
    let total = started + asked.elapsed();
    assert!(total <= begun.elapsed());
    (total, proxy)
}

#[tokio::test]
async fn starts_soon_and_stays_small() {
    let app = Origin::start("app").await;
    let cache = tempfile::tempdir().unwrap();
    let (cold, proxy) = first_answer(cache.path(), &app).await;
    drop(proxy);
    let (warm, proxy) = first_answer(cache.path(), &app).await;
    for protocol in Protocol::ALL {
        proxy.client(protocol).await.get("/").await;
    }
    let stats = proxy.stats();
    println!(
        "first answer: cold {cold:.0?}, warm {warm:.0?}; idle: {} MiB, {} threads, {} descriptors",
        mib(stats.rss),
        stats.threads,
        stats.descriptors
    );
    assert!(cold < Duration::from_secs(3), "cold: {cold:?}");
    assert!(warm < Duration::from_millis(500), "warm: {warm:?}");
    assert!(stats.rss < 60 << 20, "{} MiB at rest", mib(stats.rss));
}

#[tokio::test]
async fn idle_costs_no_cpu() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).alone().start().await;
    let mut kept = Vec::new();
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        client.get("/").await;
        kept.push(client);
    }
    let before = proxy.stats().cpu;
    let begun = Instant::now();
    harness::eventually(Duration::from_secs(5), "two seconds have passed", || async {
        (begun.elapsed() > Duration::from_secs(2)).then_some(())
    })
    .await;
    let spent = proxy.stats().cpu.checked_sub(before).unwrap();
    println!("two idle seconds cost {spent:?}");
    assert!(spent < Duration::from_millis(100), "{spent:?}");
}

#[tokio::test]
async fn a_thousand_connections_stay_affordable() {
    let app = Origin::start("app").await;
    let proxy =
        Proxy::builder().config("[proxy]\nmax_connections = 2000").backend("app", app.address()).alone().start().await;
    proxy.h1().await.get("/").await;
    let before = proxy.stats().rss;
    for protocol in [Protocol::H1, Protocol::H2, Protocol::H3] {
        let mut kept = Vec::new();
        for _ in 0..300 {
            let mut client = proxy.client(protocol).await;
            assert_eq!(client.get("/").await.status, 200, "{protocol:?}");
            kept.push(client);
        }
        let each = proxy.stats().rss.saturating_sub(before) / 300;
        println!("{protocol:?}: {} KiB a connection", each / 1024);
        assert!(each < 256 << 10, "{protocol:?}: {} KiB a connection", each / 1024);
        drop(kept);
        harness::eventually(Duration::from_secs(40), &format!("{protocol:?} connections are gone"), || async {
            (proxy.metrics().await.sum("gpanel_proxy_active_connections_total", &[]) < 5.0).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn connections_above_the_limit_are_refused() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().config("[proxy]\nmax_connections = 10").backend("app", app.address()).start().await;
    let mut kept = Vec::new();
    let mut served = 0;
    for _ in 0..30 {
        let Ok(mut client) = Client::connect(Protocol::H1, proxy.address(Protocol::H1)).await else { continue };
        let request = http::Request::get("/").body(harness::client::empty()).unwrap();
        if client.try_fetch(request).await.is_ok_and(|reply| reply.status == 200) {
            served += 1;
        }
        kept.push(client);
    }
    assert!((1..=10).contains(&served), "{served} of 30 connections were served with a limit of 10");
    drop(kept);
    harness::eventually(Duration::from_secs(10), "there is room again", || async {
        let mut client = Client::connect(Protocol::H1, proxy.address(Protocol::H1)).await.ok()?;
        let request = http::Request::get("/").body(harness::client::empty()).unwrap();
        client.try_fetch(request).await.ok().filter(|reply| reply.status == 200).map(drop)
    })
    .await;
}
