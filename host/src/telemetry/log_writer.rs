//! Takes finished log lines from any thread and writes them from one of its own.
//!
//! Whoever logs only copies its line into a bounded buffer, under a lock that it shares with few; when there is
//! no room the line is dropped and counted. The writing thread sleeps while nothing is logged, and after the
//! first line it waits a moment for more: a busy proxy wakes it a few dozen times a second, not once a request.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::config::model::LogOutput;

/// Buffers; a thread keeps to one, so that threads seldom meet.
const SHARDS: usize = 8;
/// Bytes that one buffer takes before lines are dropped.
const SHARD_BYTES: usize = 1024 * 1024;
/// How long the first line of a batch may wait for others.
const LINGER: Duration = Duration::from_millis(20);
/// How long the end of the process waits for the last lines to be read by somebody.
const LAST_LINES: Duration = Duration::from_secs(2);

/// The writing thread has nothing to do and waits without limit.
const IDLE: u8 = 0;
/// It waits for a batch to grow.
const LINGERING: u8 = 1;
/// It writes, or has been woken.
const AWAKE: u8 = 2;

#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    lines: u64,
}

#[derive(Default)]
#[repr(align(128))]
struct Shard(Mutex<Batch>);

#[derive(Default)]
struct Shared {
    shards: [Shard; SHARDS],
    dropped: AtomicU64,
    state: AtomicU8,
    thread: OnceLock<Thread>,
    /// Where to write from now on; taken by the writing thread.
    output: Mutex<Option<LogOutput>>,
    stop: AtomicBool,
    finished: Mutex<bool>,
    ended: Condvar,
}

/// Hands lines to the writing thread; cheap to clone.
#[derive(Clone)]
pub struct LogWriter(Arc<Shared>);

impl LogWriter {
    /// Opens `output` and starts the thread. The writer ends when the returned handle is dropped.
    ///
    /// # Errors
    /// The file cannot be opened, or no thread can be started.
    pub fn start(output: &LogOutput) -> io::Result<(Self, WriterThread)> {
        let file = open(output)?;
        let shared = Arc::new(Shared::default());
        let thread = std::thread::Builder::new().name("log".into()).spawn({
            let shared = Arc::clone(&shared);
            let output = output.clone();
            move || run(&shared, output, file)
        })?;
        // Nobody else has seen the cell yet.
        let _ = shared.thread.set(thread.thread().clone());
        Ok((Self(Arc::clone(&shared)), WriterThread { shared, thread: Some(thread) }))
    }

    /// Queues one line, its newline included, or drops it.
    pub fn write(&self, line: &[u8]) {
        let (queued, filling) = {
            let mut batch = self.0.shards[shard_index()].0.lock();
            let queued = batch.bytes.len() + line.len() <= SHARD_BYTES;
            if queued {
                batch.bytes.extend_from_slice(line);
                batch.lines += 1;
            }
            (queued, batch.bytes.len() > SHARD_BYTES / 2)
        };
        if !queued {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
        self.0.wake(filling);
    }

    /// Lines that found no room, or that could not be written.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Opens the output again, or another one: for log rotation and a changed configuration. If that fails,
    /// the old one goes on.
    pub fn reopen(&self, output: LogOutput) {
        *self.0.output.lock() = Some(output);
        self.0.wake(true);
    }
}

impl Shared {
    /// Wakes the writing thread if it sleeps; while it only waits for more lines, just when that is `urgent`.
    fn wake(&self, urgent: bool) {
        // Writing thread: announces IDLE, then looks at the buffers under their locks. This thread: filled a
        // buffer under its lock, then looks at the state. One of the two sees the other.
        let state = self.state.load(Ordering::SeqCst);
        if (state == IDLE || (state == LINGERING && urgent))
            && self.state.swap(AWAKE, Ordering::SeqCst) != AWAKE
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    fn has_work(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
            || self.output.lock().is_some()
            || self.shards.iter().any(|shard| shard.0.lock().lines > 0)
    }
}

/// The writing thread; dropping it writes what is queued, for at most a short while, and ends it.
pub struct WriterThread {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for WriterThread {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // Whoever reads the log may have stopped reading: the end of the process must not depend on that.
            let deadline = Instant::now() + LAST_LINES;
            let mut finished = self.shared.finished.lock();
            while !*finished && !self.shared.ended.wait_until(&mut finished, deadline).timed_out() {}
        }
    }
}

/// The buffer that this thread uses, dealt out in turn.
fn shard_index() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    MINE.with(|mine| *mine)
}

