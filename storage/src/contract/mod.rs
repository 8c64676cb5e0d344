//! The suite that every storage adapter passes: one case for each clause of the port's contract, and generated
//! sequences compared with a model.
//!
//! It is for the tests of adapters, yours included: switch on the feature `contract` in `[dev-dependencies]`.
//!
//! ```
//! use gristmill_storage::{MemoryStorage, contract};
//!
//! // In your test: #[tokio::test(flavor = "multi_thread")] async fn my_storage_keeps_the_contract() { ... }
//! # tokio::runtime::Builder::new_multi_thread().build().unwrap().block_on(async {
//! contract::all(MemoryStorage::new()).await;
//! # });
//! ```
//!
//! A breach panics, and says which clause, or prints the shortest sequence that shows it. Cases can be run one by one:
//! `contract::fences::equal_fence_reopens(&Rig::new(storage).await).await`. The storage must be reachable throughout:
//! a transient answer is a failure here. Every case uses grains of its own, so a storage may be shared, and tested
//! again; the grains stay in it.
//!
//! # Layout
//!
//! - [`fences`]: who may open, and who may write.
//! - [`commits`]: versions, atomicity, lost answers, batches.
//! - [`records`]: clears, names, keys, bodies.
//! - [`runs`]: the run counter.
//! - [`restarts`]: what a restart of the serving process must tell; apart from [`all`], as only you can provoke one.
//! - [`races`]: many activations at once.
//! - [`sequences`]: generated sequences, against `model`.

pub mod commits;
pub mod fences;
mod model;
pub mod races;
pub mod records;
pub mod restarts;
mod rig;
pub mod runs;
pub mod sequences;

use std::sync::Arc;

use gristmill_grains::storage::GrainStorage;

pub use rig::Rig;

/// How much the suite generates. The cases themselves do not depend on it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Generated sequences. Default 48.
    pub sequences: u32,
    /// The most steps in one sequence. Default 40.
    pub steps: usize,
    /// Chooses the sequences; the same seed generates the same ones. Default 0.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { sequences: 48, steps: 40, seed: 0 }
    }
}

/// Runs the whole suite with default options: a few seconds, for a storage that answers in a millisecond.
///
/// # Panics
///
/// If the storage breaks the contract.
pub async fn all(storage: impl GrainStorage) {
    all_with(storage, &Options::default()).await;
}

/// Runs the whole suite.
///
/// # Panics
///
/// If the storage breaks the contract.
pub async fn all_with(storage: impl GrainStorage, options: &Options) {
    let rig = Rig::new(Arc::new(storage)).await;
    fences::all(&rig).await;
    commits::all(&rig).await;
    records::all(&rig).await;
    runs::all(&rig).await;
    races::all(&rig).await;
    sequences::agree_with_the_model(&rig, options).await;
}
