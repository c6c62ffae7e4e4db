//! The command line: what the user asked for, as plain data. Parsing only: settings stay text for `config`, which
//! reports a wrong flag together with everything else that is wrong; what a command does is up to `main`.

use std::ffi::OsString;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{Given, Overrides};

/// Exit code for bad usage or configuration (`EX_USAGE` of sysexits.h).
pub const EXIT_USAGE: u8 = 64;
/// Exit code for something that is not available (`EX_UNAVAILABLE` of sysexits.h).
pub const EXIT_UNAVAILABLE: u8 = 69;

/// A parsed command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What to do.
    pub command: Command,
    /// The settings given as flags.
    pub overrides: Overrides,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Serve.
    Run,
    /// Check the configuration (`overrides.config`, or the default file), load every filter, exit.
    Check,
    /// Print the effective chain and routes, and what would happen to one request.
    Explain(Option<Request>),
    /// Ask a running proxy.
    Debug(DebugTopic),
}

/// A request to explain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: String,
    /// An absolute URL, or a path.
    pub url: String,
}

/// What to ask a running proxy about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DebugTopic {
    /// QUIC connections, streams and packets
    QuicStats,
    /// Open connections
    Connections,
    /// The configuration in effect, without its secrets
    Config,
    /// Requests, errors, latencies
    Stats,
}

impl DebugTopic {
    /// What to print while the command is not there; the exit code is `EXIT_UNAVAILABLE`.
    #[must_use]
    pub fn unavailable(self) -> String {
        let name = self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        format!("debug {name} is not available yet: this version's admin listener serves /health, /ready and /metrics")
    }
}

/// Parses a command line, the program's name first.
///
/// # Errors
/// Bad usage, and also `--help` and `--version`: print it and exit with `exit_code`.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Options, clap::Error> {
    Ok(Line::try_parse_from(arguments)?.into())
}

/// 0 for `--help` and `--version`, otherwise `EXIT_USAGE`.
#[must_use]
pub fn exit_code(error: &clap::Error) -> u8 {
    if error.use_stderr() { EXIT_USAGE } else { 0 }
}

/// GhostPanel QUIC Proxy - QUIC-based socket proxy for GhostPanel edge networking
///
/// Every setting may also stand in the configuration file or in an environment variable;
/// flags win over variables, variables win over the file.
#[derive(Parser)]
#[command(name = "gpanel-proxy", version, args_conflicts_with_subcommands = false)]
struct Line {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Option<Subcommands>,
}

#[derive(Args)]
struct Settings {
    /// Configuration file [default: /etc/gpanel/proxy.toml] [env: GPANEL_PROXY_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<String>,
    /// QUIC server bind address [default: 0.0.0.0:9443] [env: GPANEL_PROXY_QUIC_ADDR]
    ///
    /// UDP for HTTP/3; TCP on the same address for TLS with HTTP/2 and HTTP/1.1.
    #[arg(long, global = true)]
    quic_addr: Option<String>,
    /// HTTP/1.1 fallback server bind address [default: 0.0.0.0:9080] [env: GPANEL_PROXY_HTTP_ADDR]
    #[arg(long, global = true)]
    http_addr: Option<String>,
    /// Target Bolt API endpoint [default: bolt://localhost:8080] [env: GPANEL_PROXY_BOLT_API]
    #[arg(long, global = true)]
    bolt_api: Option<String>,
    /// TLS certificate path (optional, generates self-signed in dev) [env: GPANEL_PROXY_CERT_PATH]
    #[arg(long, global = true)]
    cert_path: Option<String>,
    /// TLS private key path (optional) [env: GPANEL_PROXY_KEY_PATH]
    #[arg(long, global = true)]
    key_path: Option<String>,
    /// Enable development mode (allows insecure connections) [env: GPANEL_PROXY_DEV_MODE]
    #[arg(long, global = true)]
    dev_mode: bool,
    /// Maximum concurrent connections [default: 1000] [env: GPANEL_PROXY_MAX_CONNECTIONS]
    #[arg(long, global = true)]
    max_connections: Option<String>,
    /// Connection idle timeout in seconds [default: 300] [env: GPANEL_PROXY_IDLE_TIMEOUT]
    #[arg(long, global = true)]
    idle_timeout: Option<String>,
    /// Worker threads [default: one per core]
    #[arg(long, global = true, value_name = "N")]
    workers: Option<String>,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Check a configuration file and everything that it names, without serving
    Check {
        /// The file; without it, the one that the proxy would start with
        #[arg(value_name = "FILE", conflicts_with = "config")]
        file: Option<String>,
    },
    /// Print the effective filter chain and the routing table
    Explain {
        /// Method of a request to explain
        #[arg(requires = "url")]
        method: Option<String>,
        /// URL or path of the request
        url: Option<String>,
    },
    /// Ask a running proxy
    Debug {
        /// What about
        topic: DebugTopic,
    },
}

