use std::fs::{self, FileTimes};
use std::os::unix::fs::symlink;
use std::time::Duration;

use http_body_util::BodyExt as _;
use tempfile::TempDir;

use super::*;
use crate::message::Scheme;

/// 2009-02-13 23:31:30 UTC.
const CHANGED: u64 = 1_234_567_890;
const BIG: usize = 300_000;

fn big() -> Vec<u8> {
    (0..BIG).map(|index| u8::try_from(index % 251).unwrap()).collect()
}

/// A folder with a bit of everything, next to a secret.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("docs/api")).unwrap();
    fs::create_dir_all(root.join("empty")).unwrap();
    fs::create_dir_all(root.join("a:b")).unwrap();
    fs::create_dir_all(root.join("odd/index.html")).unwrap();
    fs::create_dir_all(root.join(".well-known")).unwrap();
    fs::create_dir_all(root.join(".git")).unwrap();
    for (name, content) in [
        ("index.html", "<h1>root</h1>"),
        ("docs/index.html", "<h1>docs</h1>"),
        ("docs/api/v1.json", "{}"),
        ("a:b/index.html", "colon"),
        ("app.wasm", "\0asm"),
        ("main.js", "1"),
        ("style.css", "b{}"),
        ("a b+é.txt", "name"),
        ("noextension", "?"),
        ("empty.txt", ""),
        (".env", "secret"),
        (".git/config", "secret"),
        (".well-known/security.txt", "mailto:"),
        ("../secret.txt", "secret"),
        ("ten.txt", "0123456789"),
    ] {
        fs::write(root.join(name), content).unwrap();
    }
    fs::write(root.join("big.bin"), big()).unwrap();
    symlink("ten.txt", root.join("inside.txt")).unwrap();
    symlink("../ten.txt", root.join("docs/up.txt")).unwrap();
    symlink("../secret.txt", root.join("outside.txt")).unwrap();
    symlink("..", root.join("parent")).unwrap();
    symlink(folder.path().join("secret.txt"), root.join("absolute.txt")).unwrap();
    symlink("/proc/self/root/etc/passwd", root.join("magic.txt")).unwrap();
    symlink("loop.txt", root.join("loop.txt")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, root.join("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let times = FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_secs(CHANGED));
    fs::File::options().write(true).open(root.join("ten.txt")).unwrap().set_times(times).unwrap();
    folder
}

struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: Result<Vec<u8>, String>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn text(&self) -> String {
        String::from_utf8(self.body.clone().unwrap()).unwrap()
    }
}

fn request(method: &str, path: &str, fields: &[(&'static str, &str)]) -> RequestHead {
    let mut headers = http::HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, value.parse().unwrap());
    }
    RequestHead {
        method: method.parse().unwrap(),
        scheme: Scheme::Https,
        authority: "localhost".parse().unwrap(),
        path_and_query: path.parse().unwrap(),
        headers,
    }
}

async fn ask(folder: &TempDir, method: &str, path: &str, fields: &[(&'static str, &str)]) -> Answer {
    let files = StaticFiles::new(folder.path().join("root"));
    let (head, body) = files.serve(&request(method, path, fields), None).await;
    let body = body.collect().await.map(|body| body.to_bytes().to_vec()).map_err(|error| error.to_string());
    Answer { status: head.status.as_u16(), headers: head.headers, body }
}

#[tokio::test]
async fn files_and_types() {
    let folder = folder();
    for (path, content, kind) in [
        ("/", "<h1>root</h1>", "text/html; charset=utf-8"),
        ("/?query", "<h1>root</h1>", "text/html; charset=utf-8"),
        ("/index.html", "<h1>root</h1>", "text/html; charset=utf-8"),
        ("/docs/", "<h1>docs</h1>", "text/html; charset=utf-8"),
        ("/docs/api/v1.json", "{}", "application/json"),
        ("/app.wasm", "\0asm", "application/wasm"),
        ("/main.js", "1", "text/javascript; charset=utf-8"),
        ("/style.css", "b{}", "text/css; charset=utf-8"),
        ("/a%20b+%C3%A9.txt", "name", "text/plain; charset=utf-8"),
        ("/noextension", "?", "application/octet-stream"),
        ("/empty.txt", "", "text/plain; charset=utf-8"),
        ("/.well-known/security.txt", "mailto:", "text/plain; charset=utf-8"),
        ("/inside.txt", "0123456789", "text/plain; charset=utf-8"),
        ("/docs/up.txt", "0123456789", "text/plain; charset=utf-8"),
    ] {
        let answer = ask(&folder, "GET", path, &[]).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, content), "{path}");
        assert_eq!(answer.header("content-type"), kind, "{path}");
        assert_eq!(answer.header("content-length"), content.len().to_string(), "{path}");
        assert_eq!(answer.header("accept-ranges"), "bytes", "{path}");
        let head = ask(&folder, "HEAD", path, &[]).await;
        assert_eq!((head.status, head.headers), (200, answer.headers), "{path}");
        assert_eq!(head.body.unwrap(), b"", "{path}");
    }
}

