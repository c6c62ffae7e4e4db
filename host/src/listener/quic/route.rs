//! Brings every QUIC datagram to the worker that owns its connection.
//!
//! The kernel spreads datagrams over the workers' sockets by the client's address. A client whose address
//! changes (NAT rebinding, migration from one network to another) lands on any of them. So the connection ids
//! that we hand out name their worker, in a form that only we can read, and a worker that receives a datagram
//! of another's passes it on.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, ConnectionId, ConnectionIdGenerator, EndpointConfig, UdpPoller};
use rustls::crypto::SecureRandom;

use crate::listener::limits::ConnectionLimits;
use crate::message::WorkerId;

/// Length of our connection ids: one byte for the worker, three to tell ours from made-up ones, four random ones.
const CID_LENGTH: usize = 8;
/// Datagrams that may wait for a worker.
const QUEUE: usize = 1024;

/// A datagram on its way to another worker.
#[derive(Debug)]
struct Datagram {
    bytes: Box<[u8]>,
    from: SocketAddr,
    to: Option<IpAddr>,
    ecn: Option<EcnCodepoint>,
}

#[derive(Debug, Default)]
struct Inbox {
    /// Spares the lock when, as nearly always, there is nothing.
    filled: AtomicBool,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    datagrams: VecDeque<Datagram>,
    waker: Option<Waker>,
}

impl Inbox {
    fn push(&self, datagram: Datagram) -> bool {
        let mut queue = self.queue.lock();
        if queue.datagrams.len() >= QUEUE {
            return false;
        }
        queue.datagrams.push_back(datagram);
        self.filled.store(true, Ordering::Release);
        let waker = queue.waker.take();
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// Moves waiting datagrams into the caller's buffers.
    fn take(&self, bufs: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> usize {
        if !self.filled.load(Ordering::Acquire) {
            return 0;
        }
        let mut queue = self.queue.lock();
        let mut count = 0;
        for (buf, meta) in bufs.iter_mut().zip(meta) {
            let Some(datagram) = queue.datagrams.pop_front() else { break };
            let length = datagram.bytes.len().min(buf.len());
            buf[..length].copy_from_slice(&datagram.bytes[..length]);
            meta.addr = datagram.from;
            meta.dst_ip = datagram.to;
            meta.ecn = datagram.ecn;
            meta.len = length;
            meta.stride = length;
            count += 1;
        }
        self.filled.store(!queue.datagrams.is_empty(), Ordering::Release);
        count
    }

    /// Registers to be woken by the next datagram; `false` if one came in the meantime.
    fn wait(&self, cx: &Context<'_>) -> bool {
        let mut queue = self.queue.lock();
        if !queue.datagrams.is_empty() {
            return false;
        }
        if !queue.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            queue.waker = Some(cx.waker().clone());
        }
        true
    }
}

/// The workers' inboxes and the key that connection ids are made with. Shared by all workers.
pub(in crate::listener) struct Routes {
    inboxes: Box<[Inbox]>,
    key: RandomState,
    /// Holds the key of stateless resets, which is the same for all: a reset is for whoever gets the packet.
    endpoint: EndpointConfig,
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes").field("workers", &self.inboxes.len()).finish_non_exhaustive()
    }
}

impl Routes {
    /// Routes among `workers`.
    pub(in crate::listener) fn new(workers: usize) -> Self {
        Self {
            inboxes: (0..workers).map(|_| Inbox::default()).collect(),
            key: RandomState::new(),
            endpoint: EndpointConfig::default(),
        }
    }

    /// What the workers' endpoints have in common.
    pub(super) fn endpoint(&self) -> EndpointConfig {
        self.endpoint.clone()
    }

    /// A connection id of `worker`'s with that random part.
    fn cid(&self, worker: WorkerId, random: [u8; 4]) -> [u8; CID_LENGTH] {
        let mask = self.key.hash_one(random).to_le_bytes();
        // Only 256 workers can be told apart; beyond, the rest are reached as long as no client moves.
        let [worker, _] = worker.0.to_le_bytes();
        let mut cid = [0; CID_LENGTH];
        cid[0] = worker ^ mask[0];
        cid[1..4].copy_from_slice(&mask[1..4]);
        cid[4..].copy_from_slice(&random);
        cid
    }

    /// The worker that a connection id names, if it is one of ours.
    fn owner(&self, cid: &[u8]) -> Option<WorkerId> {
        let (tag, random) = cid.get(..CID_LENGTH)?.split_at(4);
        let mask = self.key.hash_one([random[0], random[1], random[2], random[3]]).to_le_bytes();
        if tag[1..] != mask[1..4] {
            return None;
        }
        let worker = usize::from(tag[0] ^ mask[0]);
        (worker < self.inboxes.len()).then_some(WorkerId(u16::from(tag[0] ^ mask[0])))
    }

    /// The worker that a datagram is for, if it says so.
    ///
    /// Short headers carry one of our ids, as do long headers after a client's first flight. An id that a client
    /// made up itself is left where the kernel put it: it passes for one of ours once in 16 million.
    fn recipient(&self, datagram: &[u8]) -> Option<WorkerId> {
        match datagram {
            // Long header: flags, version (4), length of the id, id.
            [flags, rest @ ..] if flags & 0x80 != 0 => match rest.get(4..)? {
                [length, cid @ ..] if usize::from(*length) == CID_LENGTH => self.owner(cid),
                _ => None,
            },
            [_, cid @ ..] => self.owner(cid),
            [] => None,
        }
    }
}

