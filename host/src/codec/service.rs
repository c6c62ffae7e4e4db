//! What listeners and codecs need of the pipeline. It is a trait so that their tests can put something small in its
//! place; in the program there is one implementation.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Settings;
use crate::message::{Body, Connection, Drain, WorkerId};
use crate::pipeline::Pipeline;

/// Answers requests.
pub trait Service: Clone + Send + Sync + 'static {
    /// The worker that it runs on.
    fn worker(&self) -> WorkerId;

    /// Answers one request, whatever happens. Dropping the future gives the request up.
    fn handle(
        &self,
        connection: &Arc<Connection>,
        request: Request<Body>,
        early_data: bool,
    ) -> impl Future<Output = Response<Body>> + Send;

    /// Serves a connection that speaks HTTP/1.1: that codec tells the pipeline more than `handle` takes.
    fn http1<IO>(
        self,
        io: IO,
        prefix: Bytes,
        connection: Arc<Connection>,
        settings: Settings,
        drain: Drain,
    ) -> impl Future<Output = ()> + Send
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static;
}

impl Service for Pipeline {
    fn worker(&self) -> WorkerId {
        self.worker()
    }

    fn handle(
        &self,
        connection: &Arc<Connection>,
        request: Request<Body>,
        early_data: bool,
    ) -> impl Future<Output = Response<Body>> + Send {
        Self::handle(self, connection, request, early_data)
    }

    fn http1<IO>(
        self,
        io: IO,
        prefix: Bytes,
        connection: Arc<Connection>,
        settings: Settings,
        drain: Drain,
    ) -> impl Future<Output = ()> + Send
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        super::h1::serve(io, prefix, connection, self, settings, drain)
    }
}