#[tokio::test]
async fn what_is_not_there_hidden_or_outside_is_one_and_the_same() {
    let folder = folder();
    let mut bodies = Vec::new();
    for path in [
        "/none",
        "/none/",
        "/docs/none.txt",
        "/ten.txt/",
        "/ten.txt/x",
        "/empty/",
        "/odd/",
        "/.env",
        "/.git/config",
        "/docs/.well-known/x",
        "/%2eenv",
        "/..",
        "/../secret.txt",
        "/docs/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/docs%2findex.html",
        "/docs//index.html",
        "//docs/index.html",
        "//",
        "/./index.html",
        "/index.html%00.txt",
        "/outside.txt",
        "/parent/secret.txt",
        "/parent/root/ten.txt",
        "/absolute.txt",
        "/magic.txt",
        "/loop.txt",
        "/pipe",
        &format!("/{}", "x".repeat(300)),
        &format!("/{}", "x/".repeat(3000)),
    ] {
        let answer = ask(&folder, "GET", path, &[]).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.header("content-type"), "application/json", "{path}");
        bodies.push(answer.text());
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
}

#[tokio::test]
async fn a_folder_without_its_slash_is_a_relative_redirect() {
    let folder = folder();
    for (path, location) in
        [("/docs", "./docs/"), ("/docs/api?x=/y", "./api/?x=/y"), ("/a:b", "./a:b/"), ("/a%3Ab", "./a%3Ab/")]
    {
        let answer = ask(&folder, "GET", path, &[]).await;
        assert_eq!((answer.status, answer.header("location")), (301, location), "{path}");
        assert_eq!(answer.header("content-length"), "0");
    }
}

#[tokio::test]
async fn other_methods() {
    let folder = folder();
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND"] {
        let answer = ask(&folder, method, "/", &[]).await;
        assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD"), "{method}");
    }
}

#[tokio::test]
async fn ranges() {
    let folder = folder();
    for (range, status, content, content_range) in [
        ("bytes=2-4", 206, "234", "bytes 2-4/10"),
        ("bytes=7-", 206, "789", "bytes 7-9/10"),
        ("bytes=-2", 206, "89", "bytes 8-9/10"),
        ("bytes=0-0", 206, "0", "bytes 0-0/10"),
        ("bytes=0-99", 206, "0123456789", "bytes 0-9/10"),
        ("bytes=0-1,4-5", 200, "0123456789", ""),
        ("bytes=4-2", 200, "0123456789", ""),
        ("chars=1-2", 200, "0123456789", ""),
    ] {
        let answer = ask(&folder, "GET", "/ten.txt", &[("range", range)]).await;
        assert_eq!((answer.status, answer.text().as_str()), (status, content), "{range}");
        assert_eq!(answer.header("content-range"), content_range, "{range}");
        assert_eq!(answer.header("content-length"), content.len().to_string(), "{range}");
    }
    let answer = ask(&folder, "GET", "/ten.txt", &[("range", "bytes=10-")]).await;
    assert_eq!((answer.status, answer.header("content-range")), (416, "bytes */10"));
    assert!(answer.text().contains("range_not_satisfiable"));
    // HEAD has no ranges.
    let answer = ask(&folder, "HEAD", "/ten.txt", &[("range", "bytes=2-4")]).await;
    assert_eq!((answer.status, answer.header("content-length")), (200, "10"));
}

