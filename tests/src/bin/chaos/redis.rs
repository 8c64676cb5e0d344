//! The Redis servers: one that keeps what it acknowledges, synced at every write, and a replica that can take its place.

use std::sync::Arc;
use std::time::Duration;

use gristmill_test_servers::{RedisOptions, RedisServer};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

/// How long a replica may take to have everything, and to take over.
const PATIENCE: Duration = Duration::from_secs(15);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// The servers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Redis {
    servers: Arc<Mutex<[RedisServer; 2]>>,
    /// Which of them is the master, and its port.
    master: Arc<Mutex<usize>>,
    port: Arc<watch::Sender<u16>>,
}

impl Redis {
    /// Starts a master, and its replica. They keep what they acknowledge, or nothing.
    pub(crate) async fn start(keeps: bool) -> Self {
        let mut options = if keeps { RedisOptions::fsync() } else { RedisOptions::default() };
        options.more.extend(["--repl-diskless-sync-delay", "0"].map(str::to_owned));
        let starting = spawn_blocking(move || {
            let servers = [RedisServer::start(options.clone()), RedisServer::start(options)];
            servers[1].cli(&["REPLICAOF", "127.0.0.1", &servers[0].port().to_string()]);
            servers
        });
        let servers = starting.await.expect("the servers start");
        let port = Arc::new(watch::Sender::new(servers[0].port()));
        Self { servers: Arc::new(Mutex::new(servers)), master: Arc::default(), port }
    }

    /// The master's port; changes are told.
    pub(crate) fn port(&self) -> watch::Receiver<u16> {
        self.port.subscribe()
    }

    async fn with<T: Send + 'static>(&self, act: impl FnOnce(&mut [RedisServer; 2], usize) -> T + Send + 'static) -> T {
        let (servers, master) = (self.servers.clone(), *self.master.lock());
        spawn_blocking(move || act(&mut servers.lock(), master)).await.expect("redis-cli runs")
    }

    /// Runs a command on the master.
    pub(crate) async fn command(&self, words: &[&str]) -> String {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        self.with(move |servers, master| {
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            servers[master].cli(&words)
        })
        .await
    }

    /// Kills the master (SIGKILL).
    pub(crate) async fn kill(&self) {
        self.with(|servers, master| servers[master].kill9()).await;
    }

    /// Starts the master again, on its files.
    pub(crate) async fn restart(&self) {
        self.with(|servers, master| servers[master].restart()).await;
    }

    /// Hands over to the replica, once that has everything and keeps it on disk. False: it did not come to that in time.
    pub(crate) async fn fail_over(&self) -> bool {
        let until = Instant::now() + PATIENCE;
        let has_all = |info: &str| {
            ["master_link_status:up", "aof_enabled:1", "aof_rewrite_in_progress:0", "aof_rewrite_scheduled:0"]
                .iter()
                .all(|line| info.contains(line))
        };
        while !has_all(&self.with(|servers, master| servers[1 - master].cli(&["INFO"])).await) {
            if Instant::now() > until {
                return false;
            }
            sleep(LOOK).await;
        }
        let handed = self.with(|servers, master| {
            let port = servers[1 - master].port().to_string();
            servers[master].cli(&["FAILOVER", "TO", "127.0.0.1", &port, "TIMEOUT", "5000"])
        });
        if handed.await != "OK" {
            return false;
        }
        let until = Instant::now() + PATIENCE;
        while !self.with(|servers, master| servers[1 - master].cli(&["ROLE"])).await.starts_with("master") {
            if Instant::now() > until {
                // It gave up, and the master goes on.
                return false;
            }
            sleep(LOOK).await;
        }
        let port = self.with(|servers, master| servers[1 - master].port()).await;
        *self.master.lock() ^= 1;
        self.port.send_replace(port);
        true
    }
}
