//! Several silos in one process, for tests: of a program's own grains, too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use gristmill_cluster::{
    Claim, Directory, DirectoryError, Incarnation, Location, Member, MemberInfo, MemoryDirectory, Status, View,
};
use gristmill_grains::sync::Mutex;
use gristmill_grains::{ActivationId, GrainId, InterfaceRef, RefKey};
use tokio::runtime::Handle;

use crate::builder::{SiloBuilder, StartError};
use crate::clustering::hub::Hub;
use crate::clustering::node::Node;
use crate::{Silo, Stopped};

/// For so long strict grains wait after a death, as with the default options.
const LEASE: Duration = Duration::from_secs(8);

/// Silos of one process that are one cluster: their network and directory are in memory, and this says who lives.
///
/// Storages are shared by handing each silo a clone of the same one. Each silo has its number as its label `silo`.
///
/// ```
/// # use gristmill::prelude::*;
/// # use gristmill::testing::TestCluster;
/// # #[grain_interface]
/// # pub trait Counter { async fn add(&mut self, n: u64) -> u64; }
/// # #[derive(Grain)]
/// # #[grain(implements(Counter))]
/// # struct CounterGrain { count: u64 }
/// # impl Counter for CounterGrain {
/// #     async fn add(&mut self, n: u64) -> u64 { self.count += n; self.count }
/// # }
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cluster = TestCluster::start(3, |silo| silo.grain::<CounterGrain>()).await?;
/// let from_one: CounterRef = cluster.silo(0).grain("visits");
/// let from_another: CounterRef = cluster.silo(1).grain("visits");
/// from_one.add(1).await?;
/// assert_eq!(from_another.add(1).await?, 2); // the same grain
/// # Ok(())
/// # }
/// ```
pub struct TestCluster {
    hub: Hub,
    directory: MemoryDirectory,
    describe: Box<dyn Fn(SiloBuilder) -> SiloBuilder + Send + Sync>,
    members: Mutex<Members>,
}

#[derive(Default)]
struct Members {
    view: View,
    /// By number: the silo, or nothing once it has ended.
    silos: Vec<Option<Running>>,
    nodes: BTreeMap<Incarnation, Arc<Node>>,
}

#[derive(Clone)]
struct Running {
    incarnation: Incarnation,
    silo: Silo,
    alive: Arc<AtomicBool>,
}

impl TestCluster {
    /// Starts so many silos, each as `describe` says.
    ///
    /// # Errors
    /// What a silo that does not start says.
    pub async fn start(
        silos: usize,
        describe: impl Fn(SiloBuilder) -> SiloBuilder + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        let handle = Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        let cluster = Self {
            hub: Hub::new(handle),
            directory: MemoryDirectory::default(),
            describe: Box::new(describe),
            members: Mutex::default(),
        };
        for _ in 0..silos {
            cluster.start_silo().await?;
        }
        Ok(cluster)
    }

    /// Starts one silo more; gives its number.
    ///
    /// # Errors
    /// What a silo that does not start says.
    pub async fn start_silo(&self) -> Result<usize, StartError> {
        self.start_silo_with(&self.describe).await
    }

    /// Starts one silo more, which is another than the rest; gives its number.
    ///
    /// # Errors
    /// What a silo that does not start says.
    pub async fn start_silo_with(
        &self,
        describe: impl FnOnce(SiloBuilder) -> SiloBuilder,
    ) -> Result<usize, StartError> {
        let (number, version) = {
            let members = self.members.lock();
            (members.silos.len(), members.view.version + 1)
        };
        let incarnation = Incarnation::from_u128(number as u128 + 1);
        let alive = Arc::new(AtomicBool::new(true));
        let directory = Arc::new(Cut { directory: self.directory.clone(), alive: alive.clone() });
        let wires = self.hub.wires(incarnation);
        let view = self.members.lock().view.clone();
        let node = Node::new(incarnation, version, wires, directory, view, LEASE, 4);
        let mut builder = describe(Silo::builder());
        builder.node = Some(node.clone());
        let types = builder.types();
        let silo = builder.start().await?;
        let receiver: Arc<dyn crate::clustering::wires::Receiver> = node.clone();
        self.hub.plug_in(incarnation, Arc::downgrade(&receiver));
        let labels = BTreeMap::from([("silo".to_owned(), number.to_string())]);
        let info = MemberInfo { address: format!("silo-{number}"), name: number.to_string(), types, labels };
        let member = Member { incarnation, info, status: Status::Active, join: version, beat: 0, busy: false };
        {
            let mut members = self.members.lock();
            members.silos.push(Some(Running { incarnation, silo, alive }));
            members.nodes.insert(incarnation, node);
        }
        self.change(|view| drop(view.members.insert(incarnation, member)));
        Ok(number)
    }

