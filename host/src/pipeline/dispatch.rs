//! Dispatch: where the chain said, or where the configuration says when it said nothing.

use std::sync::Arc;

use super::Pipeline;
use super::error::RequestError;
use super::forward;
use super::internal;
use super::local_reply;
use super::record::Record;
use crate::message::{Body, Exchange, ResponseHead, Target};
use crate::snapshot::Snapshot;

/// Gets the response from the target.
pub(super) async fn dispatch(
    pipeline: &Pipeline,
    snapshot: &Arc<Snapshot>,
    exchange: &Exchange,
    body: Body,
    record: &mut Record,
) -> Result<(ResponseHead, Body), RequestError> {
    if exchange.request.path_and_query.as_str() == "*" {
        return Ok((local_reply::allow(), Body::Empty));
    }
    let target = if let Some(target) = exchange.target.as_ref() {
        target
    } else {
        let default = snapshot.default_target.as_ref().ok_or(RequestError::NoRoute)?;
        record.defaulted(default);
        default
    };
    match target {
        Target::Backend(name) => {
            let backend = snapshot.backends.get(name).ok_or(RequestError::UnknownBackend)?;
            forward::forward(pipeline.worker, snapshot, backend, exchange, body, record).await
        }
        Target::Static => {
            let files = snapshot.static_files.as_ref().ok_or(RequestError::NoRoute)?;
            Ok(files.serve(&exchange.request, Some(&exchange.id)).await)
        }
        Target::Internal => Ok(internal::serve(&pipeline.shared.telemetry, &exchange.request, Some(&exchange.id))),
    }
}
