//! A real Prometheus behind `/api/monitoring/*` with the prefix stripped, and its page in a real browser.

use std::time::Duration;

use harness::certificate::{CertificateFiles, write_certificate};
use harness::client::Protocol;
use harness::environment::program;
use harness::program::{Finished, Running, free_port, run};
use harness::{Proxy, eventually};
use http::StatusCode;
use tokio::process::Command;

/// Loads a page in headless Chromium, lets its scripts run, and gives the page that results. The proxy's certificate
/// is trusted by its key alone, and every name resolves to this machine.
pub async fn chromium(certificate: &CertificateFiles, options: &[&str], url: &str) -> Finished {
    let profile = tempfile::Builder::new().prefix("gpanel-it-chromium-").tempdir().unwrap();
    let pin = key_pin(certificate).await;
    let fixed = [
        "--headless=new".to_owned(),
        "--no-sandbox".to_owned(),
        "--disable-gpu".to_owned(),
        "--disable-dev-shm-usage".to_owned(),
        "--no-first-run".to_owned(),
        "--virtual-time-budget=20000".to_owned(),
        "--host-resolver-rules=MAP * 127.0.0.1".to_owned(),
        format!("--ignore-certificate-errors-spki-list={pin}"),
        format!("--user-data-dir={}", profile.path().display()),
        "--dump-dom".to_owned(),
    ];
    let mut all: Vec<&str> = fixed.iter().map(String::as_str).collect();
    all.extend(options);
    all.push(url);
    run(&program("chromium", "chromium"), &all, Duration::from_secs(90)).await
}

/// SHA-256 of the certificate's public key, in base64.
async fn key_pin(certificate: &CertificateFiles) -> String {
    let openssl = program("openssl", "openssl");
    let script = format!(
        "\"$0\" x509 -in '{}' -pubkey -noout | \"$0\" pkey -pubin -outform der | \"$0\" dgst -sha256 -binary | \"$0\" enc -base64",
        certificate.certificate.display()
    );
    let done =
        run(std::path::Path::new("/bin/sh"), &["-c", &script, openssl.to_str().unwrap()], Duration::from_secs(20))
            .await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    done.stdout.trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_behind_a_stripped_prefix() {
    let port = free_port();
    let builder = Proxy::builder()
        .route_with("/api/monitoring/*", "{ target = \"prometheus\", strip_prefix = true }")
        .config(&format!("[backends.prometheus]\nurl = \"http://127.0.0.1:{port}\""));
    let files = write_certificate(builder.folder());
    let proxy = builder
        .config(&format!(
            "[proxy]\ndev_mode = false\ncert_path = \"{}\"\nkey_path = \"{}\"",
            files.certificate.display(),
            files.key.display()
        ))
        .start()
        .await;
    let settings = proxy.folder().join("prometheus.yml");
    std::fs::write(
        &settings,
        format!(
            "global:\n  scrape_interval: 1s\nscrape_configs:\n- job_name: edge\n  static_configs:\n  - targets: [\"{}\"]\n",
            proxy.admin_address()
        ),
    )
    .unwrap();
    let tls = proxy.address(Protocol::H2).port();
    let mut command = Command::new(program("prometheus", "prometheus"));
    command
        .arg(format!("--config.file={}", settings.display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg(format!("--storage.tsdb.path={}", proxy.folder().join("tsdb").display()))
        .arg(format!("--web.external-url=https://edge.test:{tls}/api/monitoring/"))
        .arg("--web.route-prefix=/");
    let _prometheus = Running::start(command).listens_on(port).await;

    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        eventually(Duration::from_secs(20), &format!("Prometheus is ready over {protocol:?}"), || async {
            // Only without a prefix does this path exist.
            (proxy.client(protocol).await.get("/api/monitoring/-/ready").await.status == StatusCode::OK).then_some(())
        })
        .await;
        let reply = client.get("/api/monitoring/api/v1/status/buildinfo").await;
        assert_eq!(reply.status, StatusCode::OK, "{protocol:?}");
        assert_eq!(reply.json()["status"], "success", "{protocol:?}");
        // An answer that Prometheus compresses and chunks.
        let query = "/api/monitoring/api/v1/label/__name__/values";
        assert_eq!(client.get(query).await.json()["status"], "success", "{protocol:?}");
    }
    eventually(Duration::from_secs(20), "Prometheus has scraped the proxy's own metrics", || async {
        let query = "/api/monitoring/api/v1/query?query=gpanel_proxy_build_info";
        let reply = proxy.h2().await.get(query).await;
        reply.text().contains("gpanel_proxy_build_info").then_some(())
    })
    .await;

    // Debian's Prometheus has the classic page alone; newer ones redirect from it to theirs.
    let page = format!("https://edge.test:{tls}/api/monitoring/classic/graph?g0.expr=gpanel_proxy_build_info&g0.tab=1");
    for (name, options) in [
        ("TCP", vec!["--disable-quic".to_owned()]),
        ("QUIC", vec![format!("--origin-to-force-quic-on=edge.test:{tls}")]),
    ] {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let done = chromium(&files, &options, &page).await;
        // The name and the job stand in the result table only after the page's own script has asked for them.
        assert!(
            done.stdout.contains("gpanel_proxy_build_info{") && done.stdout.contains("edge"),
            "over {name}:\n{}\n{}",
            done.stdout,
            done.stderr
        );
    }
}
