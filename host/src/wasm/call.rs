//! One call of one hook: the exchange moves into an instance, the hook runs, the exchange comes out again.

use std::mem;
use std::time::Duration;

use crate::message::{Exchange, WorkerId};

use super::bindings::gpanel::filter::types::{RequestVerdict, ResponseVerdict};
use super::component::Guest;
use super::host::http;
use super::pool::Instance;
use super::store::begin_hook;
use super::trap::{Abort, CallError};

impl Guest {
    /// Calls `on-request-headers`. Dropping the future discards the instance and the exchange.
    pub async fn request_headers(
        &self,
        worker: WorkerId,
        exchange: Box<Exchange>,
    ) -> (Box<Exchange>, Result<RequestVerdict, CallError>) {
        let mut instance = match self.take(worker).await {
            Ok(instance) => instance,
            Err(error) => return (exchange, Err(error)),
        };
        let lent = lend(&mut instance, exchange);
        let result = match &instance.request_headers {
            Some(hook) => {
                let call = hook.call_on_request_headers(&mut instance.store, http::request());
                match self.wall_clock() {
                    None => call.await,
                    Some(limit) => Box::pin(within(limit, call)).await,
                }
            }
            None => Ok(RequestVerdict::Next),
        };
        self.finish(worker, instance, lent, result)
    }

    /// Calls `on-response-headers`; the exchange has a response. Dropping the future discards the instance and the
    /// exchange.
    pub async fn response_headers(
        &self,
        worker: WorkerId,
        exchange: Box<Exchange>,
    ) -> (Box<Exchange>, Result<ResponseVerdict, CallError>) {
        let mut instance = match self.take(worker).await {
            Ok(instance) => instance,
            Err(error) => return (exchange, Err(error)),
        };
        let lent = lend(&mut instance, exchange);
        let result = match &instance.response_headers {
            Some(hook) => {
                let call = hook.call_on_response_headers(&mut instance.store, http::request(), http::response());
                match self.wall_clock() {
                    None => call.await,
                    Some(limit) => Box::pin(within(limit, call)).await,
                }
            }
            None => Ok(ResponseVerdict::Next),
        };
        self.finish(worker, instance, lent, result)
    }

    /// An idle instance, or a new one.
    async fn take(&self, worker: WorkerId) -> Result<Instance, CallError> {
        let worker = worker.index();
        let counters = self.instances.worker(worker);
        if let Some(counters) = counters {
            counters.called();
        }
        if let Some(instance) = self.instances.take_idle(worker) {
            return Ok(instance);
        }
        // In a box, because it is large and the future of a call is moved about.
        let made = Box::pin(self.instances.create(worker)).await;
        if let (Some(counters), Err(error)) = (counters, &made) {
            counters.failed(error);
        }
        made
    }

    /// CPU time bounds every call; one that can also wait (WASI polls) needs a bound on that.
    fn wall_clock(&self) -> Option<Duration> {
        self.instances.may_wait().then_some(self.wall_clock)
    }

    /// Gives the exchange back, and the instance to its pool if it may serve again.
    fn finish<V>(
        &self,
        worker: WorkerId,
        mut instance: Instance,
        idle: Box<Exchange>,
        result: wasmtime::Result<V>,
    ) -> (Box<Exchange>, Result<V, CallError>) {
        let exchange = mem::replace(&mut instance.store.data_mut().exchange, idle);
        let counters = self.instances.worker(worker.index());
        if let Some(counters) = counters {
            counters.log_lines_dropped(instance.store.data().log_lines_dropped());
        }
        let result = match result {
            Ok(verdict) => {
                instance.calls += 1;
                self.instances.put_back(instance);
                Ok(verdict)
            }
            Err(error) => {
                let error = CallError::from_wasmtime(&error, &instance.store.data().limiter);
                if let Some(counters) = counters {
                    counters.failed(&error);
                }
                Err(error)
            }
        };
        (exchange, result)
    }
}

/// Puts the exchange into the instance and fills its budgets; gives the instance's idle exchange in return.
fn lend(instance: &mut Instance, exchange: Box<Exchange>) -> Box<Exchange> {
    begin_hook(&mut instance.store);
    mem::replace(&mut instance.store.data_mut().exchange, exchange)
}

/// In a box, so that calls without a limit are not larger for it.
async fn within<V>(limit: Duration, call: impl Future<Output = wasmtime::Result<V>>) -> wasmtime::Result<V> {
    match tokio::time::timeout(limit, call).await {
        Ok(result) => result,
        Err(_) => Err(Abort::CpuTime.into()),
    }
}
