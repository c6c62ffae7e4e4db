//! Configuration end to end: precedence, what sections come to, and that no text makes it panic.

mod files;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::diagnostic::Report;
use super::model::{CongestionControl, LogFormat, ModuleSource};
use super::overrides::Outside;
use super::reader::Source;
use super::{Config, Diagnostic, Given, Loaded, Overrides, explain, explain_request, finish, load_with, read};

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(path)
}

fn no_variables(_: &str) -> Option<OsString> {
    None
}

/// Loads a text as if it were `proxy.toml` in the shipped folder.
fn load_text(text: &str, flags: &Overrides, variables: &[(&str, &str)]) -> Result<Loaded, Vec<Diagnostic>> {
    let lookup =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value));
    let report = Report::default();
    let from_outside = Outside::new(flags, &lookup, &report);
    let source = Source::new(Some(&repository("config/proxy.toml")), text.to_owned());
    let config = read(&source, &from_outside, &report);
    finish(config, report)
}

fn model(text: &str) -> Config {
    load_text(&format!("proxy.dev_mode = true\n{text}"), &Overrides::default(), &[]).unwrap_or_else(show).config
}

fn load_file(path: &Path) -> Result<Loaded, Vec<Diagnostic>> {
    let config = Some(Given::new(path.to_str().unwrap(), "--config"));
    load_with(&Overrides { config, ..Overrides::default() }, &no_variables)
}

#[allow(clippy::needless_pass_by_value, reason = "the shape that `unwrap_or_else` wants")]
fn show<T>(errors: Vec<Diagnostic>) -> T {
    panic!("{}", print(&errors, Path::new("")))
}

/// One a line, files without their folder.
fn print(list: &[Diagnostic], folder: &Path) -> String {
    let lines: Vec<String> = list.iter().map(|diagnostic| diagnostic.to_string() + "\n").collect();
    lines.concat().replace(&format!("{}/", folder.display()), "")
}

