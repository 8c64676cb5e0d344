//! What all parts of a silo share.

use std::any::{Any, TypeId};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use gristmill_cluster::{Answer, Directory, Location, PlacementStrategy};
use gristmill_grains::filter::CallFilter;
use gristmill_grains::port::{Binding, CallOptions, Remote, Runtime};
use gristmill_grains::sync::{Mutex, RwLock};
use gristmill_grains::{
    ActivationId, BoxFuture, Cause, Fault, GrainId, GrainOptions, GrainRef, Placement, StorageError,
};
use tokio::runtime::Handle;
use tokio::sync::{Notify, broadcast};
use tokio::task::JoinHandle;

use crate::clustering::node::Node;
use crate::committer::Committer;
use crate::events::SiloEvent;
use crate::graph::WaitGraph;
use crate::host::AnyHost;
use crate::keeper;
use crate::methods::WireCall;
use crate::options::SiloOptions;
use crate::sweeper::Sweeper;

const RUNNING: u8 = 0;
const STOPPING: u8 = 1;
const STOPPED: u8 = 2;
/// A later silo runs on the same storage.
const SUPERSEDED: u8 = 3;

/// The methods of an interface, by their wire ids.
type WireMethods = BTreeMap<u32, Arc<dyn WireCall>>;

/// What all parts of a silo share.
pub(crate) struct Core {
    pub(crate) me: Weak<Core>,
    pub(crate) handle: Handle,
    pub(crate) options: SiloOptions,
    pub(crate) directory: Arc<dyn Directory>,
    /// This silo among others, if there are any.
    pub(crate) node: Option<Arc<Node>>,
    pub(crate) storages: Vec<Arc<Committer>>,
    /// By storage: the run this silo began in it.
    pub(crate) runs: Vec<u64>,
    pub(crate) services: RwLock<BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>>,
    pub(crate) outgoing: Vec<Arc<dyn CallFilter>>,
    pub(crate) hosts: RwLock<Vec<Arc<dyn AnyHost>>>,
    pub(crate) bindings: RwLock<BTreeMap<String, Arc<Binding>>>,
    pub(crate) wire: RwLock<BTreeMap<&'static str, WireMethods>>,
    pub(crate) graph: WaitGraph,
    pub(crate) sweeper: Sweeper,
    pub(crate) placements: BTreeMap<String, Arc<dyn PlacementStrategy>>,
    pub(crate) rng: Mutex<fastrand::Rng>,
    /// Counts the collector's rounds: a clock good enough for idleness, read without a system call.
    pub(crate) clock: AtomicU32,
    pub(crate) lost_sends: AtomicU64,
    pub(crate) events: broadcast::Sender<SiloEvent>,
    /// An activation ended.
    pub(crate) deactivated: Notify,
    /// The silo must stop: why.
    pub(crate) superseded: Mutex<Option<String>>,
    pub(crate) must_stop: Notify,
    pub(crate) state: AtomicU8,
}

thread_local! {
    /// The runtimes of the tasks that this thread last ran.
    static SEEN_TASKS: [Cell<Option<(tokio::task::Id, tokio::runtime::Id)>>; 256] = const { [const { Cell::new(None) }; 256] };
}

/// The number behind a task's id, which shows itself only to a hasher.
#[derive(Default)]
struct TaskNumber(u64);

impl TaskNumber {
    fn of(task: tokio::task::Id) -> usize {
        let mut number = Self::default();
        task.hash(&mut number);
        number.0 as usize
    }
}

impl Hasher for TaskNumber {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |number, byte| number << 8 | u64::from(*byte));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

impl Core {
    pub(crate) fn next_activation_id(&self) -> ActivationId {
        ActivationId::from_u128(self.rng.lock().u128(..))
    }

    pub(crate) fn random(&self) -> u64 {
        self.rng.lock().u64(..)
    }

    pub(crate) fn coarse_now(&self) -> u32 {
        self.clock.load(Ordering::Relaxed)
    }

    pub(crate) fn spawn_task(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        #[cfg(shuttle)]
        let task = {
            drop(shuttle::future::spawn(task));
            std::future::ready(())
        };
        self.handle.spawn(task)
    }

    /// Is this thread now running a task of the silo's own tokio runtime? Only there may a turn be polled in place: what
    /// it waits for belongs to the runtime that polled it first.
    pub(crate) fn is_current(&self) -> bool {
        if cfg!(shuttle) {
            return true;
        }
        let Some(task) = tokio::task::try_id() else {
            return Handle::try_current().is_ok_and(|handle| handle.id() == self.handle.id());
        };
        // A task stays with its runtime. Asking which it is touches a count that all its threads share.
        SEEN_TASKS.with(|seen| {
            let entry = &seen[TaskNumber::of(task) % seen.len()];
            let runtime = match entry.get() {
                Some((known, runtime)) if known == task => runtime,
                _ => {
                    let Ok(handle) = Handle::try_current() else { return false };
                    entry.set(Some((task, handle.id())));
                    handle.id()
                }
            };
            runtime == self.handle.id()
        })
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.state.load(Ordering::Relaxed) != RUNNING
    }

