//! A part of a file as a body: 64 KiB at a time, read on the blocking pool when the codec asks for more.

use std::fs::File;
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::task::JoinHandle;

use super::open::read_at;
use crate::message::BodyError;

/// Bytes of one read: what an HTTP/2 or HTTP/3 stream window takes at once.
const CHUNK: u64 = 64 * 1024;

/// The rest of what was asked for.
pub(super) struct FileBody {
    file: Arc<File>,
    /// Where the next read begins.
    start: u64,
    /// Bytes that were not handed out yet.
    left: u64,
    /// The read in progress; at most one, and only when somebody waits for it.
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

impl FileBody {
    pub(super) fn new(file: File, start: u64, length: u64) -> Self {
        Self { file: Arc::new(file), start, left: length, reading: None }
    }
}

impl http_body::Body for FileBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if this.left == 0 {
            return Poll::Ready(None);
        }
        let reading = this.reading.get_or_insert_with(|| {
            let (file, start, length) = (Arc::clone(&this.file), this.start, this.left.min(CHUNK));
            tokio::task::spawn_blocking(move || read_at(&file, start, length))
        });
        let read = ready!(Pin::new(reading).poll(cx));
        this.reading = None;
        match read.map_err(io::Error::other).flatten() {
            Ok(bytes) => {
                this.start += bytes.len() as u64;
                this.left -= bytes.len() as u64;
                Poll::Ready(Some(Ok(Frame::data(Bytes::from(bytes)))))
            }
            // A file that shrank comes here too. The head is out: only an abort can tell.
            Err(error) => {
                this.left = 0;
                Poll::Ready(Some(Err(BodyError::Internal(error.into()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
