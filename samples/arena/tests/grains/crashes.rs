use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use gristmill_test_servers::{RedisOptions, RedisServer};
use serde_json::Value;
use tokio::time::Instant;

/// How often the program is killed.
const KILLS: usize = 4;

/// A run of the program; it does not outlive the test.
struct Program {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Program {
    fn start(storage: &str, seed: u64) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_arena"));
        command.args(["--matches=2", "--players=4", "--seconds=4", "--json", "--storage", storage]);
        command.arg(format!("--seed={seed}")).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// Lets it run for a while, then kills it as `kill -9` does.
    async fn kill_after(mut self, time: Duration) {
        let began = Instant::now();
        let mut first = String::new();
        self.lines.read_line(&mut first).unwrap();
        tokio::time::sleep(time.saturating_sub(began.elapsed())).await;
        // Dropped.
    }

    /// Waits for its end; its exit status, and the last line.
    fn finish(mut self) -> (Option<i32>, Value) {
        let lines: Vec<String> = (&mut self.lines).lines().map_while(Result::ok).collect();
        let status = self.child.wait().unwrap();
        let last = lines.last().map(String::as_str).unwrap_or_default();
        let verdict =
            serde_json::from_str(last).unwrap_or_else(|_| panic!("no JSON at the end:\n{}", lines.join("\n")));
        (status.code(), verdict)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Kills the program at random moments, then lets it finish what it had begun.
async fn kill_often(storage: &str, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    // All together shorter than a match, and once long enough for one to begin: so there is one to be resumed.
    for kill in 0..KILLS {
        let least = if kill == 0 { 600 } else { 20 };
        Program::start(storage, seed).kill_after(Duration::from_millis(rng.u64(least..900))).await;
    }
    let (status, verdict) = Program::start(storage, seed).finish();
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
