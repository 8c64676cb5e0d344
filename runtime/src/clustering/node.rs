//! One silo's part in its cluster: what it knows of the others, what it asks them, what it answers.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use gristmill_cluster::transport::wire::{ChainEntry, Control, Message, NotHere, Response};
use gristmill_cluster::{
    Answer, Ask, Claim, Directory, DirectoryError, Incarnation, Location, Status, Talk, TurnAt, View, hash,
};
use gristmill_grains::chaos::{self, Bug};
use gristmill_grains::port::{Remote, RemoteCall};
use gristmill_grains::sync::Mutex;
use gristmill_grains::turn::{ChainNode, Origin, TurnId};
use gristmill_grains::{ActivationId, Cause, Fault, GrainId, codec};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::asks::Asks;
use super::bounced::Bounced;
use super::broker::Broker;
use super::gateway::Clients;
use super::inbox::Inbox;
use super::router::{Router, Routing};
use super::serve::{Caller, Item, Serving};
use super::site::Site;
use super::views::Views;
use super::wires::{Correlation, Receiver, Wires};
use crate::core::Core;

/// Turns that wait for a call, as told to other silos: the nearest ones.
pub(super) const MAX_CHAIN: usize = 64;
/// Grains whose place is decided at a time: after a death the directory is not flooded.
const MAX_DECISIONS: usize = 256;
/// Marks the numbers of turns elsewhere.
const FOREIGN: u64 = 1 << 63;
/// Between two looks whether a silo that leaves has answered everything.
pub(crate) const PARTING: Duration = Duration::from_millis(5);
/// How long a grain's place is asked for again after a failure: first, and last, as each wait doubles.
const FIND_AGAIN: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

/// A silo among others.
pub(crate) struct Node {
    pub(super) myself: Weak<Node>,
    me: Incarnation,
    join: u64,
    core: OnceLock<Weak<Core>>,
    pub(super) wires: Arc<dyn Wires>,
    directory: Arc<dyn Directory>,
    views: Views,
    router: Router,
    pub(super) broker: Broker,
    pub(super) serving: Serving,
    /// Decisions of the broker at a time.
    pub(super) deciding: Semaphore,
    pub(super) asks: Asks,
    pub(super) clients: Clients,
    pub(super) partings: Mutex<Partings>,
    /// Another process serves the rows: the directory's may be gone.
    pub(super) store_changed: Notify,
    pub(super) inbox: Inbox,
    pub(super) bounced: Bounced,
    /// How long a silo may speak after a beat. All silos say the same.
    lease: Duration,
    /// The highest epoch seen: a floor for the directory's counters.
    epoch: AtomicU64,
}

/// Silos that leave.
#[derive(Default)]
pub(super) struct Partings {
    /// They said so: they are sent no requests.
    pub(super) left: BTreeSet<Incarnation>,
    /// This one leaves: whose last request is still awaited.
    pub(super) awaited: BTreeSet<Incarnation>,
}

impl Node {
    pub(crate) fn new(
        me: Incarnation,
        join: u64,
        wires: Arc<dyn Wires>,
        directory: Arc<dyn Directory>,
        view: View,
        lease: Duration,
        dispatchers: usize,
    ) -> Arc<Self> {
        Arc::new_cyclic(|myself| Self {
            myself: myself.clone(),
            me,
            join,
            core: OnceLock::new(),
            wires,
            directory,
            views: Views::new(view),
            router: Router::new(me),
            broker: Broker::default(),
            serving: Serving::default(),
            deciding: Semaphore::new(MAX_DECISIONS),
            asks: Asks::default(),
            clients: Clients::default(),
            partings: Mutex::default(),
            store_changed: Notify::new(),
            inbox: Inbox::new(dispatchers),
            bounced: Bounced::default(),
            lease,
            epoch: AtomicU64::new(0),
        })
    }

    /// Begins to serve.
    pub(crate) fn attach(self: &Arc<Self>, core: &Arc<Core>) {
        drop(self.core.set(Arc::downgrade(core)));
        for (queue, items) in self.inbox.ends().into_iter().enumerate() {
            core.spawn_task(super::serve::dispatch(self.myself.clone(), queue, items));
        }
    }

