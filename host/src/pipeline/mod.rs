//! Placeholder pipeline that answers by echo, so that listeners and codecs can be built and tried alone.

use std::sync::Arc;

use http::{Request, Response};

use crate::message::{Body, Connection, WorkerId};

type Handler = dyn Fn(Request<Body>, bool) -> futures::Reply + Send + Sync;

/// Shapes of the placeholder.
pub mod futures {
    use std::future::Future;
    use std::pin::Pin;

    use http::Response;

    use crate::message::Body;

    /// A response to come.
    pub type Reply = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
}

/// The placeholder.
#[derive(Clone)]
pub struct Pipeline {
    worker: WorkerId,
    handler: Arc<Handler>,
}

impl Pipeline {
    /// Answers with the request's own body.
    #[must_use]
    pub fn echo(worker: WorkerId) -> Self {
        Self::with(worker, |request, early| {
            Box::pin(async move {
                let mut response = Response::new(Body::Empty);
                if let Ok(path) = request.uri().to_string().parse() {
                    response.headers_mut().insert("x-uri", path);
                }
                if early {
                    response.headers_mut().insert("x-early", http::HeaderValue::from_static("1"));
                }
                let size: Option<usize> =
                    request.uri().path().strip_prefix("/bytes/").and_then(|size| size.parse().ok());
                *response.body_mut() = match size {
                    Some(size) => Body::from(bytes::Bytes::from(vec![b'x'; size])),
                    None if request.uri().path() == "/hello" => Body::from(bytes::Bytes::from_static(b"ok")),
                    None => request.into_body(),
                };
                response
            })
        })
    }

    /// Answers with `handler`.
    pub fn with(
        worker: WorkerId,
        handler: impl Fn(Request<Body>, bool) -> futures::Reply + Send + Sync + 'static,
    ) -> Self {
        Self { worker, handler: Arc::new(handler) }
    }

    /// Handles one request.
    pub async fn handle(
        &self,
        _connection: &Arc<Connection>,
        request: Request<Body>,
        early_data: bool,
    ) -> Response<Body> {
        (self.handler)(request, early_data).await
    }

    /// The worker.
    #[must_use]
    pub fn worker(&self) -> WorkerId {
        self.worker
    }
}
