//! One client interface over every protocol that the proxy speaks, so that one behaviour test runs over all.

mod body;
mod h3;
mod tcp;

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Parts, PathAndQuery, Scheme};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};

pub use body::{Pieces, empty, full, payload, pieces, with_trailers};
pub use h3::H3Connection;

use crate::certificate::Witness;
use crate::poll::within;

/// What any part of a client may fail with.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// A body, either way.
pub type ClientBody = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// How a client speaks to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 in the clear.
    H1,
    /// HTTP/1.1 in TLS.
    H1Tls,
    /// HTTP/2 in TLS.
    H2,
    /// HTTP/2 in the clear, with prior knowledge.
    H2c,
    /// HTTP/3.
    H3,
}

impl Protocol {
    /// Every one of them.
    pub const ALL: [Self; 5] = [Self::H1, Self::H1Tls, Self::H2, Self::H2c, Self::H3];

    /// The scheme of its URLs.
    pub fn scheme(self) -> Scheme {
        match self {
            Self::H1 | Self::H2c => Scheme::HTTP,
            Self::H1Tls | Self::H2 | Self::H3 => Scheme::HTTPS,
        }
    }

    /// Whether requests carry `Host` rather than `:authority`.
    pub fn is_http1(self) -> bool {
        matches!(self, Self::H1 | Self::H1Tls)
    }
}

/// A whole response.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// Header section.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// Trailers, if any came.
    pub trailers: Option<HeaderMap>,
}

impl Reply {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text()))
    }

    /// A header's only value; panics where there are two.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?;
        assert!(values.next().is_none(), "{name} came twice: {:?}", self.headers);
        Some(value.to_str().expect("text"))
    }
}

/// How long a whole exchange may take unless the test says otherwise.
const PATIENCE: Duration = Duration::from_secs(20);

/// One connection to the proxy.
pub struct Client {
    protocol: Protocol,
    authority: String,
    inner: Inner,
    witness: Option<Arc<Witness>>,
}

enum Inner {
    H1(tcp::H1),
    H2(tcp::H2),
    H3(H3Connection),
}

impl Client {
    /// Connects to `address` with `protocol`; requests are for `localhost` at that port.
    ///
    /// # Errors
    /// No connection.
    pub async fn connect(protocol: Protocol, address: SocketAddr) -> Result<Self, BoxError> {
        let (inner, witness) = match protocol {
            Protocol::H1 => (Inner::H1(tcp::h1(address).await?), None),
            Protocol::H2c => (Inner::H2(tcp::h2c(address).await?), None),
            Protocol::H1Tls => {
                let (client, witness) = tcp::h1_tls(address).await?;
                (Inner::H1(client), Some(witness))
            }
            Protocol::H2 => {
                let (client, witness) = tcp::h2(address).await?;
                (Inner::H2(client), Some(witness))
            }
            Protocol::H3 => {
                let (client, witness) = H3Connection::connect(address).await?;
                (Inner::H3(client), Some(witness))
            }
        };
        let authority = format!("localhost:{}", address.port());
        Ok(Self { protocol, authority, inner, witness })
    }

    /// The protocol spoken.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The authority of requests that don't name one.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The certificate that the proxy showed, in DER.
    pub fn certificate(&self) -> Option<Vec<u8>> {
        self.witness.as_ref()?.certificate()
    }

    /// Waits until the other side has closed the connection.
    pub async fn closed(&mut self) {
        match &mut self.inner {
            Inner::H1(client) => client.closed().await,
            Inner::H2(client) => client.closed().await,
            Inner::H3(client) => client.closed().await,
        }
    }

    /// The QUIC connection of an HTTP/3 client.
    pub fn quic(&self) -> Option<&quinn::Connection> {
        match &self.inner {
            Inner::H3(client) => Some(client.quic()),
            Inner::H1(_) | Inner::H2(_) => None,
        }
    }

    /// Another handle to the same connection, to send requests at the same time; not for HTTP/1.1.
    pub fn multiplex(&self) -> Option<Self> {
        let inner = match &self.inner {
            Inner::H1(_) => return None,
            Inner::H2(client) => Inner::H2(client.clone()),
            Inner::H3(client) => Inner::H3(client.clone()),
        };
        let (authority, witness) = (self.authority.clone(), self.witness.clone());
        Some(Self { protocol: self.protocol, authority, inner, witness })
    }

    /// Sends a request and gives the response with its body still streaming. The URI may be a path alone.
    ///
    /// # Errors
    /// The connection or the stream broke.
    pub async fn send(&mut self, request: Request<ClientBody>) -> Result<Response<ClientBody>, BoxError> {
        let request = self.complete(request);
        match &mut self.inner {
            Inner::H1(client) => client.send(request).await,
            Inner::H2(client) => client.send(request).await,
            Inner::H3(client) => client.send(request).await,
        }
    }

    /// Sends a request and collects the response.
    ///
    /// # Errors
    /// The connection or the stream broke.
    pub async fn try_fetch(&mut self, request: Request<ClientBody>) -> Result<Reply, BoxError> {
        let exchange = async {
            let (head, body) = self.send(request).await?.into_parts();
            let collected = body.collect().await?;
            let trailers = collected.trailers().cloned();
            Ok(Reply { status: head.status, headers: head.headers, body: collected.to_bytes(), trailers })
        };
        match tokio::time::timeout(PATIENCE, exchange).await {
            Ok(result) => result,
            Err(_) => Err(format!("no whole response within {PATIENCE:?}").into()),
        }
    }

    /// Sends a request and collects the response; panics where there is none.
    pub async fn fetch(&mut self, request: Request<ClientBody>) -> Reply {
        let shown = format!("{:?} {} {}", self.protocol, request.method(), request.uri());
        self.try_fetch(request).await.unwrap_or_else(|error| panic!("{shown}: {error}"))
    }

    /// GET.
    pub async fn get(&mut self, path: &str) -> Reply {
        self.fetch(Request::get(path).body(empty()).unwrap()).await
    }

    /// POST with a body of known length.
    pub async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> Reply {
        let body = Full::new(body.into()).map_err(|never| match never {}).boxed_unsync();
        self.fetch(Request::post(path).body(body).unwrap()).await
    }

    /// Fills in scheme and authority, in the way of the protocol.
    fn complete(&self, mut request: Request<ClientBody>) -> Request<ClientBody> {
        let uri = request.uri().clone();
        let authority = uri.authority().map_or_else(|| self.authority.clone(), ToString::to_string);
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        if self.protocol.is_http1() {
            *request.uri_mut() = Uri::from(path);
            if !request.headers().contains_key("host") {
                request.headers_mut().insert("host", authority.parse().unwrap());
            }
            return request;
        }
        let mut parts = Parts::default();
        parts.scheme = Some(self.protocol.scheme());
        parts.authority = Some(authority.parse().unwrap());
        parts.path_and_query = Some(path);
        *request.uri_mut() = Uri::from_parts(parts).unwrap();
        request
    }
}

/// Connects and fetches `path` in at most a second: what must work after every attack.
pub async fn still_answers(protocol: Protocol, address: SocketAddr, path: &str) -> Reply {
    within(Duration::from_secs(3), "a plain GET after the case", async {
        let mut client = Client::connect(protocol, address).await.expect("the proxy accepts");
        client.get(path).await
    })
    .await
}