impl From<Line> for Options {
    fn from(line: Line) -> Self {
        let mut overrides = line.settings.into_overrides();
        let command = match line.command {
            None => Command::Run,
            Some(Subcommands::Check { file }) => {
                overrides.config = file.map(|file| Given::new(file, "check FILE")).or(overrides.config);
                Command::Check
            }
            Some(Subcommands::Explain { method, url }) => {
                Command::Explain(method.zip(url).map(|(method, url)| Request { method, url }))
            }
            Some(Subcommands::Debug { topic }) => Command::Debug(topic),
        };
        Self { command, overrides }
    }
}

impl Settings {
    fn into_overrides(self) -> Overrides {
        let given = |value: Option<String>, flag| value.map(|value| Given::new(value, flag));
        Overrides {
            config: given(self.config, "--config"),
            quic_addr: given(self.quic_addr, "--quic-addr"),
            http_addr: given(self.http_addr, "--http-addr"),
            bolt_api: given(self.bolt_api, "--bolt-api"),
            cert_path: given(self.cert_path, "--cert-path"),
            key_path: given(self.key_path, "--key-path"),
            dev_mode: self.dev_mode.then(|| Given::new("true", "--dev-mode")),
            max_connections: given(self.max_connections, "--max-connections"),
            idle_timeout: given(self.idle_timeout, "--idle-timeout"),
            workers: given(self.workers, "--workers"),
            log_filter: None,
            log_format: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options, u8> {
        parse(std::iter::once("gpanel-proxy").chain(line.split_whitespace()).map(OsString::from))
            .map_err(|error| exit_code(&error))
    }

    #[test]
    fn the_definition_is_consistent() {
        use clap::CommandFactory;
        Line::command().debug_assert();
    }

    #[test]
    fn every_flag_of_the_reference() {
        let line = "--quic-addr 1.2.3.4:1 --http-addr 1.2.3.4:2 --bolt-api bolt://b --cert-path c --key-path k \
                    --dev-mode --max-connections 7 --idle-timeout 8 --config f --workers 2";
        let options = parsed(line).unwrap();
        assert_eq!(options.command, Command::Run);
        let given = |value: &str, origin| Some(Given::new(value, origin));
        let expected = Overrides {
            config: given("f", "--config"),
            quic_addr: given("1.2.3.4:1", "--quic-addr"),
            http_addr: given("1.2.3.4:2", "--http-addr"),
            bolt_api: given("bolt://b", "--bolt-api"),
            cert_path: given("c", "--cert-path"),
            key_path: given("k", "--key-path"),
            dev_mode: given("true", "--dev-mode"),
            max_connections: given("7", "--max-connections"),
            idle_timeout: given("8", "--idle-timeout"),
            workers: given("2", "--workers"),
            log_filter: None,
            log_format: None,
        };
        assert_eq!(options.overrides, expected);
    }

    #[test]
    fn commands() {
        let request = Request { method: "GET".into(), url: "/x".into() };
        for (line, command, config) in [
            ("", Command::Run, None),
            ("check", Command::Check, None),
            ("check f.toml", Command::Check, Some("f.toml")),
            ("check --config f.toml", Command::Check, Some("f.toml")),
            ("--config f.toml check", Command::Check, Some("f.toml")),
            ("explain", Command::Explain(None), None),
            ("explain --config f.toml GET /x", Command::Explain(Some(request)), Some("f.toml")),
            ("debug quic-stats", Command::Debug(DebugTopic::QuicStats), None),
            ("debug connections", Command::Debug(DebugTopic::Connections), None),
            ("debug config", Command::Debug(DebugTopic::Config), None),
            ("debug stats", Command::Debug(DebugTopic::Stats), None),
        ] {
            let options = parsed(line).unwrap_or_else(|code| panic!("{line}: exit code {code}"));
            assert_eq!(options.command, command, "{line}");
            assert_eq!(options.overrides.config.map(|given| given.value).as_deref(), config, "{line}");
        }
    }

    #[test]
    fn exit_codes() {
        for (line, code) in [
            ("--help", 0),
            ("-h", 0),
            ("--version", 0),
            ("check --help", 0),
            ("--nope", EXIT_USAGE),
            ("nope", EXIT_USAGE),
            ("--config", EXIT_USAGE),
            ("check a b", EXIT_USAGE),
            ("check a --config b", EXIT_USAGE),
            ("explain GET", EXIT_USAGE),
            ("debug", EXIT_USAGE),
            ("debug nope", EXIT_USAGE),
        ] {
            assert_eq!(parsed(line).err(), Some(code), "{line}");
        }
    }
}
