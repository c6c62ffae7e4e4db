//! An origin that does exactly what the test says, byte by byte, and keeps every byte that it gets. Each
//! connection's bytes go through the strict parser; what doesn't parse is kept as a violation.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::poll::eventually;
use crate::strict::{self, Parsed, StrictRequest};

/// What an origin does once a request is there.
#[derive(Clone, Debug)]
pub enum Act {
    /// Sends the bytes and waits for the next request on the same connection.
    Answer(Vec<u8>),
    /// Sends the bytes and closes the connection.
    AnswerAndClose(Vec<u8>),
    /// Sends the bytes as soon as the request's head is there, then goes on reading.
    AnswerEarly(Vec<u8>),
    /// Sends the bytes one by one, each in a segment of its own.
    Drip(Vec<u8>),
    /// Sends these bytes, then resets the connection.
    Reset(Vec<u8>),
    /// Sends nothing and keeps the connection open.
    Silence,
    /// Sends the bytes and then nothing, the connection stays open.
    AnswerAndHang(Vec<u8>),
    /// Answers, then sends everything back that comes (after `101 Switching Protocols`).
    SwitchAndEcho(Vec<u8>),
}

impl Act {
    /// A plain answer of 200 with that text.
    pub fn ok(text: &str) -> Self {
        Self::Answer(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).into_bytes())
    }

    /// Bytes from text.
    pub fn answer(text: &str) -> Self {
        Self::Answer(text.as_bytes().to_vec())
    }
}

type Script = dyn Fn(&StrictRequest) -> Act + Send + Sync;

#[derive(Default)]
struct Record {
    received: Vec<Vec<u8>>,
    requests: Vec<StrictRequest>,
    violations: Vec<String>,
    broken_off: usize,
    closed: usize,
}

/// A running raw origin; it ends when it is dropped.
pub struct RawOrigin {
    address: SocketAddr,
    record: Arc<Mutex<Record>>,
    script: Arc<Mutex<Arc<Script>>>,
    task: JoinHandle<()>,
}

impl RawOrigin {
    /// Starts an origin that does what `script` says about each request.
    pub async fn start(script: impl Fn(&StrictRequest) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let record = Arc::new(Mutex::new(Record::default()));
        let script: Arc<Mutex<Arc<Script>>> = Arc::new(Mutex::new(Arc::new(script)));
        let task = tokio::spawn(accept(listener, Arc::clone(&record), Arc::clone(&script)));
        Self { address, record, script, task }
    }

    /// Starts an origin that answers every request with 200.
    pub async fn plain() -> Self {
        Self::start(|_| Act::ok("ok")).await
    }

    /// Does from now on what `script` says.
    pub fn now(&self, script: impl Fn(&StrictRequest) -> Act + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Arc::new(script);
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whole requests, in order of their arrival.
    pub fn requests(&self) -> Vec<StrictRequest> {
        self.record.lock().unwrap().requests.clone()
    }

    /// The last whole request.
    pub fn last(&self) -> StrictRequest {
        self.requests().pop().expect("the origin got a request")
    }

    /// Every byte, by connection.
    pub fn received(&self) -> Vec<Vec<u8>> {
        self.record.lock().unwrap().received.clone()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.record.lock().unwrap().received.len()
    }

    /// Connections that the other side closed.
    pub fn closed(&self) -> usize {
        self.record.lock().unwrap().closed
    }

    /// Requests whose head came and whose body never ended.
    pub fn broken_off(&self) -> usize {
        self.record.lock().unwrap().broken_off
    }

    /// Panics when anything came that the strict parser refuses.
    pub fn assert_clean(&self, case: &str) {
        let record = self.record.lock().unwrap();
        assert!(record.violations.is_empty(), "{case}: the origin got {:?}", record.violations);
    }

    /// Waits until `count` whole requests are there.
    pub async fn wait_for_requests(&self, count: usize) {
        let what = format!("{count} requests at the origin");
        eventually(Duration::from_secs(10), &what, || async { (self.requests().len() >= count).then_some(()) }).await;
    }
}

impl Drop for RawOrigin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, record: Arc<Mutex<Record>>, script: Arc<Mutex<Arc<Script>>>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let index = {
            let mut record = record.lock().unwrap();
            record.received.push(Vec::new());
            record.received.len() - 1
        };
        connections.spawn(converse(stream, index, Arc::clone(&record), Arc::clone(&script)));
        while connections.try_join_next().is_some() {}
    }
}

/// One connection, until either side ends it.
async fn converse(mut stream: TcpStream, index: usize, record: Arc<Mutex<Record>>, script: Arc<Mutex<Arc<Script>>>) {
    let mut pending = Vec::new();
    let mut answered_early = false;
    loop {
        let parsed = match strict::parse(&pending) {
            Ok(parsed) => parsed,
            Err(violation) => {
                record.lock().unwrap().violations.push(violation);
                return;
            }
        };
        match parsed {
            Parsed::Request(request, used) => {
                pending.drain(..used);
                let act = script.lock().unwrap().clone()(&request);
                record.lock().unwrap().requests.push(*request);
                if !std::mem::take(&mut answered_early) && !perform(&mut stream, act, &mut pending).await {
                    return;
                }
                continue;
            }
            Parsed::Head(request) if !answered_early => {
                let act = script.lock().unwrap().clone()(&request);
                if let Act::AnswerEarly(bytes) = act {
                    answered_early = true;
                    if stream.write_all(&bytes).await.is_err() {
                        return;
                    }
                }
            }
            Parsed::Head(_) | Parsed::Incomplete => {}
        }
        let mut buffer = vec![0; 64 * 1024];
        let count = stream.read(&mut buffer).await.unwrap_or(0);
        let mut record = record.lock().unwrap();
        if count == 0 {
            record.closed += 1;
            if !pending.is_empty() {
                record.broken_off += 1;
            }
            return;
        }
        record.received[index].extend_from_slice(&buffer[..count]);
        pending.extend_from_slice(&buffer[..count]);
    }
}

/// Does what the script said; whether the connection goes on.
async fn perform(stream: &mut TcpStream, act: Act, pending: &mut Vec<u8>) -> bool {
    match act {
        Act::Answer(bytes) | Act::AnswerEarly(bytes) => stream.write_all(&bytes).await.is_ok(),
        Act::AnswerAndClose(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            // Reads until the other side has closed too: a close with unread bytes would be a reset.
            while matches!(stream.read(&mut [0; 4096]).await, Ok(1..)) {}
            false
        }
        Act::Drip(bytes) => {
            for byte in bytes {
                if stream.write_all(&[byte]).await.is_err() {
                    return false;
                }
                tokio::task::yield_now().await;
            }
            true
        }
        Act::Reset(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
            false
        }
        Act::Silence => true,
        Act::AnswerAndHang(bytes) => {
            let _ = stream.write_all(&bytes).await;
            while matches!(stream.read(&mut [0; 4096]).await, Ok(1..)) {}
            false
        }
        Act::SwitchAndEcho(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.write_all(&std::mem::take(pending)).await;
            let (mut reader, mut writer) = stream.split();
            let _ = tokio::io::copy(&mut reader, &mut writer).await;
            false
        }
    }
}
