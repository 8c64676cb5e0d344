//! A cluster of processes, on a Redis of its own: killed, paused, left.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use gristmill::cluster::{ClusterOptions, RedisCluster};
use gristmill::prelude::*;
use gristmill_test_servers::{RedisOptions, RedisServer};
use gristmill_tests::LedgerRef;
use tokio::time::{Instant, sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(60);

/// A silo process; killed when dropped.
struct Process {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Process {
    fn start(url: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_silo"));
        let mut child = command.arg(url).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a silo starts");
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (send, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Self { child, lines }
    }

    fn says(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("the silo says something")
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "kill {signal}");
    }

    /// Leaves in order.
    fn leave(&mut self) -> String {
        drop(self.child.stdin.take());
        self.says()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // or it has ended
        let _ = self.child.wait();
    }
}

struct Cluster {
    processes: Vec<Process>,
    /// Hosts nothing; makes the calls.
    caller: Silo,
    redis: RedisServer,
}

async fn cluster(silos: usize) -> Cluster {
    let redis = RedisServer::start(RedisOptions::default());
    let url = redis.url();
    let processes: Vec<_> = (0..silos).map(|_| Process::start(&url)).collect();
    processes.iter().for_each(|process| assert_eq!(process.says(), "ready"));
    let kept = RedisCluster::connect(&url).await.expect("Redis answers");
    let options = ClusterOptions { exit_when_dead: false, ..ClusterOptions::default() };
    let caller = Silo::builder().cluster(kept, options).start().await.expect("the caller joins");
    Cluster { processes, caller, redis }
}

impl Cluster {
    fn ledger(&self, number: usize) -> LedgerRef {
        self.caller.grain(format!("ledger-{number}"))
    }

    /// Until each of these answers again: how long the slowest took.
    async fn all_answer(&self, ledgers: usize, since: Instant) -> Duration {
        let asks = (0..ledgers).map(|number| {
            let ledger = self.ledger(number);
            tokio::runtime::Handle::current().spawn(async move {
                while ledger.count().await.is_err() {
                    sleep(Duration::from_millis(5)).await;
                }
                since.elapsed()
            })
        });
        let mut slowest = Duration::ZERO;
        for ask in asks.collect::<Vec<_>>() {
            slowest = slowest.max(timeout(PATIENCE, ask).await.expect("it answers").expect("it ends"));
        }
        slowest
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_silos_grains_are_back_soon_with_every_acknowledged_write() {
    let mut cluster = cluster(3).await;
    for number in 0..60 {
        cluster.ledger(number).append("before".to_owned()).await.expect("it answers");
    }
    cluster.processes.remove(0).signal("-9");
    let took = cluster.all_answer(60, Instant::now()).await;
    println!("back after {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    for number in 0..60 {
        let (entries, count) = cluster.ledger(number).all().await.expect("it answers");
        assert_eq!((entries, count), (vec!["before".to_owned()], 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_silo_is_replaced_and_ends_when_it_wakes() {
    let mut cluster = cluster(3).await;
    for number in 0..60 {
        cluster.ledger(number).append("before".to_owned()).await.expect("it answers");
    }
    let mut paused = cluster.processes.remove(0);
    paused.signal("-STOP");
    let since = Instant::now();
    let took = cluster.all_answer(60, since).await;
    println!("back after {took:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
    paused.signal("-CONT");
    let ended = tokio::task::spawn_blocking(move || {
        let ended = paused.child.wait();
        drop(paused);
        ended
    });
    let status = timeout(PATIENCE, ended).await.expect("it ends").expect("it is waited for").expect("it is reaped");
    assert_eq!(status.code(), Some(70), "it says why it ends");
    for number in 0..60 {
        assert_eq!(cluster.ledger(number).count().await.expect("it answers"), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_fails_no_call_and_loses_none() {
    const LEDGERS: usize = 20;
    let mut cluster = cluster(3).await;
    let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let callers = (0..LEDGERS).map(|number| {
        let (ledger, over) = (cluster.ledger(number), over.clone());
        tokio::runtime::Handle::current().spawn(async move {
            let (mut calls, mut slowest) = (0u64, Duration::ZERO);
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                let asked = Instant::now();
                calls += 1;
                let count = ledger.count().await.unwrap_or_else(|error| panic!("call {calls}: {error}"));
                assert_eq!(count, calls);
                slowest = slowest.max(asked.elapsed());
                sleep(Duration::from_millis(2)).await;
            }
            (calls, slowest)
        })
    });
    let callers: Vec<_> = callers.collect();
    let url = cluster.redis.url();
    for place in 0..3 {
        sleep(Duration::from_millis(300)).await;
        let new = Process::start(&url);
        let new = tokio::task::spawn_blocking(move || {
            assert_eq!(new.says(), "ready");
            new
        });
        let new = new.await.expect("it starts");
        let mut old = std::mem::replace(&mut cluster.processes[place], new);
        let left = tokio::task::spawn_blocking(move || old.leave()).await.expect("it leaves");
        assert_eq!(left, "stopped 0");
    }
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut all = (0, Duration::ZERO);
    for caller in callers {
        let (calls, slowest) = timeout(PATIENCE, caller).await.expect("it ends").expect("no call fails");
        all = (all.0 + calls, all.1.max(slowest));
    }
    println!("{} calls, the slowest took {:?}", all.0, all.1);
}
