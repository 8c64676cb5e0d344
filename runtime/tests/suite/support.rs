//! What the tests share: a log with latches, and a silo of nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, IntoFuture};
use std::sync::Arc;
use std::time::Duration;

use gristmill::grains::{Fault, GrainOptions};
use gristmill::prelude::*;
use gristmill::storage::MemoryStorage;
use gristmill::storage::memory::When;
use gristmill::{SiloBuilder, SiloEvent};
use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

pub(crate) use crate::node::{Do, NodeGrain, NodeRef, halt, note, pass};

/// How long anything may take that must come about.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The future's output; panics if it does not come.
#[track_caller]
pub(crate) fn soon<F: IntoFuture>(future: F) -> impl Future<Output = F::Output> {
    within(PATIENCE, future)
}

/// The future's output; panics if it does not come in this time.
#[track_caller]
pub(crate) fn within<F: IntoFuture>(limit: Duration, future: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    let future = future.into_future();
    async move {
        match tokio::time::timeout(limit, future).await {
            Ok(output) => output,
            Err(_) => panic!("nothing after {limit:?} at {place}"),
        }
    }
}

/// Lets everything else that can run now run, many times over. For tests in virtual time on one thread.
pub(crate) async fn others_run() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// A task beside the test's own.
pub(crate) fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::runtime::Handle::current().spawn(task)
}

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A log, and latches that scripts wait at. A service of the test silos.
#[derive(Default)]
pub(crate) struct Probe {
    lines: watch::Sender<Vec<String>>,
    open: watch::Sender<BTreeSet<String>>,
    faults: Mutex<Vec<Fault>>,
    hooks: Mutex<BTreeMap<String, Vec<Do>>>,
}

impl Probe {
    /// What a node runs when it is activated (`"key+"`) or deactivated (`"key-"`), from now on.
    pub(crate) fn hook(&self, hook: &str, script: impl Into<Vec<Do>>) {
        self.hooks.lock().insert(hook.to_owned(), script.into());
    }

    pub(crate) fn hooked(&self, hook: &str) -> Vec<Do> {
        self.hooks.lock().get(hook).cloned().unwrap_or_default()
    }

    pub(crate) fn note(&self, line: impl Into<String>) {
        self.lines.send_modify(|lines| lines.push(line.into()));
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.borrow().clone()
    }

    pub(crate) fn has(&self, line: &str) -> bool {
        self.lines.borrow().iter().any(|noted| noted == line)
    }

    pub(crate) fn count(&self, line: &str) -> usize {
        self.lines.borrow().iter().filter(|noted| *noted == line).count()
    }

    /// Waits for this line.
    pub(crate) async fn saw(&self, line: &str) {
        self.saw_times(line, 1).await;
    }

    /// Waits for so many of this line.
    pub(crate) async fn saw_times(&self, line: &str, times: usize) {
        let mut lines = self.lines.subscribe();
        let seen = lines.wait_for(|lines| lines.iter().filter(|noted| *noted == line).count() >= times);
        if tokio::time::timeout(PATIENCE, seen).await.is_err() {
            panic!("never {times} x {line:?} in {:?}", self.lines());
        }
    }

    /// Opens a latch, for good.
    pub(crate) fn open(&self, latch: &str) {
        self.open.send_modify(|open| open.extend([latch.to_owned()]));
    }

    /// Waits until the latch is open.
    pub(crate) async fn pass(&self, latch: &str) {
        let mut open = self.open.subscribe();
        let _ = open.wait_for(|open| open.contains(latch)).await; // the sender is `self`
    }

    pub(crate) fn fault(&self, fault: Fault) {
        self.note(format!("fault: {fault}"));
        self.faults.lock().push(fault);
    }

    pub(crate) fn faults(&self) -> Vec<Fault> {
        self.faults.lock().clone()
    }
}

pub(crate) type NodeOutcome = Result<Vec<u64>, CallError<String>>;

