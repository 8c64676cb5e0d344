//! A storage that acknowledges everything and keeps nothing.

use async_trait::async_trait;
use gristmill::grains::storage::{Commit, Durability, Fence, GrainStorage, Opened};
use gristmill::grains::{GrainId, StorageError};
use tokio::sync::watch;

pub(crate) struct Nowhere;

#[async_trait]
impl GrainStorage for Nowhere {
    fn durability(&self) -> Durability {
        Durability::Memory
    }

    async fn open(&self, _: &GrainId, _: Fence) -> Result<Opened, StorageError> {
        Ok(Opened { records: Vec::new(), last_write: None })
    }

    async fn commit(&self, batch: &[Commit]) -> Vec<Result<(), StorageError>> {
        batch.iter().map(|_| Ok(())).collect()
    }

    async fn begin_run(&self, floor: u64) -> Result<u64, StorageError> {
        Ok(floor + 1)
    }

    async fn run(&self) -> Result<u64, StorageError> {
        Ok(0)
    }

    fn restarts(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }
}
