//! A cluster of processes, on a Redis of its own: killed, paused, left.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gristmill::cluster::{ClusterOptions, Membership, RedisCluster, RedisClusterOptions, Status};
use gristmill::prelude::*;
use gristmill_test_servers::{self as servers, RedisOptions, RedisServer};
use gristmill_tests::LedgerRef;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::history::Histories;

const PATIENCE: Duration = Duration::from_secs(60);

/// A silo process; killed when dropped.
struct Process {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Process {
    fn start(urls: &[String]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_silo"));
        let mut child = command.args(urls).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a silo starts");
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

    /// Pauses it. A thread may go on for some time after the signal: here none does.
    async fn pause(&self) {
        self.signal("-STOP");
        let tasks = format!("/proc/{}/task", self.child.id());
        let is_stopped = |task: std::io::Result<std::fs::DirEntry>| {
            let stat = task.and_then(|task| std::fs::read_to_string(task.path().join("stat"))).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T'))
        };
        let given_up = Instant::now() + PATIENCE;
        while !std::fs::read_dir(&tasks).expect("it has threads").all(is_stopped) {
            assert!(Instant::now() < given_up, "it does not stop");
            sleep(Duration::from_millis(1)).await;
        }
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
    rows: RedisCluster,
    redis: Redis,
}

enum Redis {
    Server(RedisServer),
    Cluster(servers::RedisCluster),
    Sentinel(servers::RedisSentinel),
}

impl Redis {
    fn urls(&self) -> Vec<String> {
        match self {
            Self::Server(server) => vec![server.url()],
            Self::Cluster(cluster) => cluster.urls(),
            Self::Sentinel(sentinel) => vec![sentinel.url()],
        }
    }

    /// Kills a server at once, and starts it again.
    fn kill_one(&mut self, number: usize) {
        match self {
            Self::Server(server) => server.restart(),
            Self::Cluster(cluster) => {
                cluster.node(number % 3).restart();
                cluster.wait_until_it_serves();
            }
            // It does not come back; there is another one for the second time, too.
            Self::Sentinel(sentinel) if number < 2 => sentinel.kill_master(),
            Self::Sentinel(_) => {}
        }
    }
}

async fn cluster(silos: usize) -> Cluster {
    cluster_on(Redis::Server(RedisServer::start(RedisOptions::default())), silos).await
}

async fn cluster_on(redis: Redis, silos: usize) -> Cluster {
    let urls = redis.urls();
    let processes: Vec<_> = (0..silos).map(|_| Process::start(&urls)).collect();
    processes.iter().for_each(|process| assert_eq!(process.says(), "ready"));
    let kept = match &urls[..] {
        [url] => RedisCluster::connect(url).await,
        urls => RedisCluster::connect_cluster(urls, RedisClusterOptions::default()).await,
    };
    let kept = kept.expect("Redis answers");
    let options = ClusterOptions { exit_when_dead: false, ..ClusterOptions::default() };
    let caller = Silo::builder().cluster(kept.clone(), options).start().await.expect("the caller joins");
    Cluster { processes, caller, rows: kept, redis }
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
    paused.pause().await;
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
    let mut cluster = cluster(3).await;
    let load = Load::start(&cluster);
    let urls = cluster.redis.urls();
    for place in 0..3 {
        sleep(Duration::from_millis(300)).await;
        let new = Process::start(&urls);
        let new = tokio::task::spawn_blocking(move || {
            assert_eq!(new.says(), "ready");
            new
        });
        let new = new.await.expect("it starts");
        let mut old = std::mem::replace(&mut cluster.processes[place], new);
        let left = tokio::task::spawn_blocking(move || old.leave()).await.expect("it leaves");
        assert_eq!(left, "stopped 0");
    }
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silos_that_are_killed_and_paused_under_load_lose_no_acknowledged_write_and_double_none() {
    let mut cluster = cluster(3).await;
    let urls = cluster.redis.urls();
    let histories = Histories::start(&cluster.caller);
    let mut woken = Vec::new();
    for round in 0..6 {
        sleep(Duration::from_millis(1_500)).await;
        let urls = urls.clone();
        let new = tokio::task::spawn_blocking(move || {
            let new = Process::start(&urls);
            assert_eq!(new.says(), "ready");
            new
        });
        let old = cluster.processes.remove(0);
        cluster.processes.push(new.await.expect("it starts"));
        match round % 2 {
            0 => old.signal("-9"),
            _ => {
                // Long enough to be declared dead; it wakes as a zombie, under load.
                old.signal("-STOP");
                sleep(Duration::from_secs(6)).await;
                old.signal("-CONT");
                woken.push(old);
            }
        }
    }
    for mut zombie in woken {
        let ended = tokio::task::spawn_blocking(move || zombie.child.wait());
        let status = timeout(PATIENCE, ended).await.expect("it ends").expect("it is waited for").expect("it is reaped");
        assert_eq!(status.code(), Some(70), "it says why it ends");
    }
    let summary = histories.end(&cluster.caller).await;
    println!("{summary:?}");
    assert!(summary.acknowledged > 1_000, "{summary:?}");
}

/// Redis is killed under load, again and again; it keeps what it acknowledges. Nobody dies of it, nothing is lost or doubled.
async fn redis_is_killed_under_load(redis: Redis) {
    let mut cluster = cluster_on(redis, 3).await;
    let load = Load::start(&cluster);
    for number in 0..3 {
        sleep(Duration::from_millis(700)).await;
        cluster = tokio::task::spawn_blocking(move || {
            cluster.redis.kill_one(number);
            cluster
        })
        .await
        .expect("it comes back");
    }
    sleep(Duration::from_secs(1)).await;
    load.end().await;
    // The test's own connection is as old as the servers that were killed: its first use shows that.
    let answered = async {
        loop {
            match cluster.rows.read().await {
                Ok(snapshot) => break snapshot.view,
                Err(error) => println!("again: {error}"),
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    let view = timeout(PATIENCE, answered).await.expect("Redis answers");
    let active = view.members.values().filter(|member| member.status == Status::Active).count();
    assert_eq!((active, view.members.len()), (4, 4), "{view:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_killed_under_load_ends_no_silo_and_loses_no_call() {
    redis_is_killed_under_load(Redis::Server(RedisServer::start(RedisOptions::fsync()))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_cluster_whose_nodes_are_killed_under_load_ends_no_silo_and_loses_no_call() {
    let redis = tokio::task::spawn_blocking(|| servers::RedisCluster::start_with(3, &RedisOptions::fsync()));
    redis_is_killed_under_load(Redis::Cluster(redis.await.expect("it comes together"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_sentinels_replace_under_load_ends_no_silo_and_loses_no_call() {
    let redis = tokio::task::spawn_blocking(|| servers::RedisSentinel::start(&RedisOptions::default()));
    redis_is_killed_under_load(Redis::Sentinel(redis.await.expect("it comes together"))).await;
}

/// Callers of some ledgers, one each, that count without a gap.
struct Load {
    over: Arc<AtomicBool>,
    callers: Vec<JoinHandle<(u64, Duration)>>,
}

impl Load {
    fn start(cluster: &Cluster) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let callers = (0..20).map(|number| {
            let (ledger, over) = (cluster.ledger(number), over.clone());
            tokio::runtime::Handle::current().spawn(async move {
                let (mut calls, mut slowest) = (0u64, Duration::ZERO);
                while !over.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    let count = loop {
                        match ledger.count().await {
                            Ok(count) => break count,
                            // What did not run may be said again.
                            Err(error) if !error.maybe_executed() && is_storage(&error) => {
                                sleep(Duration::from_millis(5)).await;
                            }
                            Err(error) => panic!("call {calls}: {error}"),
                        }
                    };
                    calls += 1;
                    assert_eq!(count, calls);
                    slowest = slowest.max(asked.elapsed());
                    sleep(Duration::from_millis(2)).await;
                }
                (calls, slowest)
            })
        });
        Self { callers: callers.collect(), over }
    }

    async fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        let mut all = (0, Duration::ZERO);
        for caller in self.callers {
            let (calls, slowest) = timeout(PATIENCE, caller).await.expect("it ends").expect("no call fails");
            all = (all.0 + calls, all.1.max(slowest));
        }
        println!("{} calls, the slowest took {:?}", all.0, all.1);
    }
}

/// Refused, as the storage is away?
fn is_storage(error: &CallError) -> bool {
    matches!(error, CallError::Fault(fault) if matches!(fault.cause(), Cause::Storage { .. }))
}