    pub(crate) fn begin_stop(&self) {
        for from in [RUNNING, SUPERSEDED] {
            let _ = self.state.compare_exchange(from, STOPPING, Ordering::AcqRel, Ordering::Acquire); // or it is
        }
    }

    pub(crate) fn end_stop(&self) {
        self.state.store(STOPPED, Ordering::Release);
    }

    /// Breaks the circles: grains hold references, which hold the silo.
    pub(crate) fn take_apart(&self) {
        for host in self.hosts() {
            host.clear();
        }
        let hosts = std::mem::take(&mut *self.hosts.write());
        let bindings = std::mem::take(&mut *self.bindings.write());
        let wire = std::mem::take(&mut *self.wire.write());
        let services = std::mem::take(&mut *self.services.write());
        drop((hosts, bindings, wire, services));
        self.storages.iter().for_each(|storage| storage.clear());
        self.node.iter().for_each(|node| node.router().close("this silo has stopped"));
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.state.load(Ordering::Acquire) == STOPPED
    }

    /// A silo that stops serves only what its running turns ask for.
    #[inline]
    pub(crate) fn admits(&self, options: &CallOptions) -> Result<(), Fault> {
        match self.state.load(Ordering::Relaxed) {
            RUNNING => Ok(()),
            // What this silo does not serve any more goes to the others.
            STOPPING if self.is_clustered() => Ok(()),
            STOPPED if options.routed => Err(Fault::not_executed(Cause::Moved)),
            state => Self::admits_when(state, options),
        }
    }

    #[cold]
    fn admits_when(state: u8, options: &CallOptions) -> Result<(), Fault> {
        let reason = match state {
            STOPPING if options.from_turn => return Ok(()),
            STOPPING => "the silo is stopping",
            SUPERSEDED => "other silos have taken its place",
            _ => "the silo has stopped",
        };
        Err(Fault::not_executed(Cause::SiloUnavailable { reason: reason.to_owned() }))
    }

    pub(crate) fn event(&self, event: SiloEvent) {
        let _ = self.events.send(event); // nobody may be listening
    }

    pub(crate) fn hosts(&self) -> Vec<Arc<dyn AnyHost>> {
        self.hosts.read().clone()
    }

    /// A fence in this storage is another's: if a later silo runs on it, this one serves no more.
    pub(crate) fn check_superseded(&self, storage: usize) {
        if let Some(me) = self.me.upgrade() {
            self.spawn_task(async move { drop(me.superseded(storage).await) });
        }
    }

    /// Does a later silo run on this storage? Then this one serves no more, and must not take grains back from it.
    pub(crate) async fn superseded(&self, storage: usize) -> Result<Option<Fault>, StorageError> {
        if self.is_clustered() {
            return Ok(None); // silos share it; the fence says who may write
        }
        let committer = &self.storages[storage];
        if committer.answered(committer.storage().run()).await? <= self.runs[storage] {
            return Ok(None);
        }
        let name = committer.name.clone();
        let reason = format!("a later silo runs on storage {name:?}");
        if self.superseded.lock().replace(reason.clone()).is_none() {
            tracing::error!(storage = name, "a later silo runs on this storage; this one serves no more, stop it");
            let _ = self.state.compare_exchange(RUNNING, SUPERSEDED, Ordering::AcqRel, Ordering::Acquire); // or it stops
            self.event(SiloEvent::Superseded { storage: name.clone() });
            self.must_stop.notify_one();
        }
        Ok(Some(Fault::not_executed(Cause::SiloUnavailable { reason })))
    }

    /// Does a cluster say where grains are?
    #[inline]
    pub(crate) fn is_clustered(&self) -> bool {
        self.node.is_some()
    }

    /// The way to the other silos.
    pub(crate) fn remote(&self) -> Option<Arc<dyn Remote>> {
        self.node.clone().map(|node| node as _)
    }

    fn host_of(&self, grain: &GrainId) -> Option<Arc<dyn AnyHost>> {
        self.hosts.read().iter().find(|host| host.grain_type() == grain.grain_type()).cloned()
    }

    /// Where the grain's type wants to be activated.
    pub(crate) fn placement_of(&self, grain: &GrainId) -> Placement {
        self.host_of(grain).map(|host| host.options().placement.clone()).unwrap_or_default()
    }

