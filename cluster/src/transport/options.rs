//! What a network is started with.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::auth::{Entropy, OsEntropy, Secret};
use super::error::LinkError;
use super::link::Link;
use super::wire::Message;
use super::wire::hello::{Identity, Refusal, Role};
use crate::Incarnation;

/// The protocol versions that this build speaks.
pub const PROTOCOL: RangeInclusive<u16> = 1..=1;

/// The settings of a [`Network`](super::Network).
#[derive(Clone)]
pub struct Options {
    pub(crate) cluster: String,
    pub(crate) role: Role,
    pub(crate) incarnation: Incarnation,
    pub(crate) listen: Option<String>,
    pub(crate) advertise: Option<String>,
    pub(crate) secret: Option<Secret>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<super::Tls>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) allow_insecure: bool,
    pub(crate) protocol: RangeInclusive<u16>,
    pub(crate) limits: Limits,
}

/// Bounds of a network. Every queue has one and every wait an end.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Messages in the queue of one link. 10,000.
    pub queue_messages: usize,
    /// Bytes in the queue of one link. 64 MiB.
    pub queue_bytes: usize,
    /// Handshakes of arriving connections at a time; further ones wait in the system's backlog. 128.
    pub pending_handshakes: usize,
    /// Connections that arrived; further ones are refused as busy. 16,384.
    pub connections: usize,
    /// To connect. 5 s.
    pub connect_timeout: Duration,
    /// For a handshake, TLS included. 5 s.
    pub handshake_timeout: Duration,
    /// Without progress of a write, or of a message in parts. 30 s.
    pub stall_timeout: Duration,
    /// For a frame to arrive whole, from its first byte: one whose length was changed on the way would otherwise take in all
    /// that follows as its own. 10 s.
    pub frame_timeout: Duration,
    /// Between two looks at each connection. One by which nothing comes is asked whether it is there, and ended after five
    /// looks without a byte. 2 s.
    pub keepalive: Duration,
    /// For the queues to empty when the network stops, or a link says goodbye. 2 s.
    pub goodbye_timeout: Duration,
    /// After the first failed attempt to connect; doubled by each further one. 50 ms.
    pub backoff: Duration,
    /// The longest it becomes. 2 s.
    pub max_backoff: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue_messages: 10_000,
            queue_bytes: 64 * 1024 * 1024,
            pending_handshakes: 128,
            connections: 16_384,
            connect_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(30),
            frame_timeout: Duration::from_secs(10),
            keepalive: Duration::from_secs(2),
            goodbye_timeout: Duration::from_secs(2),
            backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(2),
        }
    }
}

impl Options {
    /// A silo that listens at `listen`, `host:port`; port 0 takes a free one.
    pub fn silo(cluster: impl Into<String>, incarnation: Incarnation, listen: impl Into<String>) -> Self {
        Self { listen: Some(listen.into()), ..Self::new(cluster.into(), incarnation, Role::Silo) }
    }

    /// A client: it dials and does not listen.
    pub fn client(cluster: impl Into<String>, incarnation: Incarnation) -> Self {
        Self::new(cluster.into(), incarnation, Role::Client)
    }

    fn new(cluster: String, incarnation: Incarnation, role: Role) -> Self {
        Self {
            cluster,
            role,
            incarnation,
            listen: None,
            advertise: None,
            secret: None,
            #[cfg(feature = "tls")]
            tls: None,
            entropy: Arc::new(OsEntropy),
            allow_insecure: false,
            protocol: PROTOCOL,
            limits: Limits::default(),
        }
    }

    /// Where others reach this silo, if not where it listens (behind a NAT, or listening at `0.0.0.0`).
    #[must_use]
    pub fn advertise(self, address: impl Into<String>) -> Self {
        Self { advertise: Some(address.into()), ..self }
    }

    /// Only nodes that know this secret connect, and only to such.
    #[must_use]
    pub fn secret(self, secret: Secret) -> Self {
        Self { secret: Some(secret), ..self }
    }

    /// Only nodes with a certificate of the cluster's authority connect, encrypted, and only to such.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(self, tls: super::Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Where nonces come from. The operating system, unless a simulation needs its own.
    #[must_use]
    pub fn entropy(self, entropy: Arc<dyn Entropy>) -> Self {
        Self { entropy, ..self }
    }

    /// Listens on an address that other hosts reach, though neither a secret nor TLS is set.
    #[must_use]
    pub fn allow_insecure(self, allow_insecure: bool) -> Self {
        Self { allow_insecure, ..self }
    }

    /// The bounds.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Speaks only these versions: for tests of mixed clusters.
    #[must_use]
    pub fn protocol(self, protocol: RangeInclusive<u16>) -> Self {
        Self { protocol, ..self }
    }

    pub(crate) fn is_secured(&self) -> bool {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return true;
        }
        self.secret.is_some()
    }
}

/// Whom a network tells what happens. Called from the tasks that read: return soon, never block, never run a grain's turn.
pub trait Receiver: Send + Sync + 'static {
    /// The handshake is over; messages may follow.
    fn opened(&self, link: &Arc<Link>);

    /// A message arrived. Those of one link come one at a time, after `opened` and before `closed`. Probes were answered
    /// already and do not come here; what answers this side's probes does.
    fn message(&self, from: &Arc<Link>, message: Message);

    /// The link has ended, or was never opened. Called once for each link. `unsent` are the messages of which no byte
    /// that could make them arrive was handed to the stream, in the order they were given: they were not executed. Any
    /// other message that had no answer may have been. (Probes and hints are not given back.)
    fn closed(&self, link: &Arc<Link>, why: LinkError, unsent: Vec<Message>);

    /// May this node speak with that one, now that it has proven who it is? `Dead` for incarnations known to be dead,
    /// `AddressTaken` for a silo that advertises another live one's address. Asked on both sides of every handshake.
    ///
    /// # Errors
    /// What to tell it.
    fn admit(&self, peer: &Identity) -> Result<(), Refusal> {
        let _ = peer;
        Ok(())
    }

    /// May bytes leave now? Asked before each write; when not, again every 100 ms and upon
    /// [`Network::recheck_flush`](super::Network::recheck_flush). For a silo: is its self-lease valid?
    fn may_flush(&self) -> bool {
        true
    }
}
