//! One Redis server.

use std::process::Command;

use tempfile::TempDir;

use crate::child::Guarded;
use crate::ports;

/// How often another port is tried when somebody else took the first.
const PORTS: usize = 20;

/// How a server is set up. The default keeps nothing on disk and never evicts.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    /// Keep an append-only file.
    pub appendonly: bool,
    /// When it is synced: `always`, `everysec` or `no`.
    pub appendfsync: &'static str,
    /// What happens at `maxmemory`.
    pub maxmemory_policy: &'static str,
    /// The most memory, as Redis writes it (`0` = no limit, `64mb`).
    pub maxmemory: &'static str,
    /// Be a node of a cluster.
    pub cluster: bool,
    /// More arguments of `redis-server`.
    pub more: Vec<String>,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            appendonly: false,
            appendfsync: "everysec",
            maxmemory_policy: "noeviction",
            maxmemory: "0",
            cluster: false,
            more: Vec::new(),
        }
    }
}

impl RedisOptions {
    /// Keeps all it acknowledges. (With `everysec` a killed server may lose seconds of it, on a disk that is busy.)
    pub fn fsync() -> Self {
        Self { appendonly: true, appendfsync: "always", ..Self::default() }
    }

    fn args(&self, port: u16, dir: &TempDir) -> Vec<String> {
        let yes_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
        let dir = dir.path().display().to_string();
        let named = [
            ("port", port.to_string()),
            ("bind", "127.0.0.1".to_owned()),
            ("dir", dir),
            ("save", String::new()),
            ("appendonly", yes_no(self.appendonly)),
            ("appendfsync", self.appendfsync.to_owned()),
            ("maxmemory", self.maxmemory.to_owned()),
            ("maxmemory-policy", self.maxmemory_policy.to_owned()),
            ("cluster-enabled", yes_no(self.cluster)),
            ("enable-debug-command", "local".to_owned()),
        ];
        let named = named.into_iter().flat_map(|(name, value)| [format!("--{name}"), value]);
        named.chain(self.more.iter().cloned()).collect()
    }
}

/// A `redis-server` of its own. Dropping it kills it and removes its folder.
#[derive(Debug)]
pub struct RedisServer {
    process: Option<Guarded>,
    port: u16,
    options: RedisOptions,
    dir: TempDir,
}

impl RedisServer {
    /// Starts a server, and waits until it answers.
    ///
    /// # Panics
    ///
    /// If `redis-server` is not installed, or does not start.
    pub fn start(options: RedisOptions) -> Self {
        let installed = Command::new("redis-server").arg("--version").output();
        assert!(installed.is_ok(), "install redis-server (./tests/run does it)");
        let dir = tempfile::Builder::new().prefix("gristmill-redis-").tempdir().expect("a folder for redis-server");
        for _ in 0..PORTS {
            let port = ports::candidate();
            match run(&options, port, &dir) {
                Ok(process) => {
                    let server = Self { process: Some(process), port, options, dir };
                    let answer = server.cli(&["PING"]);
                    assert!(["PONG", "NOAUTH"].iter().any(|known| answer.contains(known)), "PING: {answer}");
                    return server;
                }
                Err(printed) if printed.contains("Address already in use") => {}
                Err(printed) => panic!("redis-server does not start:\n{printed}"),
            }
        }
        panic!("redis-server found no free port in {PORTS} attempts");
    }

    /// The server's address, as clients want it: `redis://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The server's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills the server at once (SIGKILL), as a crash does.
    pub fn kill9(&mut self) {
        self.process = None;
    }

    /// Starts the server again, killing it first if it runs: same port, same folder; waits until it has loaded.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn restart(&mut self) {
        self.kill9();
        match run(&self.options, self.port, &self.dir) {
            Ok(process) => self.process = Some(process),
            Err(printed) => panic!("redis-server does not start again:\n{printed}"),
        }
    }

    /// Stops the process without ending it (SIGSTOP): connections stay, answers do not come.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets a paused process go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Runs one command through `redis-cli`, and returns what it prints, trimmed.
    ///
    /// # Panics
    ///
    /// If `redis-cli` does not run. An error of the server is returned as text.
    pub fn cli(&self, args: &[&str]) -> String {
        let output = Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(args).output();
        let output = output.expect("install redis-tools (./tests/run does it)");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn signal(&self, name: &str) {
        self.process.as_ref().expect("the server runs").signal(name);
    }
}

fn run(options: &RedisOptions, port: u16, dir: &TempDir) -> Result<Guarded, String> {
    Guarded::start("redis-server", &options.args(port, dir), "Ready to accept connections")
}
