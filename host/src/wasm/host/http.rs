//! `http`: the message in progress.
//!
//! There is one request and one response at a time, both in the store's exchange, so a handle needs no table: its
//! number means nothing, and the guest cannot own one (it is only ever lent).

use http::HeaderMap;
use wasmtime::component::Resource;

use crate::message::ResponseHead;
use crate::wasm::bindings::gpanel::filter::http::{Host, HostRequest, HostResponse};
use crate::wasm::bindings::gpanel::filter::types::{self, Header};
use crate::wasm::store::GuestState;
use crate::wasm::trap::Abort;

/// The request, as the guest knows it.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct RequestHandle;

/// The response, as the guest knows it.
#[allow(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct ResponseHandle;

/// The request of the exchange in progress, to lend.
pub(in crate::wasm) fn request() -> Resource<RequestHandle> {
    Resource::new_borrow(0)
}

/// The response of the exchange in progress, to lend.
pub(in crate::wasm) fn response() -> Resource<ResponseHandle> {
    Resource::new_borrow(0)
}

impl types::Host for GuestState {}
impl Host for GuestState {}

impl HostRequest for GuestState {
    fn method(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<String> {
        Ok(self.message()?.request.method.as_str().to_owned())
    }

    fn scheme(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<String> {
        Ok(self.message()?.request.scheme.as_str().to_owned())
    }

    fn authority(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<String> {
        Ok(self.message()?.request.authority.as_str().to_owned())
    }

    fn path(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<Vec<u8>> {
        Ok(self.message()?.request.path_and_query.path().as_bytes().to_vec())
    }

    fn query(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<Option<Vec<u8>>> {
        Ok(self.message()?.request.path_and_query.query().map(|query| query.as_bytes().to_vec()))
    }

    fn header(&mut self, _: Resource<RequestHandle>, name: String) -> wasmtime::Result<Option<Vec<u8>>> {
        Ok(first(&self.message()?.request.headers, &name))
    }

    fn header_values(&mut self, _: Resource<RequestHandle>, name: String) -> wasmtime::Result<Vec<Vec<u8>>> {
        Ok(values(&self.message()?.request.headers, &name))
    }

    fn headers(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<Vec<Header>> {
        Ok(all(&self.message()?.request.headers))
    }

    fn id(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<String> {
        Ok(self.message()?.id.0.as_ref().to_owned())
    }

    fn backend(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<Option<String>> {
        Ok(self.message()?.target.as_ref().map(|target| target.name().to_owned()))
    }

    fn route(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<Option<String>> {
        Ok(self.message()?.route.as_deref().map(str::to_owned))
    }

    fn drop(&mut self, _: Resource<RequestHandle>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl HostResponse for GuestState {
    fn status(&mut self, _: Resource<ResponseHandle>) -> wasmtime::Result<u16> {
        Ok(self.response()?.status.as_u16())
    }

    fn header(&mut self, _: Resource<ResponseHandle>, name: String) -> wasmtime::Result<Option<Vec<u8>>> {
        Ok(first(&self.response()?.headers, &name))
    }

    fn header_values(&mut self, _: Resource<ResponseHandle>, name: String) -> wasmtime::Result<Vec<Vec<u8>>> {
        Ok(values(&self.response()?.headers, &name))
    }

    fn headers(&mut self, _: Resource<ResponseHandle>) -> wasmtime::Result<Vec<Header>> {
        Ok(all(&self.response()?.headers))
    }

    fn drop(&mut self, _: Resource<ResponseHandle>) -> wasmtime::Result<()> {
        Ok(())
    }
}

impl GuestState {
    fn response(&mut self) -> wasmtime::Result<&ResponseHead> {
        self.message()?.response.as_ref().ok_or_else(|| Abort::NoMessage.into())
    }
}

fn first(headers: &HeaderMap, name: &str) -> Option<Vec<u8>> {
    headers.get(name).map(|value| value.as_bytes().to_vec())
}

fn values(headers: &HeaderMap, name: &str) -> Vec<Vec<u8>> {
    headers.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect()
}

fn all(headers: &HeaderMap) -> Vec<Header> {
    headers
        .iter()
        .map(|(name, value)| Header { name: name.as_str().to_owned(), value: value.as_bytes().to_vec() })
        .collect()
}
