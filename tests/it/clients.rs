//! Clients that we didn't write: curl, libcurl over HTTP/3, aioquic, ngtcp2's gtlsclient, Chromium.

use std::time::Duration;

use harness::certificate::write_certificate;
use harness::client::{H3Connection, Protocol};
use harness::environment::program;
use harness::program::{Finished, python, run};
use harness::{Origin, Proxy, within};
use sha2::{Digest, Sha256};

const LIMIT: Duration = Duration::from_secs(120);

async fn curl(arguments: &[&str]) -> Finished {
    let mut all = vec!["--silent", "--show-error", "--insecure", "--max-time", "30"];
    all.extend(arguments);
    run(&program("curl", "curl"), &all, LIMIT).await
}

#[tokio::test]
async fn curl_over_http1_and_http2() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).start().await;
    let plain = format!("http://localhost:{}", proxy.address(Protocol::H1).port());
    let tls = format!("https://localhost:{}", proxy.address(Protocol::H2).port());
    for (flag, base, version) in [
        ("--http1.1", &plain, "1.1"),
        ("--http1.0", &plain, "1.1"),
        ("--http2-prior-knowledge", &plain, "2"),
        // An upgrade to h2c is answered as an ordinary request.
        ("--http2", &plain, "1.1"),
        ("--http1.1", &tls, "1.1"),
        ("--http2", &tls, "2"),
    ] {
        let done = curl(&[flag, "--write-out", " %{http_version} %{http_code}", &format!("{base}/page")]).await;
        assert_eq!(done.stdout, format!("hello from app {version} 200"), "{flag} {base}: {}", done.stderr);
        let body = "@/proc/self/exe";
        let done = curl(&[
            flag,
            "--data-binary",
            body,
            "--output",
            "/dev/null",
            "--write-out",
            "%{size_upload} %{size_download}",
            &format!("{base}/echo"),
        ])
        .await;
        let sizes: Vec<&str> = done.stdout.split(' ').collect();
        assert!(sizes[0] != "0" && sizes[0] == sizes[1], "{flag} {base}: {} {}", done.stdout, done.stderr);
    }
}

