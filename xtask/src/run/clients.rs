//! Clients that we did not write, as they are found on this machine: for the lines to try and for `--check`.

use std::process::Command;

use anyhow::{Result, bail, ensure};

use super::addresses::Addresses;
use crate::process::{capture, find, tail};

/// What to do without an HTTP/3 client.
pub const NO_HTTP3: &str = "no HTTP/3 client on PATH: `apt-get install ngtcp2-client` has gtlsclient";

/// A program that speaks HTTP/3.
pub enum Http3Client {
    /// ngtcp2's example client, built on GnuTLS.
    Gtlsclient,
    /// A curl that was built with HTTP/3.
    Curl,
}

impl Http3Client {
    /// The first one found.
    pub fn find() -> Option<Self> {
        if find("gtlsclient").is_some() {
            return Some(Self::Gtlsclient);
        }
        let curl = capture(Command::new("curl").arg("--version")).unwrap_or_default();
        curl.lines().any(|line| line.starts_with("Features:") && line.contains("HTTP3")).then_some(Self::Curl)
    }

    /// The command for one request.
    pub fn arguments(&self, addresses: &Addresses, path: &str) -> Vec<String> {
        let url = addresses.tls_url(path);
        let port = addresses.quic.port().to_string();
        let words: &[&str] = match self {
            Self::Gtlsclient => &["gtlsclient", "--exit-on-all-streams-close", "localhost", &port, &url],
            Self::Curl => &["curl", "--http3-only", "-ksSi", &url],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }
}

/// One request over HTTP/3; the answer must be 200.
pub fn check_http3(addresses: &Addresses, path: &str) -> Result<()> {
    let Some(client) = Http3Client::find() else { bail!(NO_HTTP3) };
    let words = client.arguments(addresses, path);
    // gtlsclient reports on standard error, curl on standard output.
    let output = Command::new("sh").arg("-c").arg(format!("timeout 20 {} 2>&1", words.join(" "))).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let answered = said.contains("[:status: 200]") || said.contains("HTTP/3 200");
    ensure!(output.status.success() && answered, "`{}` said:\n{}", words.join(" "), tail(&said, 20));
    Ok(())
}

/// One request over TLS with the given version; the answer must be 200 and in that version.
pub fn check_curl(addresses: &Addresses, path: &str, version: &str) -> Result<()> {
    let flag = format!("--http{version}");
    let format = "%{http_code} %{http_version}";
    let mut curl = Command::new("curl");
    curl.args(["-ksS", "-m", "20", &flag, "-o", "/dev/null", "-w", format, &addresses.tls_url(path)]);
    let said = capture(&mut curl)?;
    ensure!(said == format!("200 {version}"), "curl {flag} got `{said}`");
    Ok(())
}
