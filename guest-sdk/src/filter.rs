//! What a filter is: its configuration, its hooks, and why a configuration can be refused.

use std::fmt;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::message::{Request, Response};
use crate::verdict::{RequestVerdict, ResponseVerdict};

/// A filter. One value of it lives in each instance of the component and serves one message at a time, so
/// state that changes goes into a `Cell` or `RefCell`; it is lost when the proxy replaces the instance.
///
/// Hooks have a default that changes nothing; those that come later will too.
pub trait Filter: Sized + 'static {
    /// The `config` table of the filter's entry. `#[serde(deny_unknown_fields)]` turns a misspelt key into an
    /// error that names its line.
    type Config: DeserializeOwned + JsonSchema;

    /// The hooks that the proxy calls. One that is not named is never called, whatever is implemented.
    const HOOKS: &'static [Hook];

    /// Checks the configuration and prepares everything that requests will need: what this returns is the
    /// starting point of every instance. Randomness is not available here.
    ///
    /// # Errors
    /// What is wrong with the configuration, and where. The proxy shows it with file, line and column, and goes
    /// on with the filter as it was.
    fn new(config: Self::Config) -> Result<Self, ConfigError>;

    /// The hooks wanted under this configuration: [`Self::HOOKS`] unless a filter can do with fewer.
    fn hooks(&self) -> Vec<Hook> {
        Self::HOOKS.to_vec()
    }

    /// The request's head is there.
    fn on_request(&self, request: &Request) -> RequestVerdict {
        let _ = request;
        RequestVerdict::Next
    }

    /// The response's head is there; `request` is as it was sent.
    fn on_response(&self, request: &Request, response: &Response) -> ResponseVerdict {
        let _ = (request, response);
        ResponseVerdict::Next
    }
}

/// A moment in a message's life at which the proxy calls the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hook {
    /// [`Filter::on_request`].
    Request,
    /// [`Filter::on_response`].
    Response,
}

impl Hook {
    /// The name that the contract gives it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request-headers",
            Self::Response => "response-headers",
        }
    }
}

/// Why a configuration was refused, and where in it.
///
/// ```
/// # use gpanel_filter::ConfigError;
/// let error = ConfigError::new("must start with a slash").at("pattern").at(3).at("rules");
/// assert_eq!(error.to_string(), "rules.3.pattern: must start with a slash");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    path: Vec<String>,
    message: String,
}

impl ConfigError {
    /// An error about the whole configuration.
    pub fn new(message: impl Into<String>) -> Self {
        Self { path: Vec::new(), message: message.into() }
    }

    /// Says that the error is inside this key or index. Called from the inside out, as an error travels up.
    #[must_use]
    #[allow(clippy::needless_pass_by_value, reason = "`at(3)` reads better than `at(&3)`")]
    pub fn at(mut self, key: impl ToString) -> Self {
        self.path.insert(0, key.to_string());
        self
    }

    /// Keys and indices from the top of the configuration.
    #[must_use]
    pub fn path(&self) -> &[String] {
        &self.path
    }

    /// What is wrong there.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    #[cfg(target_arch = "wasm32")]
    pub(crate) fn into_raw(self) -> crate::bindings::exports::gpanel::filter::lifecycle::ConfigError {
        crate::bindings::exports::gpanel::filter::lifecycle::ConfigError { path: self.path, message: self.message }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path.join("."))?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}

/// Reads a configuration from JSON text; the same on both sides of the boundary.
pub(crate) fn parse<C: DeserializeOwned>(json: &[u8]) -> Result<C, ConfigError> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().iter().filter_map(segment).collect();
        let error = error.into_inner();
        // The position is one in the JSON that the host made: no line that the author of the file knows.
        let position = format!(" at line {} column {}", error.line(), error.column());
        let text = error.to_string();
        let message = text.strip_suffix(position.as_str()).unwrap_or(&text).to_owned();
        ConfigError { path, message }
    })
}

fn segment(segment: &serde_path_to_error::Segment) -> Option<String> {
    use serde_path_to_error::Segment;
    match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { .. } | Segment::Unknown => None,
    }
}
