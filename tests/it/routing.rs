//! The `[routing]` table: which backend gets which path, and what a rule does to the request.

use harness::client::{Protocol, empty};
use harness::{Origin, Proxy};
use http::{Request, StatusCode};

const REFERENCE: &str = r#"
    [routing.rules]
    "/api/containers/*" = "bolt"
    "/api/images/*" = "bolt"
    "/api/networks/*" = "bolt"
    "/api/volumes/*" = "bolt"
    "/api/system/stats" = "agent"
    "/api/system/info" = "agent"
    "/api/gaming/*" = "agent"
    "/api/stats" = "internal"
    "/*" = "static"
"#;

#[tokio::test]
async fn the_references_rules() {
    let (bolt, agent) = (Origin::start("bolt").await, Origin::start("agent").await);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), "the page").unwrap();
    let proxy = Proxy::builder()
        .config(REFERENCE)
        .config(&format!("[static]\nroot = \"{}\"", folder.path().display()))
        .backend("bolt", bolt.address())
        .backend("agent", agent.address())
        .start()
        .await;
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        for (path, expected) in [
            ("/api/containers", "hello from bolt"),
            ("/api/containers/", "hello from bolt"),
            ("/api/containers/abc/json?all=1", "hello from bolt"),
            ("/api/images/x", "hello from bolt"),
            ("/api/networks", "hello from bolt"),
            ("/api/volumes/v", "hello from bolt"),
            ("/api/system/stats", "hello from agent"),
            ("/api/system/info", "hello from agent"),
            ("/api/gaming/sessions", "hello from agent"),
            ("/", "the page"),
        ] {
            let reply = client.get(path).await;
            assert_eq!((reply.status, reply.text().as_str()), (StatusCode::OK, expected), "{protocol:?} {path}");
        }
        for path in ["/api/containersx", "/api/system/stats/more", "/api/system", "/api/unknown", "/api"] {
            let reply = client.get(path).await;
            assert_eq!(reply.status, StatusCode::NOT_FOUND, "{protocol:?} {path}: {}", reply.text());
            assert_eq!(reply.header("content-type"), Some("application/json"), "{protocol:?} {path}: not the page");
            assert_eq!(reply.json()["error"]["status"], 404, "{protocol:?} {path}");
        }
        let stats = client.get("/api/stats").await;
        assert_eq!(stats.status, StatusCode::OK, "{protocol:?}");
        assert!(stats.json().is_object(), "{protocol:?}: {}", stats.text());
    }
    assert_eq!(bolt.seen()[2].target, "/api/containers/abc/json?all=1", "the prefix stays");
}

#[tokio::test]
async fn exact_beats_prefix_and_longer_beats_shorter() {
    let names = ["a", "b", "c", "d", "e"];
    let mut origins = Vec::new();
    let mut builder = Proxy::builder().config(
        r#"
        [routing.rules]
        "/*" = "a"
        "/x/*" = "b"
        "/x/y/*" = "c"
        "/x/y/z" = "d"
        "/same/*" = "a"
        "/same" = "c"
        [routing.custom]
        "/same/*" = "e"
        "/x/y/z/*" = "e"
        "#,
    );
    for name in names {
        let origin = Origin::start(name).await;
        builder = builder.backend(name, origin.address());
        origins.push(origin);
    }
    let proxy = builder.start().await;
    let mut client = proxy.h1().await;
    for (path, expected) in [
        ("/", "a"),
        ("/other", "a"),
        ("/x", "b"),
        ("/xy", "a"),
        ("/x/", "b"),
        ("/x/other", "b"),
        ("/x/y", "c"),
        ("/x/y/", "c"),
        ("/x/yy", "b"),
        ("/x/y/z", "d"),
        ("/x/y/z/", "e"),
        ("/x/y/z/deep", "e"),
        ("/same", "c"),
        ("/same/below", "e"),
        ("/x/../x/y/z", "d"),
        ("/%78/y/z", "d"),
        ("/x/y/z?q=/x", "d"),
        ("/x%2fy/z", "a"),
    ] {
        assert_eq!(client.get(path).await.text(), format!("hello from {expected}"), "{path}");
    }
}

