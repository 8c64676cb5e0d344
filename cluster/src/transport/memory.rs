//! A network in memory, for tests and simulation: named hosts, streams between them, and faults on command. It does the
//! same for the same calls: no threads, no time, no chance.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use bytes::BytesMut;
use parking_lot::Mutex;

use super::memory_stream::MemoryStream;
use super::net::{Listener, Net, Stream};

/// How many streams wait to be accepted.
const BACKLOG: usize = 1024;

/// What happens to bytes from one host to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Path {
    /// They are late: they arrive when the fault is healed, as with TCP.
    Partitioned,
    /// They are taken and lost, and the writer sees nothing of it.
    Vanishing,
}

#[derive(Default)]
pub(crate) struct World {
    listeners: BTreeMap<String, Backlog>,
    pub(crate) pipes: BTreeMap<u64, Pipe>,
    pub(crate) paths: BTreeMap<(String, String), Path>,
    refusing: BTreeSet<String>,
    next: u64,
    /// Those who wait to connect or to accept.
    waiting: Vec<Waker>,
}

/// The streams that wait at an address, and which of the listeners there, one after the other, they wait for.
struct Backlog {
    listener: u64,
    streams: VecDeque<MemoryStream>,
}

/// One direction of a stream.
pub(crate) struct Pipe {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) bytes: BytesMut,
    /// The writer is gone: what is in it is the rest.
    pub(crate) ended: bool,
    /// The reader is gone.
    pub(crate) abandoned: bool,
    pub(crate) reset: bool,
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
}

impl Pipe {
    pub(crate) fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

impl World {
    fn wake_waiting(&mut self) {
        self.waiting.drain(..).for_each(Waker::wake);
    }

    fn wake_all(&mut self) {
        self.wake_waiting();
        self.pipes.values_mut().for_each(Pipe::wake);
    }

    fn path(&self, from: &str, to: &str) -> Option<Path> {
        self.paths.get(&(from.to_owned(), to.to_owned())).copied()
    }

    fn pipe(&mut self, from: &str, to: &str) -> u64 {
        self.next += 1;
        let pipe = Pipe {
            from: from.to_owned(),
            to: to.to_owned(),
            bytes: BytesMut::new(),
            ended: false,
            abandoned: false,
            reset: false,
            reader: None,
            writer: None,
        };
        self.pipes.insert(self.next, pipe);
        self.next
    }
}

/// The network of some hosts in one process. Cheap to clone. An address is `host:port`.
#[derive(Clone, Default)]
pub struct MemoryNet {
    pub(crate) world: Arc<Mutex<World>>,
}

impl MemoryNet {
    /// A network without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The network as the host of this name sees it.
    pub fn host(&self, name: &str) -> MemoryHost {
        MemoryHost { name: name.to_owned(), net: self.clone() }
    }

    /// Bytes and connections from one host to the other are late until healed. The other way is not touched.
    pub fn partition_one_way(&self, from: &str, to: &str) {
        self.set_path(from, to, Some(Path::Partitioned));
    }

    /// Neither host reaches the other until healed; what they write arrives then.
    pub fn partition(&self, a: &str, b: &str) {
        self.partition_one_way(a, b);
        self.partition_one_way(b, a);
    }

    /// What one host writes to the other vanishes, though its streams look open.
    pub fn stall(&self, from: &str, to: &str) {
        self.set_path(from, to, Some(Path::Vanishing));
    }

    /// Ends what was said of the two hosts, both ways. Bytes that vanished stay lost.
    pub fn heal(&self, a: &str, b: &str) {
        self.set_path(a, b, None);
        self.set_path(b, a, None);
    }

    /// Resets every stream between the two hosts. New ones may be opened.
    pub fn cut(&self, a: &str, b: &str) {
        self.reset(|pipe| (pipe.from == a && pipe.to == b) || (pipe.from == b && pipe.to == a));
    }

    /// Resets every stream of a host and ends its listeners: its process was killed.
    pub fn kill(&self, host: &str) {
        let mut world = self.world.lock();
        let (killed, kept) = std::mem::take(&mut world.listeners).into_iter().partition(|(at, _)| host_of(at) == host);
        world.listeners = kept;
        drop(world); // the streams in the backlogs lock the world themselves
        drop::<BTreeMap<_, _>>(killed);
        self.reset(|pipe| pipe.from == host || pipe.to == host);
    }

