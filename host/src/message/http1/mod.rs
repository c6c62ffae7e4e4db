//! The grammar of HTTP/1.1 messages (RFC 9112), strict and without I/O: downstream codec and upstream client
//! share it, so that what one side refuses the other can't let through.

pub mod chunked;
pub mod encode;
pub mod framing;
pub mod head;
pub mod writer;

pub use chunked::{ChunkError, ChunkedDecoder, Decoded};
pub use framing::{Framing, FramingError};
pub use head::{HeadError, HeadLimits, RequestLine, StatusLine, Version};
pub use writer::{BodyWriter, OutBuffer, WriteError};
