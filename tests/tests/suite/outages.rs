//! The storage's server is killed and comes back, under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gristmill::prelude::*;
use gristmill::storage::RedisStorage;
use gristmill_test_servers::{RedisOptions, RedisServer};
use gristmill_tests::{LedgerGrain, LedgerRef};

const GRAINS: usize = 6;
const WRITERS: usize = 4;
const KILLS: u64 = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_redis_delays_answers_and_loses_none() {
    let options = RedisOptions { appendonly: true, appendfsync: "always", ..RedisOptions::default() };
    let mut server = RedisServer::start(options);
    let storage = RedisStorage::connect(server.url()).await.expect("redis answers");
    let silo =
        Silo::builder().storage("default", storage).grain::<LedgerGrain>().start().await.expect("the silo starts");
    for number in 0..GRAINS {
        silo.grain::<LedgerRef>(format!("l{number}")).all().await.expect("an activation");
    }
    let answered = Arc::new(AtomicU64::new(0));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..GRAINS {
        for writer in 0..WRITERS {
            let (ledger, answered, stopped) =
                (silo.grain::<LedgerRef>(format!("l{number}")), answered.clone(), stopped.clone());
            writers.spawn(async move {
                let mut n = 0;
                while !*stopped.borrow() {
                    match ledger.append(format!("{writer}.{n}")).await {
                        Ok(_) => {
                            n += 1;
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        // Only what was not run may fail: the same entry again must not be there twice.
                        Err(error) if !error.maybe_executed() => tokio::task::yield_now().await,
                        Err(error) => panic!("an answer was lost: {error}"),
                    }
                }
                (number, writer, n)
            });
        }
    }
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..KILLS {
        let enough = answered.load(Ordering::Relaxed) + random.u64(50..400);
        let progress = async {
            while answered.load(Ordering::Relaxed) < enough {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), progress).await.expect("writes go on after an outage");
        server = tokio::task::spawn_blocking(move || {
            server.restart();
            server
        })
        .await
        .expect("redis comes back");
    }
    stop.send_replace(true);
    let ended = tokio::time::timeout(Duration::from_secs(20), writers.join_all()).await.expect("every call ends");
    assert!(answered.load(Ordering::Relaxed) > KILLS * 50);
    let metrics = silo.metrics();
    let ledgers = metrics.grain("ledger").expect("it is hosted");
    assert_eq!((ledgers.activated, ledgers.lost), (GRAINS as u64, 0), "no activation was lost: {ledgers:?}");
    assert_eq!(silo.stop().await.dropped, 0);
    // What is stored, as another silo finds it.
    let storage = RedisStorage::connect(server.url()).await.expect("redis answers");
    let silo =
        Silo::builder().storage("default", storage).grain::<LedgerGrain>().start().await.expect("the silo starts");
    for (number, writer, n) in ended {
        let (entries, _) = silo.grain::<LedgerRef>(format!("l{number}")).all().await.expect("an answer");
        let prefix = format!("{writer}.");
        let mine: Vec<_> = entries.iter().filter_map(|entry| entry.strip_prefix(&prefix)).collect();
        let expected: Vec<_> = (0..n).map(|n| n.to_string()).collect();
        assert_eq!(mine, expected, "of ledger {number}, writer {writer}: in order, once each");
    }
}
