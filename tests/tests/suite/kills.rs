//! A silo's process is killed (SIGKILL) at random moments, again and again: every acknowledged write is there
//! afterwards, in order, exactly once; one that was not acknowledged is there at most once.

use gristmill_test_servers::{RedisOptions, RedisServer};

use crate::worker::{Acknowledged, Worker};

const KILLS: u32 = 15;

fn killed_again_and_again(seed: u64, storage: [&str; 2]) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut acknowledged = Acknowledged::default();
    for run in 0..KILLS {
        let worker = Worker::start(run, storage);
        acknowledged.check(&worker);
        // The moment: after so many answers, sometimes before the first, and wherever the others are then.
        for _ in 0..random.u32(0..120) {
            acknowledged.take(&worker.line());
        }
        for line in worker.kill9() {
            acknowledged.take(&line);
        }
    }
    acknowledged.check(&Worker::start(KILLS, storage));
    assert!(acknowledged.total > 200, "{} writes are too few to show anything", acknowledged.total);
}

#[test]
fn no_acknowledged_write_is_lost_on_embedded_storage() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("ledgers.redb");
    killed_again_and_again(1, ["embedded", file.to_str().expect("a path")]);
}

#[test]
fn no_acknowledged_write_is_lost_on_redis() {
    let options = RedisOptions { appendonly: true, appendfsync: "always", ..RedisOptions::default() };
    let server = RedisServer::start(options);
    killed_again_and_again(2, ["redis", &server.url()]);
}
