//! Greets every response: the smallest filter that does something.

use gpanel_filter::{ConfigError, Filter, Hook, JsonSchema, Request, Response, ResponseEdits, ResponseVerdict};
use serde::Deserialize;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The value of `x-hello`.
    greeting: String,
}

pub struct Hello(Config);

impl Filter for Hello {
    type Config = Config;
    const HOOKS: &'static [Hook] = &[Hook::Response];

    fn new(config: Config) -> Result<Self, ConfigError> {
        Ok(Self(config))
    }

    fn on_response(&self, _: &Request, _: &Response) -> ResponseVerdict {
        ResponseEdits::new().set_header("x-hello", self.0.greeting.as_str()).into()
    }
}

gpanel_filter::export!(Hello);

#[cfg(test)]
mod tests {
    use gpanel_filter::ResponseEdits;
    use gpanel_filter::testing::{TestRequest, TestResponse, run};

    #[test]
    fn greets() {
        let hello = run::<super::Hello>(r#"{ "greeting": "good day" }"#).unwrap();
        let verdict = hello.on_response(&TestRequest::get("/"), &TestResponse::new(200));
        assert_eq!(verdict, ResponseEdits::new().set_header("x-hello", "good day").into());
    }
}
