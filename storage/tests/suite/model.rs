//! The model of a server, with which clusters are simulated: it is to the storage what a server is.

use std::sync::Arc;

use gristmill_grains::storage::{Durability, StorageError};
use gristmill_redis::model::{Loses, Mood, Server};
use gristmill_storage::contract::Rig;
use gristmill_storage::contract::restarts::restart_is_told_before_an_answer;
use gristmill_storage::redis::RedisOptions as Options;
use gristmill_storage::{GrainStorage, RedisStorage, contract};

use crate::support::{Owner, assert_unavailable, commit};

async fn connect(server: &Arc<Server>) -> RedisStorage {
    RedisStorage::connect_wired(server.clone(), Options::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_keeps_the_contract() {
    let storage = connect(&Arc::new(Server::new(1))).await;
    assert_eq!(storage.durability(), Durability::Fsync);
    contract::all(storage).await;
}

#[tokio::test]
async fn restarts_of_the_model_are_told_as_the_contract_says() {
    let became_a_replica = |server: &Server| {
        server.set_mood(Mood::ReadOnly);
        server.set_mood(Mood::Well);
    };
    let provoked: [&dyn Fn(&Server); 5] = [
        &|server| server.restart(Loses::Nothing),
        &|server| server.restart(Loses::Tail),
        &|server| server.restart(Loses::Everything),
        &|server| server.fail_over(),
        &became_a_replica,
    ];
    for provoke in provoked {
        let server = Arc::new(Server::new(1));
        let rig = Rig::new(Arc::new(connect(&server).await)).await;
        restart_is_told_before_an_answer(&rig, async { provoke(&server) }).await;
    }
}

#[tokio::test]
async fn a_fail_over_of_the_model_loses_what_its_replica_has_not_got() {
    let server = Arc::new(Server::new(1));
    let storage = connect(&server).await;
    let mut owner = Owner::opened(&storage, "alice").await;
    assert_eq!(commit(&storage, &owner.write(Some(b"1"))).await, Ok(()));
    server.replicate(usize::MAX);
    let (before, lost) = (owner.clone(), owner.write(Some(b"2")));
    assert_eq!(commit(&storage, &lost).await, Ok(()));
    server.fail_over();
    before.assert_stored(&storage, b"1").await;
    assert_eq!(commit(&storage, &lost).await, Ok(()), "it is a write again");
    owner.assert_stored(&storage, b"2").await;
    assert_eq!(*storage.restarts().borrow(), 1);
}

#[tokio::test]
async fn moods_of_the_model_are_transient() {
    let server = Arc::new(Server::new(1));
    let storage = connect(&server).await;
    let mut owner = Owner::opened(&storage, "alice").await;
    for mood in [Mood::Full, Mood::Loading, Mood::ReadOnly] {
        let write = owner.write(Some(b"text"));
        server.set_mood(mood);
        assert_unavailable(commit(&storage, &write)).await;
        server.set_mood(Mood::Well);
        server.flush_scripts();
        assert_eq!(commit(&storage, &write).await, Ok(()), "{mood:?} is over");
        owner.assert_stored(&storage, b"text").await;
    }
    // What is not a grain stays unreadable.
    server.run(&["SET", "gm:player/bob", "text"].map(|word| word.as_bytes().to_vec()), 0);
    let answer = Owner::new("bob").open(&storage).await;
    assert!(matches!(answer, Err(StorageError::Unreadable { .. })), "{answer:?}");
}
