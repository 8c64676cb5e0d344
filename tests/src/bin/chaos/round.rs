//! One round: the workloads play, everything heals, and what they saw is checked.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use gristmill::Client;
use gristmill_sim::history::{Clock, Counts};
use gristmill_sim::workloads::{self, Caller, Stale, Workload};
use rustix::process::Signal;
use tokio::time::timeout;

use crate::silos::{Ended, Slot};
use crate::storm::Storm;
use crate::watcher::Watcher;

/// Callers go on for so long after the last fault.
const AFTER: Duration = Duration::from_secs(2);

/// How long the silos have to be there and agree once all is well.
const CONVERGES: Duration = Duration::from_secs(60);

/// How long everything has to answer then.
const ANSWERS: Duration = Duration::from_secs(120);

/// A line in the log of a process that panicked.
const PANICKED: &str = "panicked at";

/// What the rounds have in common.
pub(crate) struct Rounds {
    pub(crate) clock: Clock,
    pub(crate) clients: Vec<Client>,
    pub(crate) callers: usize,
    pub(crate) pause: Duration,
    pub(crate) storm: Storm,
    pub(crate) watcher: Watcher,
    pub(crate) only: Option<String>,
    pub(crate) strict: bool,
    pub(crate) seed: u64,
}

/// What a round came to.
#[derive(Default)]
pub(crate) struct Round {
    /// When it began.
    pub(crate) began: Duration,
    /// What does not hold.
    pub(crate) broken: Vec<String>,
    /// Each workload's calls.
    pub(crate) counts: Vec<(&'static str, Counts)>,
    /// How many histories could not be judged.
    pub(crate) unsure: u64,
    /// For how long, in all, answers may have been old.
    pub(crate) stale: Duration,
}

impl Rounds {
    /// Plays round `number`, with faults for so long.
    pub(crate) async fn play(&self, number: usize, lasts: Duration) -> Round {
        let mut round = Round { began: (self.clock)(), ..Round::default() };
        let mut playing = workloads::all(number, self.strict);
        playing.retain(|workload| self.only.as_ref().is_none_or(|only| only == workload.name()));
        let seed = self.seed.wrapping_add(number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let until = round.began + lasts;
        let calling = join_all((0..self.callers).map(|caller| {
            let caller = Caller {
                client: self.clients[caller % self.clients.len()].clone(),
                number: caller,
                seed: seed ^ (caller as u64) << 56,
                clock: self.clock.clone(),
                until: until + AFTER,
                pause: self.pause,
                patient: false,
                keeps: true,
            };
            join_all(playing.iter().map(|workload| workload.play(caller.clone())).collect::<Vec<_>>())
        }));
        let calling = tokio::runtime::Handle::current().spawn(calling);
        self.storm.rage(until, seed).await;
        round.broken.extend(self.settle().await);
        match timeout(ANSWERS, calling).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => round.broken.push(format!("a caller ended: {error}")),
            Err(_) => round.broken.push(format!("I5: calls have not ended {ANSWERS:?} after all was well")),
        }
        if number % 2 == 1 {
            // What is read in the end is what the store has.
            self.storm.redis.restart().await;
            self.storm.slots.iter().for_each(|slot| slot.signal(Signal::KILL));
            join_all(self.storm.slots.iter().map(|slot| slot.ended())).await;
            round.broken.extend(self.settle().await);
        }
        let audit = join_all(playing.iter().map(|workload| workload.audit(self.clients[0].clone())));
        if timeout(ANSWERS, audit).await.is_err() {
            round.broken.push(format!("I5: something does not answer {ANSWERS:?} after all was well"));
        }
        self.check(playing, round).await
    }

    /// Until every silo serves, and the membership says so.
    async fn settle(&self) -> Option<String> {
        let mut active = self.watcher.active();
        let serves = |slot: &Arc<Slot>| slot.seen().borrow().serves.clone();
        let settled = async {
            loop {
                // Told of at every look.
                active.changed().await.ok()?;
                let mut names: Vec<_> = self.storm.slots.iter().filter_map(serves).collect();
                names.sort_unstable();
                let mut known = active.borrow_and_update().clone().unwrap_or_default();
                known.sort_unstable();
                if names.len() == self.storm.slots.len() && names == known {
                    return Some(());
                }
            }
        };
        match timeout(CONVERGES, settled).await {
            Ok(_) => None,
            Err(_) => {
                let serve: Vec<_> = self.storm.slots.iter().map(serves).collect();
                let known = self.watcher.active().borrow().clone();
                Some(format!(
                    "I6: {CONVERGES:?} after all was well these serve: {serve:?}; these are active: {known:?}"
                ))
            }
        }
    }

    async fn check(&self, workloads: Vec<Arc<dyn Workload>>, mut round: Round) -> Round {
        let stale = self.stale(round.began);
        round.stale = stale.0.iter().map(|(from, until)| *until - *from).sum();
        let checked = workloads.clone();
        let checking = tokio::task::spawn_blocking(move || {
            let broken: Vec<_> = checked.iter().flat_map(|workload| workload.check(&stale)).collect();
            (broken, checked.iter().map(|workload| workload.unsure()).sum())
        });
        let (broken, unsure) = checking.await.expect("no checker panics");
        round.broken.extend(broken);
        round.unsure = unsure;
        round.counts = workloads.iter().map(|workload| (workload.name(), workload.counts())).collect();
        round.broken.extend(self.watcher.broken());
        round.broken.extend(self.storm.log.broken());
        for (silo, slot) in self.storm.slots.iter().enumerate() {
            for run in slot.runs() {
                let name = &run.name;
                match run.ended.filter(|(at, _)| *at >= round.began) {
                    Some((at, Ended::Otherwise(status))) => {
                        round.broken.push(format!("{name} ended at {at:?} with {status}"));
                    }
                    Some((at, Ended::Dead)) if !self.storm.log.hid(silo, at) => {
                        round
                            .broken
                            .push(format!("I6: {name} was declared dead, which it learned at {at:?}, for nothing"));
                    }
                    _ => {}
                }
            }
            let log = std::fs::read(slot.log()).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            round.broken.extend(log.lines().filter(|line| line.contains(PANICKED)).map(str::to_owned));
        }
        round
    }

    /// When a silo that is dead to the others may have answered, since then.
    fn stale(&self, since: Duration) -> Stale {
        let now = (self.clock)();
        let runs = self.storm.slots.iter().flat_map(|slot| slot.runs());
        let windows = runs.flat_map(|run| self.watcher.zombie(&run, now)).filter(|(_, until)| *until >= since);
        Stale(windows.collect())
    }
}
