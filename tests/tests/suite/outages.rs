//! The storage's servers are killed and come back, forget their scripts or move their data, under load.

use gristmill::storage::{RedisClusterStorage, RedisStorage};
use gristmill_test_servers::{RedisCluster, RedisOptions, RedisServer};

use crate::load::{Load, silo};

const KILLS: u64 = 5;

async fn connect(server: &RedisServer) -> RedisStorage {
    RedisStorage::connect(server.url()).await.expect("redis answers")
}

async fn connect_to(cluster: &RedisCluster) -> RedisClusterStorage {
    RedisClusterStorage::connect(cluster.urls()).await.expect("the cluster answers")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_redis_delays_answers_and_loses_none() {
    let mut server = RedisServer::start(RedisOptions::fsync());
    let first = silo(connect(&server).await).await;
    let load = Load::start(&first).await;
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..KILLS {
        load.more(random.u64(50..400)).await;
        server = tokio::task::spawn_blocking(move || {
            server.restart();
            server
        })
        .await
        .expect("redis comes back");
    }
    load.more(50).await;
    let written = load.end(first).await;
    written.assert_found_by(&silo(connect(&server).await).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_forgets_its_scripts_loses_no_answer() {
    let server = RedisServer::start(RedisOptions::default());
    let first = silo(connect(&server).await).await;
    let load = Load::start(&first).await;
    for _ in 0..40 {
        load.more(20).await;
        assert_eq!(tokio::task::block_in_place(|| server.cli(&["SCRIPT", "FLUSH"])), "OK");
    }
    load.more(50).await;
    assert!(server.cli(&["INFO", "errorstats"]).contains("errorstat_NOSCRIPT"), "commits met a forgotten script");
    let written = load.end(first).await;
    written.assert_found_by(&silo(connect(&server).await).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_cluster_whose_nodes_are_killed_and_slots_move_loses_no_answer() {
    let mut cluster = tokio::task::spawn_blocking(|| RedisCluster::start_with(3, &RedisOptions::fsync()))
        .await
        .expect("the cluster comes together");
    let first = silo(connect_to(&cluster).await).await;
    let load = Load::start(&first).await;
    for node in 0..3 {
        load.more(200).await;
        cluster = tokio::task::spawn_blocking(move || {
            cluster.node(node).restart();
            cluster.wait_until_it_serves();
            cluster
        })
        .await
        .expect("the node comes back");
    }
    load.more(200).await;
    // A ledger's slot goes to another node while it is written.
    let key = cluster.node(0).cli(&["CLUSTER", "KEYSLOT", "gm:ledger/l0"]);
    let slot: u16 = key.parse().expect("a slot");
    let at = usize::from(slot) * 3 / 16_384;
    tokio::task::block_in_place(|| cluster.move_slot(slot, (at + 1) % 3));
    load.more(400).await;
    let written = load.end(first).await;
    written.assert_found_by(&silo(connect_to(&cluster).await).await).await;
}
