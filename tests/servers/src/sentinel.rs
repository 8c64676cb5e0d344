//! A Redis server with replicas, and Sentinels that replace it.

use std::time::Duration;

use tempfile::TempDir;

use crate::child::Guarded;
use crate::{RedisOptions, RedisServer, ports};

/// The name that the Sentinels know the servers by.
const SERVICE: &str = "main";
/// Looks until it is so: this often, and so many times (30 s).
const LOOK: Duration = Duration::from_millis(20);
const LOOKS: usize = 1_500;

/// A master, two replicas and three Sentinels, which replace a master that is silent for a second. Dropping it kills them all.
#[derive(Debug)]
pub struct RedisSentinel {
    servers: Vec<RedisServer>,
    sentinels: Vec<(Guarded, u16, TempDir)>,
}

impl RedisSentinel {
    /// Starts all, and waits until the replicas follow and the Sentinels know each other.
    ///
    /// # Panics
    ///
    /// If `redis-server` is not installed, or they do not come together.
    pub fn start(options: &RedisOptions) -> Self {
        let mut options = options.clone();
        options.more.extend(["--repl-diskless-sync-delay", "0"].map(str::to_owned));
        let servers: Vec<_> = (0..3).map(|_| RedisServer::start(options.clone())).collect();
        let port = servers[0].port();
        for replica in &servers[1..] {
            assert_eq!(replica.cli(&["REPLICAOF", "127.0.0.1", &port.to_string()]), "OK");
        }
        let sentinels = (0..3).map(|_| sentinel(port)).collect();
        let all = Self { servers, sentinels };
        all.until("the replicas follow", |all| {
            all.servers[0].cli(&["INFO", "replication"]).matches("state=online").count() == 2
        });
        all.until("the Sentinels know each other", |all| {
            all.sentinels.iter().all(|(_, port, _)| {
                let known = cli(*port, &["SENTINEL", "MASTER", SERVICE]);
                let told = |name: &str| known.lines().skip_while(|line| *line != name).nth(1).map(str::to_owned);
                told("num-other-sentinels").as_deref() == Some("2") && told("num-slaves").as_deref() == Some("2")
            })
        });
        all
    }

    /// Where clients ask for the master.
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self.sentinels.iter().map(|(_, port, _)| format!("127.0.0.1:{port}")).collect();
        format!("redis-sentinel://{}/{SERVICE}", hosts.join(","))
    }

    /// Kills the master at once (SIGKILL), and waits until the Sentinels have put another in its place.
    ///
    /// # Panics
    ///
    /// If they do not.
    pub fn kill_master(&mut self) {
        let port = self.master();
        let master = self.servers.iter_mut().find(|server| server.port() == port).expect("one of ours is the master");
        master.kill9();
        self.until("another master is there", |all| all.master() != port);
    }

    /// The port of the master, as the first Sentinel says.
    fn master(&self) -> u16 {
        let told = cli(self.sentinels[0].1, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE]);
        told.lines().nth(1).and_then(|port| port.parse().ok()).expect("the Sentinel names a master")
    }

    fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..LOOKS {
            if is_so(self) {
                return;
            }
            #[allow(clippy::disallowed_methods, reason = "Sentinels tell nobody")]
            std::thread::sleep(LOOK);
        }
        panic!("not in time: {what}");
    }
}

/// Its folder is its own, since it rewrites its configuration.
fn sentinel(master: u16) -> (Guarded, u16, TempDir) {
    let dir = tempfile::Builder::new().prefix("gristmill-sentinel-").tempdir().expect("a folder for a Sentinel");
    for _ in 0..20 {
        let port = ports::candidate();
        let file = dir.path().join("sentinel.conf");
        let settings = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {SERVICE} 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds {SERVICE} 1000\nsentinel failover-timeout {SERVICE} 5000\n",
            dir.path().display()
        );
        std::fs::write(&file, settings).expect("its configuration is written");
        let args = [file.display().to_string(), "--sentinel".to_owned()];
        match Guarded::start("redis-server", &args, "+monitor master") {
            Ok(process) => return (process, port, dir),
            Err(printed) if printed.contains("Address already in use") => {}
            Err(printed) => panic!("a Sentinel does not start:\n{printed}"),
        }
    }
    panic!("a Sentinel found no free port");
}

fn cli(port: u16, args: &[&str]) -> String {
    let output = std::process::Command::new("redis-cli").args(["-p", &port.to_string()]).args(args).output();
    let output = output.expect("install redis-tools (./tests/run does it)");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