#[tokio::test]
async fn prefixes_are_stripped_and_replaced() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder()
        .route_with("/strip/*", r#"{ target = "app", strip_prefix = true }"#)
        .route_with("/deep/er/*", r#"{ target = "app", strip_prefix = true }"#)
        .route_with("/old/*", r#"{ target = "app", replace_prefix = "/new/place" }"#)
        .route_with("/named/*", r#"{ target = "app", host = "inner.example:8080" }"#)
        .backend("app", app.address())
        .start()
        .await;
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        for (path, expected) in [
            ("/strip/a/b?c=d", "/a/b?c=d"),
            ("/strip/", "/"),
            ("/strip", "/"),
            ("/strip?x", "/?x"),
            ("/strip//evil.example", "//evil.example"),
            ("/deep/er/x", "/x"),
            ("/old/x?y", "/new/place/x?y"),
            ("/old", "/new/place"),
            ("/named/x", "/named/x"),
        ] {
            assert_eq!(client.get(path).await.status, StatusCode::OK, "{protocol:?} {path}");
            let target = app.last().target;
            assert!(target == expected || target == expected.replace("//", "/"), "{protocol:?} {path}: {target}");
        }
        let seen = app.last();
        assert_eq!(seen.headers["host"], "inner.example:8080", "{protocol:?}");
        assert_eq!(seen.headers["x-forwarded-host"], client.authority(), "{protocol:?}: what the client asked for");
    }
}

#[tokio::test]
async fn redirects_are_made_by_the_proxy() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder()
        .route_with("/moved/*", r#"{ redirect = "https://new.example{path}{query}", status = 302 }"#)
        .route("/*", "app")
        .backend("app", app.address())
        .start()
        .await;
    for protocol in Protocol::ALL {
        let reply = proxy.client(protocol).await.get("/moved/x?y=1").await;
        assert_eq!(reply.status, StatusCode::FOUND, "{protocol:?}");
        assert_eq!(reply.header("location"), Some("https://new.example/moved/x?y=1"), "{protocol:?}");
    }
    assert_eq!(app.requests(), 0);
}

#[tokio::test]
async fn unknown_paths_are_404_as_json() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().route("/known", "app").backend("app", app.address()).start().await;
    for protocol in Protocol::ALL {
        let reply = proxy.client(protocol).await.get("/unknown").await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{protocol:?}");
        assert_eq!(reply.json()["error"]["status"], 404, "{protocol:?}");
        assert!(reply.header("x-request-id").is_some(), "{protocol:?}");
    }
    assert_eq!(app.requests(), 0);
}

#[tokio::test]
async fn instances_share_the_requests() {
    let (one, two) = (Origin::start("one").await, Origin::start("two").await);
    let proxy = Proxy::builder()
        .config(&format!(
            "[backends.cluster]\ninstances = [\"http://{}\", \"http://{}\"]\n[routing.rules]\n\"/*\" = \"cluster\"",
            one.address(),
            two.address()
        ))
        .config("[proxy]\nworkers = 1")
        .start()
        .await;
    let mut client = proxy.h1().await;
    for _ in 0..40 {
        assert_eq!(client.get("/").await.status, StatusCode::OK);
    }
    assert!(one.requests() >= 10 && two.requests() >= 10, "{} and {}", one.requests(), two.requests());
}

#[tokio::test]
async fn the_route_is_a_label_of_the_metrics() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder().route("/api/things/*", "app").backend("app", app.address()).start().await;
    let mut client = proxy.h2().await;
    for number in 0..10 {
        client.get(&format!("/api/things/{number}")).await;
    }
    let request = Request::delete("/api/things/1").body(empty()).unwrap();
    client.fetch(request).await;
    client.get("/nowhere/special").await;
    let metrics = proxy.metrics().await;
    let count = |method, status| {
        let labels = [("method", method), ("path", "/api/things/*"), ("status", status)];
        metrics.sum("gpanel_proxy_requests_total", &labels)
    };
    assert!((count("GET", "200") - 10.0).abs() < 0.5, "{metrics:?}");
    assert!((count("DELETE", "200") - 1.0).abs() < 0.5);
    assert!(
        !metrics.has("gpanel_proxy_requests_total", &[("path", "/nowhere/special")]),
        "a path of the client's choosing became a label"
    );
}
