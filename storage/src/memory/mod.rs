//! A storage in memory: for tests, and for state that may go with the process.

mod faults;
mod state;

use std::sync::Arc;

use async_trait::async_trait;
use gristmill_grains::GrainId;
use gristmill_grains::storage::{Commit, Durability, Fence, GrainStorage, Opened, StorageError};
use parking_lot::Mutex;
use tokio::sync::watch;

pub use faults::{Counts, Faults, Snapshot, When};
use state::State;

/// Grains in a map. Clones share it, so a test can "restart" a silo on a clone.
///
/// No limits: it takes commits of any size, and keeps every fence as long as it lives. Its operations complete at
/// once, unless [`faults`](Self::faults) says otherwise.
///
/// ```
/// use gristmill_storage::{GrainStorage, MemoryStorage};
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let storage = MemoryStorage::new();
/// let of_the_next_silo = storage.clone();
/// assert_eq!(storage.begin_run(0).await, Ok(1));
/// assert_eq!(of_the_next_silo.begin_run(0).await, Ok(2));
/// # });
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    plan: faults::Plan,
    restarts: watch::Sender<u64>,
}

impl MemoryStorage {
    /// An empty storage.
    pub fn new() -> Self {
        Self::default()
    }

    /// The handle that makes this storage, and all its clones, fail, hang, forget and count.
    pub fn faults(&self) -> Faults {
        Faults::new(self.shared.clone())
    }

    /// One operation, under the plan of faults.
    async fn operate<T>(&self, apply: impl FnOnce(&mut State) -> Result<T, StorageError>) -> Result<T, StorageError> {
        let plan = &self.shared.plan;
        let fault = plan.next();
        plan.pass(When::Before).await;
        if fault == Some(When::Before) {
            return Err(StorageError::unavailable("injected: not applied"));
        }
        let answer = apply(&mut self.shared.state.lock());
        plan.pass(When::After).await;
        match fault {
            Some(_) => Err(StorageError::unavailable("injected: the answer is lost")),
            None => answer,
        }
    }
}

#[async_trait]
impl GrainStorage for MemoryStorage {
    fn durability(&self) -> Durability {
        Durability::Memory
    }

    async fn open(&self, grain: &GrainId, fence: Fence) -> Result<Opened, StorageError> {
        self.shared.plan.count(|counts| counts.opens += 1);
        self.operate(|state| state.open(grain, fence)).await
    }

    async fn commit(&self, batch: &[Commit]) -> Vec<Result<(), StorageError>> {
        self.shared.plan.count(|counts| {
            counts.batches += 1;
            counts.commits += batch.len() as u64;
        });
        let mut answers = Vec::with_capacity(batch.len());
        for commit in batch {
            answers.push(self.operate(|state| state.commit(commit)).await);
        }
        answers
    }

    async fn begin_run(&self, floor: u64) -> Result<u64, StorageError> {
        self.operate(|state| Ok(state.begin_run(floor))).await
    }

    async fn run(&self) -> Result<u64, StorageError> {
        self.operate(|state| Ok(state.run)).await
    }

    fn restarts(&self) -> watch::Receiver<u64> {
        self.shared.restarts.subscribe()
    }
}
