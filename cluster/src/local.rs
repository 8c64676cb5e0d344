//! The directory of a silo without a cluster.

use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use gristmill_grains::{ActivationId, GrainId};

use crate::{Directory, DirectoryError};

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
}

#[async_trait]
impl Directory for LocalDirectory {
    async fn claim(&self, _: &GrainId, _: ActivationId) -> Result<u64, DirectoryError> {
        Ok(self.last.fetch_add(1, Ordering::Relaxed) + 1)
    }

    async fn raise(&self, _: &GrainId, _: ActivationId, floor: u64) -> Result<u64, DirectoryError> {
        self.last.fetch_max(floor, Ordering::Relaxed);
        Ok(self.last.fetch_add(1, Ordering::Relaxed) + 1)
    }

    async fn release(&self, _: &GrainId, _: ActivationId) -> Result<(), DirectoryError> {
        Ok(())
    }
}
