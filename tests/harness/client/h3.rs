//! An HTTP/3 client on quinn and h3.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use quinn::crypto::rustls::QuicClientConfig;
use tokio::sync::watch;

use super::{BoxError, ClientBody};
use crate::certificate::{Witness, trusting_client};

type Requests = h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>;
type Receiving = h3::client::RequestStream<h3_quinn::RecvStream, Bytes>;
type Sending = h3::client::RequestStream<h3_quinn::SendStream<Bytes>, Bytes>;

const CONNECT: Duration = Duration::from_secs(20);

/// An HTTP/3 connection; clones share it.
#[derive(Clone)]
pub struct H3Connection {
    requests: Requests,
    quic: quinn::Connection,
    ended: watch::Receiver<bool>,
    // Held because the connection's driver ends with it.
    endpoint: quinn::Endpoint,
}

/// A QUIC client endpoint on a port of its own, and who it met.
fn endpoint(towards: SocketAddr) -> Result<(quinn::Endpoint, Arc<Witness>), BoxError> {
    let local: IpAddr = if towards.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
    let (mut tls, witness) = trusting_client(&[b"h3"]);
    tls.enable_early_data = true;
    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    let mut transport = quinn::TransportConfig::default();
    transport.receive_window(quinn::VarInt::from_u32(8 * 1024 * 1024));
    transport.stream_receive_window(quinn::VarInt::from_u32(4 * 1024 * 1024));
    transport.max_idle_timeout(Some(Duration::from_secs(30).try_into()?));
    config.transport_config(Arc::new(transport));
    let mut endpoint = quinn::Endpoint::client(SocketAddr::new(local, 0))?;
    endpoint.set_default_client_config(config);
    Ok((endpoint, witness))
}

impl H3Connection {
    /// Connects to `address`.
    ///
    /// # Errors
    /// No connection.
    pub async fn connect(address: SocketAddr) -> Result<(Self, Arc<Witness>), BoxError> {
        let (endpoint, witness) = endpoint(address)?;
        let quic = tokio::time::timeout(CONNECT, endpoint.connect(address, "localhost")?).await??;
        let (mut driver, requests) = h3::client::new(h3_quinn::Connection::new(quic.clone())).await?;
        let (sender, ended) = watch::channel(false);
        tokio::spawn(async move {
            let _ = driver.wait_idle().await;
            sender.send_replace(true);
        });
        Ok((Self { requests, quic, ended, endpoint }, witness))
    }

    /// The QUIC connection.
    pub fn quic(&self) -> &quinn::Connection {
        &self.quic
    }

    /// GET, for tests that need the endpoint too: how many bytes came.
    ///
    /// # Errors
    /// The connection or the stream broke.
    pub async fn get(&mut self, path: &str) -> Result<usize, BoxError> {
        let uri = format!("https://localhost{path}");
        let response = self.send(Request::get(uri).body(super::empty())?).await?;
        Ok(response.into_body().collect().await?.to_bytes().len())
    }

    /// The endpoint, for tests that move it to another port.
    pub fn endpoint(&self) -> &quinn::Endpoint {
        &self.endpoint
    }

    pub(super) async fn closed(&mut self) {
        let _ = self.ended.wait_for(|ended| *ended).await;
    }

    pub(super) async fn send(&mut self, request: Request<ClientBody>) -> Result<Response<ClientBody>, BoxError> {
        let (mut head, body) = request.into_parts();
        if let Some(length @ 1..) = http_body::Body::size_hint(&body).exact() {
            head.headers.entry("content-length").or_insert_with(|| length.into());
        }
        let stream = self.requests.send_request(Request::from_parts(head, ())).await?;
        let (sending, mut receiving) = stream.split();
        let upload = tokio::spawn(upload(sending, body));
        let response = receiving.recv_response().await?;
        Ok(response.map(|()| download(receiving, upload)))
    }
}

/// Sends the body; a body that breaks off resets the stream.
async fn upload(mut stream: Sending, mut body: ClientBody) -> Result<(), BoxError> {
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                stream.stop_stream(h3::error::Code::H3_REQUEST_CANCELLED);
                return Err(error);
            }
        };
        match frame.into_data() {
            Ok(data) => stream.send_data(data).await?,
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    stream.send_trailers(trailers).await?;
                }
            }
        }
    }
    stream.finish().await?;
    Ok(())
}

enum Step {
    Data,
    Trailers,
    End,
}

fn download(receiving: Receiving, upload: tokio::task::JoinHandle<Result<(), BoxError>>) -> ClientBody {
    let frames = stream::unfold((receiving, Step::Data, upload), |(mut stream, mut step, upload)| async move {
        loop {
            match step {
                Step::Data => match stream.recv_data().await {
                    Ok(Some(mut data)) => {
                        let bytes = data.copy_to_bytes(data.remaining());
                        drop(data);
                        return Some((Ok::<_, BoxError>(Frame::data(bytes)), (stream, Step::Data, upload)));
                    }
                    Ok(None) => step = Step::Trailers,
                    Err(error) => return Some((Err(error.into()), (stream, Step::End, upload))),
                },
                Step::Trailers => match stream.recv_trailers().await {
                    Ok(Some(fields)) => return Some((Ok(Frame::trailers(fields)), (stream, Step::End, upload))),
                    Ok(None) => step = Step::End,
                    Err(error) => return Some((Err(error.into()), (stream, Step::End, upload))),
                },
                Step::End => return None,
            }
        }
    });
    StreamBody::new(frames).boxed_unsync()
}