#[test]
fn shipped_filters_from_a_folder() {
    let folder = std::env::temp_dir().join(format!("gpanel-builtin-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("router.wasm"), "").unwrap();
    let variables = [("GPANEL_BUILTIN_FILTERS", folder.to_str().unwrap())];
    let text = "proxy.dev_mode = true\nsecurity.validation.enable_security_headers = true\n";
    let filters = load_text(text, &Overrides::default(), &variables).unwrap_or_else(show).config.filters;
    std::fs::remove_dir_all(&folder).unwrap();
    let modules: Vec<_> = filters.into_iter().map(|filter| filter.module).collect();
    let [headers, router] = <[ModuleSource; 2]>::try_from(modules).unwrap();
    assert_eq!(headers, ModuleSource::Builtin("security-headers".into()));
    assert_eq!(router, ModuleSource::File(folder.join("router.wasm")));
}

#[test]
fn precedence() {
    let file = "proxy.dev_mode = true\nproxy.quic_addr = \"3.3.3.3:3\"\nproxy.max_connections = 3\nproxy.idle_timeout = 3\n\
                logging.level = \"warn\"\nlogging.format = \"text\"\n";
    let variables = [
        ("GPANEL_PROXY_QUIC_ADDR", "2.2.2.2:2"),
        ("GPANEL_PROXY_HTTP_ADDR", ""),
        ("GPANEL_PROXY_MAX_CONNECTIONS", "2"),
        ("RUST_LOG", "gpanel_proxy=debug,quinn=warn"),
        ("GPANEL_LOG_FORMAT", "json"),
    ];
    let flags = Overrides { quic_addr: Some(Given::new("1.1.1.1:1", "--quic-addr")), ..Overrides::default() };
    let config = load_text(file, &flags, &variables).unwrap_or_else(show).config;
    assert_eq!(config.proxy.quic_addr.to_string(), "1.1.1.1:1", "flag over variable");
    assert_eq!(config.proxy.max_connections, 2, "variable over file");
    assert_eq!(config.proxy.idle_timeout.as_secs(), 3, "file over default");
    assert_eq!(config.proxy.http_addr.to_string(), "0.0.0.0:9080", "an empty variable is unset");
    assert_eq!(config.timeouts.keep_alive.as_secs(), 3, "the smaller one of both");
    assert_eq!(config.quic.max_idle_timeout.as_secs(), 3, "follows [proxy]");
    assert_eq!(&*config.logging.filter, "gpanel_proxy=debug,quinn=warn");
    assert_eq!(config.logging.format, LogFormat::Json);
    let config = load_text(file, &Overrides::default(), &[]).unwrap_or_else(show).config;
    assert_eq!((&*config.logging.filter, config.logging.format), ("warn", LogFormat::Text));
}

#[test]
fn the_address_of_bolt() {
    let both = "[proxy]\ndev_mode = true\nbolt_api_url = \"http://d:4\"\n[backends.bolt]\nurl = \"http://c:3\"\n";
    let below = "[proxy]\ndev_mode = true\nbolt_api_url = \"http://d:4\"\n[backends.bolt]\nretries = 1\n";
    let none = "[proxy]\ndev_mode = true\n";
    let flag = Overrides { bolt_api: Some(Given::new("http://a:1", "--bolt-api")), ..Overrides::default() };
    let variable = [("GPANEL_PROXY_BOLT_API", "http://b:2")];
    for (file, flags, variables, expected) in [
        (both, &flag, &variable[..], "a:1"),
        (both, &Overrides::default(), &variable[..], "b:2"),
        (both, &Overrides::default(), &[], "c:3"),
        (below, &Overrides::default(), &[], "d:4"),
        (none, &flag, &[], "a:1"),
        (none, &Overrides::default(), &[], "localhost:8080"),
    ] {
        let config = load_text(file, flags, variables).unwrap_or_else(show).config;
        let endpoint = &config.backends["bolt"].endpoints[0];
        assert_eq!(format!("{}:{}", endpoint.host, endpoint.port), expected);
    }
    let warnings = load_text(both, &Overrides::default(), &[]).unwrap_or_else(show).warnings;
    assert!(warnings[0].to_string().ends_with("proxy.toml:5:7 wins"), "{}", warnings[0]);
}

#[test]
fn flags_and_variables_are_named_in_their_errors() {
    let flags = Overrides {
        quic_addr: Some(Given::new("nowhere", "--quic-addr")),
        workers: Some(Given::new("0", "--workers")),
        ..Overrides::default()
    };
    let variables = [
        ("GPANEL_PROXY_DEV_MODE", "perhaps"),
        ("GPANEL_PROXY_BOLT_API", "x"),
        ("GPANEL_PROXY_IDLE_TIMEOUT", "5m"),
        ("RUST_LOG", "a=b=c"),
        ("GPANEL_LOG_FORMAT", "xml"),
    ];
    let errors = load_text("proxy.dev_mode = true", &flags, &variables).map(|_| ()).unwrap_err();
    let text = print(&errors, Path::new(""));
    for expected in [
        "--quic-addr: \"nowhere\" is not an address",
        "--workers: must be 1 to 1024, is 0\n",
        "GPANEL_PROXY_DEV_MODE: must be true or false",
        "GPANEL_PROXY_BOLT_API: \"x\" is not a URL",
        "GPANEL_PROXY_IDLE_TIMEOUT: \"5m\" is not a whole number\n",
        "RUST_LOG: \"a=b=c\" is not a log filter",
        "GPANEL_LOG_FORMAT: must be one of \"json\", \"text\", is \"xml\"\n",
    ] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
}

#[test]
fn settings_that_have_several_names() {
    let text = "[proxy.memory]\nmax_request_size = 10\n[security.validation]\nmax_request_size = \"1KiB\"\n\
                [quic]\nmax_concurrent_streams = 1000\ninitial_max_data = 4096\ncongestion_control = \"bbr\"\n\
                [quic.performance]\ninitial_max_streams_bidi = 7\nflow_control_window = 2048\n\
                keep_alive_interval = 0\nmax_idle_timeout = 9000\n";
    let config = model(text);
    assert_eq!(config.limits.max_request_size, Some(10), "the smaller one");
    assert_eq!(config.quic.max_concurrent_bidi_streams, 7, "the performance table wins");
    assert_eq!((config.quic.connection_window, config.quic.stream_window), (4_096, 2_048));
    assert_eq!(config.quic.congestion_control, CongestionControl::Bbr);
    assert_eq!((config.quic.keep_alive_interval, config.quic.max_idle_timeout.as_millis()), (None, 9_000));
}

#[test]
fn what_is_switched_off_is_not_warned_of() {
    for (text, warnings) in [
        ("security = { enable_cors = false, cors_allowed_origins = [\"a\"] }", 0),
        ("security = { enable_cors = true, cors_allowed_origins = [\"a\"] }", 2),
        ("security = { require_auth = false, auth_header = \"a\", rate_limit_burst = 1 }", 0),
        ("security = { require_auth = true }", 1),
        ("security.network = { max_connections_per_ip = 5, connection_rate_limit = 5 }", 0),
        ("security.network = { enable_ddos_protection = true, connection_rate_limit = 5 }", 1),
        ("security.network = { allowed_ips = [] }", 0),
        ("proxy.memory = { cache_size = 5, enable_response_cache = false }", 0),
        ("quic = { max_ack_delay = 25 }", 0),
        ("quic = { max_ack_delay = 20 }", 1),
        ("quic = { http3_enabled = false }", 1),
        ("metrics = { track_error_rates = true, track_gaming_performance = false }", 0),
        ("metrics = { track_error_rates = false, track_gaming_performance = true }", 2),
        ("metrics = { enabled = false, update_interval = 5 }", 0),
        ("backends.bolt = { url = \"bolt://a\", protocol = \"http\" }", 0),
        ("backends.bolt = { url = \"bolt://a\" }", 1),
        ("backends.bolt = { url = \"http://a\", protocol = \"auto\" }", 1),
        ("backends.x = { instances = [\"bolt://a\", \"bolt://b\"] }", 1),
        ("logging = { file_path = \"a.log\" }", 0),
    ] {
        let text = format!("proxy.dev_mode = true\n{text}");
        let loaded = load_text(&text, &Overrides::default(), &[]).unwrap_or_else(show);
        assert_eq!(loaded.warnings.len(), warnings, "{text}\n{}", print(&loaded.warnings, Path::new("")));
    }
}

#[test]
fn a_named_file_must_be_there() {
    let flags = Overrides {
        config: Some(Given::new("/nonexistent/proxy.toml", "--config")),
        workers: Some(Given::new("many", "--workers")),
        ..Overrides::default()
    };
    let errors = load_with(&flags, &no_variables).map(|_| ()).unwrap_err();
    let text: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(text.len(), 2, "{text:?}");
    assert_eq!(text[0], "--workers: \"many\" is not a whole number");
    assert!(text[1].starts_with("/nonexistent/proxy.toml: cannot read it: "), "{}", text[1]);
}

#[test]
fn listeners_do_not_share_a_port() {
    for (quic, http, admin, apart) in [
        ("0.0.0.0:1", "0.0.0.0:2", "127.0.0.1:3", true),
        ("0.0.0.0:1", "0.0.0.0:1", "127.0.0.1:3", false),
        ("0.0.0.0:1", "0.0.0.0:2", "127.0.0.1:2", false),
        ("127.0.0.1:1", "127.0.0.2:1", "127.0.0.3:1", true),
        ("[::]:1", "[::1]:1", "127.0.0.1:3", false),
        ("127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", true),
    ] {
        let text = format!(
            "[proxy]\ndev_mode = true\nquic_addr = \"{quic}\"\nhttp_addr = \"{http}\"\n[metrics]\nlisten_addr = \"{admin}\"\n"
        );
        assert_eq!(load_text(&text, &Overrides::default(), &[]).is_ok(), apart, "{text}");
    }
}

#[test]
fn without_routing_the_built_in_rules_hold() {
    let config = model("routing.custom = { \"/api/v2/*\" = \"agent\" }");
    let router = config.filters.iter().find(|filter| &*filter.name == "router").unwrap();
    assert_eq!(router.config["rules"].as_array().unwrap().len(), 11 + 2);
    let none = model("routing.rules = {}");
    assert!(none.filters.iter().all(|filter| &*filter.name != "router"));
}

#[test]
fn the_chain_is_sorted_by_order_then_by_source() {
    let folder = Folder::new("chain");
    for name in ["10-late.wasm", "95-last.wasm", "95-last.toml", "20-lonely.toml", ".30-hidden.wasm", "README.md"] {
        folder.write(name, "");
    }
    folder.write("95-last.toml", "fail = \"open\"\nallow = []\n[config]\na = [1, { b = 2 }]\n");
    let entry =
        |name: &str, order: &str| format!("[[filters]]\nname = \"{name}\"\nmodule = \"builtin:router\"\n{order}\n");
    let text = format!(
        "[proxy]\ndev_mode = true\nfilters_dir = {:?}\n{}{}{}",
        folder.0,
        entry("b", "order = 10"),
        entry("a", "order = 10"),
        entry("middle", "")
    );
    let loaded = load_text(&text, &Overrides::default(), &[]).unwrap_or_else(show);
    let names: Vec<&str> = loaded.config.filters.iter().map(|filter| &*filter.name).collect();
    assert_eq!(names, ["security-headers", "b", "a", "late", "middle", "router", "last"]);
    assert!(
        loaded.warnings[0].to_string().ends_with("20-lonely.toml: has no effect: there is no 20-lonely.wasm beside it")
    );
    let last = loaded.config.filters.last().unwrap();
    assert_eq!(last.module, ModuleSource::File(folder.0.join("95-last.wasm")));
    assert_eq!(last.config, serde_json::json!({ "a": [1, { "b": 2 }] }));
    let error = last.origin.error(&["a", "1", "b", "deeper"], "no").to_string();
    assert!(error.ends_with("95-last.toml:4:15: no"), "{error}");

    folder.write("7-short.wasm", "");
    folder.write("95-last.toml", "order = 3\n");
    let errors = load_text(&text, &Overrides::default(), &[]).map(|_| ()).unwrap_err();
    let text = print(&errors, &folder.0);
    assert!(text.contains("7-short.wasm: the name must be NN-name.wasm"), "{text}");
    assert!(text.contains("95-last.toml:1:1: unknown key \"order\""), "{text}");
}

#[test]
fn a_rule_leads_back_to_its_place() {
    let config = model("\n[routing.rules]\n\"/a\" = \"bolt\"\n\"/b/*\" = { target = \"agent\", host = \"h\" }\n");
    let router = config.filters.last().unwrap();
    assert_eq!(router.origin.position_of(&["rules", "0"]), (4, 1));
    assert_eq!(router.origin.position_of(&["rules", "0", "target"]), (4, 8));
    assert_eq!(router.origin.position_of(&["rules", "1", "host"]), (5, 37));
    assert_eq!(router.origin.position_of(&["rules", "1", "unknown"]), (5, 1));
    assert_eq!(router.origin.position_of::<&str>(&[]), router.origin.position);
}

#[test]
fn explain_shows_chain_and_precedence() {
    let config = model(
        "[routing.rules]\n\"/*\" = \"static\"\n\"/api/*\" = \"agent\"\n\"/api/x/*\" = \"bolt\"\n\"/api/x/y\" = \"internal\"\n\
         [routing.custom]\n\"/api/*\" = { target = \"bolt\", strip_prefix = true }\n\
         [[filters]]\nname = \"guard\"\nmodule = \"builtin:router\"\n\
         match = { methods = [\"POST\"], paths = [\"/api/*\"], headers = { \"X-Team\" = \"blue\" } }\n",
    );
    let text = explain(&config);
    let position = |needle: &str| text.find(needle).unwrap_or_else(|| panic!("{needle} in\n{text}"));
    assert!(position("security-headers") < position("guard") && position("guard") < position("builtin:router"));
    assert!(
        position("-> internal") < position("/api/x/*")
            && position("/api/x/*") < position("-> bolt, prefix stripped (custom)")
    );
    assert!(position("(custom)") < position("-> agent") && position("-> agent") < position("-> static, except /api/*"));
    for (method, url, expected) in [
        ("GET", "/api/x/y", "-> internal"),
        ("GET", "/api/x", "/api/x/*  -> bolt"),
        ("GET", "/api/xfoo", "-> bolt, prefix stripped (custom)"),
        ("GET", "/apifoo?q", "-> static"),
        ("POST", "https://h/api/x", "guard  enters if header x-team is \"blue\""),
        ("GET", "/api/x", "guard  skipped: only methods POST"),
        ("POST", "/", "guard  skipped: only paths /api/*"),
    ] {
        let text = explain_request(&config, method, url).unwrap();
        assert!(text.contains(expected), "{method} {url}: {expected} in\n{text}");
    }
    let page_only = model("[routing.rules]\n\"/*\" = \"static\"\n");
    assert!(explain_request(&page_only, "GET", "/api/none").unwrap().contains("no route: 404"));
    assert!(explain_request(&config, "G T", "/").is_err());
    assert!(explain_request(&config, "GET", "http://[").is_err());
}

#[test]
fn no_text_makes_it_panic() {
    let text = std::fs::read_to_string(repository("tests/fixtures/reference-full.toml")).unwrap();
    let try_text = |text: &str| {
        if let Err(errors) = load_text(text, &Overrides::default(), &[]) {
            assert!(!errors.is_empty());
        }
    };
    let lines: Vec<&str> = text.lines().collect();
    for skipped in 0..lines.len() {
        let rest: Vec<&str> = lines.iter().enumerate().filter(|(i, _)| *i != skipped).map(|(_, line)| *line).collect();
        try_text(&rest.join("\n"));
    }
    for end in (0..text.len()).step_by(37) {
        try_text(&text[..end]);
    }
    // A fixed linear congruence: the same mutations in every run.
    let mut state = 1_u64;
    let mut next = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % bound
    };
    for _ in 0..300 {
        let mut bytes = text.clone().into_bytes();
        for _ in 0..3 {
            let at = next(bytes.len());
            bytes[at] = b"[]{}=\"'\n,.#x0-\\"[next(15)];
        }
        try_text(&String::from_utf8_lossy(&bytes));
    }
}

/// A folder that goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("gpanel-proxy-config-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
