//! Whether the process is alive, and whether traffic may come: states, and the bodies of `/health` and `/ready`.
//!
//! A refused reload shows in the detail and does not make the proxy unready: the last good generation serves.
//! Backends do not make it unready either: while nobody checks them actively they are `unknown`.

use std::time::{Duration, SystemTime};

use parking_lot::RwLock;
use serde_json::{Map, Value, json};

use super::encode::rfc3339;
use super::reloads::ReloadKind;
use super::sources::BackendRow;
use super::{Telemetry, VERSION};

/// What must be up before traffic may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// The UDP listeners.
    QuicServer,
    /// The TCP listeners.
    HttpServer,
    /// Certificate and key are loaded.
    TlsCertificates,
}

impl Check {
    const ALL: [Self; 3] = [Self::QuicServer, Self::HttpServer, Self::TlsCertificates];

    fn name(self) -> &'static str {
        match self {
            Self::QuicServer => "quic_server",
            Self::HttpServer => "http_server",
            Self::TlsCertificates => "tls_certificates",
        }
    }
}

/// The state of one check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CheckState {
    /// Not up yet.
    #[default]
    Starting,
    /// Up.
    Ok,
    /// Switched off by the configuration: counts as up.
    Disabled,
    /// Not up, and why.
    Failed(Box<str>),
}

impl CheckState {
    fn is_up(&self) -> bool {
        matches!(self, Self::Ok | Self::Disabled)
    }

    fn text(&self) -> String {
        match self {
            Self::Starting => "starting".into(),
            Self::Ok => "ok".into(),
            Self::Disabled => "disabled".into(),
            Self::Failed(reason) => format!("failed: {reason}"),
        }
    }
}

#[derive(Default)]
struct States {
    checks: [CheckState; Check::ALL.len()],
    draining: bool,
}

/// The states of all checks.
#[derive(Default)]
pub struct Readiness(RwLock<States>);

impl Readiness {
    /// Sets the state of a check.
    pub fn set(&self, check: Check, state: CheckState) {
        self.0.write().checks[check as usize] = state;
    }

    /// Says that the process is shutting down: no new traffic, please.
    pub fn set_draining(&self) {
        self.0.write().draining = true;
    }

    /// Whether traffic may come.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let states = self.0.read();
        !states.draining && states.checks.iter().all(CheckState::is_up)
    }

    /// Whether the process is shutting down.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.0.read().draining
    }

    fn details(&self) -> Map<String, Value> {
        let states = self.0.read();
        let mut details = Map::new();
        for check in Check::ALL {
            details.insert(check.name().into(), states.checks[check as usize].text().into());
        }
        if states.draining {
            details.insert("shutdown".into(), "draining".into());
        }
        details
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// The admin listener: everything.
    Operator,
    /// A public listener: nothing that helps an attacker.
    Public,
}

/// The body of `/health`; the status is 200 as long as anybody answers at all.
#[must_use]
pub fn health_body(telemetry: &Telemetry, audience: Audience) -> String {
    let status = if telemetry.readiness().is_draining() { "draining" } else { "healthy" };
    let body = match audience {
        Audience::Public => json!({ "status": status }),
        Audience::Operator => json!({
            "status": status,
            "version": VERSION,
            "uptime": uptime(telemetry.uptime()),
            "active_connections": telemetry.active_connections(),
            "backends": telemetry.sources().backends().iter().map(backend).collect::<Map<_, _>>(),
        }),
    };
    finish(&body)
}

/// Whether traffic may come (200) or not (503), and the body of `/ready`.
#[must_use]
pub fn ready_body(telemetry: &Telemetry, audience: Audience) -> (bool, String) {
    let ready = telemetry.readiness().is_ready();
    let body = match audience {
        Audience::Public => json!({ "ready": ready }),
        Audience::Operator => {
            let mut checks = telemetry.readiness().details();
            for (name, kind) in [
                ("configuration", ReloadKind::Config),
                ("filters", ReloadKind::Filters),
                ("certificate_reload", ReloadKind::Certs),
            ] {
                let error = telemetry.reloads().state(kind).last_error;
                let text = error.map_or("ok".into(), |error| format!("last reload refused: {error}"));
                checks.insert(name.into(), text.into());
            }
            json!({ "ready": ready, "checks": checks })
        }
    };
    (ready, finish(&body))
}