    /// One of so many, at random.
    pub(crate) fn choose(&self, many: usize) -> Option<usize> {
        (many > 0).then(|| self.rng.lock().usize(..many))
    }

    /// A call of the grain failed as part of a deadlock.
    pub(crate) fn count_deadlock(&self, grain: &GrainId) {
        self.host_of(grain).inspect(|host| host.count_deadlock());
    }

    /// Activates the grain here, unless it is; tells who owns it then. `None`: not in this silo.
    pub(crate) fn adopt(&self, grain: &GrainId, expect: Option<Location>) -> Option<BoxFuture<'static, Answer>> {
        if self.is_stopping() {
            return None;
        }
        Some(self.host_of(grain)?.adopt(grain.key(), expect))
    }

    /// Where the directory has the grain, if an activation here owns it.
    pub(crate) fn location(&self, grain: &GrainId) -> Option<Location> {
        self.host_of(grain)?.location(grain.key())
    }

    /// The grain's activation here lets everybody in from now on.
    pub(crate) fn open(&self, grain: &GrainId) {
        self.host_of(grain).inspect(|host| host.open(grain.key()));
    }

    /// Is the grain active here, and lets everybody in?
    pub(crate) fn is_open(&self, grain: &GrainId) -> bool {
        self.host_of(grain).is_some_and(|host| host.is_open(grain.key()))
    }

    /// Is it of a strict type, as far as this silo knows?
    pub(crate) fn is_strict(&self, grain: &GrainId) -> bool {
        self.host_of(grain).is_some_and(|host| host.options().strict)
    }

    /// In a cluster: is this silo's lease valid?
    pub(crate) fn may_speak(&self) -> bool {
        self.node.as_ref().is_none_or(|node| node.may_speak())
    }

    /// A method, by its wire names.
    pub(crate) fn wire_method(&self, interface: &str, method: u32) -> Result<Arc<dyn WireCall>, Cause> {
        if let Some(method) = self.wire.read().get(interface).and_then(|methods| methods.get(&method)) {
            return Ok(method.clone());
        }
        match self.bindings.read().contains_key(interface) {
            true => Err(Cause::UnknownMethod { id: method }),
            false if self.is_stopped() => Err(Cause::Moved),
            false => Err(Cause::UnknownGrain),
        }
    }

    /// The other silos have this one's grains.
    pub(crate) fn evicted(&self, reason: &str) {
        if self.superseded.lock().replace(reason.to_owned()).is_none() {
            let _ = self.state.compare_exchange(RUNNING, SUPERSEDED, Ordering::AcqRel, Ordering::Acquire); // or it stops
            self.must_stop.notify_one();
        }
    }

    /// Records a `keep_running` grain, so that it is brought back after a restart.
    pub(crate) async fn keep(&self, options: &GrainOptions, grain: &GrainId) -> Result<(), Fault> {
        if !options.keep_running {
            return Ok(());
        }
        keeper::registry(self, grain).add(grain.key().to_string()).await.map_err(|error| match error {
            gristmill_grains::CallError::Fault(fault) => fault,
            gristmill_grains::CallError::App(never) => match never {},
        })
    }

    /// Forgets a `keep_running` grain.
    pub(crate) fn forget(&self, options: &GrainOptions, grain: GrainId) {
        if options.keep_running {
            keeper::registry(self, &grain).remove(grain.key().to_string()).send();
        }
    }

    /// A reference to a grain of interface `I`, bound to this silo.
    pub(crate) fn reference<I: gristmill_grains::Interface>(&self, key: I::Key) -> GrainRef<I> {
        GrainRef::bound(key, self)
    }
}

impl Runtime for Core {
    fn binding(&self, interface: &str) -> Arc<Binding> {
        if let Some(binding) = self.bindings.read().get(interface) {
            return binding.clone();
        }
        // Not hosted here: without a cluster, calls through it fail, naming the grain.
        let runtime: Arc<dyn Runtime> = match self.me.upgrade() {
            Some(me) => me,
            None => unreachable!("whoever asks holds the silo"),
        };
        let remote = self.remote();
        let outgoing = if remote.is_some() { self.outgoing.clone() } else { Vec::new() };
        Arc::new(Binding { runtime, methods: None, outgoing, remote })
    }

    fn lost_send(&self, fault: Fault) {
        self.lost_sends.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%fault, "a one-way call was not accepted");
    }

    fn why_missing(&self) -> Cause {
        match self.is_stopped() {
            true => Cause::SiloUnavailable { reason: "the silo has stopped".to_owned() },
            false => Cause::UnknownGrain,
        }
    }

    fn spawn(&self, work: BoxFuture<'static, ()>) {
        self.handle.spawn(work);
    }

    fn default_timeout(&self) -> Duration {
        self.options.call_timeout
    }
}