    /// Refuses connections to an address (or takes them again), though somebody listens there.
    pub fn refuse(&self, address: &str, refuse: bool) {
        let mut world = self.world.lock();
        if refuse {
            world.refusing.insert(address.to_owned());
        } else {
            world.refusing.remove(address);
        }
        world.wake_waiting();
    }

    fn set_path(&self, from: &str, to: &str, path: Option<Path>) {
        let key = (from.to_owned(), to.to_owned());
        let mut world = self.world.lock();
        match path {
            Some(path) => drop(world.paths.insert(key, path)),
            None => drop(world.paths.remove(&key)),
        }
        world.wake_all();
    }

    fn reset(&self, which: impl Fn(&Pipe) -> bool) {
        let mut world = self.world.lock();
        for pipe in world.pipes.values_mut().filter(|pipe| which(pipe)) {
            pipe.reset = true;
            pipe.bytes.clear();
        }
        world.wake_all();
    }

    fn poll_connect(&self, cx: &Context<'_>, from: &str, address: &str) -> Poll<io::Result<MemoryStream>> {
        let mut world = self.world.lock();
        let to = host_of(address);
        if world.path(from, to).is_some() || world.path(to, from).is_some() {
            world.waiting.push(cx.waker().clone());
            return Poll::Pending;
        }
        let full = world.listeners.get(address).is_none_or(|backlog| backlog.streams.len() >= BACKLOG);
        if full || world.refusing.contains(address) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionRefused.into()));
        }
        let (there, back) = (world.pipe(from, to), world.pipe(to, from));
        let arriving = MemoryStream { net: self.clone(), read: there, write: back };
        if let Some(backlog) = world.listeners.get_mut(address) {
            backlog.streams.push_back(arriving);
        }
        world.wake_waiting();
        Poll::Ready(Ok(MemoryStream { net: self.clone(), read: back, write: there }))
    }

    fn poll_accept(&self, cx: &Context<'_>, address: &str, listener: u64) -> Poll<io::Result<MemoryStream>> {
        let mut world = self.world.lock();
        let backlog = world.listeners.get_mut(address).filter(|backlog| backlog.listener == listener);
        let Some(backlog) = backlog else {
            // Killed: nothing comes here ever again.
            return Poll::Pending;
        };
        match backlog.streams.pop_front() {
            Some(stream) => Poll::Ready(Ok(stream)),
            None => {
                world.waiting.push(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl std::fmt::Debug for MemoryNet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryNet")
    }
}

fn host_of(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

/// A [`MemoryNet`] as one of its hosts sees it.
#[derive(Clone, Debug)]
pub struct MemoryHost {
    name: String,
    net: MemoryNet,
}

#[async_trait]
impl Net for MemoryHost {
    async fn connect(&self, address: &str) -> io::Result<Box<dyn Stream>> {
        let stream = std::future::poll_fn(|cx| self.net.poll_connect(cx, &self.name, address)).await?;
        Ok(Box::new(stream))
    }

    async fn bind(&self, address: &str) -> io::Result<Box<dyn Listener>> {
        if host_of(address) != self.name {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let mut world = self.net.world.lock();
        if world.listeners.contains_key(address) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        world.next += 1;
        let listener = world.next;
        world.listeners.insert(address.to_owned(), Backlog { listener, streams: VecDeque::new() });
        Ok(Box::new(MemoryListener { address: address.to_owned(), id: listener, net: self.net.clone() }))
    }
}

struct MemoryListener {
    address: String,
    id: u64,
    net: MemoryNet,
}

#[async_trait]
impl Listener for MemoryListener {
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, String)> {
        let stream = std::future::poll_fn(|cx| self.net.poll_accept(cx, &self.address, self.id)).await?;
        let from = self.net.world.lock().pipes.get(&stream.read).map(|pipe| pipe.from.clone());
        Ok((Box::new(stream), from.unwrap_or_default()))
    }

    fn local_address(&self) -> String {
        self.address.clone()
    }

    fn is_loopback(&self) -> bool {
        true
    }
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        let mut world = self.net.world.lock();
        // Another may listen here since this one was killed.
        let mine = world.listeners.get(&self.address).is_some_and(|backlog| backlog.listener == self.id);
        let backlog = if mine { world.listeners.remove(&self.address) } else { None };
        drop(world); // the streams in it lock the world themselves
        drop(backlog);
    }
}
