//! A TCP proxy that stands in every connection: silo to silo, client to silo, silo to Redis.
//!
//! - [`Net`]: what is wrong with the way from one end to another, for each direction by itself.
//! - [`pump`]: carries the bytes of one direction, and does to them what is wrong.
//! - [`who`]: whose connection it is.

mod pump;
#[cfg(test)]
mod tests;
mod who;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// One end of connections.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum End {
    /// The silo of this slot, whichever process it is.
    Silo(usize),
    /// The callers.
    Client,
    /// The Redis server.
    Redis,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silo(number) => write!(f, "silo {number}"),
            Self::Client => f.write_str("the clients"),
            Self::Redis => f.write_str("Redis"),
        }
    }
}

/// What is wrong with the bytes of one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trouble {
    /// Each chunk is late, by up to twice this.
    Delay(Duration),
    /// No more than so many bytes a second.
    Throttle(u64),
    /// Nothing is carried until it is over; then everything is.
    Stall,
    /// Everything is lost, and the sender does not learn it: a half-open connection. It is reset when this is over.
    Swallow,
    /// Connections are reset at once, new ones too.
    Cut,
    /// A connection is closed in this direction only.
    HalfClose,
    /// A connection ends in the middle of a chunk.
    Truncate,
    /// A part of a chunk comes twice.
    Duplicate,
    /// A bit of a chunk is flipped.
    Garble,
}

/// The ways on which something is wrong, from one end to the other.
pub(crate) type Ways = BTreeMap<(End, End), Trouble>;

/// What is wrong at present. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Net {
    ways: Arc<watch::Sender<Ways>>,
    /// The silos' process ids, by which connections are told apart.
    pids: Arc<Mutex<BTreeMap<usize, u32>>>,
    /// How many connections or chunks something was done to.
    done: Arc<Mutex<BTreeMap<&'static str, u64>>>,
    /// Connections so far; each draws its choices from its number.
    connections: Arc<Mutex<u64>>,
    seed: u64,
}

impl Net {
    /// Nothing is wrong yet.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            ways: Arc::new(watch::Sender::new(Ways::new())),
            pids: Arc::default(),
            done: Arc::default(),
            connections: Arc::default(),
            seed,
        }
    }

    /// This is wrong from now on, and nothing else.
    pub(crate) fn set(&self, ways: Ways) {
        self.ways.send_replace(ways);
    }

    /// The silo of this slot is this process now.
    pub(crate) fn set_pid(&self, silo: usize, pid: u32) {
        self.pids.lock().insert(silo, pid);
    }

    /// How many connections or chunks something was done to, by what.
    pub(crate) fn done(&self) -> BTreeMap<&'static str, u64> {
        self.done.lock().clone()
    }

    fn count(&self, what: &'static str) {
        *self.done.lock().entry(what).or_default() += 1;
    }

    fn rng(&self) -> fastrand::Rng {
        let mut connections = self.connections.lock();
        *connections += 1;
        fastrand::Rng::with_seed(self.seed ^ connections.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Takes connections for `far`, which is at `port`, and moves when that does. They come from `near`, or from whose process
    /// it is. Gives the address that it listens at.
    ///
    /// # Errors
    /// There is no port.
    pub(crate) async fn stand_before(
        &self,
        far: End,
        port: watch::Receiver<u16>,
        near: Option<End>,
    ) -> std::io::Result<String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let net = self.clone();
        tokio::runtime::Handle::current().spawn(async move {
            loop {
                // An error here is of one connection, which is over.
                let Ok((stream, peer)) = listener.accept().await else { continue };
                let (net, port) = (net.clone(), port.clone());
                let carrying = async move { net.carry(stream, near, peer, far, port).await };
                tokio::runtime::Handle::current().spawn(carrying);
            }
        });
        Ok(address.to_string())
    }

    async fn carry(
        &self,
        mut stream: TcpStream,
        near: Option<End>,
        peer: SocketAddr,
        far: End,
        mut port: watch::Receiver<u16>,
    ) {
        let near = near.unwrap_or_else(|| who::is(peer.port(), &self.pids.lock()));
        let to = *port.borrow_and_update();
        let Ok(mut other) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await else {
            let _ = stream.set_zero_linger(); // nobody listens there: refused
            return;
        };
        let _ = (stream.set_nodelay(true), other.set_nodelay(true)); // or it is slower
        let over = {
            let (near_reads, near_writes) = stream.split();
            let (far_reads, far_writes) = other.split();
            let there = pump::Pump { net: self, way: (near, far), rng: self.rng() }.carry(near_reads, far_writes);
            let back = pump::Pump { net: self, way: (far, near), rng: self.rng() }.carry(far_reads, near_writes);
            tokio::select! {
                biased;
                Ok(()) = port.changed() => pump::Over::Reset,
                over = pump::both(there, back) => over,
            }
        };
        if over == pump::Over::Reset {
            let _ = (stream.set_zero_linger(), other.set_zero_linger()); // or they close in order
        }
    }
}
