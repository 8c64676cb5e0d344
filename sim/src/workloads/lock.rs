//! Locks that callers hold, and chains of calls that go round in circles.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gristmill::prelude::*;
use gristmill::{Client, SiloBuilder};

use super::{Caller, Stale, Workload, surely};
use crate::history::{Counts, History, Outcome, told};

/// Locks.
const KEYS: usize = 2;

/// Grains that call each other in a ring.
const RING: usize = 3;

/// A lock.
#[grain_interface]
pub trait Lock {
    /// Takes it if nobody has it; says whether this holder has it now.
    async fn take(&mut self, holder: u64) -> bool;
    /// Gives it back; says whether this holder had it.
    async fn give(&mut self, holder: u64) -> bool;
}

/// A durable lock.
#[derive(Grain)]
#[grain(implements(Lock))]
struct LockGrain {
    #[state]
    holder: Persistent<Option<u64>>,
}

impl Lock for LockGrain {
    async fn take(&mut self, holder: u64) -> bool {
        if self.holder.is_none() {
            *self.holder = Some(holder);
        }
        *self.holder == Some(holder)
    }

    async fn give(&mut self, holder: u64) -> bool {
        let had = *self.holder == Some(holder);
        if had {
            *self.holder = None;
        }
        had
    }
}

/// One of a ring of grains.
#[grain_interface]
pub trait Ring {
    /// Calls the next one, so many times round.
    async fn round(&mut self, steps: u32) -> bool;
}

#[derive(Grain)]
#[grain(implements(Ring))]
struct RingGrain {
    ctx: GrainContext<Self>,
}

impl Ring for RingGrain {
    async fn round(&mut self, steps: u32) -> bool {
        if steps == 0 {
            return true;
        }
        let number: usize = self.ctx.key().rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(0);
        // The first number of a workload is a multiple of the ring's length.
        let next = number / RING * RING + (number + 1) % RING;
        let next: RingRef = self.ctx.grain(format!("ring-{next}"));
        next.round(steps - 1).await.unwrap_or(false)
    }
}

/// A call of a lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    /// Take it.
    Take(u64),
    /// Give it back.
    Give(u64),
}

/// Nobody has a lock that somebody else has; circles of calls end at once.
#[derive(Default)]
pub struct Locks {
    first: usize,
    history: History<Ask, bool>,
    /// By steps: what calls that go round came to, and how long they took.
    rounds: History<u32, bool>,
}

impl Locks {
    /// Its grains are numbered from `first`.
    pub fn of(first: usize) -> Self {
        Self { first, ..Self::default() }
    }
}

fn lock(client: &Client, number: usize) -> LockRef {
    client.grain(format!("lock-{number}"))
}

fn ring(client: &Client, number: usize) -> RingRef {
    client.grain(format!("ring-{number}"))
}

impl Workload for Locks {
    fn name(&self) -> &'static str {
        "lock"
    }

    fn describe(&self, silo: SiloBuilder) -> SiloBuilder {
        silo.grain::<LockGrain>().grain::<RingGrain>()
    }

    fn play(&self, caller: Caller) -> BoxFuture<'static, ()> {
        let (history, rounds, first) = (self.history.clone(), self.rounds.clone(), self.first);
        async move {
            let (mut rng, clock, who) = (caller.rng(4), caller.clock.clone(), caller.number);
            let mut next = 0;
            while !caller.is_over() {
                if rng.u8(..8) == 0 {
                    let (begin, steps) = (rng.usize(..RING), rng.u32(1..=RING as u32 + 1));
                    let call =
                        ring(&caller.client, first + begin).round(steps).timeout(Duration::from_secs(10)).into_owned();
                    rounds.note(&clock, (who, begin, steps), call).await;
                }
                let key = rng.usize(..KEYS);
                let grain = lock(&caller.client, first + key);
                next += 1;
                // Each time another holder: one that may have taken it must not be taken for a later one.
                let holder = (who as u64 + 1) << 32 | next;
                let take = grain.take(holder).timeout(caller.patience(&mut rng)).into_owned();
                let taken = history.note(&clock, (who, key, Ask::Take(holder)), take).await;
                caller.rest(&mut rng).await;
                if taken != Outcome::Refused && taken != Outcome::Done(false) {
                    // Until it is known to be given back; else it is nobody's for ever.
                    loop {
                        let give = grain.give(holder).into_owned();
                        match history.note(&clock, (who, key, Ask::Give(holder)), give).await {
                            Outcome::Done(_) => break,
                            _ => tokio::time::sleep(Duration::from_millis(100)).await,
                        }
                    }
                }
                caller.rest(&mut rng).await;
            }
        }
        .boxed()
    }

    fn audit(&self, client: Client) -> BoxFuture<'static, ()> {
        let first = self.first;
        async move {
            for key in 0..KEYS {
                surely(|| lock(&client, first + key).give(0).into_owned()).await;
            }
            for key in 0..RING {
                surely(|| ring(&client, first + key).round(0).into_owned()).await;
            }
        }
        .boxed()
    }

    fn check(&self, _: &Stale) -> Vec<String> {
        let mut wrong: Vec<_> = (0..KEYS).filter_map(|key| self.two_holders(key)).collect();
        // A call that goes round is refused as a deadlock, and the refusal comes back as an answer.
        let full = |steps: u32| steps >= RING as u32;
        for record in self.rounds.all() {
            if record.outcome == Outcome::Done(true) && full(record.call) {
                wrong.push(format!("a call went round: {}", told(&[record])));
            }
        }
        wrong
    }

    fn counts(&self) -> Counts {
        let mut counts = self.history.counts();
        counts += self.rounds.counts();
        counts
    }

    fn failed(&self) -> String {
        self.history.failed() + &self.rounds.failed()
    }
}

impl Locks {
    fn two_holders(&self, key: usize) -> Option<String> {
        let records = self.history.of(key);
        // From when it surely has it until when it may have given it back.
        let mut held: BTreeMap<u64, (Duration, Duration)> = BTreeMap::new();
        for record in &records {
            if let (Ask::Take(holder), Outcome::Done(true)) = (&record.call, &record.outcome) {
                let gives = records.iter().filter(|give| give.call == Ask::Give(*holder));
                let until = gives.map(|give| give.begin).min().unwrap_or(Duration::MAX);
                held.insert(*holder, (record.end, until));
            }
        }
        let mut times: Vec<_> = held.into_iter().map(|(holder, (from, until))| (from, until, holder)).collect();
        times.sort_unstable();
        let pair = times.windows(2).find(|pair| pair[1].0 < pair[0].1)?;
        let about = |call: &Ask| match call {
            Ask::Take(holder) | Ask::Give(holder) => *holder == pair[0].2 || *holder == pair[1].2,
        };
        let shown: Vec<_> = records.iter().filter(|record| about(&record.call)).cloned().collect();
        Some(format!("lock-{} had two holders:\n{}", self.first + key, told(&shown)))
    }
}
