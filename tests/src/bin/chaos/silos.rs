//! The silo processes: each slot has one process after another, at one address, behind the proxy.

use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use gristmill_sim::history::Clock;
use parking_lot::Mutex;
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::process::{Spawner, signal};
use crate::proxy::Net;

/// Between the end of a process and the next one.
const BETWEEN: Duration = Duration::from_millis(200);

/// With which a silo process ends that the others have declared dead.
const DECLARED_DEAD: i32 = 70;

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    /// It was killed.
    Killed,
    /// It left in order.
    Left,
    /// The others had declared it dead.
    Dead,
    /// It did not start: something it needs was not there.
    NotStarted,
    /// Otherwise: this must not be.
    Otherwise(ExitStatus),
}

/// One process of a slot.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Its name in the membership.
    pub(crate) name: String,
    /// When it was stopped (SIGSTOP), and could say nothing.
    pub(crate) stopped: Vec<(Duration, Duration)>,
    /// When it ended, and how.
    pub(crate) ended: Option<(Duration, Ended)>,
}

/// What is known of a slot at present.
#[derive(Clone, Default, Debug)]
pub(crate) struct Seen {
    pid: Option<u32>,
    /// The name of the process that serves.
    pub(crate) serves: Option<String>,
}

/// What all slots share.
pub(crate) struct Common {
    pub(crate) spawner: Spawner,
    pub(crate) clock: Clock,
    pub(crate) net: Net,
    pub(crate) logs: PathBuf,
    /// When the run began, in microseconds since 1970.
    pub(crate) began: u64,
    /// Are the registers strict?
    pub(crate) strict: bool,
}

/// One silo of the cluster.
pub(crate) struct Slot {
    number: usize,
    /// Where its processes listen, where they are reached, and where they reach Redis.
    listen: u16,
    address: String,
    redis: String,
    common: Arc<Common>,
    wanted: watch::Sender<bool>,
    seen: watch::Sender<Seen>,
    runs: Mutex<Vec<Run>>,
}

impl Slot {
    /// A slot; its processes are started from now on.
    pub(crate) fn start(
        number: usize,
        listen: u16,
        (address, redis): (String, String),
        common: Arc<Common>,
    ) -> Arc<Self> {
        let (wanted, seen) = (watch::Sender::new(true), watch::Sender::default());
        let slot = Arc::new(Self { number, listen, address, redis, common, wanted, seen, runs: Mutex::default() });
        let supervised = slot.clone();
        tokio::runtime::Handle::current().spawn(async move { supervised.supervise().await });
        slot
    }

    /// Where it is reached.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    fn processes(&self) -> usize {
        self.runs.lock().len()
    }

    /// What is known of it; changes are told.
    pub(crate) fn seen(&self) -> watch::Receiver<Seen> {
        self.seen.subscribe()
    }

    /// Its processes so far.
    pub(crate) fn runs(&self) -> Vec<Run> {
        self.runs.lock().clone()
    }

    /// Where its processes write what happens.
    pub(crate) fn log(&self) -> PathBuf {
        self.common.logs.join(format!("silo-{}.log", self.number))
    }

    /// Whether there is to be a process.
    pub(crate) fn want(&self, wanted: bool) {
        self.wanted.send_replace(wanted);
    }

    /// Is there a process?
    pub(crate) fn runs_now(&self) -> bool {
        self.seen.borrow().pid.is_some()
    }

    /// Sends a signal to the process, if there is one.
    pub(crate) fn signal(&self, what: Signal) {
        if let Some(pid) = self.seen.borrow().pid {
            signal(pid, what);
        }
    }

    /// Stops the process for so long (SIGSTOP, SIGCONT).
    pub(crate) async fn stop_for(&self, lasts: Duration) {
        let number = self.runs.lock().len();
        self.signal(Signal::STOP);
        let from = (self.common.clock)();
        sleep(lasts).await;
        let until = (self.common.clock)();
        if let Some(last) = number.checked_sub(1) {
            self.runs.lock()[last].stopped.push((from, until));
        }
        self.signal(Signal::CONT);
    }

    /// Until there is no process.
    pub(crate) async fn ended(&self) {
        let _ = self.seen.subscribe().wait_for(|seen| seen.pid.is_none()).await; // the sender is in self
    }

    async fn supervise(&self) {
        let mut wanted = self.wanted.subscribe();
        while wanted.wait_for(|wanted| *wanted).await.is_ok() {
            let name = format!("silo-{}.{}", self.number, self.processes() + 1);
            let ended = self.run(&name).await.unwrap_or(Ended::NotStarted);
            let at = (self.common.clock)();
            self.seen.send_replace(Seen::default());
            if let Some(run) = self.runs.lock().last_mut().filter(|run| run.name == name) {
                run.ended = Some((at, ended));
            }
            sleep(BETWEEN).await;
        }
    }

    /// One process, from its start to its end.
    async fn run(&self, name: &str) -> std::io::Result<Ended> {
        let log = OpenOptions::new().create(true).append(true).open(self.log())?;
        let mut arguments = vec![
            "silo".to_owned(),
            format!("--redis={}", self.redis),
            format!("--listen=127.0.0.1:{}", self.listen),
            format!("--advertise={}", self.address),
            format!("--name={name}"),
            format!("--began={}", self.common.began),
        ];
        arguments.extend(self.common.strict.then(|| "--strict".to_owned()));
        let mut child = self.common.spawner.start(&arguments, log).await?;
        self.runs.lock().push(Run { name: name.to_owned(), stopped: Vec::new(), ended: None });
        let pid = child.id();
        self.common.net.set_pid(self.number, pid.unwrap_or_default());
        self.seen.send_replace(Seen { pid, serves: None });
        if let Some(out) = child.stdout.take() {
            let mut lines = BufReader::new(out).lines();
            // Until its output ends, which it does with the process.
            while let Ok(Some(line)) = lines.next_line().await {
                if line == "ready" {
                    self.seen.send_modify(|seen| seen.serves = Some(name.to_owned()));
                }
            }
        }
        let status = child.wait().await?;
        // One that is told to leave before it can listen to that is killed by it.
        let killed = [Signal::KILL, Signal::TERM].map(|signal| Some(signal.as_raw())).contains(&status.signal());
        Ok(match status.code() {
            Some(0) => Ended::Left,
            Some(DECLARED_DEAD) => Ended::Dead,
            Some(1) => Ended::NotStarted,
            None if killed => Ended::Killed,
            _ => Ended::Otherwise(status),
        })
    }
}
