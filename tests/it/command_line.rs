//! `check`, `explain`, `--version`, usage errors: exit codes, and every error at once with file:line:column.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use harness::environment::{proxy_binary, test_guest, workspace};
use harness::program::{Finished, run_command};
use harness::{Origin, Proxy, gate};
use tokio::process::Command;

async fn proxy(arguments: &[&str], variables: &[(&str, &str)]) -> Finished {
    let _pass = gate::enter(gate::Company::Shared).await;
    let mut command = Command::new(proxy_binary());
    command.args(arguments).stdin(Stdio::null()).env_remove("RUST_LOG").envs(variables.iter().copied());
    run_command(command, Duration::from_secs(60)).await
}

/// `check` of a file with that text: exit code and all output.
pub async fn check(text: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.toml");
    fs::write(&path, text).unwrap();
    let done = proxy(&["check", path.to_str().unwrap()], &[]).await;
    (done.code, done.stdout + &done.stderr)
}

#[tokio::test]
async fn version_and_help() {
    let done = proxy(&["--version"], &[]).await;
    assert_eq!(done.code, Some(0));
    assert_eq!(done.stdout.trim(), format!("gpanel-proxy {}", env!("CARGO_PKG_VERSION")));
    let done = proxy(&["--help"], &[]).await;
    assert_eq!(done.code, Some(0));
    for flag in [
        "--quic-addr",
        "--http-addr",
        "--bolt-api",
        "--cert-path",
        "--key-path",
        "--dev-mode",
        "--max-connections",
        "--idle-timeout",
        "--config",
        "--help",
    ] {
        assert!(done.stdout.contains(flag), "{flag} is not in the help");
    }
    for default in ["0.0.0.0:9443", "0.0.0.0:9080", "bolt://localhost:8080", "1000", "300"] {
        assert!(done.stdout.contains(default), "the default {default} is not in the help");
    }
}

#[tokio::test]
async fn bad_usage_is_64() {
    for arguments in [
        &["--no-such-flag"][..],
        &["no-such-command"],
        &["--quic-addr"],
        &["check", "a", "b"],
        &["--dev-mode", "--max-connections", "many"],
        &["--dev-mode", "--quic-addr", "nonsense"],
    ] {
        let done = proxy(arguments, &[]).await;
        assert_eq!(done.code, Some(64), "{arguments:?}: {}", done.stderr);
        assert!(!done.stderr.is_empty(), "{arguments:?}: said nothing");
    }
}

#[tokio::test]
async fn a_missing_file_is_64() {
    let done = proxy(&["--config", "/no/such/file.toml"], &[]).await;
    assert_eq!(done.code, Some(64), "{}", done.stderr);
    assert!((done.stdout + &done.stderr).contains("/no/such/file.toml"));
}

#[tokio::test]
async fn a_missing_certificate_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.toml");
    let ports = "quic_addr = \"127.0.0.1:0\"\nhttp_addr = \"127.0.0.1:0\"";
    for (keys, words) in [
        (String::new(), &["cert_path", "key_path", "--dev-mode"][..]),
        ("cert_path = \"/no/such.crt\"\nkey_path = \"/no/such.key\"".to_owned(), &["/no/such.crt"]),
        ("cert_path = \"/no/such.crt\"".to_owned(), &["key_path"]),
    ] {
        fs::write(&path, format!("[proxy]\n{ports}\n{keys}\n[metrics]\nlisten_addr = \"127.0.0.1:0\"")).unwrap();
        let done = proxy(&["--config", path.to_str().unwrap()], &[]).await;
        let output = done.stdout + &done.stderr;
        assert_eq!(done.code, Some(64), "{keys}: {output}");
        for word in words {
            assert!(output.contains(word), "{keys}: no {word:?} in {output}");
        }
    }
}

#[tokio::test]
async fn every_error_at_once_with_its_place() {
    let text = "[proxy]\ndev_mode = \"yes\"\nmax_connections = -1\nquic_adr = \"x\"\n\n[backends.bolt]\n\
                instances = [\"http://ok:1\", \"nope\"]\ntimeout = 0\n\n[routing.rules]\n\"api/*\" = \"bolt\"\n\
                \"/x/*\" = \"blot\"\n\n[nonsense]\na = 1\n";
    let (code, output) = check(text).await;
    assert_eq!(code, Some(64), "{output}");
    for place in [
        "proxy.toml:2:",
        "proxy.toml:3:",
        "proxy.toml:4:",
        "proxy.toml:7:",
        "proxy.toml:8:",
        "proxy.toml:11:",
        "proxy.toml:12:",
        "proxy.toml:14:",
    ] {
        assert!(output.contains(place), "no {place} in\n{output}");
    }
    assert!(output.contains("quic_addr"), "no hint at the right key in\n{output}");
    assert!(output.contains("proxy.toml:7:29"), "the column of \"nope\" in\n{output}");
    assert!(output.contains("bolt"), "no hint at the right backend in\n{output}");
}

#[tokio::test]
async fn a_syntax_error_has_its_place() {
    let (code, output) = check("[proxy]\ndev_mode = = true\n").await;
    assert_eq!(code, Some(64), "{output}");
    assert!(output.contains("proxy.toml:2:12"), "{output}");
}

