//! The life of a request.

pub mod internal;
pub mod static_files;