    pub(crate) fn me(&self) -> Incarnation {
        self.me
    }

    /// This silo, as the place of what has no row in the directory.
    pub(crate) fn without_row(&self) -> Location {
        Location { owner: self.me, join: self.join, activation: ActivationId::from_u128(0), epoch: 0 }
    }

    /// The version of the view it joined with.
    pub(crate) fn join(&self) -> u64 {
        self.join
    }

    pub(crate) fn router(&self) -> Routing<'_> {
        self.router.of(self)
    }

    pub(super) fn core(&self) -> Option<Arc<Core>> {
        self.core.get()?.upgrade()
    }

    pub(super) fn directory(&self) -> &Arc<dyn Directory> {
        &self.directory
    }

    pub(crate) fn view(&self) -> Arc<View> {
        self.views.latest()
    }

    /// The views, as they change.
    pub(crate) fn views(&self) -> &Views {
        &self.views
    }

    /// Does this silo decide where the grain is activated?
    pub(crate) fn is_broker_of(&self, grain: &GrainId) -> bool {
        self.broker_of(grain, &self.view()) == Some(self.me)
    }

    fn broker_of(&self, grain: &GrainId, view: &View) -> Option<Incarnation> {
        let hosts = view.active().filter(|member| member.info.types.contains(grain.grain_type().as_str()));
        hash::rendezvous(hash::of_grain(grain), hosts.map(|member| member.incarnation))
    }

    /// The rows as they are now.
    pub(crate) fn set_view(&self, view: View) {
        if self.views.put(view) {
            self.tell_clients();
        }
    }

    /// Waits until a silo that is dead can answer nothing more.
    pub(crate) async fn outlast(&self, silo: Incarnation) {
        if silo != self.me {
            self.views.outlast(silo, self.lease).await;
        }
    }

    /// Is this silo's lease valid? Else the others may have declared it dead.
    pub(crate) fn may_speak(&self) -> bool {
        self.wires.may_speak()
    }

    /// Runs work on the silo's threads.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(core) = self.core() {
            drop(core.spawn_task(work));
        }
    }

    /// Has the others send no more requests, and waits until all that they sent are here and answered, and this silo's
    /// own calls too.
    pub(crate) async fn say_goodbye(&self, deadline: Instant) {
        let mut told = BTreeSet::from([self.me]);
        self.say_goodbye_to_clients();
        let over = || {
            self.partings.lock().awaited.is_empty()
                && self.inbox.is_empty()
                && self.serving.is_idle()
                && self.clients.is_idle()
                && self.router.is_idle()
        };
        loop {
            // Silos may join meanwhile, and call what has not moved yet.
            let view = self.view();
            let others = view.members.values().filter(|member| member.status != Status::Dead);
            for other in others.map(|member| member.incarnation).filter(|other| told.insert(*other)) {
                self.partings.lock().awaited.insert(other);
                if self.wires.send(other, talk(0, &Talk::Goodbye)).is_err() {
                    self.partings.lock().awaited.remove(&other);
                }
            }
            if over() || Instant::now() >= deadline || chaos::planted(Bug::FarewellTooEarly) {
                return;
            }
            tokio::time::sleep(PARTING).await;
        }
    }

    /// The turns that wait for a call, as another silo told.
    pub(super) fn chain_from(&self, chain: Vec<ChainEntry>) -> Option<Arc<ChainNode>> {
        chain.into_iter().take(MAX_CHAIN).rev().fold(None, |parent, entry| {
            let ChainEntry { incarnation: silo, turn, access, link } = entry;
            // Turns of this silo are known by their numbers, others get one that no turn here has.
            let here = self.number_of(TurnAt { silo, turn });
            let origin = Origin { process: silo.as_u128(), turn, link };
            Some(ChainNode::told(here, access, origin, parent))
        })
    }

    /// The number that a turn has here.
    pub(super) fn number_of(&self, at: TurnAt) -> TurnId {
        if at.silo == self.me { at.turn } else { hash::of_turn(at.silo, at.turn) | FOREIGN }
    }

    /// Makes an activation of this silo the grain's owner. `Err`: who owns it.
    pub(crate) async fn claim(
        &self,
        grain: &GrainId,
        activation: ActivationId,
        expect: Option<Location>,
    ) -> Result<Result<Location, Location>, DirectoryError> {
        let floor = self.epoch.load(Ordering::Relaxed);
        let claim = Claim { owner: self.me, join: self.join, activation, expect, floor };
        let claimed = self.directory.claim(grain, claim).await?;
        let (Ok(row) | Err(row)) = claimed;
        self.epoch.fetch_max(row.epoch, Ordering::Relaxed);
        Ok(claimed)
    }

    /// Gives the owner of the grain an epoch above `floor`. `Err`: who owns it, if anybody.
    pub(crate) async fn raise(
        &self,
        grain: &GrainId,
        activation: ActivationId,
        floor: u64,
    ) -> Result<Result<Location, Option<Location>>, DirectoryError> {
        let floor = self.epoch.fetch_max(floor, Ordering::Relaxed).max(floor);
        chaos::reach("an epoch was raised above the store's");
        self.directory.raise(grain, activation, floor).await
    }

    /// Puts rows of this silo's activations back that the directory has lost.
    pub(super) async fn reassert(&self, rows: &[(GrainId, Location)]) -> Result<Vec<Location>, DirectoryError> {
        self.directory.reassert(rows).await
    }

    /// The activation owns its grain no longer, and everything it wrote is settled.
    pub(crate) async fn release(&self, grain: &GrainId, activation: ActivationId) -> Result<(), DirectoryError> {
        self.directory.release(grain, activation).await
    }

    /// Where the grain is; activates it if it is nowhere.
    pub(crate) async fn find(&self, grain: &GrainId, mut stale: Option<Location>) -> Result<Location, Fault> {
        let Some(core) = self.core() else { return Err(stopped()) };
        let deadline = Instant::now() + core.options.call_timeout;
        let mut again = FIND_AGAIN.0;
        loop {
            let view = self.view();
            let broker = self.broker_of(grain, &view);
            let mut why = "no silo answered".to_owned();
            let answer = match broker {
                None => {
                    let known =
                        |member: &gristmill_cluster::Member| member.info.types.contains(grain.grain_type().as_str());
                    if !view.members.values().any(known) {
                        return Err(Fault::not_executed(Cause::UnknownGrain).of(grain));
                    }
                    "no silo that hosts it is active".clone_into(&mut why);
                    let comes = |member: &gristmill_cluster::Member| {
                        member.incarnation != self.me && matches!(member.status, Status::Joining | Status::Active)
                    };
                    if core.is_stopping() && !view.members.values().any(comes) {
                        // The last one to leave waits for nobody.
                        return Err(Fault::not_executed(Cause::SiloUnavailable { reason: why }).of(grain));
                    }
                    None
                }
                Some(broker) if broker == self.me => Some(self.locate(grain, stale, self.me).await),
                Some(broker) => self.ask(broker, Ask::Locate { grain: grain.clone(), stale }).await,
            };
            match answer {
                // Where it was just looked for in vain: once more, but not at once.
                Some(Answer::At(location)) if !view.is_dead(location.owner, location.join) => {
                    if stale == Some(location) {
                        drop(tokio::time::timeout(again, self.views.later_than(&view)).await);
                    }
                    return Ok(location);
                }
                Some(Answer::At(location) | Answer::Held(location)) => stale = Some(location),
                Some(Answer::Failed(fault)) => return Err(fault),
                Some(_) | None => {}
            }
            if Instant::now() + again >= deadline {
                return Err(Fault::not_executed(Cause::SiloUnavailable { reason: why }).of(grain));
            }
            // A new view may say who to ask instead.
            drop(tokio::time::timeout(again, self.views.later_than(&view)).await);
            again = (again * 2).min(FIND_AGAIN.1);
        }
    }

    async fn answer(self: Arc<Self>, from: Incarnation, ask: Ask) -> Answer {
        match ask {
            Ask::Locate { grain, stale } => self.locate(&grain, stale, from).await,
            Ask::Activate { grain, expect } => self.activate(&grain, expect).await,
            Ask::Owns { grain } => self.owns(&grain),
            Ask::Load => self.load(),
            Ask::Below { turn } => self.below(turn),
            Ask::Gateways => self.gateways(),
        }
    }

    /// Activates the grain here, unless it is.
    pub(super) async fn activate(&self, grain: &GrainId, expect: Option<Location>) -> Answer {
        let Some(core) = self.core() else { return Answer::No };
        match core.adopt(grain, expect) {
            Some(claimed) => claimed.await,
            None => Answer::No,
        }
    }
}

