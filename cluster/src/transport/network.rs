//! The service that listens, dials and keeps the links.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{self, Context};
use super::error::{HandshakeError, LinkError, NetworkError, StartError};
use super::handshake::{self, Local};
use super::link::{Direction, Link};
use super::net::{Listener, Net, Stream};
use super::options::{Options, Receiver};
use super::schedule::Schedule;
use super::wire::hello::{Identity, NOT_JOINED, Refusal};
use crate::Incarnation;

/// How many dead incarnations a network remembers by itself; the receiver's `admit` knows them all.
const MAX_DEAD: usize = 4096;
/// How long to wait when the system gives no more streams.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where a silo is, and which run of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerAddress {
    /// Which run.
    pub incarnation: Incarnation,
    /// The view version that inserted its row.
    pub join: u64,
    /// Where.
    pub address: String,
}

/// Whom a dialed link is for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Silo(Incarnation),
    Anyone(String),
}

struct Backoff {
    failures: u32,
    until: Instant,
    last: LinkError,
}

#[derive(Default)]
struct Links {
    all: BTreeMap<u64, Arc<Link>>,
    dialed: BTreeMap<Target, Arc<Link>>,
    backoff: BTreeMap<Target, Backoff>,
    dead: BTreeSet<Incarnation>,
    dead_order: VecDeque<Incarnation>,
    accepted: usize,
    next_id: u64,
    stopping: bool,
}

struct Shared {
    options: Options,
    identity: Mutex<Identity>,
    net: Arc<dyn Net>,
    context: Context,
    links: Mutex<Links>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// The network of one silo or client. Cheap to clone; it runs until [`stop`](Self::stop).
#[derive(Clone)]
pub struct Network {
    shared: Arc<Shared>,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Network({:?})", *self.shared.identity.lock())
    }
}

impl Network {
    /// Starts to listen, if the options say so. All tasks are spawned on `handle`.
    ///
    /// # Errors
    /// It cannot listen there, or anybody could connect and that is not allowed.
    pub async fn start(
        options: Options,
        net: Arc<dyn Net>,
        handle: Handle,
        receiver: Arc<dyn Receiver>,
    ) -> Result<Self, StartError> {
        let listener = match &options.listen {
            None => None,
            Some(address) => {
                let bound = net.bind(address).await;
                let listener = bound.map_err(|source| StartError::Bind { address: address.clone(), source })?;
                if !listener.is_loopback() && !options.is_secured() && !options.allow_insecure {
                    return Err(StartError::Insecure { address: listener.local_address() });
                }
                Some(listener)
            }
        };
        let bound = listener.as_ref().map(|listener| listener.local_address());
        let identity = Identity {
            cluster: options.cluster.clone(),
            role: options.role,
            incarnation: options.incarnation,
            join: NOT_JOINED,
            address: options.advertise.clone().or(bound).unwrap_or_default(),
        };
        let limits = Arc::new(options.limits.clone());
        let context = Context { handle, receiver, flush: Arc::new(Notify::new()), limits };
        let shared = Arc::new(Shared {
            options,
            identity: Mutex::new(identity),
            net,
            context,
            links: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        });
        if let Some(listener) = listener {
            shared.spawn(shared.clone().listen(listener));
        }
        Ok(Self { shared })
    }

    /// Where others reach this node; empty for a client.
    pub fn address(&self) -> String {
        self.shared.identity.lock().address.clone()
    }

    /// This silo's row was inserted by the view of this version: told in handshakes from now on.
    pub fn set_join(&self, join: u64) {
        self.shared.identity.lock().join = join;
    }

    /// The link that this side dialed to a silo, made if there is none. It is given at once, while it connects; messages
    /// queue meanwhile. If it cannot connect, the receiver's `closed` gets them all back.
    ///
    /// # Errors
    /// The last attempt failed just now, the peer is dead, or the network has stopped.
    pub fn link(&self, peer: &PeerAddress) -> Result<Arc<Link>, NetworkError> {
        self.shared.dialed(Target::Silo(peer.incarnation), Some(peer.incarnation), peer.address.clone())
    }

    /// The same for whoever is at `address`: a client's first contact.
    ///
    /// # Errors
    /// As [`link`](Self::link).
    pub fn contact(&self, address: &str) -> Result<Arc<Link>, NetworkError> {
        self.shared.dialed(Target::Anyone(address.to_owned()), None, address.to_owned())
    }

    /// The peer is dead: ends its links, drops what it sent, and refuses its handshakes from now on.
    pub fn close(&self, dead: Incarnation) {
        let mut links = self.shared.links.lock();
        if links.dead.insert(dead) {
            links.dead_order.push_back(dead);
            if links.dead_order.len() > MAX_DEAD
                && let Some(oldest) = links.dead_order.pop_front()
            {
                links.dead.remove(&oldest);
            }
        }
        links.backoff.remove(&Target::Silo(dead));
        let ended: Vec<_> = links.all.values().filter(|link| link.incarnation() == Some(dead)).cloned().collect();
        drop(links);
        for link in ended {
            link.end(LinkError::PeerDead);
        }
    }