fn finish(body: &Value) -> String {
    let mut text = body.to_string();
    text.push('\n');
    text
}

fn backend(row: &BackendRow) -> (String, Value) {
    let mut value = Map::new();
    value.insert("status".into(), row.state.label().into());
    if let Some(time) = row.last_check {
        value.insert("last_check".into(), timestamp(time).into());
    }
    if let Some(time) = row.response_time {
        value.insert("response_time".into(), format!("{}ms", time.as_millis()).into());
    }
    (row.name.as_ref().into(), value.into())
}

fn timestamp(time: SystemTime) -> String {
    let mut text = Vec::new();
    rfc3339(&mut text, time);
    String::from_utf8_lossy(&text).into_owned()
}

/// `24h30m15s`; leading units that are zero are left out.
fn uptime(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::telemetry::sources::BackendState;

    fn ready(telemetry: &Telemetry) -> (bool, Value) {
        let (ready, body) = ready_body(telemetry, Audience::Operator);
        (ready, serde_json::from_str(&body).unwrap())
    }

    #[test]
    fn uptimes() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (60, "1m0s"), (3600, "1h0m0s"), (88_215, "24h30m15s")] {
            assert_eq!(uptime(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn ready_once_everything_is_up_and_no_more_when_draining() {
        let telemetry = Telemetry::new(1);
        assert_eq!(ready(&telemetry).1["checks"]["quic_server"], "starting");
        telemetry.readiness().set(Check::QuicServer, CheckState::Disabled);
        telemetry.readiness().set(Check::HttpServer, CheckState::Ok);
        telemetry.readiness().set(Check::TlsCertificates, CheckState::Failed("no key".into()));
        let (is_ready, body) = ready(&telemetry);
        assert!(!is_ready);
        assert_eq!(body["checks"]["tls_certificates"], "failed: no key");
        telemetry.readiness().set(Check::TlsCertificates, CheckState::Ok);
        assert!(ready(&telemetry).0);
        telemetry.readiness().set_draining();
        let (is_ready, body) = ready(&telemetry);
        assert!(!is_ready);
        assert_eq!(body["checks"]["shutdown"], "draining");
    }

    #[test]
    fn a_refused_reload_is_told_and_changes_nothing() {
        let telemetry = Telemetry::new(1);
        for check in Check::ALL {
            telemetry.readiness().set(check, CheckState::Ok);
        }
        telemetry.reloads().refused(ReloadKind::Filters, "50-auth.wasm: not a component");
        let (is_ready, body) = ready(&telemetry);
        assert!(is_ready);
        assert_eq!(body["checks"]["filters"], "last reload refused: 50-auth.wasm: not a component");
        assert_eq!(body["checks"]["configuration"], "ok");
        assert_eq!(ready_body(&telemetry, Audience::Public).1, "{\"ready\":true}\n");
    }

    #[test]
    fn health_names_backends_to_operators_only() {
        let telemetry = Telemetry::new(1);
        telemetry.sources().set_backends(Arc::new(|| {
            let unknown =
                BackendRow { name: "bolt".into(), state: BackendState::Unknown, last_check: None, response_time: None };
            let healthy = BackendRow {
                name: "agent".into(),
                state: BackendState::Healthy,
                last_check: Some(SystemTime::UNIX_EPOCH),
                response_time: Some(Duration::from_millis(8)),
            };
            vec![unknown, healthy]
        }));
        let body: Value = serde_json::from_str(&health_body(&telemetry, Audience::Operator)).unwrap();
        assert_eq!(body["status"], "healthy");
        assert_eq!(body["version"], VERSION);
        assert_eq!(body["active_connections"], 0);
        assert_eq!(
            body["backends"],
            json!({
                "bolt": {"status": "unknown"},
                "agent": {"status": "healthy", "last_check": "1970-01-01T00:00:00.000Z", "response_time": "8ms"},
            })
        );
        assert_eq!(health_body(&telemetry, Audience::Public), "{\"status\":\"healthy\"}\n");
    }
}
