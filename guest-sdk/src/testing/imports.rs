//! The contract's imports as the test host answers them, with the names and shapes of the generated bindings,
//! so that the rest of the SDK is the same code natively and in a component.

pub(crate) mod http {
    pub(crate) use crate::bindings::gpanel::filter::types::Header;

    /// Header fields as they are kept: lower-case names, in order.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Fields(pub(crate) Vec<(String, Vec<u8>)>);

    impl Fields {
        pub(crate) fn push(&mut self, name: &str, value: Vec<u8>) {
            self.0.push((name.to_ascii_lowercase(), value));
        }

        fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Vec<u8>> {
            self.0.iter().filter(move |(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        }

        fn all(&self) -> Vec<Header> {
            self.0.iter().map(|(name, value)| Header { name: name.clone(), value: value.clone() }).collect()
        }
    }

    #[derive(Clone, Debug)]
    pub(crate) struct Request {
        pub(crate) method: String,
        pub(crate) scheme: String,
        pub(crate) authority: String,
        pub(crate) path: Vec<u8>,
        pub(crate) query: Option<Vec<u8>>,
        pub(crate) fields: Fields,
        pub(crate) id: String,
        pub(crate) backend: Option<String>,
        pub(crate) route: Option<String>,
    }

    impl Request {
        pub(crate) fn method(&self) -> String {
            self.method.clone()
        }

        pub(crate) fn scheme(&self) -> String {
            self.scheme.clone()
        }

        pub(crate) fn authority(&self) -> String {
            self.authority.clone()
        }

        pub(crate) fn path(&self) -> Vec<u8> {
            self.path.clone()
        }

        pub(crate) fn query(&self) -> Option<Vec<u8>> {
            self.query.clone()
        }

        pub(crate) fn header(&self, name: &str) -> Option<Vec<u8>> {
            self.fields.values(name).next().cloned()
        }

        pub(crate) fn header_values(&self, name: &str) -> Vec<Vec<u8>> {
            self.fields.values(name).cloned().collect()
        }

        pub(crate) fn headers(&self) -> Vec<Header> {
            self.fields.all()
        }

        pub(crate) fn id(&self) -> String {
            self.id.clone()
        }

        pub(crate) fn backend(&self) -> Option<String> {
            self.backend.clone()
        }

        pub(crate) fn route(&self) -> Option<String> {
            self.route.clone()
        }
    }

    #[derive(Clone, Debug)]
    pub(crate) struct Response {
        pub(crate) status: u16,
        pub(crate) fields: Fields,
    }

    impl Response {
        pub(crate) fn status(&self) -> u16 {
            self.status
        }

        pub(crate) fn header(&self, name: &str) -> Option<Vec<u8>> {
            self.fields.values(name).next().cloned()
        }

        pub(crate) fn header_values(&self, name: &str) -> Vec<Vec<u8>> {
            self.fields.values(name).cloned().collect()
        }

        pub(crate) fn headers(&self) -> Vec<Header> {
            self.fields.all()
        }
    }
}

pub(crate) mod clock {
    use crate::testing::host;

    pub(crate) fn now() -> u64 {
        host::with(|host| host.wall)
    }

    pub(crate) fn monotonic() -> u64 {
        host::with(|host| host.monotonic)
    }
}

pub(crate) mod random {
    use crate::testing::host;

    pub(crate) fn bytes(len: u32) -> Vec<u8> {
        assert!(len <= 4096, "random::bytes({len}): the host gives at most 4,096 bytes a call");
        (0..len).map(|_| u64().to_le_bytes()[0]).collect()
    }

    pub(crate) fn u64() -> u64 {
        host::with(|host| {
            assert!(!host.configuring, "randomness is not available in Filter::new");
            host.next_random()
        })
    }
}

pub(crate) mod log {
    use crate::testing::host::{self, LogLine};

    pub(crate) use crate::bindings::gpanel::filter::log::Level;

    pub(crate) fn enabled(level: Level) -> bool {
        host::with(|host| level >= host.level)
    }

    pub(crate) fn write(level: Level, message: &str, fields: &[(String, String)]) {
        host::with(|host| {
            if level >= host.level {
                let level = crate::log::Level::from_raw(level);
                host.lines.push(LogLine { level, message: message.to_owned(), fields: fields.to_vec() });
            }
        });
    }
}

pub(crate) mod connection {
    use std::net::{IpAddr, SocketAddr};

    use crate::testing::host;

    pub(crate) use crate::bindings::gpanel::filter::connection::{Endpoint, HttpVersion};

    fn endpoint(address: SocketAddr) -> Endpoint {
        let bytes = match address.ip() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        Endpoint { address: bytes, port: address.port() }
    }

    pub(crate) fn peer() -> Endpoint {
        host::with(|host| endpoint(host.connection.peer))
    }

    pub(crate) fn local() -> Endpoint {
        host::with(|host| endpoint(host.connection.local))
    }

    pub(crate) fn protocol() -> HttpVersion {
        use crate::connection::Protocol;
        host::with(|host| match host.connection.protocol {
            Protocol::Http1 => HttpVersion::Http1,
            Protocol::Http2 => HttpVersion::Http2,
            Protocol::Http3 => HttpVersion::Http3,
        })
    }

    pub(crate) fn tls() -> bool {
        host::with(|host| host.connection.tls)
    }

    pub(crate) fn sni() -> Option<String> {
        host::with(|host| host.connection.sni.clone())
    }

    pub(crate) fn alpn() -> Option<String> {
        host::with(|host| host.connection.alpn.clone())
    }

    pub(crate) fn client_certificate() -> Option<Vec<u8>> {
        host::with(|host| host.connection.client_certificate.clone())
    }

    pub(crate) fn early_data() -> bool {
        host::with(|host| host.connection.early_data)
    }

    pub(crate) fn rtt() -> Option<u32> {
        host::with(|host| host.connection.rtt_micros)
    }
}
