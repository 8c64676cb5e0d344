//! Describing a silo and starting it.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};
use std::time::Duration;

use gristmill_cluster::{Directory, Incarnation, LocalDirectory, Membership, PlacementStrategy};
use gristmill_grains::call::deadline_after;
use gristmill_grains::filter::CallFilter;
use gristmill_grains::port::Binding;
use gristmill_grains::storage::{GrainStorage, MAX_COUNTER};
use gristmill_grains::sync::{Mutex, RwLock};
use gristmill_grains::{Grain, GrainOptions, StorageError};
use gristmill_storage::MemoryStorage;
use tokio::sync::{Notify, broadcast};
use tokio::time::{Instant, timeout_at};

use crate::clustering::machine::Machine;
use crate::clustering::node::Node;
use crate::clustering::options::ClusterOptions;
use crate::clustering::start::Setup;
use crate::committer::{Committer, LANES};
use crate::core::Core;
use crate::graph::WaitGraph;
use crate::host::{AnyHost, TypeHost};
use crate::keeper::{self, KeeperGrain};
use crate::methods::{BoundInterface, Methods};
use crate::options::SiloOptions;
use crate::services::{Service, Services};
use crate::silo::Silo;
use crate::sweeper::Sweeper;
use crate::{clustering, collector, monitor};

/// Why a silo did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A grain type cannot be hosted as it is declared.
    #[error("grain type {grain_type:?}: {reason}")]
    Grain {
        /// The type's wire name.
        grain_type: String,
        /// What is wrong.
        reason: String,
    },
    /// An option cannot be.
    #[error("silo option: {0}")]
    Option(String),
    /// A storage does not answer, or is not fit to be used.
    #[error("storage {name:?}: {error}")]
    Storage {
        /// The storage's name in the silo.
        name: String,
        /// What it said.
        #[source]
        error: StorageError,
    },
    /// The silo's services did not start.
    #[error("the silo's services did not start: {0}")]
    Services(String),
    /// The silo could not take part in its cluster.
    #[error("the cluster: {0}")]
    Cluster(String),
    /// There is no tokio runtime here.
    #[error("a silo starts inside a tokio runtime, and its grains run on it")]
    NoRuntime,
    /// This build cannot contain panics.
    #[error("built with panic = \"abort\": a panic in one grain would end the silo; build with panic = \"unwind\"")]
    PanicAbort,
}

/// Keeps the numbers of incarnations apart from the silo's other ones.
const INCARNATION: u64 = 0x1f83_d9ab_fb41_bd6b;

type Register = Box<dyn FnOnce(&Arc<Core>, &[Arc<dyn CallFilter>]) -> Result<Registered, StartError> + Send>;

struct Registered {
    host: Arc<dyn AnyHost>,
    interfaces: Vec<BoundInterface>,
}

/// Describes a silo. See [`Silo::builder`].
#[derive(Default)]
#[must_use = "a silo runs once it is started"]
pub struct SiloBuilder {
    options: SiloOptions,
    storages: Vec<(String, Arc<dyn GrainStorage>)>,
    services: BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>,
    incoming: Vec<Arc<dyn CallFilter>>,
    outgoing: Vec<Arc<dyn CallFilter>>,
    grains: Vec<Register>,
    types: BTreeSet<String>,
    placements: BTreeMap<String, Arc<dyn PlacementStrategy>>,
    cluster: Option<Setup>,
    pub(crate) node: Option<Arc<Node>>,
    pub(crate) machine: Machine,
}

impl SiloBuilder {
    /// All options at once.
    pub fn options(mut self, options: SiloOptions) -> Self {
        self.options = options;
        self
    }

