//! The target `static`: a folder, and no way out of it.

use std::fs;
use std::os::unix::fs::symlink;

use harness::Proxy;
use harness::client::{Protocol, empty};
use harness::payload::whole;
use http::{Request, StatusCode};
use tempfile::TempDir;

fn folder() -> TempDir {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("www");
    fs::create_dir_all(root.join("assets")).unwrap();
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::write(outer.path().join("secret.txt"), "secret").unwrap();
    fs::write(root.join("index.html"), "<p>index</p>").unwrap();
    fs::write(root.join("sub/index.html"), "<p>sub</p>").unwrap();
    fs::write(root.join("assets/app.wasm"), b"\0asm").unwrap();
    fs::write(root.join("assets/app.js"), "1").unwrap();
    fs::write(root.join("assets/style.css"), "p{}").unwrap();
    fs::write(root.join("assets/with space.txt"), "space").unwrap();
    fs::write(root.join("assets/big.bin"), whole(300_000)).unwrap();
    fs::write(root.join(".hidden"), "hidden").unwrap();
    symlink("../secret.txt", root.join("link.txt")).unwrap();
    symlink("..", root.join("up")).unwrap();
    outer
}

async fn proxy(folder: &TempDir) -> Proxy {
    let root = folder.path().join("www");
    Proxy::builder().config(&format!("[static]\nroot = \"{}\"", root.display())).route("/*", "static").start().await
}

#[tokio::test]
async fn files_with_their_types() {
    let folder = folder();
    let proxy = proxy(&folder).await;
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        for (path, kind, body) in [
            ("/", "text/html", "<p>index</p>"),
            ("/index.html", "text/html", "<p>index</p>"),
            ("/sub/", "text/html", "<p>sub</p>"),
            ("/assets/app.js", "javascript", "1"),
            ("/assets/style.css", "text/css", "p{}"),
            ("/assets/app.wasm", "application/wasm", "\0asm"),
            ("/assets/with%20space.txt", "text/plain", "space"),
        ] {
            let reply = client.get(path).await;
            assert_eq!((reply.status, reply.text().as_str()), (StatusCode::OK, body), "{protocol:?} {path}");
            let found = reply.header("content-type").unwrap_or_default();
            assert!(found.contains(kind), "{protocol:?} {path}: {found}");
            assert!(reply.header("etag").is_some() && reply.header("last-modified").is_some(), "{protocol:?} {path}");
        }
        let big = client.get("/assets/big.bin").await;
        assert!(big.body == whole(300_000), "{protocol:?}");
        let head = client.fetch(Request::head("/assets/big.bin").body(empty()).unwrap()).await;
        assert_eq!(head.header("content-length"), Some("300000"), "{protocol:?}");
    }
}

#[tokio::test]
async fn ranges() {
    let folder = folder();
    let proxy = proxy(&folder).await;
    let content = whole(300_000);
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        for (range, from, to) in [
            ("bytes=0-9", 0, 9),
            ("bytes=100000-200000", 100_000, 200_000),
            ("bytes=299990-", 299_990, 299_999),
            ("bytes=-10", 299_990, 299_999),
            ("bytes=299999-400000", 299_999, 299_999),
        ] {
            let request = Request::get("/assets/big.bin").header("range", range).body(empty()).unwrap();
            let reply = client.fetch(request).await;
            assert_eq!(reply.status, StatusCode::PARTIAL_CONTENT, "{protocol:?} {range}");
            assert!(reply.body == content.slice(from..=to), "{protocol:?} {range}");
            let expected = format!("bytes {from}-{to}/300000");
            assert_eq!(reply.header("content-range"), Some(expected.as_str()), "{protocol:?}");
        }
        let request = Request::get("/assets/big.bin").header("range", "bytes=300000-").body(empty()).unwrap();
        let reply = client.fetch(request).await;
        assert_eq!(reply.status, StatusCode::RANGE_NOT_SATISFIABLE, "{protocol:?}");
        assert_eq!(reply.header("content-range"), Some("bytes */300000"), "{protocol:?}");
        for range in ["bytes=9-0", "bytes=x-y", "lines=1-2"] {
            let request = Request::get("/assets/big.bin").header("range", range).body(empty()).unwrap();
            let status = client.fetch(request).await.status.as_u16();
            assert!([200, 416].contains(&status), "{protocol:?} {range}: {status}");
        }
        let many = format!("bytes={}", (0..500).map(|at| format!("{at}-{at}")).collect::<Vec<_>>().join(","));
        let request = Request::get("/assets/big.bin").header("range", many).body(empty()).unwrap();
        let reply = client.fetch(request).await;
        assert!(reply.body.len() <= 400_000, "{protocol:?}: many ranges became {} bytes", reply.body.len());
    }
}

