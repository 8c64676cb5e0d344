//! The faults of the memory storage do what they say.

use std::sync::Arc;

use gristmill_grains::storage::StorageError;
use gristmill_storage::memory::When;
use gristmill_storage::{GrainStorage, MemoryStorage};
use tokio::task::JoinSet;

use crate::support::{Owner, assert_unavailable, commit};

#[tokio::test]
async fn failed_before_is_not_applied() {
    let storage = MemoryStorage::new();
    let mut owner = Owner::opened(&storage, "alice").await;
    let write = owner.write(Some(b"1"));
    storage.faults().fail_next(1, When::Before);
    assert_unavailable(commit(&storage, &write)).await;
    assert_eq!(owner.open(&storage).await.unwrap().records, []);
    assert_eq!(commit(&storage, &write).await, Ok(()));
}

#[tokio::test]
async fn failed_after_is_applied_and_settled_by_sending_again() {
    let storage = MemoryStorage::new();
    let mut owner = Owner::opened(&storage, "alice").await;
    let write = owner.write(Some(b"1"));
    storage.faults().fail_next(2, When::After);
    assert_unavailable(commit(&storage, &write)).await;
    assert_unavailable(commit(&storage, &write)).await;
    assert_eq!(commit(&storage, &write).await, Ok(()));
    owner.assert_stored(&storage, b"1").await;
}

#[tokio::test]
async fn all_fail_until_healed() {
    let storage = MemoryStorage::new();
    storage.faults().fail_all(When::Before);
    for _ in 0..3 {
        assert_unavailable(Owner::new("alice").open(&storage)).await;
        assert_unavailable(storage.run()).await;
    }
    storage.faults().heal();
    Owner::opened(&storage, "alice").await;
}

#[tokio::test]
async fn held_operations_wait_on_the_side_they_are_held() {
    for (when, applied) in [(When::Before, false), (When::After, true)] {
        let storage = Arc::new(MemoryStorage::new());
        let mut owner = Owner::opened(&*storage, "alice").await;
        let faults = storage.faults();
        faults.hold(when);
        let mut tasks = JoinSet::new();
        let (write, held) = (owner.write(Some(b"1")), storage.clone());
        tasks.spawn(async move { commit(&*held, &write).await });
        faults.held(1).await;
        assert!(tasks.try_join_next().is_none(), "it waits");
        let stored = faults.snapshot();
        faults.heal();
        assert_eq!(tasks.join_all().await, [Ok(())]);
        faults.restore(&stored);
        assert_eq!(owner.open(&*storage).await.unwrap().last_write.is_some(), applied);
    }
}

#[tokio::test]
async fn restored_snapshots_lose_what_came_later_and_tell() {
    let storage = MemoryStorage::new();
    let faults = storage.faults();
    let mut restarts = storage.restarts();
    let mut alice = Owner::opened(&storage, "alice").await;
    let before_bob = faults.snapshot();
    let mut bob = Owner::opened(&storage, "bob").await;
    let [for_alice, for_bob] = [alice.write(Some(b"1")), bob.write(Some(b"1"))];
    assert_eq!(storage.commit(&[for_alice.clone(), for_bob.clone()]).await, [Ok(()), Ok(())]);

    faults.restore_grain(&before_bob, &bob.grain);
    assert!(restarts.has_changed().unwrap());
    assert_eq!(*restarts.borrow_and_update(), 1);
    assert_eq!(commit(&storage, &for_bob).await, Err(StorageError::Fenced { seen: None }));
    alice.assert_stored(&storage, b"1").await;

    faults.restore(&before_bob);
    assert_eq!(*restarts.borrow_and_update(), 2);
    assert_eq!(alice.open(&storage).await.unwrap().records, []);
}

#[tokio::test]
async fn requests_are_counted() {
    let storage = MemoryStorage::new();
    let (mut alice, mut bob) = (Owner::opened(&storage, "alice").await, Owner::opened(&storage, "bob").await);
    storage.commit(&[alice.write(None), bob.write(None)]).await;
    let counts = storage.faults().counts();
    assert_eq!((counts.opens, counts.batches, counts.commits), (2, 1, 2));
}
