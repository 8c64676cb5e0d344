//! The directory of a silo without a cluster.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use gristmill_grains::{ActivationId, GrainId};

use crate::{Claim, Directory, DirectoryError, Incarnation, Location};

/// A counter of epochs. That a grain has one owner follows from the silo's own table of activations; that another silo
/// on the same storage is noticed follows from the storage's run counter.
///
/// It starts anew with the process, below what the storage remembers; an activation whose first open is refused for
/// that raises its epoch above the fence it met.
#[derive(Debug)]
pub struct LocalDirectory {
    last: AtomicU64,
}

impl LocalDirectory {
    /// Epochs above `floor`.
    pub fn new(floor: u64) -> Self {
        Self { last: AtomicU64::new(floor) }
    }

    fn next(&self, floor: u64) -> u64 {
        self.last.fetch_max(floor, Ordering::Relaxed);
        self.last.fetch_add(1, Ordering::Relaxed) + 1
    }
}

#[async_trait]
impl Directory for LocalDirectory {
    async fn lookup(&self, _: &GrainId) -> Result<Option<Location>, DirectoryError> {
        Ok(None)
    }

    async fn claim(&self, _: &GrainId, claim: Claim) -> Result<Result<Location, Location>, DirectoryError> {
        let Claim { owner, join, activation, floor, .. } = claim;
        Ok(Ok(Location { owner, join, activation, epoch: self.next(floor) }))
    }

    async fn raise(
        &self,
        _: &GrainId,
        activation: ActivationId,
        floor: u64,
    ) -> Result<Result<Location, Option<Location>>, DirectoryError> {
        Ok(Ok(Location { owner: Incarnation::from_u128(0), join: 0, activation, epoch: self.next(floor) }))
    }

    async fn release(&self, _: &GrainId, _: ActivationId) -> Result<(), DirectoryError> {
        Ok(())
    }

    async fn reassert(&self, rows: &[(GrainId, Location)]) -> Result<Vec<Location>, DirectoryError> {
        Ok(rows.iter().map(|(_, row)| *row).collect())
    }
}
