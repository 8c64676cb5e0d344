//! Redis, as the hosts reach it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use gristmill_redis::model::{Answers, Command, Outcome, Server, Wire};
use tokio::sync::oneshot;

use super::oracle::Oracle;
use super::world::{HostId, Packet, REDIS, Standing, State, World};

/// How late an answer is that is late.
const LATE: std::ops::Range<u64> = 500_000..6_000_000;

/// The server, and what is wrong with it.
pub(super) struct Redis {
    pub(super) server: Arc<Server>,
    /// It takes commands and does nothing.
    pub(super) hangs: bool,
    /// The commands that wait meanwhile.
    waiting: Vec<(HostId, Vec<Command>, oneshot::Sender<Answers>)>,
    /// Hosts whose control plane gets no answers, and who waits for them.
    pub(super) mute: BTreeMap<HostId, Vec<oneshot::Sender<Answers>>>,
    /// Its replica lags: so likely it gets some writes with a command.
    pub(super) replicates: f64,
    pub(super) oracle: Oracle,
}

impl Redis {
    pub(super) fn new(seed: u64) -> Self {
        let server = Arc::new(Server::new(seed));
        Self {
            server,
            hangs: false,
            waiting: Vec::new(),
            mute: BTreeMap::new(),
            replicates: 1.0,
            oracle: Oracle::default(),
        }
    }
}

/// A host's connection to it.
pub(crate) struct SimWire {
    pub(crate) world: Arc<World>,
    pub(crate) host: HostId,
    /// Is it for the membership and the directory?
    pub(crate) control: bool,
}

fn broken(kind: io::ErrorKind) -> Answers {
    Err(io::Error::from(kind).into())
}

impl Wire for SimWire {
    fn send(&self, commands: Vec<Command>) -> Outcome {
        let (reply, answers) = oneshot::channel();
        let mut state = self.world.0.lock();
        if self.control
            && let Some(waiting) = state.redis.mute.get_mut(&self.host)
        {
            waiting.push(reply);
        } else if state.standing(self.host) == Standing::Up {
            state.send(self.host, REDIS, Packet::Ask { commands, reply });
        }
        drop(state);
        answers.map(|answers| answers.unwrap_or_else(|_| broken(io::ErrorKind::BrokenPipe))).boxed()
    }
}

impl State {
    pub(super) fn ask(&mut self, from: HostId, commands: Vec<Command>, reply: oneshot::Sender<Answers>) {
        if self.standing(REDIS) != Standing::Up {
            self.send(REDIS, from, Packet::Reply { reply, answers: broken(io::ErrorKind::ConnectionRefused) });
            return;
        }
        if self.redis.hangs {
            self.met("redis hung");
            self.redis.waiting.push((from, commands, reply));
            return;
        }
        let breaks = self.rng.f64() < self.weather.broken_redis;
        if breaks && self.rng.bool() {
            self.met("connection to redis broke before the command");
            self.send(REDIS, from, Packet::Reply { reply, answers: broken(io::ErrorKind::BrokenPipe) });
            return;
        }
        let now = self.now / 1_000;
        let answers: Vec<_> = commands.iter().map(|command| self.redis.server.run(command, now)).collect();
        let written = self.redis.server.take_written();
        self.redis.oracle.see(&written);
        if self.rng.f64() < self.redis.replicates {
            self.redis.server.replicate(usize::MAX);
        }
        let answers = if breaks {
            self.met("connection to redis broke after the command");
            broken(io::ErrorKind::BrokenPipe)
        } else {
            Ok(answers)
        };
        let mut late = 0;
        if self.rng.f64() < self.weather.slow_redis {
            self.met("late answer of redis");
            late = self.rng.u64(LATE);
        }
        self.send_later(late, REDIS, from, Packet::Reply { reply, answers });
    }

    /// It does again what it is asked to.
    pub(super) fn unhang(&mut self) {
        self.redis.hangs = false;
        for (from, commands, reply) in std::mem::take(&mut self.redis.waiting) {
            self.ask(from, commands, reply);
        }
    }

    /// Its process is gone; what waited for it learns that its connection broke.
    pub(super) fn redis_down(&mut self) {
        self.hosts[REDIS].1 = Standing::Down;
        self.redis.hangs = false;
        for (from, _, reply) in std::mem::take(&mut self.redis.waiting) {
            self.send(REDIS, from, Packet::Reply { reply, answers: broken(io::ErrorKind::BrokenPipe) });
        }
    }
}

/// How long a Redis client waits for an answer here: shorter than the lease, as by default.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
