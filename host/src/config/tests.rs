//! Configuration end to end: shipped and fixture files, precedence, and that no text makes it panic.

use std::ffi::OsString;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use super::diagnostic::Report;
use super::model::{CongestionControl, LogFormat, ModuleSource, Strategy, UpstreamProtocol};
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
    finish(Some(config), report)
}

fn model(text: &str) -> Config {
    load_text(&format!("proxy.dev_mode = true\n{text}"), &Overrides::default(), &[]).unwrap_or_else(show).config
}

fn load_file(path: &Path) -> Result<Loaded, Vec<Diagnostic>> {
    let config = Some(Given::new(path.to_str().unwrap(), "--config"));
    load_with(&Overrides { config, ..Overrides::default() }, &no_variables)
}

fn show<T>(errors: Vec<Diagnostic>) -> T {
    panic!("{}", print(&errors, Path::new("")))
}

/// One a line, files without their folder.
fn print(list: &[Diagnostic], folder: &Path) -> String {
    list.iter()
        .map(|diagnostic| format!("{diagnostic}\n"))
        .collect::<String>()
        .replace(&format!("{}/", folder.display()), "")
}

/// Compares with a file; `UPDATE_EXPECTED=1` writes it.
fn expect_file(path: &Path, actual: &str) {
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(actual, expected, "{}", path.display());
}

#[test]
fn invalid_files_give_every_error_with_its_place() {
    let folder = repository("tests/fixtures/config-invalid");
    let files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|item| item.unwrap().path()).collect();
    let files: Vec<&PathBuf> = files.iter().filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    assert!(files.len() >= 12);
    for path in files {
        match load_file(path) {
            Ok(_) => panic!("{} was accepted", path.display()),
            Err(errors) => expect_file(&path.with_extension("err"), &print(&errors, &folder)),
        }
    }
}

#[test]
fn the_reference_file_is_accepted_as_it_stands() {
    let folder = repository("tests/fixtures");
    for name in ["reference-proxy", "reference-full"] {
        let path = folder.join(name).with_extension("toml");
        let loaded = load_file(&path).unwrap_or_else(show);
        expect_file(&path.with_extension("warnings"), &print(&loaded.warnings, &folder));
    }
    let full = load_file(&folder.join("reference-full.toml")).unwrap_or_else(show).config;
    let text = explain(&full).replace(&format!("{}/", folder.display()), "");
    expect_file(&folder.join("reference-full.explain"), &text);
    assert!(load_file(&repository("config/original.toml")).is_ok());
}

