//! Every adapter keeps the contract.

use gristmill_storage::{EmbeddedStorage, MemoryStorage, contract};

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_the_contract() {
    contract::all(MemoryStorage::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    contract::all(EmbeddedStorage::open(dir.path().join("game.redb")).await.unwrap()).await;
}