    /// Writers that the receiver's `may_flush` held back ask it again.
    pub fn recheck_flush(&self) {
        self.shared.context.flush.notify_waiters();
    }

    /// Every link there is, those that still connect included.
    pub fn links(&self) -> Vec<Arc<Link>> {
        self.shared.links.lock().all.values().cloned().collect()
    }

    /// Ends everything: no more connections, the queues are emptied and goodbyes said, within the goodbye timeout; then
    /// every link is ended. When this returns no task runs any more and the receiver is not called any more, unless it
    /// blocks.
    pub async fn stop(&self) {
        let shared = &self.shared;
        shared.links.lock().stopping = true;
        shared.stop.cancel();
        for link in self.links() {
            if link.is_open() { link.finish() } else { link.end(LinkError::Stopped) }
        }
        shared.tasks.close();
        let patience = shared.options.limits.goodbye_timeout;
        if timeout(patience, shared.tasks.wait()).await.is_ok() {
            return;
        }
        for link in self.links() {
            link.end(LinkError::Stopped);
        }
        if timeout(patience, shared.tasks.wait()).await.is_err() {
            tracing::error!("a network stopped while its receiver blocks");
        }
    }
}

impl Shared {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.tasks.spawn_on(task, &self.context.handle));
    }

    fn local(&self) -> Local {
        Local {
            identity: self.identity.lock().clone(),
            protocol: self.options.protocol.clone(),
            secret: self.options.secret.clone(),
            entropy: self.options.entropy.clone(),
        }
    }

    fn admit(&self, peer: &Identity) -> Result<(), Refusal> {
        if self.links.lock().dead.contains(&peer.incarnation) {
            return Err(Refusal::Dead);
        }
        self.context.receiver.admit(peer)
    }

    fn dialed(
        self: &Arc<Self>,
        target: Target,
        expected: Option<Incarnation>,
        address: String,
    ) -> Result<Arc<Link>, NetworkError> {
        let mut links = self.links.lock();
        if links.stopping {
            return Err(NetworkError::Stopped);
        }
        if expected.is_some_and(|incarnation| links.dead.contains(&incarnation)) {
            return Err(NetworkError::PeerDead);
        }
        if let Some(link) =
            links.dialed.get(&target).filter(|link| !link.ended.is_cancelled() && link.outbound.is_open())
        {
            return Ok(link.clone());
        }
        let now = Instant::now();
        if let Some(backoff) = links.backoff.get(&target).filter(|backoff| backoff.until > now) {
            return Err(NetworkError::BackingOff { until: backoff.until, last: Box::new(backoff.last.clone()) });
        }
        let id = links.new_id();
        let link = Link::new(id, Direction::Dialed, expected, &self.options.limits);
        links.all.insert(id, link.clone());
        links.dialed.insert(target.clone(), link.clone());
        drop(links);
        self.spawn(self.clone().run_dialed(target, expected, address, link.clone()));
        Ok(link)
    }

    async fn run_dialed(
        self: Arc<Self>,
        target: Target,
        expected: Option<Incarnation>,
        address: String,
        link: Arc<Link>,
    ) {
        let mut schedule = Schedule::default();
        let connected = tokio::select! {
            biased;
            () = link.ended.cancelled() => Err(link.why()),
            connected = self.connect(&address, expected) => connected,
        };
        let (why, opened) = match connected {
            Err(why) => (why, false),
            Ok((stream, peer)) => {
                self.links.lock().backoff.remove(&target);
                (self.run_open(&link, peer, stream, &mut schedule).await, true)
            }
        };
        link.end(why.clone());
        let mut links = self.links.lock();
        links.all.remove(&link.id());
        if links.dialed.get(&target).is_some_and(|current| current.id() == link.id()) {
            links.dialed.remove(&target);
        }
        if !opened && !matches!(why, LinkError::Local | LinkError::Stopped | LinkError::PeerDead) {
            links.note_failure(target, &why, &self.options);
        }
        drop(links);
        self.give_back(&link, why, schedule);
    }

    async fn connect(
        &self,
        address: &str,
        expected: Option<Incarnation>,
    ) -> Result<(Box<dyn Stream>, Identity), LinkError> {
        let limits = &self.options.limits;
        let connected = timeout(limits.connect_timeout, self.net.connect(address)).await;
        let stream = connected.map_err(|_| LinkError::ConnectTimeout)?;
        let stream = stream.map_err(|error| LinkError::of_connect(&error))?;
        let handshake = async {
            let mut stream = self.secure_dialed(stream, address).await?;
            let admit = |peer: &Identity| self.admit(peer);
            let (peer, _) = handshake::dial(&mut *stream, &self.local(), expected, &admit).await?;
            Ok((stream, peer))
        };
        let done = timeout(limits.handshake_timeout, handshake).await.unwrap_or(Err(HandshakeError::Timeout));
        Ok(done?)
    }

    async fn listen(self: Arc<Self>, listener: Box<dyn Listener>) {
        let pending = Arc::new(Semaphore::new(self.options.limits.pending_handshakes));
        loop {
            let next = async {
                let permit = pending.clone().acquire_owned().await.map_err(io::Error::other)?;
                listener.accept().await.map(|accepted| (permit, accepted))
            };
            let next = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                next = next => next,
            };
            match next {
                Ok((permit, (stream, from))) => {
                    let shared = self.clone();
                    self.spawn(async move {
                        let admitted = tokio::select! {
                            biased;
                            () = shared.stop.cancelled() => return,
                            admitted = shared.admit_stream(stream) => admitted,
                        };
                        drop(permit);
                        match admitted {
                            Ok((stream, peer)) => shared.run_accepted(stream, peer).await,
                            Err(error) => tracing::debug!(%from, %error, "refused a connection"),
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::select! {
                        biased;
                        () = self.stop.cancelled() => return,
                        () = sleep(ACCEPT_PAUSE) => {}
                    }
                }
            }
        }
    }

    async fn admit_stream(&self, stream: Box<dyn Stream>) -> Result<(Box<dyn Stream>, Identity), HandshakeError> {
        let handshake = async {
            let mut stream = self.secure_accepted(stream).await?;
            if self.links.lock().accepted >= self.options.limits.connections {
                return Err(handshake::refuse(&mut *stream, Refusal::Busy).await);
            }
            let admit = |peer: &Identity| self.admit(peer);
            let (peer, _) = handshake::accept(&mut *stream, &self.local(), &admit).await?;
            Ok((stream, peer))
        };
        timeout(self.options.limits.handshake_timeout, handshake).await.unwrap_or(Err(HandshakeError::Timeout))
    }

    async fn run_accepted(self: Arc<Self>, stream: Box<dyn Stream>, peer: Identity) {
        let link = {
            let mut links = self.links.lock();
            // It may have died, or this side stopped, since it was admitted.
            if links.stopping || links.dead.contains(&peer.incarnation) {
                return;
            }
            let id = links.new_id();
            let link = Link::new(id, Direction::Accepted, Some(peer.incarnation), &self.options.limits);
            links.all.insert(id, link.clone());
            links.accepted += 1;
            link
        };
        let mut schedule = Schedule::default();
        let why = self.run_open(&link, peer, stream, &mut schedule).await;
        let mut links = self.links.lock();
        links.all.remove(&link.id());
        links.accepted = links.accepted.saturating_sub(1);
        drop(links);
        self.give_back(&link, why, schedule);
    }

    async fn run_open(
        &self,
        link: &Arc<Link>,
        peer: Identity,
        stream: Box<dyn Stream>,
        schedule: &mut Schedule,
    ) -> LinkError {
        link.set_peer(peer);
        link.touch();
        self.context.receiver.opened(link);
        // A stop that ran while the handshake ended saw a link that was not open, and ended it; one that runs later
        // finds it open.
        connection::run(&self.context, link, stream, schedule).await
    }

    fn give_back(&self, link: &Arc<Link>, why: LinkError, schedule: Schedule) {
        let mut unsent = schedule.into_unsent();
        unsent.extend(link.outbound.close());
        let unsent = unsent.into_iter().map(|entry| entry.message).collect();
        self.context.receiver.closed(link, why, unsent);
    }

    #[cfg(feature = "tls")]
    async fn secure_dialed(&self, stream: Box<dyn Stream>, address: &str) -> Result<Box<dyn Stream>, HandshakeError> {
        match &self.options.tls {
            Some(tls) => tls.dial(stream, address).await,
            None => Ok(stream),
        }
    }

    #[cfg(feature = "tls")]
    async fn secure_accepted(&self, stream: Box<dyn Stream>) -> Result<Box<dyn Stream>, HandshakeError> {
        match &self.options.tls {
            Some(tls) => tls.accept(stream).await,
            None => Ok(stream),
        }
    }

    #[cfg(not(feature = "tls"))]
    async fn secure_dialed(&self, stream: Box<dyn Stream>, _: &str) -> Result<Box<dyn Stream>, HandshakeError> {
        Ok(stream)
    }

    #[cfg(not(feature = "tls"))]
    async fn secure_accepted(&self, stream: Box<dyn Stream>) -> Result<Box<dyn Stream>, HandshakeError> {
        Ok(stream)
    }
}

impl Links {
    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn note_failure(&mut self, target: Target, why: &LinkError, options: &Options) {
        let now = Instant::now();
        let failures = self.backoff.get(&target).map_or(0, |backoff| backoff.failures);
        // Who is not asked for any more is forgotten.
        let forgotten = options.limits.max_backoff * 2;
        self.backoff.retain(|_, backoff| backoff.until + forgotten > now);
        let pause = options.limits.backoff.saturating_mul(1 << failures.min(16)).min(options.limits.max_backoff);
        let until = now + pause;
        self.backoff.insert(target, Backoff { failures: failures.saturating_add(1), until, last: why.clone() });
    }
}
