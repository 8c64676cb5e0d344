//! A Redis Cluster: slots that move, nodes that are killed.

use std::time::Duration;

use gristmill_grains::storage::{Durability, StorageError};
use gristmill_storage::redis::RedisOptions as Options;
use gristmill_storage::{GrainStorage, RedisClusterStorage};
use gristmill_test_servers::{RedisCluster, RedisOptions};

use crate::support::{Owner, assert_misconfigured, commit, settle};

async fn connect(cluster: &RedisCluster) -> RedisClusterStorage {
    let options = Options { response_timeout: Duration::from_secs(1), ..Options::default() };
    RedisClusterStorage::connect_with(cluster.urls(), options).await.unwrap()
}

#[tokio::test]
async fn moved_slot_is_followed() {
    let mut cluster = RedisCluster::start(3);
    let storage = connect(&cluster).await;
    let mut owner = Owner::opened(&storage, "alice").await;
    assert_eq!(commit(&storage, &owner.write(Some(b"1"))).await, Ok(()));
    let slot: u16 = cluster.node(0).cli(&["CLUSTER", "KEYSLOT", "gm:player/alice"]).parse().unwrap();
    let at = usize::from(slot) * 3 / 16_384;
    cluster.move_slot(slot, (at + 1) % 3);
    assert_eq!(settle(&storage, &owner.write(Some(b"2"))).await, Ok(()));
    owner.assert_stored(&storage, b"2").await;
}

#[tokio::test]
async fn restarted_node_is_noticed_once_and_alone() {
    let mut cluster = RedisCluster::start_with(3, &RedisOptions::fsync());
    let storage = connect(&cluster).await;
    assert_eq!(storage.durability(), Durability::Fsync);
    let mut owners = Vec::new();
    for number in 0..60 {
        owners.push(Owner::opened(&storage, &number.to_string()).await);
    }
    let batch = |owners: &mut [Owner], body: &[u8]| owners.iter_mut().map(|owner| owner.write(Some(body))).collect();
    let first: Vec<_> = batch(&mut owners, b"1");
    assert_eq!(storage.commit(&first).await, vec![Ok(()); owners.len()]);
    assert_eq!(*storage.restarts().borrow(), 0);
    cluster.node(1).restart();
    cluster.wait_until_it_serves();
    let second: Vec<_> = batch(&mut owners, b"2");
    for write in &second {
        assert_eq!(settle(&storage, write).await, Ok(()));
    }
    assert_eq!(*storage.restarts().borrow(), 1, "twenty slots have another process: one restart");
    for owner in &owners {
        owner.assert_stored(&storage, b"2").await;
    }
}

#[tokio::test]
async fn node_that_is_away_takes_only_its_own_grains_with_it() {
    let mut cluster = RedisCluster::start_with(3, &RedisOptions::fsync());
    let storage = connect(&cluster).await;
    for pause in [true, false] {
        let mut owners = Vec::new();
        for number in 0..60 {
            owners.push(Owner::opened(&storage, &format!("{pause}{number}")).await);
        }
        let batch: Vec<_> = owners.iter_mut().map(|owner| owner.write(Some(b"1"))).collect();
        let node = cluster.node(1);
        if pause {
            node.pause()
        } else {
            node.kill9()
        }
        let answers = storage.commit(&batch).await;
        assert!(
            answers.iter().all(|answer| answer.as_ref().err().is_none_or(|error| !error.is_definite())),
            "{answers:?}"
        );
        let done = answers.iter().filter(|answer| answer.is_ok()).count();
        assert!((20..60).contains(&done), "about two thirds are done, not {done}");
        if pause {
            node.resume()
        } else {
            node.restart()
        }
        for write in &batch {
            assert_eq!(settle(&storage, write).await, Ok(()));
        }
        cluster.wait_until_it_serves();
    }
}

#[tokio::test]
async fn node_that_is_away_takes_no_later_pipeline_of_the_batch_with_it() {
    let mut cluster = RedisCluster::start(3);
    let storage = connect(&cluster).await;
    let mut owners = Vec::new();
    for number in 0..24 {
        owners.push(Owner::opened(&storage, &number.to_string()).await);
    }
    let slots = owners.iter().map(|owner| format!("gm:player/{}", owner.grain.key()));
    let slots: Vec<u16> =
        slots.map(|key| cluster.node(0).cli(&["CLUSTER", "KEYSLOT", &key]).parse().unwrap()).collect();
    let away = usize::from(slots[0]) * 3 / 16_384;
    // One MiB each: three pipelines, and the first commit is one of the node that is away.
    let body = vec![b'x'; 1 << 20];
    let batch: Vec<_> = owners.iter_mut().map(|owner| owner.write(Some(&body))).collect();
    cluster.node(away).pause();
    let answers = storage.commit(&batch).await;
    cluster.node(away).resume();
    for (slot, answer) in slots.iter().zip(&answers) {
        let is_away = usize::from(*slot) * 3 / 16_384 == away;
        assert_eq!(answer.is_err(), is_away, "slot {slot}, node {away} away: {answer:?}");
    }
}

#[tokio::test]
async fn one_node_that_evicts_is_enough_to_refuse() {
    let mut cluster = RedisCluster::start(3);
    assert_eq!(cluster.node(2).cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]), "OK");
    let answer = RedisClusterStorage::connect(cluster.urls()).await;
    assert_misconfigured(answer.clone(), "set maxmemory-policy noeviction");
    assert_misconfigured(answer, &seeds(&mut cluster));
}

/// How errors name the cluster.
fn seeds(cluster: &mut RedisCluster) -> String {
    let nodes = (0..3).map(|index| format!("127.0.0.1:{}", cluster.node(index).port()));
    format!("Redis Cluster at {}: ", nodes.collect::<Vec<_>>().join(", "))
}

#[tokio::test]
async fn errors_name_the_seeds_and_keep_the_password() {
    let mut cluster = RedisCluster::start(3);
    let seeds = seeds(&mut cluster);
    let assert_named = |error: StorageError| {
        let told = format!("{error} {error:?}");
        assert!(told.contains(&seeds) && !told.contains("hush"), "{told} names {seeds} only");
    };
    // These nodes want no password, so they refuse one.
    let locked: Vec<_> = cluster.urls().iter().map(|url| url.replace("//", "//:hush@")).collect();
    let error = RedisClusterStorage::connect(locked).await.unwrap_err();
    assert!(matches!(error, StorageError::Misconfigured { .. }), "{error}");
    assert_named(error);
    let storage = connect(&cluster).await;
    let mut owner = Owner::opened(&storage, "alice").await;
    (0..3).for_each(|index| cluster.node(index).kill9());
    assert_named(owner.open(&storage).await.unwrap_err());
    assert_named(commit(&storage, &owner.write(Some(b"1"))).await.unwrap_err());
    assert_named(storage.begin_run(0).await.unwrap_err());
    assert_named(storage.run().await.unwrap_err());
}
