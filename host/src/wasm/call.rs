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
                self.bounded(call).await
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
                self.bounded(call).await
            }
            None => Ok(ResponseVerdict::Next),
        };
        self.finish(worker, instance, lent, result)
    }

    async fn take(&self, worker: WorkerId) -> Result<Instance, CallError> {
        let worker = worker.index();
        let taken = self.instances.take(worker).await;
        if let Some(counters) = self.instances.worker(worker) {
            counters.called();
            if let Err(error) = &taken {
                counters.failed(error);
            }
        }
        taken
    }

    /// CPU time bounds every call; one that can also wait (WASI polls) needs a bound on that.
    async fn bounded<V>(&self, call: impl Future<Output = wasmtime::Result<V>>) -> wasmtime::Result<V> {
        if self.instances.may_wait() { within(self.wall_clock, call).await } else { call.await }
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

async fn within<V>(time: Duration, call: impl Future<Output = wasmtime::Result<V>>) -> wasmtime::Result<V> {
    match tokio::time::timeout(time, call).await {
        Ok(result) => result,
        Err(_) => Err(Abort::CpuTime.into()),
    }
}
