//! The files: those that are shipped, the reference's own, and the invalid ones beside what is said of them.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use super::super::diagnostic::Report;
use super::super::model::{CongestionControl, Strategy, UpstreamProtocol};
use super::super::overrides::{Outside, Overrides};
use super::super::reader::Source;
use super::super::{explain, read};
use super::{load_file, model, no_variables, print, repository, show};

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
    // With those for the health of the proxy itself.
    assert_eq!(rules.len(), 12 + 2);
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
