//! A filter that does one wrong thing, chosen by its configuration, to requests that carry `x-misbehave` and to no
//! others: for the tests of limits, failure policy and validation.

mod hostile;

use gpanel_filter::{
    ConfigError, Filter, Hook, JsonSchema, Request, RequestVerdict, Response, ResponseVerdict, Value, clock, log,
};
use serde::Deserialize;
use std::hint::black_box;

const TRIGGER: &str = "x-misbehave";

/// What goes wrong, and where.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    behaviour: Behaviour,
    #[serde(default)]
    phase: Phase,
}

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Behaviour {
    /// Loops without end.
    Spin,
    /// Loops without end over bulk memory instructions.
    SpinBulk,
    /// Loops without end over host calls.
    SpinCalls,
    /// Allocates, and touches what it got, without end.
    Hungry,
    /// Panics.
    Trap,
    /// Calls itself without end.
    Recurse,
    /// Calls the host as often as the header's value says.
    Calls,
    /// Logs as many lines as the header's value says.
    Logs,
    /// Logs one line of as many bytes as the header's value says.
    LongLog,
    /// Returns what the header's value names: see `hostile`.
    Hostile,
    /// Refuses its configuration.
    RejectConfig,
    /// Loops without end over its configuration.
    SpinConfig,
    /// Allocates without end over its configuration.
    HungryConfig,
    /// Panics over its configuration.
    TrapConfig,
    /// Asks for randomness when there is none yet.
    RandomConfig,
}

/// The hook that misbehaves.
#[derive(Clone, Copy, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The request hook.
    #[default]
    Request,
    /// The response hook.
    Response,
}

/// The filter.
pub struct Misbehaving(Config);

impl Filter for Misbehaving {
    type Config = Config;
    const HOOKS: &'static [Hook] = &[Hook::Request, Hook::Response];

    fn new(config: Config) -> Result<Self, ConfigError> {
        match config.behaviour {
            Behaviour::RejectConfig => return Err(ConfigError::new("refused, as asked").at("behaviour")),
            Behaviour::SpinConfig => spin(),
            Behaviour::HungryConfig => eat(),
            Behaviour::TrapConfig => trap(),
            Behaviour::RandomConfig => drop(black_box(gpanel_filter::random::bytes(8))),
            _ => {}
        }
        Ok(Self(config))
    }

    fn hooks(&self) -> Vec<Hook> {
        match self.0.phase {
            Phase::Request => vec![Hook::Request],
            Phase::Response => vec![Hook::Response],
        }
    }

    fn on_request(&self, request: &Request) -> RequestVerdict {
        match request.header(TRIGGER) {
            Some(value) if self.0.behaviour == Behaviour::Hostile => hostile::request(&value),
            Some(value) => {
                self.misbehave(&value);
                RequestVerdict::next()
            }
            None => RequestVerdict::next(),
        }
    }

    fn on_response(&self, request: &Request, _: &Response) -> ResponseVerdict {
        match request.header(TRIGGER) {
            Some(value) if self.0.behaviour == Behaviour::Hostile => hostile::response(&value),
            Some(value) => {
                self.misbehave(&value);
                ResponseVerdict::next()
            }
            None => ResponseVerdict::next(),
        }
    }
}

impl Misbehaving {
    fn misbehave(&self, value: &Value) {
        let count = value.as_str().and_then(|text| text.parse().ok()).unwrap_or(1_000_000_usize);
        match self.0.behaviour {
            Behaviour::Spin => spin(),
            Behaviour::SpinBulk => fill(),
            Behaviour::SpinCalls => loop {
                black_box(clock::monotonic());
            },
            Behaviour::Hungry => eat(),
            Behaviour::Trap => trap(),
            Behaviour::Recurse => {
                black_box(recurse(0));
            }
            Behaviour::Calls => {
                for _ in 0..count {
                    black_box(clock::monotonic());
                }
            }
            Behaviour::Logs => (0..count).for_each(|_| log::info("one of many")),
            Behaviour::LongLog => log::info(&"x".repeat(count)),
            Behaviour::Hostile
            | Behaviour::RejectConfig
            | Behaviour::SpinConfig
            | Behaviour::HungryConfig
            | Behaviour::TrapConfig
            | Behaviour::RandomConfig => {}
        }
    }
}

fn spin() -> ! {
    loop {
        std::hint::spin_loop();
    }
}

fn fill() -> ! {
    let mut buffer = vec![0_u8; 1 << 20];
    loop {
        black_box(&mut buffer).fill(1);
    }
}

fn eat() -> ! {
    let mut eaten = Vec::new();
    loop {
        eaten.push(vec![1_u8; 1 << 18]);
        black_box(&eaten);
    }
}

#[allow(clippy::panic, reason = "what this filter is for")]
fn trap() -> ! {
    panic!("as asked");
}

fn recurse(depth: u64) -> u64 {
    if black_box(depth) == u64::MAX { depth } else { black_box(recurse(depth + 1)) + 1 }
}

gpanel_filter::export!(Misbehaving, schema = "../schema.json");

#[cfg(test)]
mod tests {
    use gpanel_filter::RequestVerdict;
    use gpanel_filter::testing::{TestRequest, check_schema, run};

    use super::Misbehaving;

    #[test]
    fn schema_is_current() {
        check_schema::<Misbehaving>(concat!(env!("CARGO_MANIFEST_DIR"), "/schema.json"));
    }

    #[test]
    fn behaves_unless_asked() {
        for behaviour in ["spin", "hungry", "trap", "recurse", "hostile"] {
            let filter = run::<Misbehaving>(&format!(r#"{{"behaviour":"{behaviour}"}}"#)).unwrap();
            assert_eq!(filter.on_request(&TestRequest::get("/")), RequestVerdict::next());
        }
    }

    #[test]
    fn refuses_with_a_path() {
        let error = run::<Misbehaving>(r#"{"behaviour":"reject-config"}"#).err().unwrap();
        assert_eq!(error.to_string(), "behaviour: refused, as asked");
    }

    #[test]
    #[should_panic(expected = "randomness is not available")]
    fn randomness_is_not_there_yet() {
        let _ = run::<Misbehaving>(r#"{"behaviour":"random-config"}"#);
    }
}
