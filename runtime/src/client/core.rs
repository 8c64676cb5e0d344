//! What a client runs on: its router and its connections.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use gristmill_cluster::transport::wire::{ChainEntry, Control, Message};
use gristmill_cluster::transport::{Link, LinkError, Network, Receiver, SendErrorKind};
use gristmill_cluster::{Answer, Ask, Incarnation, Location, Talk};
use gristmill_grains::filter::CallFilter;
use gristmill_grains::port::{Binding, Remote, RemoteCall, Runtime};
use gristmill_grains::sync::Mutex;
use gristmill_grains::turn::ChainNode;
use gristmill_grains::{ActivationId, BoxFuture, Cause, Fault, GrainId, codec};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::gateways::Gateways;
use crate::clustering::node::{PARTING, talk};
use crate::clustering::router::{Router, Routing};
use crate::clustering::site::Site;
use crate::clustering::wires::{Correlation, SendError};
use crate::sweeper;

/// Between two looks at the connections.
const LOOK: Duration = Duration::from_millis(250);
/// Between two probes of each gateway.
const PROBE: Duration = Duration::from_secs(1);
/// Between two questions who else there is.
const LEARN: Duration = Duration::from_secs(5);
/// A gateway that is probed and says nothing for so long is given up.
const SILENCE: Duration = Duration::from_secs(4);

pub(super) struct ClientCore {
    me: Weak<ClientCore>,
    incarnation: Incarnation,
    handle: Handle,
    call_timeout: Duration,
    outgoing: Vec<Arc<dyn CallFilter>>,
    network: OnceLock<Network>,
    router: Router,
    pub(super) gateways: Mutex<Gateways>,
    /// The gateways are others now.
    pub(super) changed: Notify,
    pub(super) lost_sends: AtomicU64,
    stopped: AtomicBool,
}

impl ClientCore {
    pub(super) fn new(
        incarnation: Incarnation,
        handle: Handle,
        call_timeout: Duration,
        outgoing: Vec<Arc<dyn CallFilter>>,
        gateways: Gateways,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me: &Weak<Self>| Self {
            me: me.clone(),
            incarnation,
            handle,
            call_timeout,
            outgoing,
            network: OnceLock::new(),
            router: Router::new(incarnation),
            gateways: Mutex::new(gateways),
            changed: Notify::new(),
            lost_sends: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        })
    }

    /// Begins to connect.
    pub(super) fn run(&self, network: Network) {
        drop(self.network.set(network));
        drop(self.handle.spawn(keep_connected(self.me.clone())));
        drop(self.handle.spawn(sweep(self.me.clone())));
    }

    /// Ends every call, and the connections.
    pub(super) fn end(&self) -> Option<Network> {
        if self.stopped.swap(true, Ordering::AcqRel) {
            return None;
        }
        self.router().close(STOPPED);
        self.changed.notify_waiters();
        self.network.get().cloned()
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    fn router(&self) -> Routing<'_> {
        self.router.of(self)
    }

    fn place(&self, grain: &GrainId) -> Option<Location> {
        let owner = self.gateways.lock().choose(grain)?;
        // A gateway is no owner, but calls go there.
        Some(Location { owner, join: 0, activation: ActivationId::from_u128(0), epoch: 0 })
    }

    async fn find(&self, grain: &GrainId) -> Result<Location, Fault> {
        let deadline = Instant::now() + self.call_timeout;
        loop {
            let changed = self.changed.notified();
            if self.is_stopped() {
                return Err(stopped().of(grain));
            }
            if let Some(place) = self.place(grain) {
                return Ok(place);
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                let reason = format!("no gateway is connected ({})", self.gateways.lock().why());
                return Err(Fault::not_executed(Cause::SiloUnavailable { reason }).of(grain));
            }
        }
    }

    /// Connects to who is missing.
    fn connect(&self) {
        let Some(network) = self.network.get() else { return };
        // Held, so that the link is known before it is open.
        let mut gateways = self.gateways.lock();
        for address in gateways.wanted(self.incarnation) {
            if let Ok(link) = network.contact(&address) {
                gateways.dialed(&link, address);
            }
        }
    }

    fn ask_who_there_is(&self) {
        let link = self.gateways.lock().open.values().map(|gateway| gateway.link.clone()).find(|link| link.is_open());
        if let Some(link) = link {
            drop(link.try_send(talk(0, &Talk::Ask(Ask::Gateways)))); // it is asked again
        }
    }

    fn probe(&self) {
        for gateway in self.gateways.lock().open.values() {
            drop(gateway.link.try_send(Message::Probe { number: 0 })); // what is heard of it counts
        }
    }
}

