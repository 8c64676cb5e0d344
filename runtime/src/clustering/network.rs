//! The silo's end of the transport.
//!
//! A silo sends its requests and questions on connections it made itself; answers return on the connection that the
//! request came by.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use gristmill_cluster::transport::wire::Message;
use gristmill_cluster::transport::wire::hello::{Identity, NOT_JOINED, Refusal, Role};
use gristmill_cluster::transport::{
    Direction, Evidence, Link, LinkError, Network, NetworkError, PeerAddress, Receiver, SendErrorKind,
};
use gristmill_cluster::{Incarnation, Status, View};
use gristmill_grains::sync::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::node::Node;
use super::serve::{Caller, Item};
use super::wires::{Correlation, SendError, Wires};

/// The wires of a silo on a real network.
pub(crate) struct NetWires {
    network: OnceLock<Network>,
    node: OnceLock<Weak<Node>>,
    /// The connections that others made, by silo: the latest.
    accepted: RwLock<BTreeMap<Incarnation, Arc<Link>>>,
    /// The connections that were made here.
    dialed: RwLock<BTreeMap<Incarnation, Arc<Link>>>,
    /// When each silo was last heard of, by links that are no more.
    heard: Mutex<BTreeMap<Incarnation, Instant>>,
    /// Silos whose address says that they are not there.
    refused: Mutex<BTreeMap<Incarnation, Instant>>,
    /// How long it may speak after its last acknowledged beat was sent.
    lasts: Duration,
    /// Until when this silo may speak; before it has joined, always.
    lease: Mutex<Option<Instant>>,
    /// Something happened that the agent looks at.
    pub(super) news: Notify,
}

impl NetWires {
    pub(crate) fn new(lease: Duration) -> Arc<Self> {
        Arc::new(Self {
            lasts: lease,
            network: OnceLock::new(),
            node: OnceLock::new(),
            accepted: RwLock::default(),
            dialed: RwLock::default(),
            heard: Mutex::default(),
            refused: Mutex::default(),
            lease: Mutex::default(),
            news: Notify::new(),
        })
    }

    pub(super) fn set_network(&self, network: Network) {
        drop(self.network.set(network));
    }

    pub(super) fn set_node(&self, node: &Arc<Node>) {
        drop(self.node.set(Arc::downgrade(node)));
    }

    fn node(&self) -> Option<Arc<Node>> {
        self.node.get()?.upgrade()
    }

    /// A beat that was sent then was acknowledged.
    pub(super) fn renew(&self, sent: Instant) {
        *self.lease.lock() = Some(sent + self.lasts);
        if let Some(network) = self.network.get() {
            network.recheck_flush();
        }
    }

    /// The connection to a silo, made if there is none.
    pub(super) fn link(&self, view: &View, to: Incarnation) -> Result<Arc<Link>, SendError> {
        let network = self.network.get().ok_or(SendError::Gone)?;
        let member = view.members.get(&to).filter(|member| member.status != Status::Dead).ok_or(SendError::Gone)?;
        let peer = PeerAddress { incarnation: to, join: member.join, address: member.info.address.clone() };
        network.link(&peer).map_err(|error| {
            if let NetworkError::BackingOff { last, .. } = error {
                self.note(to, last.evidence());
            }
            SendError::Gone
        })
    }

    /// Asks a silo whether it is there.
    pub(super) fn probe(&self, view: &View, to: Incarnation) {
        if let Ok(link) = self.link(view, to) {
            drop(link.try_send(Message::Probe { number: 0 })); // what is heard of it counts
        }
    }

    /// When this silo last heard of that one.
    pub(super) fn last_heard(&self, of: Incarnation) -> Option<Instant> {
        let links = self.network.get().map(Network::links).unwrap_or_default();
        let open = links.iter().filter(|link| link.incarnation() == Some(of)).filter_map(|link| link.last_received());
        open.max().max(self.heard.lock().get(&of).copied())
    }

    /// Is there an open connection each way?
    pub(super) fn is_reached(&self, silo: Incarnation) -> bool {
        let links = self.network.get().map(Network::links).unwrap_or_default();
        let open = |direction| {
            links.iter().any(|link| link.incarnation() == Some(silo) && link.direction() == direction && link.is_open())
        };
        open(Direction::Dialed) && open(Direction::Accepted)
    }

    /// Silos whose address says that they are not there.
    pub(super) fn refused(&self) -> Vec<Incarnation> {
        self.refused.lock().keys().copied().collect()
    }

    fn note(&self, silo: Incarnation, evidence: Evidence) {
        if evidence == Evidence::Refused {
            self.refused.lock().entry(silo).or_insert_with(Instant::now);
            self.news.notify_one();
        }
    }

    /// Silos that are dead now: nothing more is heard of them.
    pub(super) fn close(&self, dead: Incarnation) {
        if let Some(network) = self.network.get() {
            network.close(dead);
        }
        self.refused.lock().remove(&dead);
        self.heard.lock().remove(&dead);
        self.accepted.write().remove(&dead);
        self.dialed.write().remove(&dead);
    }