/// Makes connection ids that name their worker.
pub(super) struct Generator {
    routes: Arc<Routes>,
    worker: WorkerId,
    random: &'static dyn SecureRandom,
    /// Stands in for the system's randomness should that ever fail; ids then are only unique.
    counter: u32,
}

impl Generator {
    pub(super) fn new(routes: Arc<Routes>, worker: WorkerId) -> Self {
        let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
        Self { routes, worker, random, counter: 0 }
    }
}

impl ConnectionIdGenerator for Generator {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut random = [0; 4];
        if self.random.fill(&mut random).is_err() {
            self.counter = self.counter.wrapping_add(1);
            random = self.counter.to_le_bytes();
        }
        ConnectionId::new(&self.routes.cid(self.worker, random))
    }

    fn cid_len(&self) -> usize {
        CID_LENGTH
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// A worker's UDP socket, together with what other workers received for it.
pub(super) struct RoutedSocket {
    inner: Arc<dyn AsyncUdpSocket>,
    routes: Arc<Routes>,
    worker: WorkerId,
    limits: Arc<ConnectionLimits>,
}

impl fmt::Debug for RoutedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoutedSocket").field("inner", &self.inner).field("worker", &self.worker).finish_non_exhaustive()
    }
}

impl RoutedSocket {
    /// Wraps a socket. With one worker there is nothing to route, and the socket stays as it is.
    pub(super) fn wrap(
        inner: Arc<dyn AsyncUdpSocket>,
        routes: Arc<Routes>,
        worker: WorkerId,
        limits: Arc<ConnectionLimits>,
    ) -> Arc<dyn AsyncUdpSocket> {
        if routes.inboxes.len() == 1 { inner } else { Arc::new(Self { inner, routes, worker, limits }) }
    }

    fn inbox(&self) -> &Inbox {
        &self.routes.inboxes[self.worker.index()]
    }

    /// Passes on what is not ours. A buffer may hold several datagrams of one sender (GRO), which may belong to
    /// different connections.
    fn sort(&self, buf: &[u8], meta: &mut RecvMeta) {
        let received = &buf[..meta.len];
        let foreign = |datagram: &[u8]| self.routes.recipient(datagram).filter(|owner| *owner != self.worker);
        if !received.chunks(meta.stride.max(1)).any(|datagram| foreign(datagram).is_some()) {
            return;
        }
        for datagram in received.chunks(meta.stride.max(1)) {
            let owner = foreign(datagram).unwrap_or(self.worker);
            let counters = self.limits.counters();
            let passed = self.routes.inboxes[owner.index()].push(Datagram {
                bytes: datagram.into(),
                from: meta.addr,
                to: meta.dst_ip,
                ecn: meta.ecn,
            });
            let counter = if passed { &counters.quic_forwarded } else { &counters.quic_forward_drops };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        // Nothing left here: the endpoint skips an empty buffer.
        meta.len = 0;
    }
}

impl AsyncUdpSocket for RoutedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let count = self.inbox().take(bufs, meta);
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
            match self.inner.poll_recv(cx, bufs, meta) {
                Poll::Ready(Ok(count)) => {
                    for (buf, meta) in bufs.iter().zip(meta.iter_mut()).take(count) {
                        self.sort(buf, meta);
                    }
                    return Poll::Ready(Ok(count));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if self.inbox().wait(cx) => return Poll::Pending,
                Poll::Pending => {}
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_name_their_worker_and_nobody_elses_do() {
        let routes = Arc::new(Routes::new(5));
        for worker in 0..5 {
            let mut generator = Generator::new(Arc::clone(&routes), WorkerId(worker));
            let mut leading = std::collections::HashSet::new();
            for _ in 0..200 {
                let cid = generator.generate_cid();
                assert_eq!(routes.owner(&cid), Some(WorkerId(worker)));
                leading.insert(cid[0]);
                let short: Vec<u8> = [0x40].iter().chain(&cid[..]).copied().collect();
                assert_eq!(routes.recipient(&short), Some(WorkerId(worker)));
                let long: Vec<u8> = [0xc0, 0, 0, 0, 1, 8].iter().chain(&cid[..]).copied().collect();
                assert_eq!(routes.recipient(&long), Some(WorkerId(worker)));
                assert_eq!(Routes::new(5).owner(&cid), None, "another process's key");
            }
            assert!(leading.len() > 50, "the worker's number can't be read off");
        }
        for datagram in [&[][..], &[0x40], &[0xc0, 0, 0], &[0xc0, 0, 0, 0, 1, 8, 1, 2], &[0x40, 1, 2, 3, 4, 5, 6, 7, 8]]
        {
            assert_eq!(routes.recipient(datagram), None);
        }
    }

    #[test]
    fn an_inbox_is_bounded_and_keeps_the_order() {
        let inbox = Inbox::default();
        let datagram =
            |byte| Datagram { bytes: [byte].into(), from: SocketAddr::from(([192, 0, 2, 1], 1)), to: None, ecn: None };
        assert!((0..QUEUE).all(|number| inbox.push(datagram(u8::try_from(number % 256).unwrap()))));
        assert!(!inbox.push(datagram(0)));
        let mut storage = [[0; 4]; 3];
        let mut bufs: Vec<_> = storage.iter_mut().map(|buf| IoSliceMut::new(buf)).collect();
        let mut meta = [RecvMeta::default(); 3];
        assert_eq!(inbox.take(&mut bufs, &mut meta), 3);
        assert_eq!((bufs[0][0], bufs[1][0], bufs[2][0], meta[2].len), (0, 1, 2, 1));
    }
}