    /// The deadline of calls that state none. Default 30 s.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.options.call_timeout = timeout;
        self
    }

    /// The seed of the silo's ids and random choices, for replays.
    pub fn seed(mut self, seed: u64) -> Self {
        self.options.seed = Some(seed);
        self
    }

    /// A storage, under the name that `#[state(storage = "..")]` says (`default` when it says none).
    pub fn storage(self, name: impl Into<String>, storage: impl GrainStorage) -> Self {
        self.shared_storage(name, Arc::new(storage))
    }

    /// [`storage`](Self::storage), for one that somebody else holds as well.
    pub fn shared_storage(mut self, name: impl Into<String>, storage: Arc<dyn GrainStorage>) -> Self {
        self.storages.push((name.into(), storage));
        self
    }

    /// Takes part in a cluster, whose membership and directory are kept there.
    ///
    /// ```no_run
    /// # use gristmill::prelude::*;
    /// use gristmill::cluster::{ClusterOptions, RedisCluster};
    /// # async fn start() -> Result<(), Box<dyn std::error::Error>> {
    /// let cluster = RedisCluster::connect("redis://127.0.0.1:6379").await?;
    /// let options = ClusterOptions { listen: "127.0.0.1:7001".to_owned(), ..ClusterOptions::default() };
    /// let silo = Silo::builder().cluster(cluster, options).start().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn cluster(self, kept: impl Membership + Directory + Clone, options: ClusterOptions) -> Self {
        self.shared_cluster(Arc::new(kept.clone()), Arc::new(kept), options)
    }

    /// [`cluster`](Self::cluster), with the membership and the directory kept in different places.
    pub fn shared_cluster(
        mut self,
        rows: Arc<dyn Membership>,
        directory: Arc<dyn Directory>,
        options: ClusterOptions,
    ) -> Self {
        self.cluster = Some(Setup { rows, directory, options });
        self
    }

    /// A strategy that says on which silo grains are activated whose type says `#[grain(placement = "custom(name)")]`.
    pub fn placement(mut self, name: impl Into<String>, strategy: impl PlacementStrategy) -> Self {
        self.placements.insert(name.into(), Arc::new(strategy));
        self
    }

    /// A service for grains: a field `#[service] config: Arc<Config>` gets it.
    pub fn service<T: Any + Send + Sync>(mut self, service: Arc<T>) -> Self {
        self.services.insert(TypeId::of::<T>(), service);
        self
    }

    /// Code inside every call to the silo's grains, in the order of registration.
    pub fn incoming(mut self, filter: impl CallFilter) -> Self {
        self.incoming.push(Arc::new(filter));
        self
    }

    /// Code around every call made through the silo's references, in the order of registration.
    pub fn outgoing(mut self, filter: impl CallFilter) -> Self {
        self.outgoing.push(Arc::new(filter));
        self
    }

    /// Hosts a grain type.
    pub fn grain<G: Grain>(self) -> Self {
        self.grain_with::<G>(|_| {})
    }

    /// Hosts a grain type with other options than its `#[grain(..)]` attribute says.
    pub fn grain_with<G: Grain>(mut self, configure: impl FnOnce(&mut GrainSetup) + Send + 'static) -> Self {
        self.types.insert(G::grain_type().to_string());
        self.grains.push(Box::new(move |core, incoming| {
            let mut setup = GrainSetup { options: G::options(), incoming: incoming.to_vec() };
            configure(&mut setup);
            register::<G>(core, setup)
        }));
        self
    }

    /// The names of the grain types it hosts, the silo's own among them.
    pub(crate) fn types(&self) -> BTreeSet<String> {
        let own = [KeeperGrain::grain_type().to_string()];
        self.types.iter().cloned().chain(own).collect()
    }

    /// Starts the silo on the tokio runtime this is called in.
    ///
    /// # Errors
    /// A contradiction in what was described, or a storage that does not answer within `activation_timeout`.
    pub async fn start(mut self) -> Result<Silo, StartError> {
        if cfg!(panic = "abort") {
            return Err(StartError::PanicAbort);
        }
        let handle = tokio::runtime::Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        self.options.validate().map_err(StartError::Option)?;
        self.name_storages()?;
        let (runs, floor) = begin_runs(&self.storages, self.options.activation_timeout).await?;
        let seed = *self.options.seed.get_or_insert_with(os_seed);
        let mut taking = None;
        if let Some(setup) = self.cluster.take() {
            // From a stream of its own: the silo's ids follow from its seed, cluster or not.
            let me = Incarnation::from_u128(fastrand::Rng::with_seed(seed ^ INCARNATION).u128(..));
            let joined =
                clustering::start::join(&setup, &self.machine, me, self.types(), self.options.activation_timeout).await;
            let (node, takes) = joined.map_err(StartError::Cluster)?;
            self.node = Some(node);
            taking = Some(takes);
        }
        let core = self.assemble(handle, runs, floor)?;
        let unstarted = Unstarted(Some(core.clone()));
        let services =
            Services::start(services(&core)).await.map_err(|error| StartError::Services(error.to_string()))?;
        if let Some(taking) = &taking {
            taking.activate(&core).await.map_err(StartError::Cluster)?;
        }
        unstarted.started();
        let silo = Silo::new(core.clone(), services, taking);
        core.spawn_task(keeper::keep_bringing(core.clone()));
        Ok(silo)
    }

    /// Makes everything but the services.
    pub(crate) fn assemble(
        mut self,
        handle: tokio::runtime::Handle,
        runs: Vec<u64>,
        floor: u64,
    ) -> Result<Arc<Core>, StartError> {
        let seed = self.options.seed.unwrap_or_else(os_seed);
        let committers = self.storages.into_iter().map(|(name, storage)| Arc::new(Committer::new(name, storage)));
        let core = Arc::new_cyclic(|me| Core {
            me: me.clone(),
            handle,
            options: self.options,
            directory: Arc::new(LocalDirectory::new(floor)),
            node: self.node,
            storages: committers.collect(),
            runs,
            services: RwLock::new(self.services),
            outgoing: self.outgoing,
            hosts: RwLock::default(),
            bindings: RwLock::default(),
            wire: RwLock::default(),
            graph: WaitGraph::default(),
            sweeper: Sweeper::default(),
            placements: self.placements,
            rng: Mutex::new(fastrand::Rng::with_seed(seed)),
            clock: AtomicU32::new(0),
            lost_sends: AtomicU64::new(0),
            events: broadcast::channel(1024).0,
            deactivated: Notify::new(),
            superseded: Mutex::default(),
            must_stop: Notify::new(),
            state: AtomicU8::new(0),
        });
        self.grains.push(Box::new(|core, _| {
            register::<KeeperGrain>(core, GrainSetup { options: KeeperGrain::options(), incoming: Vec::new() })
        }));
        let unfinished = Unstarted(Some(core.clone()));
        for grain in self.grains {
            enter(&core, grain(&core, &self.incoming)?)?;
        }
        unfinished.started();
        core.node.iter().for_each(|node| node.attach(&core));
        for storage in &core.storages {
            tracing::info!(storage = storage.name, durability = %storage.storage().durability(), "storage");
        }
        Ok(core)
    }

    /// A silo without a storage keeps its state in memory; the first storage also keeps the runtime's own records.
    pub(crate) fn name_storages(&mut self) -> Result<(), StartError> {
        if self.storages.is_empty() {
            self.storages.push(("default".to_owned(), Arc::new(MemoryStorage::new())));
        }
        for (number, (name, storage)) in self.storages.iter().enumerate() {
            if let Some((other, _)) = self.storages[..number].iter().find(|(_, other)| Arc::ptr_eq(other, storage)) {
                return Err(StartError::Option(format!("storages {other:?} and {name:?} are the same one")));
            }
        }
        let first = self.storages[0].1.clone();
        self.storages.push((keeper::STORAGE.to_owned(), first));
        let mut names: Vec<_> = self.storages.iter().map(|(name, _)| name).collect();
        names.sort();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(StartError::Option(format!("two storages are named {:?}", pair[0]))),
            None => Ok(()),
        }
    }
}

