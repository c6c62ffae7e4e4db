//! The test host against a filter that shows everything it can see.

use std::time::Duration;

use serde::Deserialize;

use super::{LogLine, TestConnection, TestHost, TestRequest, TestResponse, cases, run, schema};
use crate::connection::Protocol;
use crate::log::{self, Level};
use crate::{
    ConfigError, Filter, Hook, JsonSchema, Reply, Request, RequestEdits, RequestVerdict, Response, ResponseEdits,
    ResponseVerdict, clock, connection, random,
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// What is shown.
    show: Vec<Show>,
    #[serde(default)]
    silent: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Show {
    Request,
    Connection,
    Clock,
    Random,
    Log,
}

struct Mirror(Config);

impl Filter for Mirror {
    type Config = Config;
    const HOOKS: &'static [Hook] = &[Hook::Request, Hook::Response];

    fn new(config: Config) -> Result<Self, ConfigError> {
        log::debug("configured");
        if config.show.is_empty() { Err(ConfigError::new("shows nothing").at("show")) } else { Ok(Self(config)) }
    }

    fn hooks(&self) -> Vec<Hook> {
        if self.0.silent { Vec::new() } else { Self::HOOKS.to_vec() }
    }

    fn on_request(&self, request: &Request) -> RequestVerdict {
        self.0.show.iter().fold(RequestEdits::new(), |edits, show| edits.tag("shown", shown(show, request))).into()
    }

    fn on_response(&self, request: &Request, response: &Response) -> ResponseVerdict {
        if response.status() == 500 {
            return Reply::json(502, &serde_json::json!({ "path": request.path().as_str() })).into();
        }
        let edits = ResponseEdits::new().status(response.status() + 1);
        response.header_values("Via").into_iter().fold(edits, |edits, via| edits.append_header("X-Via", via)).into()
    }
}

fn shown(show: &Show, request: &Request) -> String {
    match show {
        Show::Request => format!(
            "{} {}://{} {} {:?} {:?} {} {:?} {:?}",
            request.method(),
            request.scheme(),
            request.authority(),
            request.path().as_str().unwrap_or("?"),
            request.query().map(|query| query.len()),
            request.headers().iter().map(|(name, value)| format!("{name}={}", value.len())).collect::<Vec<_>>(),
            request.id().len(),
            request.backend(),
            request.route(),
        ),
        Show::Connection => format!(
            "{} {} {:?} {} {:?} {:?} {:?} {} {:?}",
            connection::peer(),
            connection::local(),
            connection::protocol(),
            connection::tls(),
            connection::sni(),
            connection::alpn(),
            connection::client_certificate(),
            connection::early_data(),
            connection::rtt(),
        ),
        Show::Clock => format!("{:?} {:?}", clock::now(), clock::monotonic()),
        Show::Random => format!("{:x} {:?}", random::u64(), random::bytes(3)),
        Show::Log => {
            log::write(Level::Warn, "seen", &[("path", request.path().as_str().unwrap_or("?"))]);
            log::enabled(Level::Info).to_string()
        }
    }
}

#[test]
fn a_filter_sees_the_request() {
    let filter = run::<Mirror>(r#"{"show":["request"]}"#).unwrap();
    let request = TestRequest::post("/a?bc").header("Accept", "text/html").header("x", b"\xff".as_slice());
    let request = request.authority("a.example:1").scheme("http").id("1").routed("bolt", "/a/*");
    let expected = r#"POST http://a.example:1 /a Some(2) ["accept=9", "x=1"] 1 Some("bolt") Some("/a/*")"#;
    assert_eq!(filter.on_request(&request), RequestEdits::new().tag("shown", expected).into());
}

#[test]
fn a_filter_sees_its_surroundings() {
    let connection = TestConnection {
        peer: "[2001:db8::1]:7".parse().unwrap(),
        protocol: Protocol::Http3,
        rtt_micros: Some(1500),
        ..TestConnection::default()
    };
    let host = TestHost::new().connection(connection).seed(7).log_level(Level::Warn);
    let filter = host.run::<Mirror>(r#"{"show":["connection","clock","log"]}"#).unwrap();
    host.set_time(Duration::from_secs(1));
    host.advance(Duration::from_millis(5));
    let expected = RequestEdits::new()
        .tag(
            "shown",
            r#"[2001:db8::1]:7 127.0.0.1:9443 Http3 true Some("localhost") Some("h2") None false Some(1.5ms)"#,
        )
        .tag("shown", "1.005s 5ms")
        .tag("shown", "false");
    assert_eq!(filter.on_request(&TestRequest::get("/p")), expected.into());
    let seen =
        LogLine { level: Level::Warn, message: "seen".to_owned(), fields: vec![("path".to_owned(), "/p".to_owned())] };
    assert_eq!(host.take_logs(), [seen]);
    assert_eq!(host.take_logs(), []);
}

#[test]
fn randomness_depends_on_the_seed_alone() {
    let draw = |seed| {
        let filter = TestHost::new().seed(seed).run::<Mirror>(r#"{"show":["random"]}"#).unwrap();
        (filter.on_request(&TestRequest::get("/")), filter.on_request(&TestRequest::get("/")))
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
    assert_ne!(draw(1).0, draw(1).1);
}

#[test]
fn a_filter_changes_and_replaces_a_response() {
    let filter = run::<Mirror>(r#"{"show":["clock"]}"#).unwrap();
    let request = TestRequest::get("/p");
    let response = TestResponse::new(200).header("via", "a").header("Via", b"\xff".as_slice());
    let expected = ResponseEdits::new().status(201).append_header("x-via", "a").append_header("x-via", *b"\xff");
    assert_eq!(filter.on_response(&request, &response), expected.into());
    let verdict = filter.on_response(&request, &TestResponse::new(500));
    let expected = Reply::new(502).header("content-type", "application/json").body(r#"{"path":"/p"}"#);
    assert_eq!(verdict.reply(), Some(&expected));
}

#[test]
fn an_undeclared_hook_is_not_called() {
    let filter = run::<Mirror>(r#"{"show":["request"],"silent":true}"#).unwrap();
    assert_eq!(filter.on_request(&TestRequest::get("/")), RequestVerdict::next());
    assert_eq!(filter.on_response(&TestRequest::get("/"), &TestResponse::new(200)), ResponseVerdict::next());
}

#[test]
fn a_refused_configuration_says_where() {
    let refusal = |json: &str| run::<Mirror>(json).err().unwrap().to_string();
    assert_eq!(refusal(r#"{"show":[]}"#), "show: shows nothing");
    assert!(refusal(r#"{"show":["request","nothing"]}"#).starts_with("show.1: unknown variant `nothing`"));
    assert_eq!(refusal(r#"{"show":[],"silent":1}"#), "silent: invalid type: integer `1`, expected a boolean");
    assert_eq!(refusal("{}"), "missing field `show`");
}

#[test]
fn a_schema_tells_descriptions() {
    assert_eq!(schema::<Mirror>()["properties"]["show"]["description"], "What is shown.");
}

#[test]
#[should_panic(expected = "1 of 2 cases failed")]
fn a_case_that_is_not_met_fails() {
    cases::check::<Mirror>(
        r#"
        config = { show = ["clock"] }
        [[case]]
        name = "met"
        response = { status = 200 }
        expect.edit = { status = 201 }
        [[case]]
        name = "not met"
        response = { status = 200 }
        expect = "next"
        "#,
    );
}
