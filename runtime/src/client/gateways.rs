//! The connections of a client.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gristmill_cluster::transport::wire::hello::Refusal;
use gristmill_cluster::transport::{HandshakeError, Link, LinkError};
use gristmill_cluster::{Incarnation, hash};
use gristmill_grains::GrainId;
use tokio::time::Instant;

/// Silos that a client is connected to, at most.
pub(super) const MAX_GATEWAYS: usize = 16;

/// What a client knows of the silos. No I/O.
pub(super) struct Gateways {
    configured: Vec<String>,
    /// As a gateway told.
    learned: BTreeSet<String>,
    /// Connections and attempts: where to, by the link's number.
    dialed: BTreeMap<u64, String>,
    /// Which silo answered at an address.
    at: BTreeMap<String, Incarnation>,
    pub(super) open: BTreeMap<Incarnation, Gateway>,
    /// Why the last attempt at an address failed.
    failures: BTreeMap<String, LinkError>,
}

pub(super) struct Gateway {
    pub(super) link: Arc<Link>,
    /// It takes no more requests.
    pub(super) leaves: bool,
}

impl Gateways {
    pub(super) fn new(configured: Vec<String>) -> Self {
        let (learned, dialed, at) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        Self { configured, learned, dialed, at, open: BTreeMap::new(), failures: BTreeMap::new() }
    }

    /// Where to connect now. `me` chooses among more silos than it needs.
    pub(super) fn wanted(&self, me: Incarnation) -> Vec<String> {
        let learned: Vec<_> = self.learned.iter().filter(|address| !self.configured.contains(address)).collect();
        let first = if learned.is_empty() { 0 } else { (me.as_u128() % learned.len() as u128) as usize };
        let others = learned[first..].iter().chain(&learned[..first]).copied();
        let room = MAX_GATEWAYS.saturating_sub(self.open.len());
        let is_connected = |address: &&String| {
            let open = self.at.get(*address).is_some_and(|silo| self.open.contains_key(silo));
            open || self.dialed.values().any(|dialed| dialed == *address)
        };
        self.configured.iter().chain(others).filter(|address| !is_connected(address)).take(room).cloned().collect()
    }

    /// A connection was begun.
    pub(super) fn dialed(&mut self, link: &Link, address: String) {
        self.dialed.insert(link.id(), address);
    }

    /// It is there. Says whether it is to be used: one to each silo is.
    pub(super) fn opened(&mut self, link: &Arc<Link>) -> bool {
        let Some(silo) = link.incarnation() else { return false };
        if let Some(address) = self.dialed.get(&link.id()) {
            self.failures.remove(address);
            self.at.insert(address.clone(), silo);
        }
        let used = !self.open.contains_key(&silo);
        if used {
            self.open.insert(silo, Gateway { link: link.clone(), leaves: false });
        }
        used
    }

    /// It is over. Says whether it was used.
    pub(super) fn closed(&mut self, link: &Link, why: LinkError) -> bool {
        if let Some(address) = self.dialed.remove(&link.id())
            && (self.configured.contains(&address) || self.learned.contains(&address))
        {
            self.failures.insert(address, why);
        }
        let silo = link.incarnation();
        let used = silo.filter(|silo| self.open.get(silo).is_some_and(|gateway| gateway.link.id() == link.id()));
        if let Some(silo) = used {
            self.open.remove(&silo);
            self.at.retain(|_, at| *at != silo);
        }
        used.is_some()
    }

    /// The silos that there are.
    pub(super) fn learn(&mut self, addresses: Vec<String>) {
        self.learned = addresses.into_iter().collect();
        self.failures.retain(|address, _| self.configured.contains(address) || self.learned.contains(address));
    }

    /// Through whom a grain is called: the same gateway for all calls, while it is there.
    pub(super) fn choose(&self, grain: &GrainId) -> Option<Incarnation> {
        let fit = self.open.iter().filter(|(_, gateway)| !gateway.leaves && gateway.link.is_open());
        hash::rendezvous(hash::of_grain(grain), fit.map(|(silo, _)| *silo))
    }

    /// Those that were last heard of before `then`.
    pub(super) fn silent_since(&self, then: Instant) -> Vec<Arc<Link>> {
        let silent = |link: &&Arc<Link>| link.last_received().is_some_and(|heard| heard < then);
        self.open.values().map(|gateway| &gateway.link).filter(silent).cloned().collect()
    }

    /// Why nobody is connected, for people.
    pub(super) fn why(&self) -> String {
        let each = self.failures.iter().map(|(address, why)| format!("{address}: {why}"));
        let each: Vec<_> = each.collect();
        if each.is_empty() { "no silo has answered yet".to_owned() } else { each.join("; ") }
    }

    /// Will no configured silo ever take this client as it is?
    pub(super) fn is_refused(&self) -> bool {
        let refused = |address| {
            let why = self.failures.get(address);
            let Some(LinkError::Handshake(HandshakeError::Refused(why) | HandshakeError::Declined(why))) = why else {
                return false;
            };
            matches!(
                why,
                Refusal::WrongCluster
                    | Refusal::WrongSecret
                    | Refusal::SecretMismatch
                    | Refusal::ProtocolTooOld { .. }
                    | Refusal::ProtocolTooNew { .. }
            )
        };
        self.open.is_empty() && self.configured.iter().all(refused)
    }
}
