//! What a verdict changes, and which ones are refused.

use super::*;

#[test]
fn edits_change_the_request() {
    let edits = TestEdits {
        headers: &[TestEdit::Set("X-Tier", b"iron"), TestEdit::Remove("accept")],
        method: Some("POST"),
        path: Some("/new//./path?q=%2e"),
        authority: Some("other.example:8080"),
        backend: Some("blue"),
        route: Some("/a/*"),
        timeout: Some(250),
        priority: Some((1, true)),
        tags: &[("user", "42")],
        status: None,
    };
    let chain = Bench::new("edits").guest("a", editing(&edits)).build();
    let (exchange, served) = serve(&chain);
    assert_eq!(served, Served::Forwarded);
    assert_eq!(values(&exchange.request.headers, "x-tier"), ["iron"]);
    assert!(!exchange.request.headers.contains_key("accept"));
    assert_eq!(exchange.request.method, "POST");
    assert_eq!(exchange.request.path_and_query, "/new/path?q=%2e");
    assert_eq!(exchange.request.authority, "other.example:8080");
    assert_eq!(exchange.target, Some(Target::Backend("blue".into())));
    assert_eq!(exchange.route.as_deref(), Some("/a/*"));
    assert_eq!(exchange.timeout, Some(Duration::from_millis(250)));
    assert_eq!((exchange.priority.urgency, exchange.priority.incremental), (1, true));
    assert_eq!(exchange.tags, [("user".into(), "42".into())]);
}

#[test]
fn the_targets_that_are_not_backends() {
    for (name, target) in [("static", Target::Static), ("internal", Target::Internal)] {
        let edits = TestEdits { backend: Some(name), ..TestEdits::default() };
        let chain = Bench::new(&format!("target-{name}")).guest("a", editing(&edits)).build();
        assert_eq!(serve(&chain).0.target, Some(target));
    }
}

#[test]
fn an_invalid_verdict_is_a_failure_and_changes_nothing() {
    let good = [TestEdit::Set("x-good", b"1")];
    let none = TestEdits { headers: &good, ..TestEdits::default() };
    let long = "x".repeat(300);
    let cases = [
        TestEdits { headers: &[TestEdit::Set("x-good", b"1"), TestEdit::Set("a", b"b\r\nc: d")], ..none },
        TestEdits { headers: &[TestEdit::Set(":path", b"/")], ..none },
        TestEdits { headers: &[TestEdit::Set("Content-Length", b"0")], ..none },
        TestEdits { headers: &[TestEdit::Append("transfer-encoding", b"chunked")], ..none },
        TestEdits { headers: &[TestEdit::Set("host", b"x")], ..none },
        TestEdits { method: Some("GE T"), ..none },
        TestEdits { method: Some("CONNECT"), ..none },
        TestEdits { method: Some(""), ..none },
        TestEdits { path: Some("no-slash"), ..none },
        TestEdits { path: Some("/a\r\nb"), ..none },
        TestEdits { path: Some("/a b"), ..none },
        TestEdits { path: Some("/a#b"), ..none },
        TestEdits { path: Some("/..%2fb"), ..none },
        TestEdits { path: Some("http://other/"), ..none },
        TestEdits { authority: Some("a b"), ..none },
        TestEdits { authority: Some("user@host"), ..none },
        TestEdits { authority: Some("host:"), ..none },
        TestEdits { authority: Some("host:99999"), ..none },
        TestEdits { authority: Some("host/path"), ..none },
        TestEdits { authority: Some(""), ..none },
        TestEdits { backend: Some(""), ..none },
        TestEdits { backend: Some("a\nb"), ..none },
        TestEdits { route: Some(&long), ..none },
        TestEdits { timeout: Some(0), ..none },
        TestEdits { priority: Some((8, false)), ..none },
        TestEdits { tags: &[("k", "a\nb")], ..none },
    ];
    for (number, edits) in cases.iter().enumerate() {
        let chain = Bench::new(&format!("invalid-{number}")).guest("bad", editing(edits)).build();
        let (exchange, served) = serve(&chain);
        assert_eq!(served, Served::Failed("bad".into(), "invalid_verdict"), "case {number}");
        assert!(!exchange.request.headers.contains_key("x-good"), "case {number} changed something");
        assert_eq!(exchange.request.path_and_query, "/a?b=c");
        assert_eq!(chain.status()[0].invalid_verdicts, 1);
    }
}

#[test]
fn an_invalid_reply_is_a_failure() {
    let bench = Bench::new("bad-reply").guest("a", replying(99));
    assert_eq!(serve(&bench.build()).1, Served::Failed("a".into(), "invalid_verdict"));
    let bench = Bench::new("bad-reply-2").guest(
        "a",
        TestGuest::new().on_request(|guest| guest.respond(200, &[("transfer-encoding", "chunked")], "0\r\n\r\n")),
    );
    assert_eq!(serve(&bench.build()).1, Served::Failed("a".into(), "invalid_verdict"));
}

#[test]
fn a_response_filter_changes_status_and_drops_a_body_that_may_not_be() {
    let edits = TestEdits { status: Some(204), ..TestEdits::default() };
    let chain =
        Bench::new("status").guest("a", TestGuest::new().on_response(|guest| guest.edit_response(&edits))).build();
    run(async {
        let (mut exchange, _) = chain.request(WORKER, exchange()).await;
        let mut head = ResponseHead::new(StatusCode::OK);
        head.headers.insert("content-length", "4".parse().unwrap());
        exchange.response = Some(head);
        let (exchange, body) = chain.response(WORKER, exchange, Body::Full("body".into())).await;
        assert_eq!(response(&exchange).status, StatusCode::NO_CONTENT);
        assert!(!response(&exchange).headers.contains_key("content-length"));
        assert!(body.is_empty());
    });
}

#[test]
fn a_response_filter_can_reply() {
    let chain = Bench::new("up-reply")
        .guest("a", marking("a"))
        .guest("b", TestGuest::new().on_response(|guest| guest.respond(404, &[], "gone")))
        .build();
    run(async {
        let (mut exchange, _) = chain.request(WORKER, exchange()).await;
        exchange.response = Some(ResponseHead::new(StatusCode::OK));
        let (exchange, body) = chain.response(WORKER, exchange, Body::Full("body".into())).await;
        assert_eq!(response(&exchange).status, StatusCode::NOT_FOUND);
        assert_eq!(values(&response(&exchange).headers, "x-trace"), ["a"]);
        assert!(matches!(body, Body::Full(bytes) if bytes == "gone"));
    });
}
