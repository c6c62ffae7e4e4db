//! `connection`: facts about the downstream connection.

use std::net::{IpAddr, SocketAddr};

use crate::message;
use crate::wasm::bindings::gpanel::filter::connection::{Endpoint, Host, HttpVersion};
use crate::wasm::store::GuestState;

impl Host for GuestState {
    fn peer(&mut self) -> wasmtime::Result<Endpoint> {
        Ok(endpoint(self.message()?.client))
    }

    fn local(&mut self) -> wasmtime::Result<Endpoint> {
        Ok(endpoint(self.message()?.connection.local))
    }

    fn protocol(&mut self) -> wasmtime::Result<HttpVersion> {
        Ok(match self.message()?.connection.protocol {
            message::Protocol::Http1 => HttpVersion::Http1,
            message::Protocol::Http2 => HttpVersion::Http2,
            message::Protocol::Http3 => HttpVersion::Http3,
        })
    }

    fn tls(&mut self) -> wasmtime::Result<bool> {
        Ok(self.message()?.connection.tls.is_some())
    }

    fn sni(&mut self) -> wasmtime::Result<Option<String>> {
        let tls = self.message()?.connection.tls.as_ref();
        Ok(tls.and_then(|tls| tls.sni.as_deref()).map(str::to_owned))
    }

    fn alpn(&mut self) -> wasmtime::Result<Option<String>> {
        let tls = self.message()?.connection.tls.as_ref();
        Ok(tls.and_then(|tls| tls.alpn.as_deref()).map(str::to_owned))
    }

    fn client_certificate(&mut self) -> wasmtime::Result<Option<Vec<u8>>> {
        let tls = self.message()?.connection.tls.as_ref();
        Ok(tls.and_then(|tls| tls.client_certificate.as_deref()).map(<[u8]>::to_vec))
    }

    fn early_data(&mut self) -> wasmtime::Result<bool> {
        Ok(self.message()?.early_data)
    }

    fn rtt(&mut self) -> wasmtime::Result<Option<u32>> {
        let rtt = self.message()?.connection.rtt.as_ref().and_then(|source| source());
        Ok(rtt.map(|rtt| u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX)))
    }
}

fn endpoint(address: SocketAddr) -> Endpoint {
    let bytes = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    Endpoint { address: bytes, port: address.port() }
}
