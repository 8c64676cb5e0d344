//! A network in memory, for silos of one process. Messages are encoded and decoded as on a real one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use gristmill_cluster::Incarnation;
use gristmill_cluster::transport::wire::Message;
use gristmill_grains::sync::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::wires::{Correlation, Receiver, SendError, Wires};

/// Messages on their way to one silo, at most.
const MAX_QUEUED: usize = 10_000;

/// What travels on a link.
enum Item {
    Message(u8, Bytes),
    /// The connection is over.
    End(String),
}

/// Connects the silos of one process.
#[derive(Clone)]
pub(crate) struct Hub(Arc<Shared>);

struct Shared {
    handle: Handle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    silos: BTreeMap<Incarnation, Weak<dyn Receiver>>,
    links: BTreeMap<(Incarnation, Incarnation), mpsc::Sender<Item>>,
    /// Between whom nothing gets through.
    cut: BTreeSet<(Incarnation, Incarnation)>,
}

impl Hub {
    pub(crate) fn new(handle: Handle) -> Self {
        Self(Arc::new(Shared { handle, state: Mutex::default() }))
    }

    /// The end of a silo's wires.
    pub(crate) fn wires(&self, me: Incarnation) -> Arc<dyn Wires> {
        Arc::new(HubWires { hub: self.clone(), me })
    }

    pub(crate) fn plug_in(&self, me: Incarnation, receiver: Weak<dyn Receiver>) {
        self.0.state.lock().silos.insert(me, receiver);
    }

    /// Takes a silo out: its connections end, after what it had sent.
    pub(crate) fn pull(&self, silo: Incarnation, why: &str) {
        let mut state = self.0.state.lock();
        state.silos.remove(&silo);
        state.links.retain(|(_, to), _| *to != silo);
        let others: Vec<_> = state.silos.iter().map(|(other, end)| (*other, end.clone())).collect();
        for (other, end) in others {
            let link = state.links.remove(&(silo, other)).unwrap_or_else(|| self.link(silo, end));
            let end = Item::End(why.to_owned());
            self.0.handle.spawn(async move { drop(link.send(end).await) });
        }
    }

    fn link(&self, from: Incarnation, receiver: Weak<dyn Receiver>) -> mpsc::Sender<Item> {
        let (link, mut arrives) = mpsc::channel(MAX_QUEUED);
        self.0.handle.spawn(async move {
            while let Some(item) = arrives.recv().await {
                let Some(receiver) = receiver.upgrade() else { return };
                match item {
                    Item::Message(kind, encoded) => match Message::decode(kind, encoded) {
                        Ok(message) => receiver.receive(from, message),
                        Err(error) => tracing::error!(%error, "a message between silos cannot be read"),
                    },
                    Item::End(why) => return receiver.closed(from, &[], &why),
                }
            }
        });
        link
    }

    /// Cuts the connection between two silos, or mends it.
    pub(crate) fn cut(&self, one: Incarnation, other: Incarnation, cut: bool) {
        let ends = {
            let mut state = self.0.state.lock();
            for pair in [(one, other), (other, one)] {
                match cut {
                    true => state.cut.insert(pair),
                    false => state.cut.remove(&pair),
                };
                if cut {
                    state.links.remove(&pair);
                }
            }
            let end = |silo: &Incarnation| state.silos.get(silo).and_then(Weak::upgrade);
            [(end(&one), other), (end(&other), one)]
        };
        for (end, silo) in ends.into_iter().filter(|_| cut) {
            end.inspect(|end| end.closed(silo, &[] as &[Correlation], "the connection was cut"));
        }
    }

    fn send(&self, from: Incarnation, to: Incarnation, message: Message) -> Result<(), SendError> {
        let encoded = message.encode().map_err(|_| SendError::TooLarge)?.to_bytes();
        let mut state = self.0.state.lock();
        if state.cut.contains(&(from, to)) || !state.silos.contains_key(&from) {
            return Err(SendError::Gone);
        }
        let Some(receiver) = state.silos.get(&to).cloned() else { return Err(SendError::Gone) };
        let link = state.links.entry((from, to)).or_insert_with(|| self.link(from, receiver));
        link.try_send(Item::Message(message.kind(), encoded)).map_err(|_| SendError::Overloaded { limit: MAX_QUEUED })
    }
}

struct HubWires {
    hub: Hub,
    me: Incarnation,
}

impl Wires for HubWires {
    fn send(&self, to: Incarnation, message: Message) -> Result<(), SendError> {
        self.hub.send(self.me, to, message)
    }

    fn may_speak(&self) -> bool {
        true
    }
}
