use std::time::Duration;

use gristmill_test_servers::{RedisOptions, RedisServer};
use serde_json::Value;
use tokio::time::Instant;

use crate::program::Program;

/// How often the program is killed.
const KILLS: usize = 4;

fn start(storage: &str, seed: u64) -> Program {
    let seed = format!("--seed={seed}");
    Program::start(&["--matches=2", "--players=4", "--seconds=4", "--json", "--storage", storage, &seed])
}

/// Lets a run go on for a while, then kills it.
async fn kill_after(mut program: Program, time: Duration) {
    let began = Instant::now();
    program.line().await;
    tokio::time::sleep(time.saturating_sub(began.elapsed())).await;
    program.kill().await;
}

/// Kills the program at random moments, then lets it finish what it had begun.
async fn kill_often(storage: &str, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    // All together shorter than a match, and once long enough for one to begin: so there is one to be resumed.
    for kill in 0..KILLS {
        let least = if kill == 0 { 600 } else { 20 };
        kill_after(start(storage, seed), Duration::from_millis(rng.u64(least..900))).await;
    }
    let (status, verdict) = start(storage, seed).finish().await;
    assert_eq!((status, &verdict["ok"]), (Some(0), &Value::Bool(true)), "{verdict:#}");
    assert!(verdict["resumed"].as_u64() > Some(0), "{verdict:#}");
    assert!(verdict["checks"].as_object().unwrap().values().all(|held| held == true), "{verdict:#}");
}

#[tokio::test]
async fn a_killed_run_is_finished_by_the_next_on_a_file() {
    let dir = tempfile::tempdir().unwrap();
    kill_often(&format!("embedded:{}", dir.path().join("world.redb").display()), 1).await;
}

#[tokio::test]
async fn a_killed_run_is_finished_by_the_next_on_redis() {
    let server = RedisServer::start(RedisOptions { appendonly: true, ..RedisOptions::default() });
    kill_often(&server.url(), 2).await;
}