    /// Tells all others that there is a later view.
    pub(super) fn hint(&self, view: &View, me: Incarnation) {
        let others = view.members.values().filter(|member| member.status != Status::Dead && member.incarnation != me);
        for other in others {
            if let Ok(link) = self.link(view, other.incarnation) {
                drop(link.try_send(Message::ViewHint { version: view.version })); // it polls, too
            }
        }
    }

    /// Nothing is said or heard any more.
    pub(super) fn cut(&self) {
        self.network.get().inspect(|network| network.cut());
    }

    pub(super) async fn stop(&self) {
        if let Some(network) = self.network.get() {
            network.stop().await;
        }
    }
}

fn refused(link: &Link, why: SendErrorKind) -> SendError {
    match why {
        SendErrorKind::Overloaded => SendError::Overloaded { limit: link.queued().0 },
        SendErrorKind::TooLarge(_) => SendError::TooLarge,
        SendErrorKind::Closed => SendError::Gone,
    }
}

impl Wires for NetWires {
    fn may_speak(&self) -> bool {
        self.lease.lock().is_none_or(|until| Instant::now() < until)
    }

    fn send(&self, to: Incarnation, message: Message) -> Result<(), SendError> {
        let answers = matches!(message, Message::Response(_) | Message::NotHere(_) | Message::ControlReply(_));
        let open = if answers { &self.accepted } else { &self.dialed };
        let mut message = message;
        if let Some(link) = open.read().get(&to) {
            match link.try_send(message) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind == SendErrorKind::Closed && !answers => message = *error.message,
                Err(error) => return Err(refused(link, error.kind)),
            }
        }
        if answers {
            return Err(SendError::Gone);
        }
        let view = self.node().ok_or(SendError::Gone)?.view();
        let link = self.link(&view, to)?;
        link.try_send(message).map_err(|error| refused(&link, error.kind))
    }
}

impl Receiver for NetWires {
    fn opened(&self, link: &Arc<Link>) {
        let Some(silo) = link.incarnation() else { return };
        if is_client(link) {
            return self.node().iter().for_each(|node| node.client_opened(link));
        }
        match link.direction() {
            Direction::Accepted => drop(self.accepted.write().insert(silo, link.clone())),
            Direction::Dialed => {
                self.refused.lock().remove(&silo);
                self.dialed.write().insert(silo, link.clone());
            }
        }
        self.news.notify_one();
    }

    fn message(&self, from: &Arc<Link>, message: Message) {
        // Turns are polled right here, on the connection's task, until they have taken some time: then other threads help.
        let now = !from.is_behind();
        if is_client(from) {
            if let Some(node) = self.node() {
                node.client_message(from, message, now);
            }
            return;
        }
        match message {
            Message::Request(request) => {
                if let (Some(node), Some(silo)) = (self.node(), from.incarnation()) {
                    node.take(Item { from: Caller::Silo(silo), request }, now);
                }
            }
            Message::ViewHint { .. } => self.news.notify_one(),
            Message::Probe { .. } | Message::ProbeAck { .. } | Message::Goodbye => {}
            message => {
                if let (Some(node), Some(silo)) = (self.node(), from.incarnation()) {
                    super::wires::Receiver::receive(&*node, silo, message);
                }
            }
        }
    }

    fn closed(&self, link: &Arc<Link>, why: LinkError, unsent: Vec<Message>) {
        let (Some(silo), Some(node)) = (link.incarnation(), self.node()) else { return };
        if is_client(link) {
            return node.client_closed(link);
        }
        if let Some(heard) = link.last_received() {
            let mut all = self.heard.lock();
            let last = all.entry(silo).or_insert(heard);
            *last = heard.max(*last);
        }
        match link.direction() {
            Direction::Accepted => {
                let mut accepted = self.accepted.write();
                if accepted.get(&silo).is_some_and(|latest| latest.id() == link.id()) {
                    accepted.remove(&silo);
                    drop(accepted);
                    node.caller_gone(silo);
                }
            }
            Direction::Dialed => {
                let mut dialed = self.dialed.write();
                if dialed.get(&silo).is_some_and(|latest| latest.id() == link.id()) {
                    dialed.remove(&silo);
                }
                drop(dialed);
                let unsent: Vec<Correlation> = unsent
                    .iter()
                    .filter_map(|message| match message {
                        Message::Request(request) => Some(request.correlation),
                        _ => None,
                    })
                    .collect();
                node.lost(silo, &unsent, &why.to_string());
                match link.peer() {
                    // It was there. Is it still? That a connection ended says nothing of it.
                    Some(_) => self.probe(&node.view(), silo),
                    None => self.note(silo, why.evidence()),
                }
            }
        }
        self.news.notify_one();
    }

    fn admit(&self, peer: &Identity) -> Result<(), Refusal> {
        if peer.role == Role::Client {
            let takes = self.node().is_some_and(|node| node.takes_clients());
            return if takes { Ok(()) } else { Err(Refusal::Stopping) };
        }
        let dead = self.node().is_some_and(|node| node.view().is_dead(peer.incarnation, peer.join));
        if dead && peer.join != NOT_JOINED { Err(Refusal::Dead) } else { Ok(()) }
    }

    fn may_flush(&self) -> bool {
        self.may_speak()
    }
}

fn is_client(link: &Link) -> bool {
    link.peer().is_some_and(|peer| peer.role == Role::Client)
}