#[tokio::test]
async fn conditions() {
    let folder = folder();
    let plain = ask(&folder, "GET", "/ten.txt", &[]).await;
    let (etag, date) = (plain.header("etag").to_owned(), plain.header("last-modified").to_owned());
    assert!(etag.starts_with('"') && etag.ends_with("-a\""), "{etag}");
    assert_eq!(date, "Fri, 13 Feb 2009 23:31:30 GMT");
    for method in ["GET", "HEAD"] {
        for (name, value, status) in [
            ("if-none-match", etag.as_str(), 304),
            ("if-none-match", "*", 304),
            ("if-none-match", "\"other\"", 200),
            ("if-modified-since", date.as_str(), 304),
            ("if-modified-since", "Fri, 13 Feb 2009 23:31:29 GMT", 200),
            ("if-match", "\"other\"", 412),
            ("if-match", etag.as_str(), 200),
            ("if-unmodified-since", "Fri, 13 Feb 2009 23:31:29 GMT", 412),
        ] {
            let answer = ask(&folder, method, "/ten.txt", &[(name, value)]).await;
            assert_eq!(answer.status, status, "{method} {name}: {value}");
            if status == 304 {
                assert_eq!((answer.header("etag"), answer.header("last-modified")), (etag.as_str(), date.as_str()));
                assert_eq!(answer.header("content-length"), "");
                assert_eq!(answer.body.unwrap(), b"");
            }
        }
    }
    for (if_range, status) in [(etag.as_str(), 206), (date.as_str(), 206), ("\"other\"", 200)] {
        let fields = [("range", "bytes=1-1"), ("if-range", if_range)];
        assert_eq!(ask(&folder, "GET", "/ten.txt", &fields).await.status, status, "{if_range}");
    }
}

#[tokio::test]
async fn large_files_come_in_pieces() {
    let folder = folder();
    let whole = ask(&folder, "GET", "/big.bin", &[]).await;
    assert_eq!(whole.header("content-length"), BIG.to_string());
    assert!(whole.body.unwrap() == big());
    let part = ask(&folder, "GET", "/big.bin", &[("range", "bytes=65535-265535")]).await;
    assert_eq!(part.header("content-range"), format!("bytes 65535-265535/{BIG}"));
    assert!(part.body.unwrap() == big()[65535..=265_535]);

    let files = StaticFiles::new(folder.path().join("root"));
    let (_, mut body) = files.serve(&request("GET", "/big.bin", &[]), None).await;
    assert_eq!(http_body::Body::size_hint(&body).exact(), Some(BIG as u64));
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first.len(), 65536);
    assert_eq!(http_body::Body::size_hint(&body).exact(), Some((BIG - 65536) as u64));
}

#[tokio::test]
async fn a_file_that_shrinks_while_it_is_sent_ends_in_an_error() {
    let folder = folder();
    let files = StaticFiles::new(folder.path().join("root"));
    let (_, mut body) = files.serve(&request("GET", "/big.bin", &[]), None).await;
    assert!(body.frame().await.unwrap().is_ok());
    fs::File::options().write(true).open(folder.path().join("root/big.bin")).unwrap().set_len(70_000).unwrap();
    assert!(body.frame().await.unwrap().is_err());
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn the_folder_may_be_replaced_and_may_be_missing() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(ask(&folder, "GET", "/x.txt", &[]).await.status, 404);
    for version in ["one", "two"] {
        fs::create_dir(folder.path().join(version)).unwrap();
        fs::write(folder.path().join(version).join("x.txt"), version).unwrap();
        symlink(version, folder.path().join("new")).unwrap();
        fs::rename(folder.path().join("new"), folder.path().join("root")).unwrap();
        assert_eq!(ask(&folder, "GET", "/x.txt", &[]).await.text(), version);
    }
}
