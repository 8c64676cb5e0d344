//! The service that listens, dials and keeps the links.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{self, Context};
use super::error::{LinkError, NetworkError, StartError};
use super::handshake::Local;
use super::keepalive;
use super::link::Link;
use super::net::{Net, Stream};
use super::options::{Options, Receiver};
use super::registry::{Links, Target};
use super::schedule::Schedule;
use super::wire::hello::{Identity, NOT_JOINED, Refusal};
use crate::Incarnation;

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

/// What the tasks of a network share.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) identity: Mutex<Identity>,
    pub(crate) net: Arc<dyn Net>,
    pub(crate) context: Context,
    pub(crate) links: Mutex<Links>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
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
    /// Starts to listen, if the options say so. All tasks are spawned on `handle`. The receiver is not kept alive: a network
    /// without one ends by itself.
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
        let receiver = Arc::downgrade(&receiver);
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
        shared.spawn(keepalive::watch(shared.clone()));
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
        links.note_death(dead);
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

    /// Ends everything at once, without a word to anybody.
    pub fn cut(&self) {
        self.shared.cut();
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
    pub(crate) fn cut(&self) {
        let links: Vec<_> = {
            let mut links = self.links.lock();
            links.stopping = true;
            links.all.values().cloned().collect()
        };
        self.stop.cancel();
        self.tasks.close();
        for link in links {
            link.end(LinkError::Stopped);
        }
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        drop(self.tasks.spawn_on(task, &self.context.handle));
    }

    pub(crate) fn local(&self) -> Local {
        Local {
            identity: self.identity.lock().clone(),
            protocol: self.options.protocol.clone(),
            secret: self.options.secret.clone(),
            entropy: self.options.entropy.clone(),
        }
    }

    pub(crate) fn admit(&self, peer: &Identity) -> Result<(), Refusal> {
        if self.links.lock().dead.contains(&peer.incarnation) {
            return Err(Refusal::Dead);
        }
        self.context.receiver.upgrade().ok_or(Refusal::Stopping)?.admit(peer)
    }

    pub(crate) async fn run_open(
        &self,
        link: &Arc<Link>,
        peer: Identity,
        stream: Box<dyn Stream>,
        schedule: &mut Schedule,
    ) -> LinkError {
        link.set_peer(peer);
        link.touch();
        self.context.receiver.upgrade().inspect(|receiver| receiver.opened(link));
        // A stop that ran while the handshake ended saw a link that was not open, and ended it; one that runs later
        // finds it open.
        connection::run(&self.context, link, stream, schedule).await
    }

    pub(crate) fn give_back(&self, link: &Arc<Link>, why: LinkError, schedule: Schedule) {
        let unsent = schedule.into_unsent(link.outbound.close());
        self.context.receiver.upgrade().inspect(|receiver| receiver.closed(link, why, unsent));
    }
}
