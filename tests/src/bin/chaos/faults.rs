//! What goes wrong: kinds, and how one of a kind is chosen.

use std::time::Duration;

use crate::links::{self, Links};
use crate::proxy::End;

/// What a fault needs for itself: two faults at once have different ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Target {
    /// A silo's process.
    Silo(usize),
    /// The Redis servers.
    Redis,
    /// The proxy.
    Links,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// A silo's process is killed (SIGKILL), and another one is started afterwards.
    Kill(usize),
    /// A silo's process is stopped (SIGSTOP), and goes on afterwards.
    Stop(usize),
    /// A silo's process runs for so many milliseconds of every hundred.
    Starve(usize, u64),
    /// A silo leaves in order (SIGTERM), and another one is started afterwards.
    Leave(usize),
    /// Redis is killed (SIGKILL), and started again on its files.
    RedisKill,
    /// Redis answers nobody (`CLIENT PAUSE`).
    RedisPause,
    /// Redis hangs (`DEBUG SLEEP`).
    RedisSleep,
    /// Redis takes no writes (`maxmemory`, `noeviction`).
    RedisFull,
    /// Redis forgets its scripts (`SCRIPT FLUSH`).
    RedisScripts,
    /// The replica takes over, with everything.
    RedisFailOver,
    /// Something is wrong with connections.
    Links(Links),
}

/// All kinds.
pub(crate) const KINDS: [&str; 19] = [
    "kill",
    "stop",
    "starve",
    "leave",
    "redis-kill",
    "redis-pause",
    "redis-sleep",
    "redis-full",
    "redis-scripts",
    "redis-failover",
    "link-delay",
    "link-throttle",
    "link-stall",
    "link-swallow",
    "link-cut",
    "link-half-close",
    "link-truncate",
    "link-duplicate",
    "link-garble",
];

/// One of a kind, among so many silos, and how long it lasts.
pub(crate) fn one(kind: &'static str, silos: usize, rng: &mut fastrand::Rng) -> (Fault, Duration) {
    let silo = rng.usize(..silos);
    let (fault, millis) = match kind {
        "kill" => (Fault::Kill(silo), 100..4_000),
        "stop" => (Fault::Stop(silo), 1_000..12_000),
        "starve" => (Fault::Starve(silo, rng.u64(5..50)), 2_000..8_000),
        "leave" => (Fault::Leave(silo), 100..3_000),
        "redis-kill" => (Fault::RedisKill, 100..4_000),
        "redis-pause" => (Fault::RedisPause, 500..6_000),
        "redis-sleep" => (Fault::RedisSleep, 500..6_000),
        "redis-full" => (Fault::RedisFull, 1_000..6_000),
        "redis-scripts" => (Fault::RedisScripts, 1..2),
        "redis-failover" => (Fault::RedisFailOver, 1..2),
        link => (Fault::Links(links::one(link, silos, rng)), 1_000..10_000),
    };
    (fault, Duration::from_millis(rng.u64(millis)))
}

impl Fault {
    /// What it needs for itself.
    pub(crate) fn target(&self) -> Target {
        match self {
            Self::Kill(silo) | Self::Stop(silo) | Self::Starve(silo, _) | Self::Leave(silo) => Target::Silo(*silo),
            Self::Links(_) => Target::Links,
            _ => Target::Redis,
        }
    }

    /// Does it give the others a reason to take this silo for dead, though its process lives?
    pub(crate) fn hides(&self, silo: usize) -> bool {
        match self {
            Self::Stop(hidden) | Self::Starve(hidden, _) => *hidden == silo,
            Self::Links(links) => links.ways.keys().any(|(from, to)| {
                let ends = [*from, *to];
                ends.contains(&End::Silo(silo)) && !ends.contains(&End::Client)
            }),
            _ => false,
        }
    }

    /// What is to be told of it, besides its kind.
    pub(crate) fn told(&self) -> String {
        match self {
            Self::Kill(silo) | Self::Stop(silo) | Self::Leave(silo) => format!("silo {silo}"),
            Self::Starve(silo, runs) => format!("silo {silo} runs {runs} ms of every 100"),
            Self::Links(links) => links.to_string(),
            _ => String::new(),
        }
    }
}
