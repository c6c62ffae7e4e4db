//! What [`export!`](crate::export) calls: from the component's exports to the filter and back.

use std::cell::OnceCell;
use std::thread::LocalKey;

use crate::bindings::exports::gpanel::filter::lifecycle;
use crate::bindings::gpanel::filter::{config, http, types};
use crate::filter::{Filter, Hook, parse};
use crate::message::{Request, Response};

/// Where an instance keeps its filter; empty until `configure`.
pub type Slot<F> = OnceCell<F>;

/// `lifecycle.schema`.
#[must_use]
pub fn schema<F: Filter>() -> String {
    schemars::schema_for!(F::Config).as_value().to_string()
}

/// `lifecycle.configure`.
pub fn configure<F: Filter>(slot: &'static LocalKey<Slot<F>>) -> Result<Vec<String>, lifecycle::ConfigError> {
    report_panics();
    let filter = parse(&config::get()).and_then(F::new).map_err(crate::ConfigError::into_raw)?;
    let hooks = filter.hooks().into_iter().map(|hook| hook.name().to_owned()).collect();
    slot.with(|slot| slot.set(filter))
        .map_err(|_| lifecycle::ConfigError { path: Vec::new(), message: "configure was called twice".to_owned() })?;
    Ok(hooks)
}

/// `request-headers.on-request-headers`.
pub fn on_request<F: Filter>(slot: &'static LocalKey<Slot<F>>, request: &http::Request) -> types::RequestVerdict {
    slot.with(|slot| match slot.get() {
        Some(filter) => filter.on_request(&Request::new(request)).into_raw(),
        None => unconfigured(Hook::Request),
    })
}

/// `response-headers.on-response-headers`.
pub fn on_response<F: Filter>(
    slot: &'static LocalKey<Slot<F>>,
    request: &http::Request,
    response: &http::Response,
) -> types::ResponseVerdict {
    slot.with(|slot| match slot.get() {
        Some(filter) => filter.on_response(&Request::new(request), &Response::new(response)).into_raw(),
        None => unconfigured(Hook::Response),
    })
}

/// A panic ends in a trap, which carries no text: the log line is the only place that says why.
fn report_panics() {
    std::panic::set_hook(Box::new(|panic| crate::log::error(&panic.to_string())));
}

#[cold]
#[allow(clippy::panic, reason = "the host broke the contract, and a trap is how a guest says so")]
fn unconfigured(hook: Hook) -> ! {
    panic!("{} was called before configure", hook.name())
}
