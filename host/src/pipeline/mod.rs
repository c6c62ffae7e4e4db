//! Placeholder pipeline, so that listeners and codecs can be built alone.

use std::sync::Arc;

use http::{Request, Response};

use crate::message::{Body, Connection, WorkerId};

/// The placeholder.
#[derive(Clone)]
pub struct Pipeline {
    worker: WorkerId,
}

impl Pipeline {
    /// Handles one request.
    pub async fn handle(
        &self,
        _connection: &Arc<Connection>,
        request: Request<Body>,
        _early_data: bool,
    ) -> Response<Body> {
        Response::new(request.into_body())
    }

    /// The worker.
    #[must_use]
    pub fn worker(&self) -> WorkerId {
        self.worker
    }
}
