//! Faults, one after the other, in two lanes: so up to two are there at once, and now and then none.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use gristmill_sim::history::Clock;
use parking_lot::Mutex;
use rustix::process::Signal;
use tokio::time::{sleep, timeout};

use crate::faults::{self, Fault, Target};
use crate::proxy::{Net, Ways};
use crate::redis::Redis;
use crate::silos::Slot;

/// Lanes.
const LANES: u64 = 2;

/// The longest pause between two faults of a lane.
const PAUSE: Duration = Duration::from_millis(3_000);

/// How long a silo may take to leave; its drain is over after 30 s.
const LEAVES: Duration = Duration::from_secs(40);

/// A silo that others took for dead during a fault has learned of it so long after the fault, at the latest.
const LEARNS: Duration = Duration::from_secs(20);

/// How long a starved process stands still, at most, until it runs again.
const STARVED: u64 = 100;

/// A fault that has been.
struct Been {
    begin: Duration,
    end: Duration,
    kind: &'static str,
    fault: Fault,
    /// More to tell of it.
    more: String,
}

/// What faults are made with, and the log of them.
pub(crate) struct Storm {
    pub(crate) clock: Clock,
    pub(crate) net: Net,
    pub(crate) redis: Redis,
    pub(crate) slots: Vec<Arc<Slot>>,
    /// The kinds that are chosen from.
    pub(crate) kinds: Vec<&'static str>,
    pub(crate) log: Log,
}

/// The log of faults.
#[derive(Default)]
pub(crate) struct Log {
    been: Mutex<Vec<Been>>,
    broken: Mutex<Vec<String>>,
    taken: Mutex<BTreeSet<Target>>,
}

impl Log {
    /// How many of each kind.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        self.been.lock().iter().for_each(|been| *counts.entry(been.kind).or_default() += 1);
        counts
    }

    /// The faults that ended later than this, as lines.
    pub(crate) fn since(&self, since: Duration) -> String {
        let mut lines = String::new();
        for been in self.been.lock().iter().filter(|been| been.end >= since) {
            let (begin, end) = (been.begin.as_secs_f64(), been.end.as_secs_f64());
            let told = been.fault.told();
            let _ = writeln!(lines, "{begin:>9.3} - {end:>9.3} s  {}  {told} {}", been.kind, been.more); // a String takes it
        }
        lines
    }

    /// Was there a reason to take this silo for dead, though its process lived until then?
    pub(crate) fn hid(&self, silo: usize, until: Duration) -> bool {
        let hid = |been: &Been| been.begin <= until && until <= been.end + LEARNS && been.fault.hides(silo);
        self.been.lock().iter().any(hid)
    }

    /// What cannot be.
    pub(crate) fn broken(&self) -> Vec<String> {
        std::mem::take(&mut self.broken.lock())
    }
}

impl Storm {
    /// Until then; ends when the last fault has. Everything is well afterwards, but silos may still be starting.
    pub(crate) async fn rage(&self, until: Duration, seed: u64) {
        if self.kinds.is_empty() {
            return sleep(until.saturating_sub((self.clock)())).await;
        }
        futures_util::future::join_all((0..LANES).map(|lane| self.lane(until, seed ^ lane << 60))).await;
        self.net.set(Ways::new());
    }

    async fn lane(&self, until: Duration, seed: u64) {
        let mut rng = fastrand::Rng::with_seed(seed);
        loop {
            sleep(PAUSE.mul_f64(rng.f64())).await;
            let now = (self.clock)();
            if now >= until {
                return;
            }
            let kind = self.kinds[rng.usize(..self.kinds.len())];
            let (fault, lasts) = faults::one(kind, self.slots.len(), &mut rng);
            let target = fault.target();
            if !self.log.taken.lock().insert(target) {
                continue;
            }
            // Nothing happens to a process that is not there.
            let is_there = |silo: usize| self.slots[silo].runs_now();
            if !matches!(target, Target::Silo(silo) if !is_there(silo)) {
                let more = self.make(&fault, lasts.min(until - now)).await.unwrap_or_default();
                self.log.been.lock().push(Been { begin: now, end: (self.clock)(), kind, fault, more });
            }
            self.log.taken.lock().remove(&target);
        }
    }

    /// Makes a fault, and ends it. More to tell of it, if there is.
    async fn make(&self, fault: &Fault, lasts: Duration) -> Option<String> {
        match fault {
            Fault::Kill(silo) => {
                let slot = &self.slots[*silo];
                slot.want(false);
                slot.signal(Signal::KILL);
                sleep(lasts).await;
                slot.want(true);
            }
            Fault::Stop(silo) => self.slots[*silo].stop_for(lasts).await,
            Fault::Starve(silo, runs) => {
                let (slot, until) = (&self.slots[*silo], (self.clock)() + lasts);
                while (self.clock)() < until {
                    slot.signal(Signal::STOP);
                    sleep(Duration::from_millis(STARVED - runs)).await;
                    slot.signal(Signal::CONT);
                    sleep(Duration::from_millis(*runs)).await;
                }
            }
            Fault::Leave(silo) => return self.leave(*silo, lasts).await,
            Fault::RedisKill => {
                self.redis.kill().await;
                sleep(lasts).await;
                self.redis.restart().await;
            }
            Fault::RedisPause => {
                self.redis.command(&["CLIENT", "PAUSE", &lasts.as_millis().to_string(), "ALL"]).await;
                sleep(lasts).await;
            }
            Fault::RedisSleep => drop(self.redis.command(&["DEBUG", "SLEEP", &lasts.as_secs_f64().to_string()]).await),
            Fault::RedisFull => {
                self.redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
                sleep(lasts).await;
                self.redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
            }
            Fault::RedisScripts => drop(self.redis.command(&["SCRIPT", "FLUSH"]).await),
            Fault::RedisFailOver => {
                if !self.redis.fail_over().await {
                    return Some("(the replica was not ready)".to_owned());
                }
            }
            Fault::Links(links) => {
                self.net.set(links.ways.clone());
                sleep(lasts).await;
                self.net.set(Ways::new());
            }
        }
        None
    }

    async fn leave(&self, silo: usize, lasts: Duration) -> Option<String> {
        let (slot, begun) = (&self.slots[silo], (self.clock)());
        slot.want(false);
        slot.signal(Signal::TERM);
        let left = timeout(LEAVES, slot.ended()).await;
        let took = (self.clock)() - begun;
        if left.is_err() {
            self.log.broken.lock().push(format!("I9: silo {silo} had not left after {took:?}, told to at {begun:?}"));
            slot.signal(Signal::KILL);
        }
        sleep(lasts).await;
        slot.want(true);
        Some(format!("took {took:.1?}"))
    }
}