/// A silo with nodes, its storage and its log.
pub(crate) struct Rig {
    pub(crate) silo: Silo,
    pub(crate) storage: MemoryStorage,
    pub(crate) probe: Arc<Probe>,
    pub(crate) events: broadcast::Receiver<SiloEvent>,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::with(|builder| builder).await
    }

    /// With more in the silo.
    pub(crate) async fn with(build: impl FnOnce(SiloBuilder) -> SiloBuilder) -> Self {
        Self::on(MemoryStorage::new(), |_| {}, build).await
    }

    /// With nodes of other options.
    pub(crate) async fn of(options: impl FnOnce(&mut GrainOptions) + Send + 'static) -> Self {
        Self::on(MemoryStorage::new(), options, |builder| builder).await
    }

    pub(crate) async fn on(
        storage: MemoryStorage,
        options: impl FnOnce(&mut GrainOptions) + Send + 'static,
        build: impl FnOnce(SiloBuilder) -> SiloBuilder,
    ) -> Self {
        let probe = Arc::new(Probe::default());
        let builder = Silo::builder().seed(7).storage("default", storage.clone()).service::<Probe>(probe.clone());
        let builder = builder.grain_with::<NodeGrain>(|setup| options(&mut setup.options));
        let silo = build(builder).start().await.expect("the silo starts");
        let events = silo.events();
        Self { silo, storage, probe, events }
    }

    pub(crate) fn node(&self, key: &str) -> NodeRef {
        self.silo.grain(key)
    }

    /// Writes to a node, on a task of its own.
    pub(crate) fn write(&self, key: &str, script: impl Into<Vec<Do>>) -> JoinHandle<NodeOutcome> {
        let (node, script) = (self.node(key), script.into());
        spawn(async move { node.write(script).await })
    }

    /// Reads a node, on a task of its own.
    pub(crate) fn read(&self, key: &str, script: impl Into<Vec<Do>>) -> JoinHandle<NodeOutcome> {
        let (node, script) = (self.node(key), script.into());
        spawn(async move { node.read(script).await })
    }

    /// The node's list, read from a silo of its own: what is stored.
    pub(crate) async fn stored(&self, key: &str) -> Vec<u64> {
        let now = self.storage.faults().snapshot();
        let copy = MemoryStorage::new();
        copy.faults().restore(&now);
        let rig = Self::on(copy, |_| {}, |builder| builder).await;
        let list = soon(rig.node(key).list()).await.expect("the copy answers");
        let _ = rig.silo.stop().await;
        list
    }

    /// Holds the storage's operations before they are applied.
    pub(crate) fn hold(&self) {
        self.storage.faults().hold(When::Before);
    }

    pub(crate) fn heal(&self) {
        self.storage.faults().heal();
    }

    /// Waits for so many held operations.
    pub(crate) async fn held(&self, operations: usize) {
        soon(self.storage.faults().held(operations)).await;
    }
}

/// The outcome of a spawned call.
#[track_caller]
pub(crate) fn ended<T>(task: JoinHandle<T>) -> impl Future<Output = T> {
    let place = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(PATIENCE, task).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => panic!("the caller's task failed at {place}: {error}"),
            Err(_) => panic!("the call never ended at {place}"),
        }
    }
}

/// The runtime's failure of a call.
#[track_caller]
pub(crate) fn fault<T: std::fmt::Debug, E: std::fmt::Debug>(outcome: Result<T, CallError<E>>) -> Fault {
    match outcome {
        Err(CallError::Fault(fault)) => fault,
        other => panic!("must be a fault, was {other:?}"),
    }
}

/// Asserts that a cause is of this kind, and whether the call may have run.
macro_rules! assert_fault {
    ($outcome:expr, $cause:pat, $maybe:expr) => {{
        let fault = $crate::support::fault($outcome);
        assert!(matches!(fault.cause(), $cause), "{fault} must be {}", stringify!($cause));
        assert_eq!(fault.maybe_executed(), $maybe, "{fault}");
        fault
    }};
}
pub(crate) use assert_fault;
