//! Filters for gpanel-proxy, in Rust.
//!
//! A filter sees each request that matches it on its way to the backend, and the response on its way back, and
//! says what changes. It is compiled to a WebAssembly component; the proxy loads it, gives it the `config` table
//! of its entry, and calls the hooks it declared.
//!
//! ```
//! use gpanel_filter::{ConfigError, Filter, Hook, JsonSchema, Reply, Request, RequestVerdict};
//! use serde::Deserialize;
//!
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! pub struct Config {
//!     /// The value that `x-api-key` must have.
//!     key: String,
//! }
//!
//! pub struct ApiKey(Config);
//!
//! impl Filter for ApiKey {
//!     type Config = Config;
//!     const HOOKS: &'static [Hook] = &[Hook::Request];
//!
//!     fn new(config: Config) -> Result<Self, ConfigError> {
//!         if config.key.is_empty() { Err(ConfigError::new("must not be empty").at("key")) } else { Ok(Self(config)) }
//!     }
//!
//!     fn on_request(&self, request: &Request) -> RequestVerdict {
//!         match request.header("x-api-key") {
//!             Some(key) if key == self.0.key => RequestVerdict::next(),
//!             _ => Reply::text(403, "no entry\n").into(),
//!         }
//!     }
//! }
//!
//! gpanel_filter::export!(ApiKey);
//!
//! // A test runs natively, against the test host.
//! use gpanel_filter::testing::{TestRequest, run};
//!
//! # fn main() -> Result<(), ConfigError> {
//! let filter = run::<ApiKey>(r#"{ "key": "open sesame" }"#)?;
//! let known = TestRequest::get("/").header("x-api-key", "open sesame");
//! assert_eq!(filter.on_request(&known), RequestVerdict::next());
//! assert_eq!(filter.on_request(&TestRequest::get("/")).reply().map(Reply::status), Some(403));
//! # Ok(())
//! # }
//! ```
//!
//! A filter's crate is a `cdylib` (`crate-type = ["cdylib"]`; an `rlib` beside it would switch link-time optimisation
//! off). `cargo build --target wasm32-unknown-unknown` makes a module of it, and `wasm-tools component new` makes the
//! module a component; in this repository `cargo xtask filter FOLDER OUT` does both.
//!
//! What the host offers beside the message: [`log`], [`clock`], [`random`], [`connection`]. Natively they answer
//! from the [`testing::TestHost`].

#[doc(hidden)]
pub mod bindings;
pub mod clock;
pub mod connection;
mod filter;
#[doc(hidden)]
#[cfg(target_arch = "wasm32")]
pub mod guest;
pub mod log;
mod message;
pub mod random;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod verdict;

pub use filter::{ConfigError, Filter, Hook};
pub use message::{Request, Response, Value};
pub use schemars::JsonSchema;
pub use verdict::{Reply, RequestEdits, RequestVerdict, ResponseEdits, ResponseVerdict};

/// The host's side: the component's imports, or the test host where filters run natively.
mod imports {
    #[cfg(target_arch = "wasm32")]
    pub(crate) use crate::bindings::gpanel::filter::{clock, connection, http, log, random};
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) use crate::testing::imports::{clock, connection, http, log, random};
}

/// Makes a [`Filter`] the one that this component exports. Once per crate; natively it does nothing.
///
/// The component also exports the JSON Schema of its configuration. `export!(X)` carries the generator, which is
/// the larger part of a small component (about 90 KB); `export!(X, schema = "../schema.json")` carries only the
/// text, from a file beside the crate that [`testing::check_schema`] writes and keeps current.
///
/// ```
/// # use gpanel_filter::{ConfigError, Filter, Hook};
/// # pub struct Nothing;
/// # impl Filter for Nothing {
/// #     type Config = std::collections::BTreeMap<String, String>;
/// #     const HOOKS: &'static [Hook] = &[];
/// #     fn new(_: Self::Config) -> Result<Self, ConfigError> { Ok(Self) }
/// # }
/// gpanel_filter::export!(Nothing);
/// ```
#[macro_export]
macro_rules! export {
    ($filter:ty) => {
        $crate::export!(@ $filter, $crate::guest::schema::<$filter>());
    };
    ($filter:ty, schema = $path:literal) => {
        $crate::export!(@ $filter, ::std::string::String::from(::std::include_str!($path)));
    };
    (@ $filter:ty, $schema:expr) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "a component's exports are unmangled symbols")]
        const _: () = {
            use $crate::bindings::exports::gpanel::filter as exports;
            use $crate::bindings::gpanel::filter::{http, types};

            ::std::thread_local! {
                static FILTER: $crate::guest::Slot<$filter> = const { $crate::guest::Slot::new() };
            }

            struct Component;

            impl exports::lifecycle::Guest for Component {
                fn schema() -> ::std::string::String {
                    $schema
                }
                fn configure() -> Result<::std::vec::Vec<::std::string::String>, exports::lifecycle::ConfigError> {
                    $crate::guest::configure(&FILTER)
                }
            }

            impl exports::request_headers::Guest for Component {
                fn on_request_headers(request: &http::Request) -> types::RequestVerdict {
                    $crate::guest::on_request(&FILTER, request)
                }
            }

            impl exports::response_headers::Guest for Component {
                fn on_response_headers(request: &http::Request, response: &http::Response) -> types::ResponseVerdict {
                    $crate::guest::on_response(&FILTER, request, response)
                }
            }

            $crate::bindings::export_component!(Component with_types_in $crate::bindings);
        };
    };
}
