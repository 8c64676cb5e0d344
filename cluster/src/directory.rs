//! The directory port.

use async_trait::async_trait;
use gristmill_grains::{ActivationId, GrainId};

/// Why the directory did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// Another activation owns the grain.
    #[error("activation {owner} owns the grain")]
    Owned {
        /// The owner.
        owner: ActivationId,
    },
    /// The directory cannot be reached; nothing is known about the outcome.
    #[error("the directory is unavailable: {0}")]
    Unavailable(String),
}

/// Who owns a grain, and at which epoch: the authority behind the storage's fence.
///
/// Epochs of one grain only grow, as long as the directory or the storage keeps its data.
#[async_trait]
pub trait Directory: Send + Sync + 'static {
    /// Makes `activation` the grain's owner and gives it an epoch above every earlier owner's.
    async fn claim(&self, grain: &GrainId, activation: ActivationId) -> Result<u64, DirectoryError>;

    /// Gives the owner an epoch above `floor`: the storage has seen later epochs than the directory remembers.
    async fn raise(&self, grain: &GrainId, activation: ActivationId, floor: u64) -> Result<u64, DirectoryError>;

    /// The activation has ended and everything it wrote is settled.
    async fn release(&self, grain: &GrainId, activation: ActivationId) -> Result<(), DirectoryError>;
}
