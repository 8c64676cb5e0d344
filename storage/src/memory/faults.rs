//! Faults on demand for tests of what stands on a storage: failures, delays, lost tails, and counts.

use std::sync::Arc;

use gristmill_grains::GrainId;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::Shared;
use super::state::{Grain, State};

/// On which side of its effect an operation is hit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// Not applied: the request was lost, or has not arrived yet.
    Before,
    /// Applied: only the answer is lost, or late.
    After,
}

/// How often a [`MemoryStorage`](super::MemoryStorage) was asked. Counts requests, refused and failed ones included.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Calls of `open`.
    pub opens: u64,
    /// Commits, each of a batch by itself.
    pub commits: u64,
    /// Calls of `commit`.
    pub batches: u64,
}

/// Everything a [`MemoryStorage`](super::MemoryStorage) held at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot(State);

/// Makes a [`MemoryStorage`](super::MemoryStorage) fail. Public, because it is how code that stands on a storage is
/// tested; it uses neither clocks nor randomness, so what it does depends on the order of operations alone.
///
/// An operation is one `open`, one commit of a batch, one `begin_run` or `run`.
///
/// ```
/// use gristmill_storage::memory::When;
/// use gristmill_storage::{GrainStorage, MemoryStorage};
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let storage = MemoryStorage::new();
/// storage.faults().fail_next(1, When::After);
/// assert!(!storage.begin_run(0).await.unwrap_err().is_definite());
/// assert_eq!(storage.run().await, Ok(1)); // it had happened
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Faults {
    shared: Arc<Shared>,
}

impl Faults {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The next `n` operations fail transiently. Replaces what was set before.
    pub fn fail_next(&self, n: u64, when: When) {
        self.shared.plan.mutable.lock().failing = Failing::Next(n, when);
    }

    /// All operations fail transiently, until [`heal`](Self::heal).
    pub fn fail_all(&self, when: When) {
        self.shared.plan.mutable.lock().failing = Failing::All(when);
    }

    /// Operations wait at this point, until [`heal`](Self::heal). An operation dropped while it waits
    /// [`When::Before`] is never applied.
    pub fn hold(&self, when: When) {
        self.shared.plan.holding.send_replace(Some(when));
    }

    /// Waits until at least `n` operations are held at once. Give it a timeout: it has none of its own.
    pub async fn held(&self, n: usize) {
        // The sender lives in `shared`, which this handle keeps.
        let _ = self.shared.plan.held.subscribe().wait_for(|held| *held >= n).await;
    }

    /// Ends all failures, and lets held operations go on.
    pub fn heal(&self) {
        self.shared.plan.mutable.lock().failing = Failing::Never;
        self.shared.plan.holding.send_replace(None);
    }

    /// What the storage holds now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.shared.state.lock().clone())
    }

    /// Rolls everything back, the run counter too, as a server does that lost its tail; tells `restarts()`.
    pub fn restore(&self, snapshot: &Snapshot) {
        *self.shared.state.lock() = snapshot.0.clone();
        self.restarted();
    }

    /// Rolls one grain back, and tells `restarts()`.
    pub fn restore_grain(&self, snapshot: &Snapshot, grain: &GrainId) {
        let then: Option<Grain> = snapshot.0.grains.get(grain).cloned();
        let mut state = self.shared.state.lock();
        match then {
            Some(then) => state.grains.insert(grain.clone(), then),
            None => state.grains.remove(grain),
        };
        drop(state);
        self.restarted();
    }

    /// How often the storage was asked so far.
    pub fn counts(&self) -> Counts {
        self.shared.plan.mutable.lock().counts
    }

    fn restarted(&self) {
        self.shared.restarts.send_modify(|restarts| *restarts += 1);
    }
}

/// What is to go wrong.
#[derive(Debug, Default)]
pub(super) struct Plan {
    mutable: Mutex<Mutable>,
    holding: watch::Sender<Option<When>>,
    held: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Mutable {
    failing: Failing,
    counts: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
enum Failing {
    #[default]
    Never,
    Next(u64, When),
    All(When),
}

impl Plan {
    pub(super) fn count(&self, add: impl FnOnce(&mut Counts)) {
        add(&mut self.mutable.lock().counts);
    }

    /// Does the operation that starts now fail?
    pub(super) fn next(&self) -> Option<When> {
        let failing = &mut self.mutable.lock().failing;
        match failing {
            Failing::Never | Failing::Next(0, _) => None,
            Failing::Next(left, when) => {
                *left -= 1;
                Some(*when)
            }
            Failing::All(when) => Some(*when),
        }
    }

    /// Waits here while operations are held at this point.
    pub(super) async fn pass(&self, point: When) {
        let mut holding = self.holding.subscribe();
        if *holding.borrow_and_update() != Some(point) {
            return;
        }
        let _held = Held::new(&self.held);
        // The sender is `self`.
        let _ = holding.wait_for(|holding| *holding != Some(point)).await;
    }
}

/// Counts one held operation, also when it is dropped while it waits.
struct Held<'a>(&'a watch::Sender<usize>);

impl<'a> Held<'a> {
    fn new(held: &'a watch::Sender<usize>) -> Self {
        held.send_modify(|held| *held += 1);
        Self(held)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|held| *held -= 1);
    }
}