impl Node {
    fn talk(&self, from: Incarnation, correlation: Correlation, said: Talk) {
        match said {
            Talk::Goodbye => {
                self.partings.lock().left.insert(from);
                let Some(node) = self.myself.upgrade() else { return };
                self.spawn(async move {
                    // What it has been asked it answers first: when it has the farewell it ends.
                    while node.router.is_out_at(from) || node.asks.any_at(from) {
                        tokio::time::sleep(PARTING).await;
                    }
                    let _ = node.wires.send(from, talk(0, &Talk::Farewell)); // or it waits until it must not any more
                });
            }
            Talk::Farewell => drop(self.partings.lock().awaited.remove(&from)),
            Talk::Ask(ask) => {
                let Some(node) = self.myself.upgrade() else { return };
                self.spawn(async move {
                    let body = encoded(&node.clone().answer(from, ask).await);
                    let reply = Message::ControlReply(Control { correlation, body });
                    let _ = node.tell(from, reply); // or who asked asks again
                });
            }
        }
    }
}

pub(crate) fn talk(correlation: Correlation, said: &Talk) -> Message {
    Message::Control(Control { correlation, body: encoded(said) })
}

/// Of names, numbers and texts: it fails only for what is too large, and then nothing can be said.
pub(crate) fn encoded(value: &impl serde::Serialize) -> Bytes {
    codec::encode_wire(value).unwrap_or_default().into()
}

