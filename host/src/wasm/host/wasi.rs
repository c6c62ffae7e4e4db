//! WASI 0.2, with nothing granted: no file, no socket, no variable, no argument. It is there because compilers of
//! other languages put its imports into every component. What a guest prints goes to the proxy's log.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::log;
use crate::wasm::bindings::gpanel::filter::log::Level;
use crate::wasm::limits::{LOG_LINE_BYTES, LOG_LINES_PER_CALL};
use crate::wasm::store::GuestState;

/// What an instance that uses WASI has more than others.
pub(in crate::wasm) struct Wasi {
    context: WasiCtx,
    table: ResourceTable,
    lines: Arc<Lines>,
}

/// The filter's name, and how many lines the call in progress may still print.
struct Lines {
    filter: Arc<str>,
    left: AtomicU32,
    dropped: AtomicU32,
}

impl Wasi {
    fn new(filter: Arc<str>) -> Self {
        let lines = Arc::new(Lines { filter, left: AtomicU32::new(LOG_LINES_PER_CALL), dropped: AtomicU32::new(0) });
        let context = WasiCtxBuilder::new()
            .stdout(Output { level: Level::Info, lines: Arc::clone(&lines) })
            .stderr(Output { level: Level::Warn, lines: Arc::clone(&lines) })
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .build();
        Self { context, table: ResourceTable::new(), lines }
    }

    /// Fills the budget for a call.
    pub(in crate::wasm) fn begin_call(&self) {
        self.lines.left.store(LOG_LINES_PER_CALL, Ordering::Relaxed);
        self.lines.dropped.store(0, Ordering::Relaxed);
    }

    pub(in crate::wasm) fn lines_dropped(&self) -> u32 {
        self.lines.dropped.load(Ordering::Relaxed)
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let facts = &self.facts;
        let wasi = self.wasi.get_or_insert_with(|| Box::new(Wasi::new(Arc::clone(&facts.name))));
        WasiCtxView { ctx: &mut wasi.context, table: &mut wasi.table }
    }
}

/// Standard output or standard error.
struct Output {
    level: Level,
    lines: Arc<Lines>,
}

impl Output {
    fn writer(&self) -> LineWriter {
        LineWriter { level: self.level, lines: Arc::clone(&self.lines), rest: Vec::new() }
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.writer())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.writer())
    }
}

/// Cuts what is printed into lines and logs each.
struct LineWriter {
    level: Level,
    lines: Arc<Lines>,
    /// A line that has not ended yet.
    rest: Vec<u8>,
}

impl LineWriter {
    fn print(&mut self, mut bytes: &[u8]) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.keep(&bytes[..end]);
            self.end_line();
            bytes = &bytes[end + 1..];
        }
        self.keep(bytes);
    }

    /// Keeps what a line may hold, and forgets the rest of it.
    fn keep(&mut self, bytes: &[u8]) {
        let room = LOG_LINE_BYTES.saturating_sub(self.rest.len());
        self.rest.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self) {
        let left = self.lines.left.load(Ordering::Relaxed);
        if let Some(left) = left.checked_sub(1) {
            self.lines.left.store(left, Ordering::Relaxed);
            log::write_line(&self.lines.filter, self.level, &String::from_utf8_lossy(&self.rest), "");
        } else {
            self.lines.dropped.fetch_add(1, Ordering::Relaxed);
        }
        self.rest.clear();
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        if !self.rest.is_empty() {
            self.end_line();
        }
    }
}

impl OutputStream for LineWriter {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.print(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(LOG_LINE_BYTES)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for LineWriter {
    async fn ready(&mut self) {}
}

impl AsyncWrite for LineWriter {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.print(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer() -> LineWriter {
        let wasi = Wasi::new("test".into());
        LineWriter { level: Level::Info, lines: wasi.lines, rest: Vec::new() }
    }

    #[test]
    fn what_is_printed_is_cut_into_lines() {
        let mut writer = writer();
        writer.print(b"one\ntwo\nthr");
        assert_eq!(writer.lines.left.load(Ordering::Relaxed), LOG_LINES_PER_CALL - 2);
        writer.print(b"ee\n");
        assert_eq!(writer.lines.left.load(Ordering::Relaxed), LOG_LINES_PER_CALL - 3);
        assert!(writer.rest.is_empty());
    }

    #[test]
    fn lines_are_bounded_in_length_and_number() {
        let mut writer = writer();
        writer.print(&[b'x'; 3 * LOG_LINE_BYTES]);
        assert_eq!(writer.rest.len(), LOG_LINE_BYTES);
        writer.print(&[b'\n'; 100]);
        assert_eq!(writer.lines.left.load(Ordering::Relaxed), 0);
        assert_eq!(writer.lines.dropped.load(Ordering::Relaxed), 100 - LOG_LINES_PER_CALL);
    }
}
