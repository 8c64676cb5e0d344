//! The directory port: which activation of a grain may open its storage, by epochs.

use async_trait::async_trait;
use gristmill_grains::{ActivationId, GrainId};
use serde::{Deserialize, Serialize};

use crate::Incarnation;

/// Why the directory did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// The directory cannot be reached; nothing is known about the outcome.
    #[error("the directory is unavailable: {0}")]
    Unavailable(String),
}

/// Who owns a grain: a row of the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// The silo.
    pub owner: Incarnation,
    /// The version of the view that it joined with.
    pub join: u64,
    /// The activation.
    pub activation: ActivationId,
    /// Its right to write: above those of all earlier owners.
    pub epoch: u64,
}

/// A claim of a grain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The silo that claims.
    pub owner: Incarnation,
    /// The version of the view that it joined with.
    pub join: u64,
    /// The activation that shall own the grain.
    pub activation: ActivationId,
    /// The row that it may replace: one of the claimant's own whose activation it does not have, or one whose owner it
    /// knows to be dead. That an incarnation is dead stays true for ever, so it may be known from an old view.
    pub expect: Option<Location>,
    /// The highest epoch that the claimant has seen.
    pub floor: u64,
}

/// Who owns each grain, and at which epoch: the authority behind the storage's fence.
///
/// Epochs of one grain only grow, as long as the directory or the storage keeps its data: every counter takes the
/// caller's highest seen value as a floor.
#[async_trait]
pub trait Directory: Send + Sync + 'static {
    /// How many shards its rows are in. All silos of a cluster must say the same, which is checked when they join.
    fn shards(&self) -> u64 {
        1
    }

    /// The grain's row.
    async fn lookup(&self, grain: &GrainId) -> Result<Option<Location>, DirectoryError>;

    /// Makes the claimant's activation the owner, at an epoch above every earlier owner's, if there is no row, or the
    /// row equals `expect` exactly, or names that activation already (whose answer was lost). Else `Err`: the row.
    async fn claim(&self, grain: &GrainId, claim: Claim) -> Result<Result<Location, Location>, DirectoryError>;

    /// Gives the owner an epoch above `floor`: the storage has seen later epochs than the directory remembers. `Err`:
    /// the activation owns the grain no longer, but whom the row says.
    async fn raise(
        &self,
        grain: &GrainId,
        activation: ActivationId,
        floor: u64,
    ) -> Result<Result<Location, Option<Location>>, DirectoryError>;

    /// The activation has ended and everything it wrote is settled. Removes its row, and no other.
    async fn release(&self, grain: &GrainId, activation: ActivationId) -> Result<(), DirectoryError>;

    /// Puts back rows of live activations that the directory has lost. By row: whose it is now.
    async fn reassert(&self, rows: &[(GrainId, Location)]) -> Result<Vec<Location>, DirectoryError>;
}