async fn keep_connected(core: Weak<ClientCore>) {
    let (mut looked, mut probed, mut asked) = (Instant::now(), Instant::now(), Instant::now());
    loop {
        {
            let Some(core) = core.upgrade().filter(|core| !core.is_stopped()) else { return };
            core.connect();
            let now = Instant::now();
            if now - looked < PROBE {
                // If this process itself stood still, silence says nothing.
                let silent = core.gateways.lock().silent_since(now - SILENCE);
                silent.iter().for_each(|link| link.close());
            }
            looked = now;
            if now - probed >= PROBE {
                probed = now;
                core.probe();
            }
            if now - asked >= LEARN {
                asked = now;
                core.ask_who_there_is();
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Ends calls that are overdue.
async fn sweep(core: Weak<ClientCore>) {
    while let Some(core) = core.upgrade().filter(|core| !core.is_stopped()) {
        core.router().sweep(Instant::now());
        drop(core);
        tokio::time::sleep(sweeper::PERIOD).await;
    }
}

impl Receiver for ClientCore {
    fn opened(&self, link: &Arc<Link>) {
        let used = self.gateways.lock().opened(link);
        if !used {
            return link.finish(); // there is one already
        }
        // Grains are spread over all gateways again; those that are being called stay where they are.
        self.router.forget_places();
        self.changed.notify_waiters();
        self.ask_who_there_is();
    }

    fn message(&self, from: &Arc<Link>, message: Message) {
        let Some(silo) = from.incarnation() else { return };
        match message {
            Message::Response(response) => self.router().answered(silo, response.correlation, response.result),
            Message::NotHere(not_here) => self.router().not_here(silo, not_here.correlation),
            Message::Control(Control { body, .. }) => {
                if let Ok(Talk::Goodbye) = codec::decode_wire(&body) {
                    let mut gateways = self.gateways.lock();
                    gateways.open.get_mut(&silo).into_iter().for_each(|gateway| gateway.leaves = true);
                    drop(gateways);
                    let (core, link) = (self.me.clone(), from.clone());
                    drop(self.handle.spawn(async move {
                        // What it has been asked it answers first: when it has the farewell it ends.
                        while core.upgrade().is_some_and(|core| core.router.is_out_at(silo)) {
                            tokio::time::sleep(PARTING).await;
                        }
                        drop(link.try_send(talk(0, &Talk::Farewell))); // or it waits until it must not any more
                    }));
                }
            }
            Message::ControlReply(Control { body, .. }) => {
                if let Ok(Answer::Gateways(addresses)) = codec::decode_wire(&body) {
                    self.gateways.lock().learn(addresses);
                }
            }
            _ => {}
        }
    }

    fn closed(&self, link: &Arc<Link>, why: LinkError, unsent: Vec<Message>) {
        let reason = why.to_string();
        let used = self.gateways.lock().closed(link, why);
        if let Some(silo) = link.incarnation().filter(|_| used) {
            let unsent = unsent.iter().filter_map(|message| match message {
                Message::Request(request) => Some(request.correlation),
                _ => None,
            });
            let unsent: Vec<Correlation> = unsent.collect();
            self.router().closed(silo, &unsent, &reason);
        }
        self.changed.notify_waiters();
    }
}

impl Site for ClientCore {
    fn tell(&self, to: Incarnation, message: Message) -> Result<(), SendError> {
        let mut gateways = self.gateways.lock();
        let gateway = gateways.open.get_mut(&to).ok_or(SendError::Gone)?;
        if gateway.leaves && matches!(message, Message::Request(_)) {
            return Err(SendError::Gone);
        }
        gateway.link.try_send(message).map_err(|error| match error.kind {
            SendErrorKind::Overloaded => SendError::Overloaded { limit: gateway.link.queued().0 },
            SendErrorKind::TooLarge(_) => SendError::TooLarge,
            SendErrorKind::Closed => {
                gateway.leaves = true; // it will be closed in a moment
                SendError::Gone
            }
        })
    }

    fn resolve(&self, grain: GrainId, _: Option<Location>) {
        if let Some(place) = self.place(&grain) {
            return self.router().found(&grain, Ok(place));
        }
        let Some(core) = self.me.upgrade() else { return };
        drop(self.handle.spawn(async move {
            let found = core.find(&grain).await;
            core.router().found(&grain, found);
        }));
    }

    fn chain_of(&self, _: Option<&Arc<ChainNode>>) -> Vec<ChainEntry> {
        Vec::new() // a client has no turns
    }

    fn is_open(&self, _: &GrainId) -> bool {
        false
    }

    fn open(&self, _: &GrainId) {}

    fn serve_own(&self, call: Box<RemoteCall>) {
        self.router().send(call); // there is nothing active here
    }

    fn lost_send(&self, fault: Fault) {
        Runtime::lost_send(self, fault);
    }
}

impl Remote for ClientCore {
    fn send(&self, call: Box<RemoteCall>) {
        self.router().send(call);
    }
}

impl Runtime for ClientCore {
    fn binding(&self, _: &str) -> Arc<Binding> {
        let me: Arc<Self> = match self.me.upgrade() {
            Some(me) => me,
            None => unreachable!("whoever asks holds the client"),
        };
        let remote: Arc<dyn Remote> = me.clone();
        Arc::new(Binding { runtime: me, methods: None, outgoing: self.outgoing.clone(), remote: Some(remote) })
    }

    fn lost_send(&self, fault: Fault) {
        self.lost_sends.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%fault, "a one-way call was not accepted");
    }

    fn spawn(&self, work: BoxFuture<'static, ()>) {
        drop(self.handle.spawn(work));
    }

    fn default_timeout(&self) -> Duration {
        self.call_timeout
    }
}

const STOPPED: &str = "the client has stopped";

fn stopped() -> Fault {
    Fault::not_executed(Cause::SiloUnavailable { reason: STOPPED.to_owned() })
}