impl Remote for Node {
    fn send(&self, call: Box<RemoteCall>) {
        self.router().send(call);
    }
}

impl Receiver for Node {
    fn receive(&self, from: Incarnation, message: Message) {
        match message {
            Message::Request(request) => {
                if let Some(node) = self.myself.upgrade() {
                    node.take(Item { from: Caller::Silo(from), request }, false);
                }
            }
            Message::Response(Response { correlation, result }) => self.router().answered(from, correlation, result),
            Message::NotHere(NotHere { correlation, .. }) => self.router().not_here(from, correlation),
            Message::Cancel { correlation } => self.serving.cancel(from, correlation),
            Message::Control(Control { correlation, body }) => match codec::decode_wire(&body) {
                Ok(talk) => self.talk(from, correlation, talk),
                Err(fault) => tracing::error!(silo = %from, %fault, "a question of a silo cannot be read"),
            },
            Message::ControlReply(Control { correlation, body }) => match codec::decode_wire(&body) {
                Ok(answer) => self.asks.answered(from, correlation, answer),
                Err(fault) => {
                    tracing::error!(silo = %from, %fault, "an answer of a silo cannot be read");
                    self.asks.answered(from, correlation, Answer::No);
                }
            },
            Message::ViewHint { .. } | Message::Probe { .. } | Message::ProbeAck { .. } | Message::Goodbye => {}
        }
    }

    fn closed(&self, silo: Incarnation, unsent: &[Correlation], why: &str) {
        self.lost(silo, unsent, why);
        self.caller_gone(silo);
    }
}

impl Node {
    /// The connection to a silo is over; these requests never left.
    pub(super) fn lost(&self, silo: Incarnation, unsent: &[Correlation], why: &str) {
        self.asks.gone(silo);
        {
            let mut partings = self.partings.lock();
            partings.awaited.remove(&silo);
            partings.left.remove(&silo);
        }
        self.router().closed(silo, unsent, why);
    }

    /// A silo waits for no answers any more.
    pub(super) fn caller_gone(&self, silo: Incarnation) {
        self.serving.gone(silo);
    }
}

fn stopped() -> Fault {
    Fault::not_executed(Cause::SiloUnavailable { reason: "this silo has stopped".to_owned() })
}