    /// The silo of this number.
    ///
    /// # Panics
    /// If it has ended.
    pub fn silo(&self, number: usize) -> Silo {
        match self.running(number) {
            Some(running) => running.silo,
            None => panic!("silo {number} has ended"),
        }
    }

    /// On which silo the grain is active, if it is.
    pub fn place_of<R: InterfaceRef>(&self, key: impl Into<RefKey<R>>) -> Option<usize> {
        let grain = R::from_ref(gristmill_grains::GrainRef::unbound(key.into()));
        let silos = self.members.lock().silos.clone();
        silos.iter().position(|running| running.as_ref().is_some_and(|running| running.silo.is_active(&grain)))
    }

    /// The cluster's directory.
    pub fn directory(&self) -> &MemoryDirectory {
        &self.directory
    }

    /// Has a silo check the rows of its grains, as it does once a minute.
    pub async fn check_rows(&self, number: usize) {
        if let Some(running) = self.running(number) {
            crate::clustering::reassert::round(running.silo.core()).await;
        }
    }

    /// Cuts the connection between two silos, or mends it. Both stay members.
    pub fn cut(&self, one: usize, other: usize, cut: bool) {
        if let (Some(one), Some(other)) = (self.running(one), self.running(other)) {
            self.hub.cut(one.incarnation, other.incarnation, cut);
        }
    }

    /// Ends a silo in order: its grains go to the others.
    pub async fn stop(&self, number: usize) -> Option<Stopped> {
        let running = self.running(number)?;
        self.status(running.incarnation, Status::Leaving);
        let stopped = running.silo.stop().await;
        self.end(number, &running, "it has left");
        Some(stopped)
    }

    /// Ends a silo as a crash does: at once, with nothing said. The others learn that it is dead.
    pub fn kill(&self, number: usize) {
        let Some(running) = self.running(number) else { return };
        running.alive.store(false, Ordering::SeqCst); // before anything of it can say goodbye
        self.end(number, &running, "it was killed");
    }

    fn end(&self, number: usize, running: &Running, why: &str) {
        let mut members = self.members.lock();
        members.nodes.remove(&running.incarnation);
        let ended = members.silos[number].take();
        drop(members);
        self.hub.pull(running.incarnation, why);
        self.status(running.incarnation, Status::Dead);
        drop(ended);
    }

    fn running(&self, number: usize) -> Option<Running> {
        self.members.lock().silos.get(number)?.clone()
    }

    fn status(&self, incarnation: Incarnation, status: Status) {
        self.change(|view| {
            if let Some(member) = view.members.get_mut(&incarnation) {
                member.status = status;
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut View)) {
        let (view, nodes) = {
            let mut members = self.members.lock();
            change(&mut members.view);
            members.view.version += 1;
            (members.view.clone(), members.nodes.values().cloned().collect::<Vec<_>>())
        };
        nodes.iter().for_each(|node| node.set_view(view.clone()));
    }
}

/// The directory, as one silo reaches it: not at all once it was killed.
struct Cut {
    directory: MemoryDirectory,
    alive: Arc<AtomicBool>,
}

impl Cut {
    fn reach(&self) -> Result<&MemoryDirectory, DirectoryError> {
        match self.alive.load(Ordering::SeqCst) {
            true => Ok(&self.directory),
            false => Err(DirectoryError::Unavailable("the silo was killed".to_owned())),
        }
    }
}

#[async_trait]
impl Directory for Cut {
    async fn lookup(&self, grain: &GrainId) -> Result<Option<Location>, DirectoryError> {
        self.reach()?.lookup(grain).await
    }

    async fn claim(&self, grain: &GrainId, claim: Claim) -> Result<Result<Location, Location>, DirectoryError> {
        self.reach()?.claim(grain, claim).await
    }

    async fn raise(
        &self,
        grain: &GrainId,
        activation: ActivationId,
        floor: u64,
    ) -> Result<Result<Location, Option<Location>>, DirectoryError> {
        self.reach()?.raise(grain, activation, floor).await
    }

    async fn release(&self, grain: &GrainId, activation: ActivationId) -> Result<(), DirectoryError> {
        self.reach()?.release(grain, activation).await
    }

    async fn reassert(&self, rows: &[(GrainId, Location)]) -> Result<Vec<Location>, DirectoryError> {
        self.reach()?.reassert(rows).await
    }
}