#[tokio::test]
async fn conditional_requests() {
    let folder = folder();
    let proxy = proxy(&folder).await;
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        let first = client.get("/assets/app.js").await;
        let etag = first.header("etag").unwrap().to_owned();
        let modified = first.header("last-modified").unwrap().to_owned();
        for (name, value, status) in [
            ("if-none-match", etag.as_str(), 304),
            ("if-none-match", "*", 304),
            ("if-none-match", "\"other\"", 200),
            ("if-modified-since", modified.as_str(), 304),
            ("if-modified-since", "Thu, 01 Jan 1970 00:00:00 GMT", 200),
        ] {
            let request = Request::get("/assets/app.js").header(name, value).body(empty()).unwrap();
            let reply = client.fetch(request).await;
            assert_eq!(reply.status.as_u16(), status, "{protocol:?} {name}: {value}");
            assert_eq!(reply.body.is_empty(), status == 304, "{protocol:?} {name}: {value}");
        }
    }
}

#[tokio::test]
async fn no_way_out_of_the_folder() {
    let folder = folder();
    let proxy = proxy(&folder).await;
    for protocol in [Protocol::H1, Protocol::H2, Protocol::H3] {
        let mut client = proxy.client(protocol).await;
        for path in [
            "/../secret.txt",
            "/../../../../etc/passwd",
            "/%2e%2e/secret.txt",
            "/%2e%2e%2fsecret.txt",
            "/..%2fsecret.txt",
            "/..%5csecret.txt",
            "/assets/..%2f..%2fsecret.txt",
            "/assets%2f..%2f..%2fsecret.txt",
            "/assets/%2e%2e/%2e%2e/secret.txt",
            "//etc/passwd",
            "/%2fetc/passwd",
            "/%2fetc%2fpasswd",
            "/./../secret.txt",
            "/sub/.../secret.txt",
            "/..;/secret.txt",
            "/link.txt",
            "/up/secret.txt",
            "/.hidden",
            "/%2ehidden",
        ] {
            let Ok(request) = Request::get(path).body(empty()) else { continue };
            let reply = client.fetch(request).await;
            let text = reply.text();
            assert!(
                !text.contains("secret") && !text.contains("root:") && text != "hidden",
                "{protocol:?} {path}: {text}"
            );
            assert!([400, 403, 404].contains(&reply.status.as_u16()), "{protocol:?} {path}: {}", reply.status);
        }
    }
}

#[tokio::test]
async fn other_methods_and_missing_files() {
    let folder = folder();
    let proxy = proxy(&folder).await;
    for protocol in Protocol::ALL {
        let mut client = proxy.client(protocol).await;
        assert_eq!(client.get("/nothing.txt").await.status, StatusCode::NOT_FOUND, "{protocol:?}");
        for method in ["POST", "PUT", "DELETE"] {
            let request = Request::builder().method(method).uri("/index.html").body(empty()).unwrap();
            let reply = client.fetch(request).await;
            assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED, "{protocol:?} {method}");
            assert!(reply.header("allow").is_some_and(|allowed| allowed.contains("GET")), "{protocol:?} {method}");
        }
        // A folder without a slash redirects, so that relative links work; never with the client's own authority.
        let reply = client.get("/sub").await;
        if reply.status.is_redirection() {
            assert!(reply.header("location").unwrap().ends_with("/sub/"), "{protocol:?}");
        } else {
            assert_eq!(reply.status, StatusCode::OK, "{protocol:?}");
        }
    }
}

#[tokio::test]
async fn without_a_root_there_is_nothing() {
    let proxy = Proxy::builder().route("/*", "static").start().await;
    let reply = proxy.h1().await.get("/").await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    assert_eq!(reply.json()["error"]["status"], 404);
}