#[tokio::test]
async fn filters_are_loaded_and_their_settings_checked() {
    let guest = test_guest("tagging");
    let entry = |config: &str| {
        format!("[proxy]\ndev_mode = true\n\n[[filters]]\nname = \"tag\"\nmodule = \"{}\"\n{config}\n", guest.display())
    };
    let (code, output) = check(&entry("config = { version = \"1\" }")).await;
    assert_eq!(code, Some(0), "{output}");
    let (code, output) = check(&entry("config = { version = 1 }")).await;
    assert_eq!(code, Some(64), "{output}");
    assert!(output.contains("proxy.toml:7:"), "the place of the wrong value in\n{output}");
    let (code, output) = check(&entry("config = { version = \"1\", surplus = 1 }")).await;
    assert_eq!(code, Some(64), "{output}");
    assert!(output.contains("surplus"), "{output}");

    let guest = test_guest("misbehaving");
    let text = format!(
        "[proxy]\ndev_mode = true\n[[filters]]\nname = \"bad\"\nmodule = \"{}\"\n[filters.config]\nbehaviour = \"reject-config\"\n",
        guest.display()
    );
    let (code, output) = check(&text).await;
    assert_eq!(code, Some(64), "{output}");
    assert!(output.contains("refused, as asked") && output.contains("proxy.toml:7:"), "{output}");
}

#[tokio::test]
async fn the_references_configuration_is_accepted() {
    // What the document shows, with paths that exist: certificates are files, so `check` looks at them.
    let folder = tempfile::tempdir().unwrap();
    let files = harness::certificate::write_certificate(folder.path());
    let reference = fs::read_to_string(workspace().join("tests/fixtures/reference.toml")).unwrap();
    let text = reference
        .replace("/etc/gpanel/certs/proxy.crt", files.certificate.to_str().unwrap())
        .replace("/etc/gpanel/certs/proxy.key", files.key.to_str().unwrap())
        .replace("/etc/gpanel/certs/ca.crt", files.certificate.to_str().unwrap());
    let (code, output) = check(&text).await;
    assert_eq!(code, Some(0), "{output}");
}

#[tokio::test]
async fn shipped_configurations_are_accepted() {
    for name in ["proxy.toml", "reference.toml"] {
        let path = workspace().join("config").join(name);
        assert!(path.exists(), "config/{name} is missing");
        let done = proxy(&["check", path.to_str().unwrap()], &[("GPANEL_PROXY_DEV_MODE", "true")]).await;
        assert_eq!(done.code, Some(0), "{name}: {}{}", done.stdout, done.stderr);
    }
}

#[tokio::test]
async fn explain_prints_the_chain() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.toml");
    let guest = test_guest("tagging");
    fs::write(
        &path,
        format!(
            "[proxy]\ndev_mode = true\n[backends.app]\nurl = \"http://127.0.0.1:1\"\n[routing.rules]\n\"/api/*\" = \"app\"\n\
             [security.validation]\nenable_security_headers = true\n[[filters]]\nname = \"tag\"\nmodule = \"{}\"\n\
             config = {{ version = \"1\" }}\n",
            guest.display()
        ),
    )
    .unwrap();
    let done = proxy(&["--config", path.to_str().unwrap(), "explain"], &[]).await;
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
    let place = |word: &str| done.stdout.find(word).unwrap_or_else(|| panic!("no {word} in\n{}", done.stdout));
    assert!(place("security-headers") < place("tag") && place("tag") < place("router"), "{}", done.stdout);
    assert!(done.stdout.contains("/api/*"), "{}", done.stdout);
}

#[tokio::test]
async fn flags_beat_variables_beat_the_file() {
    let (file, flag, variable) =
        (Origin::start("file").await, Origin::start("flag").await, Origin::start("variable").await);
    let base = || {
        Proxy::builder().route("/*", "bolt").config(&format!("[backends.bolt]\nurl = \"http://{}\"", file.address()))
    };
    let from_file = base().start().await;
    assert_eq!(from_file.h1().await.get("/").await.text(), "hello from file");
    let by_variable = || base().variable("GPANEL_PROXY_BOLT_API", &format!("http://{}", variable.address()));
    let from_variable = by_variable().start().await;
    assert_eq!(from_variable.h1().await.get("/").await.text(), "hello from variable");
    let from_flag = by_variable().argument("--bolt-api").argument(&format!("http://{}", flag.address())).start().await;
    assert_eq!(from_flag.h1().await.get("/").await.text(), "hello from flag");
}

#[tokio::test]
async fn what_does_not_act_yet_is_said_once_at_start() {
    let app = Origin::start("app").await;
    let proxy = Proxy::builder()
        .config("[security]\nenable_rate_limiting = true\nrequire_auth = true\n[proxy.memory]\nenable_response_cache = true")
        .backend("app", app.address())
        .start()
        .await;
    for key in ["enable_rate_limiting", "require_auth", "enable_response_cache"] {
        assert_eq!(proxy.log().count(&["WARN", key]), 1, "{key} is not warned about once");
    }
}