/// A silo that has not started: dropped, it is taken apart, so that it lets its storages go.
struct Unstarted(Option<Arc<Core>>);

impl Unstarted {
    fn started(mut self) {
        self.0 = None;
    }
}

impl Drop for Unstarted {
    fn drop(&mut self) {
        self.0.iter().for_each(|core| core.take_apart());
    }
}

/// Begins a run in every storage. Also gives the floor of this silo's epochs: above those of earlier runs, mostly;
/// where it is not, an activation raises its epoch when its first open is refused.
async fn begin_runs(
    storages: &[(String, Arc<dyn GrainStorage>)],
    patience: Duration,
) -> Result<(Vec<u64>, u64), StartError> {
    const EPOCHS_OF_A_RUN: u64 = 1 << 24;
    let (mut runs, mut most) = (Vec::new(), 0);
    for (name, storage) in storages {
        if name == keeper::STORAGE {
            runs.push(runs[0]); // the first storage again
            continue;
        }
        let failed = |error| StartError::Storage { name: name.clone(), error };
        let silent = |_| Err(StorageError::unavailable(format_args!("no answer within {patience:?}")));
        let deadline = deadline_after(patience);
        loop {
            match timeout_at(deadline, storage.run()).await.unwrap_or_else(silent) {
                Ok(_) => break,
                Err(error) if error.is_definite() || Instant::now() >= deadline => return Err(failed(error)),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        // Once only: a straggler of a lost attempt would later look like another silo's run.
        let begun = tokio::time::timeout(patience, storage.begin_run(0)).await;
        let run = begun.unwrap_or_else(silent).map_err(failed)?;
        most = most.max(run);
        runs.push(run);
    }
    // Half of the range is left to grow in; a storage that has seen more refuses the first open, and heals it.
    Ok((runs, most.saturating_mul(EPOCHS_OF_A_RUN).min(MAX_COUNTER / 2)))
}

/// How a silo hosts a grain type.
pub struct GrainSetup {
    /// The options, as the type's attribute says.
    pub options: GrainOptions,
    incoming: Vec<Arc<dyn CallFilter>>,
}

impl GrainSetup {
    /// Code inside every call to grains of this type, after the silo's.
    pub fn incoming(&mut self, filter: impl CallFilter) -> &mut Self {
        self.incoming.push(Arc::new(filter));
        self
    }
}

fn register<G: Grain>(core: &Arc<Core>, setup: GrainSetup) -> Result<Registered, StartError> {
    let wrong = |reason: String| StartError::Grain { grain_type: G::grain_type().to_string(), reason };
    let host = TypeHost::<G>::new(core, setup.options, setup.incoming).map_err(wrong)?;
    let methods = Methods::of(&host);
    if let Some(reason) = methods.error {
        return Err(wrong(reason));
    }
    if let Some(other) = methods.interfaces.iter().find(|interface| interface.grain != host.grain_type.as_str()) {
        let reason = format!("it implements interface {:?}, which is one of grain type {:?}", other.name, other.grain);
        return Err(wrong(reason));
    }
    Ok(Registered { host, interfaces: methods.interfaces })
}

fn enter(core: &Arc<Core>, registered: Registered) -> Result<(), StartError> {
    let wrong = |reason: String| StartError::Grain { grain_type: registered.host.grain_type().to_string(), reason };
    if core.hosts.read().iter().any(|host| host.grain_type() == registered.host.grain_type()) {
        return Err(wrong("two types of this name are registered".to_owned()));
    }
    for interface in registered.interfaces {
        for (id, method) in interface.wire {
            core.wire.write().entry(interface.name).or_default().insert(id, method.into());
        }
        let binding = Binding {
            runtime: core.clone(),
            methods: Some(interface.local),
            outgoing: core.outgoing.clone(),
            remote: core.remote(),
        };
        if core.bindings.write().insert(interface.name.to_owned(), Arc::new(binding)).is_some() {
            return Err(wrong(format!("interface {:?} is implemented by another type already", interface.name)));
        }
    }
    core.hosts.write().push(registered.host);
    Ok(())
}

fn services(core: &Arc<Core>) -> Vec<Service> {
    let mut services = Vec::new();
    for committer in &core.storages {
        for lane in 0..LANES {
            let committer = committer.clone();
            let name = format!("committer {} {lane}", committer.name);
            services.push(Service::new(name, move || committer.clone().run_lane()));
        }
    }
    for group in monitor::groups(core) {
        let (monitored, name) = (core.clone(), format!("monitor {}", core.storages[group[0]].name));
        services.push(Service::new(name, move || monitor::run(monitored.clone(), group.clone())));
    }
    let swept = core.clone();
    services.push(Service::new("sweeper", move || {
        let core = swept.clone();
        async move { core.sweeper.run(&core.graph).await }
    }));
    let collected = core.clone();
    if core.is_clustered() {
        let routing = core.clone();
        services.push(Service::new("router", move || {
            let core = routing.clone();
            async move {
                loop {
                    tokio::time::sleep(crate::sweeper::PERIOD).await;
                    if let Some(node) = &core.node {
                        node.router().sweep(Instant::now());
                    }
                }
            }
        }));
        let chasing = core.clone();
        services.push(Service::new("deadlocks", move || clustering::deadlock::run(chasing.clone())));
        let asserting = core.clone();
        services.push(Service::new("reassertion", move || clustering::reassert::run(asserting.clone())));
    }
    services.push(Service::new("collector", move || {
        let core = collected.clone();
        async move { collector::run(&core).await }
    }));
    services
}

fn os_seed() -> u64 {
    // The one place where the outside's randomness comes in; a replay sets the seed instead.
    let mut random = fastrand::Rng::new();
    random.u64(..)
}
