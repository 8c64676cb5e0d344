//! A client of a cluster: calls grains, and hosts none.

mod core;
mod gateways;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gristmill_cluster::Incarnation;
use gristmill_cluster::transport::{Network, Options, Secret};
use gristmill_grains::filter::CallFilter;
use gristmill_grains::{GrainRef, InterfaceRef, RefKey};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout_at};

use self::core::ClientCore;
use self::gateways::Gateways;
use crate::clustering::machine::Machine;

/// Why a client did not connect.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No gateway was named.
    #[error("name the address of at least one silo: ClientBuilder::gateways")]
    NoGateways,
    /// There is no tokio runtime here.
    #[error("a client connects inside a tokio runtime, and runs on it")]
    NoRuntime,
    /// No silo takes this client as it is.
    #[error("refused ({0})")]
    Refused(String),
    /// No silo answered in time.
    #[error("no silo answered within {patience:?} ({why})")]
    Unreachable {
        /// How long it was tried.
        patience: Duration,
        /// What each address said.
        why: String,
    },
}

/// Calls the grains of a cluster from a program that hosts none: a game server's front end, a tool.
///
/// It is connected to several silos at once, and finds those that join later. All calls of one grain go through the same
/// silo, so they keep their order; when that silo leaves or dies, they go through another one. A call that may have reached
/// a silo that died fails with `SiloUnavailable` and may have run; one that had not left goes elsewhere. A silo that hangs
/// is given up within five seconds.
///
/// Cheap to clone. When the last clone is dropped, calls under way end with `SiloUnavailable`.
///
/// ```no_run
/// # use gristmill::prelude::*;
/// use gristmill::Client;
/// # #[grain_interface]
/// # pub trait Player { async fn join(&mut self, game: String); }
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::builder().gateways(["10.0.0.1:7001", "10.0.0.2:7001"]).connect().await?;
/// let alice: PlayerRef = client.grain("alice");
/// alice.join("duel-17".to_owned()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client(Arc<Running>);

struct Running {
    core: Arc<ClientCore>,
}

impl Client {
    /// Describes a client.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// A reference to a grain, as [`Silo::grain`](crate::Silo::grain) makes one.
    pub fn grain<R: InterfaceRef>(&self, key: impl Into<RefKey<R>>) -> R {
        R::from_ref(GrainRef::bound(key.into(), &*self.0.core))
    }

    /// To how many silos it is connected.
    pub fn connected(&self) -> usize {
        self.0.core.gateways.lock().open.values().filter(|gateway| gateway.link.is_open()).count()
    }

    /// One-way calls that were not accepted.
    pub fn lost_sends(&self) -> u64 {
        self.0.core.lost_sends.load(Ordering::Relaxed)
    }

    /// Ends the client. Calls under way fail with `SiloUnavailable`, as do later ones. Returns when its connections have
    /// ended.
    pub async fn stop(&self) {
        if let Some(network) = self.0.core.end() {
            network.stop().await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(network) = self.core.end() {
            drop(self.core.handle().spawn(async move { network.stop().await }));
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("connected", &self.connected()).finish_non_exhaustive()
    }
}

/// Describes a client. See [`Client`].
#[derive(Clone)]
#[must_use = "a client is there once it has connected"]
pub struct ClientBuilder {
    cluster: String,
    gateways: Vec<String>,
    secret: Option<Secret>,
    call_timeout: Duration,
    connect_timeout: Duration,
    outgoing: Vec<Arc<dyn CallFilter>>,
    pub(crate) machine: Machine,
    pub(crate) seed: Option<u64>,
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            cluster: "gristmill".to_owned(),
            gateways: Vec::new(),
            secret: None,
            call_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            outgoing: Vec::new(),
            machine: Machine::default(),
            seed: None,
        }
    }
}

impl ClientBuilder {
    /// The cluster's name, as its silos' [`ClusterOptions`](crate::cluster::ClusterOptions) say. Default `gristmill`.
    pub fn cluster(self, cluster: impl Into<String>) -> Self {
        Self { cluster: cluster.into(), ..self }
    }

    /// Where to find silos, `host:port` each: any of them, the others are learned of there. Adds to those named before.
    pub fn gateways<A: Into<String>>(mut self, addresses: impl IntoIterator<Item = A>) -> Self {
        self.gateways.extend(addresses.into_iter().map(Into::into));
        self
    }

    /// The secret that the silos know. Default none.
    pub fn secret(self, secret: Secret) -> Self {
        Self { secret: Some(secret), ..self }
    }

    /// The deadline of calls that state none. Default 30 s.
    pub fn call_timeout(self, call_timeout: Duration) -> Self {
        Self { call_timeout, ..self }
    }

    /// How long [`connect`](Self::connect) tries. Default 10 s.
    pub fn connect_timeout(self, connect_timeout: Duration) -> Self {
        Self { connect_timeout, ..self }
    }

    /// Code around every call, in the order of registration.
    pub fn outgoing(mut self, filter: impl CallFilter) -> Self {
        self.outgoing.push(Arc::new(filter));
        self
    }

    /// Connects; returns when the first silo has taken it. Others follow.
    ///
    /// Cancellation: dropped, it leaves nothing behind.
    ///
    /// # Errors
    /// No silo can be reached, or none takes it: another cluster's name, another secret, another version.
    pub async fn connect(self) -> Result<Client, ConnectError> {
        let handle = Handle::try_current().map_err(|_| ConnectError::NoRuntime)?;
        if self.gateways.is_empty() {
            return Err(ConnectError::NoGateways);
        }
        let mut rng = self.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        let incarnation = Incarnation::from_u128(rng.u128(1..));
        let mut options = Options::client(self.cluster, incarnation).entropy(self.machine.entropy);
        if let Some(secret) = self.secret {
            options = options.secret(secret);
        }
        let gateways = Gateways::new(self.gateways);
        let core = ClientCore::new(incarnation, handle.clone(), self.call_timeout, self.outgoing, gateways);
        let client = Client(Arc::new(Running { core: core.clone() }));
        let network = Network::start(options, self.machine.net, handle, core.clone()).await;
        let network = network.map_err(|error| ConnectError::Refused(error.to_string()))?;
        core.run(network);
        let deadline = Instant::now() + self.connect_timeout;
        loop {
            let changed = core.changed.notified();
            if client.connected() > 0 {
                return Ok(client);
            }
            if core.gateways.lock().is_refused() {
                return Err(ConnectError::Refused(core.gateways.lock().why()));
            }
            if timeout_at(deadline, changed).await.is_err() {
                let why = core.gateways.lock().why();
                return Err(ConnectError::Unreachable { patience: self.connect_timeout, why });
            }
        }
    }
}
