//! A filter that misbehaves under load costs the requests that enter it; everybody else's p99 stays within twice what
//! it was. The others don't enter that filter: while its breaker is open, whoever does is answered by its policy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use harness::client::{Client, Protocol, empty};
use harness::{Origin, Proxy};
use http::{Request, StatusCode};

use crate::filters::misbehaving;

/// p99 of plain requests over a few connections.
async fn p99(proxy: &Proxy, duration: Duration) -> Duration {
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let mut client = proxy.h1().await;
        tasks.push(tokio::spawn(async move {
            let mut times = Vec::new();
            let begun = Instant::now();
            // A fixed pace, so that a stall is met by many requests and not by one.
            let mut ticks = tokio::time::interval(Duration::from_millis(2));
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            while begun.elapsed() < duration {
                ticks.tick().await;
                let sent = Instant::now();
                let reply = client.get("/plain").await;
                assert_eq!(reply.status, StatusCode::OK);
                times.push(sent.elapsed());
            }
            times
        }));
    }
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    times.sort();
    times[times.len() * 99 / 100]
}

async fn attack(address: std::net::SocketAddr, stop: Arc<AtomicBool>, refused: Arc<AtomicUsize>) {
    let mut client = Client::connect(Protocol::H1, address).await.unwrap();
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let reply = client.fetch(Request::get("/x").header("x-misbehave", "1").body(empty()).unwrap()).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        refused.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_keep_their_p99() {
    let app = Origin::start("app").await;
    let mut reports = Vec::new();
    let mut failed = false;
    for behaviour in ["spin", "hungry", "trap"] {
        let builder = Proxy::builder().config("[logging]\naccess_log = false");
        let proxy = misbehaving(builder, "bad", behaviour, "match = { paths = [\"/x\"] }")
            .backend("app", app.address())
            .alone()
            .start()
            .await;
        p99(&proxy, Duration::from_millis(500)).await;
        let before = p99(&proxy, Duration::from_secs(3)).await;
        let stop = Arc::new(AtomicBool::new(false));
        let refused = Arc::new(AtomicUsize::new(0));
        let mut attackers = Vec::new();
        for _ in 0..4 {
            attackers.push(tokio::spawn(attack(proxy.address(Protocol::H1), Arc::clone(&stop), Arc::clone(&refused))));
        }
        let during = p99(&proxy, Duration::from_secs(5)).await;
        stop.store(true, Ordering::Relaxed);
        for attacker in attackers {
            attacker.await.unwrap();
        }
        let count = refused.load(Ordering::Relaxed);
        reports.push(format!("{behaviour}: p99 {before:?} before, {during:?} with {count} failures in 5 s"));
        // A guest that loops gives way every other millisecond, and a request takes several turns: this much on top
        // of twice the quiet figure is the clock's grain and the noise of a busy machine, not a stall.
        failed |= during > before * 2 + Duration::from_millis(8) || count < 20;
    }
    println!("{}", reports.join("\n"));
    assert!(!failed, "{}", reports.join("\n"));
}