/// Opens without any buffer of its own: what comes here are batches.
fn open(output: &LogOutput) -> io::Result<File> {
    match output {
        LogOutput::Stdout => Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
        LogOutput::Stderr => Ok(File::from(io::stderr().as_fd().try_clone_to_owned()?)),
        LogOutput::File(path) => OpenOptions::new().append(true).create(true).open(path),
    }
}

fn run(shared: &Shared, mut output: LogOutput, mut file: File) {
    let mut spare = Batch::default();
    loop {
        shared.state.store(IDLE, Ordering::SeqCst);
        while !shared.has_work() {
            std::thread::park();
        }
        if !shared.stop.load(Ordering::SeqCst) {
            shared.state.store(LINGERING, Ordering::SeqCst);
            std::thread::park_timeout(LINGER);
        }
        shared.state.store(AWAKE, Ordering::SeqCst);

        // What was logged before the end of the process is written; what comes later is lost anyway.
        let last = shared.stop.load(Ordering::SeqCst);
        let wanted = shared.output.lock().take();
        if let Some(wanted) = wanted {
            match open(&wanted) {
                Ok(opened) => (output, file) = (wanted, opened),
                // The old file is all that is left to say it in.
                Err(error) => {
                    tracing::error!(component = "server", %error, ?wanted, kept = ?output, "log output not opened");
                }
            }
        }
        for shard in &shared.shards {
            std::mem::swap(&mut *shard.0.lock(), &mut spare);
            if spare.lines > 0 && file.write_all(&spare.bytes).is_err() {
                // Disk full, reader gone: not even this can be logged.
                shared.dropped.fetch_add(spare.lines, Ordering::Relaxed);
            }
            spare.bytes.clear();
            spare.lines = 0;
        }
        if last {
            break;
        }
    }
    *shared.finished.lock() = true;
    shared.ended.notify_all();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_all_threads_arrive_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (writer, thread) = LogWriter::start(&LogOutput::File(path.clone())).unwrap();
        std::thread::scope(|scope| {
            for number in 0..4 {
                let writer = writer.clone();
                scope.spawn(move || {
                    for line in 0..500 {
                        writer.write(format!("{number} {line}\n").as_bytes());
                    }
                });
            }
        });
        drop(thread);
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(writer.dropped(), 0);
        for number in 0..4 {
            let lines: Vec<_> = text.lines().filter(|line| line.starts_with(&format!("{number} "))).collect();
            assert_eq!(lines.len(), 500);
            assert!(lines.iter().enumerate().all(|(index, line)| **line == format!("{number} {index}")));
        }
    }

    #[test]
    fn a_reader_that_stops_costs_lines_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        // Opened for both ways, so that neither open waits; nobody ever reads.
        let reader = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let (writer, thread) = LogWriter::start(&LogOutput::File(path)).unwrap();
        let line = [b'x'; 1024];
        for _ in 0..4 * SHARD_BYTES / line.len() {
            writer.write(&line);
        }
        assert!(writer.dropped() > 0);
        drop(thread);
        drop(reader);
    }

    #[test]
    fn reopening_follows_a_rotated_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let output = LogOutput::File(path.clone());
        let (writer, thread) = LogWriter::start(&output).unwrap();
        writer.write(b"one\n");
        let deadline = Instant::now() + Duration::from_secs(5);
        while std::fs::read(&path).unwrap().is_empty() {
            assert!(Instant::now() < deadline, "nothing was written");
            std::thread::yield_now();
        }
        std::fs::rename(&path, folder.path().join("old")).unwrap();
        writer.reopen(output);
        while !path.exists() {
            assert!(Instant::now() < deadline, "not opened again");
            std::thread::yield_now();
        }
        writer.write(b"two\n");
        drop(thread);
        assert_eq!(std::fs::read_to_string(path).unwrap(), "two\n");
    }
}
