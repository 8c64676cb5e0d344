//! Whose calls a router routes.

use std::sync::Arc;

use gristmill_cluster::transport::wire::{ChainEntry, Message};
use gristmill_cluster::{Incarnation, Location};
use gristmill_grains::port::RemoteCall;
use gristmill_grains::turn::ChainNode;
use gristmill_grains::{Fault, GrainId};

use super::inbox::MAX_INBOX;
use super::node::{MAX_CHAIN, Node};
use super::serve::{Caller, Item};
use super::wires::{Receiver, SendError};

/// A silo or a client, as its router sees it.
pub(crate) trait Site: Send + Sync + 'static {
    /// Sends a message; to itself, too. With the router's lock held: at once.
    fn tell(&self, to: Incarnation, message: Message) -> Result<(), SendError>;
    /// Finds out where the grain is, if not where `stale` says, and tells by [`Routing::found`](super::router::Routing::found).
    fn resolve(&self, grain: GrainId, stale: Option<Location>);
    /// The turns that wait for a call, as others are told.
    fn chain_of(&self, caller: Option<&Arc<ChainNode>>) -> Vec<ChainEntry>;
    /// Is the grain active here, and lets everybody in?
    fn is_open(&self, grain: &GrainId) -> bool;
    /// The activation here may let everybody in.
    fn open(&self, grain: &GrainId);
    /// Makes a call of its own by the activation here.
    fn serve_own(&self, call: Box<RemoteCall>);
    /// Counts a one-way call that failed, and logs why.
    fn lost_send(&self, fault: Fault);
}

impl Site for Node {
    fn tell(&self, to: Incarnation, message: Message) -> Result<(), SendError> {
        if to != self.me() {
            let asks = matches!(message, Message::Request(_) | Message::Control(_));
            if !asks {
                return self.wires.send(to, message);
            }
            // Held, so that nothing is sent after the farewell.
            let partings = self.partings.lock();
            return if partings.left.contains(&to) { Err(SendError::Gone) } else { self.wires.send(to, message) };
        }
        match message {
            Message::Request(request) => {
                let item = Item { from: Caller::Silo(to), request };
                self.inbox.push(item).map_err(|_| SendError::Overloaded { limit: MAX_INBOX })
            }
            other => {
                self.receive(to, other);
                Ok(())
            }
        }
    }

    fn resolve(&self, grain: GrainId, stale: Option<Location>) {
        let Some(node) = self.myself.upgrade() else { return };
        self.spawn(async move {
            let found = node.find(&grain, stale).await;
            node.router().found(&grain, found);
        });
    }

    fn chain_of(&self, caller: Option<&Arc<ChainNode>>) -> Vec<ChainEntry> {
        let waiting = caller.into_iter().flat_map(|caller| caller.waiting());
        let entry = |node: &ChainNode| {
            let (silo, turn) = match node.origin() {
                Some(origin) => (Incarnation::from_u128(origin.process), origin.turn),
                None => (self.me(), node.turn),
            };
            ChainEntry { incarnation: silo, turn, access: node.access, link: node.link() }
        };
        waiting.take(MAX_CHAIN).map(entry).collect()
    }

    fn is_open(&self, grain: &GrainId) -> bool {
        self.core().is_some_and(|core| core.is_open(grain))
    }

    fn open(&self, grain: &GrainId) {
        if let Some(core) = self.core() {
            core.open(grain);
        }
    }

    fn serve_own(&self, call: Box<RemoteCall>) {
        if let Some(node) = self.myself.upgrade() {
            Self::serve_own(&node, call);
        }
    }

    fn lost_send(&self, fault: Fault) {
        if let Some(core) = self.core() {
            gristmill_grains::port::Runtime::lost_send(&*core, fault);
        }
    }
}
