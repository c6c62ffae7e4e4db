//! Verdicts that the host must refuse or repair: each breaks one rule of RFC 9110, 9112 or of the contract, and
//! all of them would do harm if they reached a wire as they are.

use gpanel_filter::{Reply, RequestEdits, RequestVerdict, ResponseEdits, ResponseVerdict};

const CRLF: &str = "a\r\nx-injected: yes\r\n\r\nGET /smuggled HTTP/1.1";

/// Header edits that are wrong on either side.
fn header(kind: &[u8]) -> Option<(&'static str, Vec<u8>)> {
    let (name, value): (_, &[u8]) = match kind {
        b"crlf" => ("x-hostile", CRLF.as_bytes()),
        b"nul" => ("x-hostile", b"a\0b"),
        b"bare-cr" => ("x-hostile", b"a\rb"),
        b"pseudo" => (":path", b"/other"),
        b"empty-name" => ("", b"a"),
        b"name-with-space" => ("x hostile", b"a"),
        b"name-with-crlf" => ("x-a: b\r\nx-injected", b"yes"),
        b"content-length" => ("content-length", b"3"),
        b"transfer-encoding" => ("transfer-encoding", b"chunked"),
        b"connection" => ("connection", b"x-request-id, content-length"),
        b"upgrade" => ("upgrade", b"h2c"),
        b"host" => ("host", b"elsewhere.example"),
        b"forwarded" => ("x-forwarded-for", b"127.0.0.1"),
        b"not-utf-8" => ("x-hostile", b"\xff\xfe"),
        b"huge" => return Some(("x-hostile", vec![b'a'; 1 << 20])),
        _ => return None,
    };
    Some((name, value.to_vec()))
}

pub(crate) fn request(kind: &[u8]) -> RequestVerdict {
    let edits = RequestEdits::new();
    if let Some((name, value)) = header(kind) {
        return edits.set_header(name, value).into();
    }
    match kind {
        b"many" => (0..10_000).fold(edits, |edits, i| edits.append_header(format!("x-{i}"), "a")).into(),
        b"method-crlf" => edits.method("GET / HTTP/1.1\r\nx-injected: yes\r\n\r\nGET").into(),
        b"method-connect" => edits.method("CONNECT").into(),
        b"path-crlf" => edits.path(format!("/{CRLF}")).into(),
        b"path-relative" => edits.path("no-slash").into(),
        b"path-absolute" => edits.path("http://elsewhere.example/").into(),
        b"path-empty" => edits.path("").into(),
        b"path-dots" => edits.path("/a/../../etc/passwd").into(),
        b"path-not-utf-8" => edits.path(b"/\xff".as_slice()).into(),
        b"authority-crlf" => edits.authority(CRLF).into(),
        b"authority-userinfo" => edits.authority("user@elsewhere.example").into(),
        b"backend-unknown" => edits.backend("no-such-backend").into(),
        b"route-crlf" => edits.route(CRLF).into(),
        b"tag-crlf" => edits.tag("a\nb", CRLF).into(),
        b"urgency" => edits.priority(255, false).into(),
        b"timeout" => edits.timeout_ms(u32::MAX).into(),
        _ => reply(kind).map_or(RequestVerdict::Next, Into::into),
    }
}

pub(crate) fn response(kind: &[u8]) -> ResponseVerdict {
    let edits = ResponseEdits::new();
    if let Some((name, value)) = header(kind) {
        return edits.set_header(name, value).into();
    }
    match kind {
        b"many" => (0..10_000).fold(edits, |edits, i| edits.append_header(format!("x-{i}"), "a")).into(),
        b"status-101" => edits.status(101).into(),
        b"status-0" => edits.status(0).into(),
        b"status-1000" => edits.status(1000).into(),
        _ => reply(kind).map_or(ResponseVerdict::Next, Into::into),
    }
}

fn reply(kind: &[u8]) -> Option<Reply> {
    match kind {
        b"reply-crlf" => Some(Reply::new(200).header("x-hostile", CRLF)),
        b"reply-content-length" => Some(Reply::new(200).header("content-length", "1").body("longer than one")),
        b"reply-transfer-encoding" => Some(Reply::new(200).header("transfer-encoding", "chunked").body("0\r\n\r\n")),
        b"reply-101" => Some(Reply::new(101)),
        b"reply-0" => Some(Reply::new(0)),
        b"reply-204-body" => Some(Reply::new(204).body("a body where none may be")),
        b"reply-304-body" => Some(Reply::new(304).body("a body where none may be")),
        _ => None,
    }
}