#[test]
fn the_reference_file_means_what_it_says() {
    let config = load_file(&repository("tests/fixtures/reference-full.toml")).unwrap_or_else(show).config;
    assert_eq!(config.proxy.cert_path.as_deref(), Some(Path::new("/etc/gpanel/certs/proxy.crt")));
    assert_eq!(config.proxy.idle_timeout.as_secs(), 300);
    assert_eq!(config.timeouts.keep_alive.as_secs(), 60);
    assert_eq!(config.limits.max_request_size, Some(10_485_760));
    assert_eq!((config.limits.max_header_size, config.limits.max_uri_length), (8_192, 2_048));
    assert_eq!(config.limits.max_connections_per_ip, Some(100));
    assert_eq!(config.quic.max_concurrent_bidi_streams, 100);
    assert_eq!(config.quic.congestion_control, CongestionControl::Bbr);
    assert_eq!(config.quic.initial_window_packets, 32);
    assert!(!config.tls.allow_tls12);
    assert_eq!(config.tls.cipher_suites.len(), 2);
    let names: Vec<&str> = config.backends.keys().map(AsRef::as_ref).collect();
    assert_eq!(names, ["agent", "bolt", "bolt_cluster", "loki", "prometheus"]);
    assert_eq!(config.backends["bolt"].protocol, UpstreamProtocol::Quic);
    assert_eq!(config.backends["bolt_cluster"].endpoints.len(), 3);
    assert_eq!(config.backends["bolt_cluster"].strategy, Strategy::RoundRobin);
    let chain: Vec<(&str, u8)> = config.filters.iter().map(|filter| (&*filter.name, filter.order)).collect();
    assert_eq!(chain, [("security-headers", 10), ("router", 90)]);
    let headers = serde_json::json!({
        "content_security_policy": "default-src 'self'",
        "x_frame_options": "DENY",
        "x_content_type_options": "nosniff",
    });
    assert_eq!(config.filters[0].config, headers);
    let rules = config.filters[1].config["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 12);
    assert_eq!(rules[8]["except"], serde_json::json!(["/api/*"]));
    assert_eq!(rules[9]["pattern"], "/api/v2/containers/*");
    assert_eq!(rules[9]["custom"], true);
}

#[test]
fn the_shipped_file_starts_without_a_warning() {
    let loaded = load_file(&repository("config/proxy.toml")).unwrap_or_else(show);
    assert_eq!(print(&loaded.warnings, Path::new("")), "");
    assert!(loaded.config.static_root.unwrap().join("index.html").is_file());
}

#[test]
fn reference_toml_has_every_key_with_its_default() {
    let commented = std::fs::read_to_string(repository("config/reference.toml")).unwrap();
    let uncomment = |line: &str| match line.strip_prefix('#') {
        Some(key) if !key.is_empty() && !key.starts_with(' ') => key.to_owned(),
        _ => line.to_owned(),
    };
    let text: Vec<String> = commented.lines().map(uncomment).collect();
    let text = text.join("\n");
    let report = Report::default();
    let from_outside = Outside::new(&Overrides::default(), &no_variables, &report);
    let source = Source::new(Some(&repository("config/reference.toml")), text.clone());
    let mut config = read(&source, &from_outside, &report);
    let known = report.known.borrow().clone();
    let (errors, _) = report.finish();
    assert_eq!(print(&errors, Path::new("")), "");

    let mut written = Vec::new();
    names(&text.parse::<toml::Table>().unwrap(), "", &mut written);
    let written: Vec<String> = written.iter().map(|name| generic(name)).collect();
    let missing: Vec<&String> = known.iter().filter(|name| !written.contains(&generic(name))).collect();
    assert!(missing.is_empty(), "not in reference.toml: {missing:?}");

    let plain = model("");
    config.limits.max_request_size = None;
    config.limits.max_connections_per_ip = None;
    let same = |ours: &dyn Debug, default: &dyn Debug| assert_eq!(format!("{ours:?}"), format!("{default:?}"));
    same(&config.timeouts, &plain.timeouts);
    same(&config.limits, &plain.limits);
    same(&config.pool, &plain.pool);
    same(&config.quic, &plain.quic);
    same(&config.logging, &plain.logging);
    same(&config.admin, &plain.admin);
    same(&config.proxy.drain_timeout, &plain.proxy.drain_timeout);
    let (mut bolt, plain_bolt) = (config.backends["bolt"].clone(), &plain.backends["bolt"]);
    bolt.health_check = None;
    same(&bolt, plain_bolt);
    assert!(!config.tls.allow_tls12 && !plain.tls.allow_tls12);
}

/// The dotted names of every key in a table.
fn names(table: &toml::Table, prefix: &str, list: &mut Vec<String>) {
    for (key, value) in table {
        let bare = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let key = if bare { key.clone() } else { format!("{key:?}") };
        let name = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
        let items: &[toml::Value] = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        for table in items.iter().filter_map(toml::Value::as_table) {
            names(table, &name, list);
        }
        list.push(name);
    }
}

/// A name with the parts that users choose taken out.
fn generic(name: &str) -> String {
    let mut parts: Vec<&str> = name.split('"').step_by(2).collect();
    if let Some(rest) = name.strip_prefix("backends.") {
        parts = vec!["backends", rest.split_once('.').map_or("", |(_, key)| key)];
    }
    let joined = parts.join("*");
    let mut plain = String::new();
    let mut depth = 0;
    for c in joined.chars() {
        depth += usize::from(c == '[');
        if depth == 0 {
            plain.push(c);
        }
        depth -= usize::from(c == ']');
    }
    plain.replace("routing.custom.*", "routing.rules.*")
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
fn a_named_file_must_be_there() {
    let errors = load_file(Path::new("/nonexistent/proxy.toml")).map(|_| ()).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert!(errors[0].to_string().starts_with("/nonexistent/proxy.toml: cannot read it: "), "{}", errors[0]);
}

#[test]
fn without_routing_the_built_in_rules_hold() {
    let config = model("routing.custom = { \"/api/v2/*\" = \"agent\" }");
    let router = config.filters.iter().find(|filter| &*filter.name == "router").unwrap();
    assert_eq!(router.config["rules"].as_array().unwrap().len(), 11);
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