#[tokio::test]
async fn curl_verifies_our_certificate() {
    let app = Origin::start("app").await;
    let builder = Proxy::builder().backend("app", app.address());
    let files = write_certificate(builder.folder());
    let authority = files.certificate.to_str().unwrap().to_owned();
    let proxy = builder
        .config(&format!(
            "[proxy]\ndev_mode = false\ncert_path = \"{authority}\"\nkey_path = \"{}\"",
            files.key.display()
        ))
        .start()
        .await;
    let url = format!("https://localhost:{}/page", proxy.address(Protocol::H2).port());
    let done = run(&program("curl", "curl"), &["--silent", "--show-error", "--cacert", &authority, &url], LIMIT).await;
    assert_eq!(done.stdout, "hello from app", "{}", done.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn libcurl_downloads_over_http3() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).start().await;
    let port = proxy.address(Protocol::H3).port().to_string();
    let expected = Sha256::digest(harness::payload::whole(1_000_000));
    let expected: String = expected.iter().map(|byte| format!("{byte:02x}")).collect();
    for mode in ["reuse", "fresh"] {
        let found = python("h3_downloads.py", &[&port, "60", "1000000", mode], LIMIT).await;
        assert_eq!(found["good"], 60, "{mode}: {found}");
        assert_eq!(found["digests"], serde_json::json!([expected]), "{mode}");
        assert_eq!(found["upload"], serde_json::json!([200, 300_000]), "{mode}: {found}");
        assert!(
            found["versions"].as_array().unwrap().iter().all(|version| *version == 30 || *version == 31),
            "{found}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aioquic_over_http3() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).start().await;
    let port = proxy.address(Protocol::H3).port().to_string();
    let found = python("h3_client.py", &[&port, "behaviours"], LIMIT).await;
    let sizes: Vec<u64> = [0, 1, 100_000, 1_000_000].into_iter().flat_map(|size| [size; 5]).collect();
    assert_eq!(found["page"], serde_json::json!([200, "hello from app"]));
    assert_eq!(found["sizes"], serde_json::json!(sizes));
    assert_eq!(found["echo"], serde_json::json!([200, 500_000]));
    assert_eq!(found["trailers"], serde_json::json!({ "x-sum": "42" }));
    assert_eq!(found["after_key_update"], 200_000);
    assert_eq!(found["after_connection_id_change"], 200_000);
}

async fn gtlsclient(proxy: &Proxy, options: &[&str], paths: &[&str]) -> Finished {
    let port = proxy.address(Protocol::H3).port().to_string();
    let urls: Vec<String> = paths.iter().map(|path| format!("https://localhost:{port}{path}")).collect();
    let mut all = vec!["--quiet", "--exit-on-all-streams-close", "--timeout=20s"];
    all.extend(options);
    all.extend(["127.0.0.1", &port]);
    all.extend(urls.iter().map(String::as_str));
    run(&program("gtlsclient", "ngtcp2-client"), &all, LIMIT).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gtlsclient_downloads_whole_files() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().backend("app", app.address()).start().await;
    for options in [
        &[][..],
        &["--tx-loss=0.03", "--rx-loss=0.03"],
        &["--change-local-addr=20ms"],
        &["--max-stream-data-bidi-local=16K", "--max-data=64K"],
    ] {
        let folder = tempfile_folder();
        let download = format!("--download={}", folder.path().display());
        let mut all = options.to_vec();
        all.push(&download);
        let done = gtlsclient(&proxy, &all, &["/bytes/2000000"]).await;
        assert_eq!(done.code, Some(0), "{options:?}: {}", done.stderr);
        let file = std::fs::read(folder.path().join("2000000")).unwrap_or_default();
        assert!(
            file == harness::payload::whole(2_000_000),
            "{options:?}: {} bytes arrived\n{}",
            file.len(),
            done.stderr
        );
    }
}

fn tempfile_folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("gpanel-it-download-").tempdir().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_move_keep_their_connection() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().config("[proxy]\nworkers = 4").backend("app", app.address()).start().await;
    // Each worker has a socket of its own, and which one gets a datagram depends on the client's port: a connection
    // that moves must still reach the worker that has it.
    for _ in 0..10 {
        let (mut connection, _) = H3Connection::connect(proxy.address(Protocol::H3)).await.unwrap();
        for step in 0..5 {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            connection.endpoint().rebind(socket).unwrap();
            let length =
                within(Duration::from_secs(10), "an answer after the move", connection.get("/bytes/100000")).await;
            assert_eq!(length.unwrap_or_else(|error| panic!("move {step}: {error}")), 100_000);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chromium_over_http3() {
    let page = r#"<!doctype html><title>t</title><p id=out>nothing</p><script>
        fetch("/api/data").then(answer => answer.text()).then(text => {
            const kinds = performance.getEntries().map(entry => entry.nextHopProtocol).filter(Boolean);
            document.getElementById("out").textContent = text + " over " + [...new Set(kinds)].join(",");
        });</script>"#;
    let folder = tempfile_folder();
    std::fs::write(folder.path().join("index.html"), page).unwrap();
    let app = Origin::start("app").await;
    let builder = Proxy::builder()
        .config(&format!("[static]\nroot = \"{}\"", folder.path().display()))
        .route("/", "static")
        .route("/api/*", "app")
        .backend("app", app.address());
    let files = write_certificate(builder.folder());
    let proxy = builder
        .config(&format!(
            "[proxy]\ndev_mode = false\ncert_path = \"{}\"\nkey_path = \"{}\"",
            files.certificate.display(),
            files.key.display()
        ))
        .start()
        .await;
    let port = proxy.address(Protocol::H3).port();
    let done = crate::prometheus::chromium(
        &files,
        &[&format!("--origin-to-force-quic-on=edge.test:{port}")],
        &format!("https://edge.test:{port}/"),
    )
    .await;
    assert!(done.stdout.contains("hello from app over h3"), "{}\n{}", done.stdout, done.stderr);
}
