//! Timers, and one-way calls.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gristmill::prelude::*;
use gristmill::{Client, SiloBuilder};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Caller, Stale, Workload, surely};
use crate::history::{Counts, History, Outcome};

/// Ledgers.
const KEYS: usize = 2;

/// A ledger of what fired.
#[grain_interface]
pub trait Ledger {
    /// Fires after so many milliseconds, if this activation lives so long.
    async fn fire_after(&mut self, id: u64, millis: u64);
    /// Notes that it was told.
    async fn tell(&mut self, id: u64);
    /// What is noted.
    async fn read(&self) -> Noted;
}

/// What a ledger holds.
#[derive(Clone, Default, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// Timers that fired: their id, and how many milliseconds too early.
    pub fired: Vec<(u64, u64)>,
    /// The ids that were told.
    pub told: Vec<u64>,
}

/// A durable ledger with timers.
#[derive(Grain)]
#[grain(implements(Ledger))]
struct LedgerGrain {
    ctx: GrainContext<Self>,
    #[state]
    noted: Persistent<Noted>,
    /// When, and which.
    due: BTreeSet<(Instant, u64)>,
}

impl LedgerGrain {
    /// One timer has fired: the first that is due, or will be.
    async fn fire(&mut self) {
        if let Some((due, id)) = self.due.pop_first() {
            let early = due.saturating_duration_since(Instant::now()).as_millis() as u64;
            self.noted.fired.push((id, early));
        }
    }
}

impl Ledger for LedgerGrain {
    async fn fire_after(&mut self, id: u64, millis: u64) {
        let after = Duration::from_millis(millis);
        self.due.insert((Instant::now() + after, id));
        drop(self.ctx.after(after, Self::fire)); // the activation may be ending: then it does not fire
    }

    async fn tell(&mut self, id: u64) {
        self.noted.told.push(id);
    }

    async fn read(&self) -> Noted {
        self.noted.clone()
    }
}

/// A call of a ledger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    /// A timer.
    Fire(u64),
    /// A one-way call.
    Tell(u64),
}

/// Timers fire once and never early; what is told one way is noted at most once.
#[derive(Default)]
pub struct Ledgers {
    first: usize,
    history: History<Ask, ()>,
    finally: Arc<Mutex<BTreeMap<usize, Noted>>>,
}

impl Ledgers {
    /// Its grains are numbered from `first`.
    pub fn of(first: usize) -> Self {
        Self { first, ..Self::default() }
    }
}

fn ledger(client: &Client, number: usize) -> LedgerRef {
    client.grain(format!("ledger-{number}"))
}

impl Workload for Ledgers {
    fn name(&self) -> &'static str {
        "ledger"
    }

    fn describe(&self, silo: SiloBuilder) -> SiloBuilder {
        silo.grain::<LedgerGrain>()
    }

    fn play(&self, caller: Caller) -> BoxFuture<'static, ()> {
        let (history, first) = (self.history.clone(), self.first);
        async move {
            let (mut rng, clock, who) = (caller.rng(5), caller.clock.clone(), caller.number);
            let mut next = 0;
            while !caller.is_over() {
                let key = rng.usize(..KEYS);
                let grain = ledger(&caller.client, first + key);
                next += 1;
                let id = (who as u64) << 32 | next;
                if rng.bool() {
                    let call = grain.fire_after(id, rng.u64(1..2_000)).into_owned();
                    history.note(&clock, (who, key, Ask::Fire(id)), call).await;
                } else {
                    let sent = grain
                        .tell(id)
                        .try_send()
                        .map_err(gristmill::grains::CallError::<gristmill::grains::Never>::from);
                    history.note(&clock, (who, key, Ask::Tell(id)), async { sent }).await;
                }
                caller.rest(&mut rng).await;
            }
        }
        .boxed()
    }

    fn audit(&self, client: Client) -> BoxFuture<'static, ()> {
        let (finally, first) = (self.finally.clone(), self.first);
        async move {
            tokio::time::sleep(Duration::from_secs(3)).await; // what is due fires
            for key in 0..KEYS {
                let noted = surely(|| ledger(&client, first + key).read().into_owned()).await;
                finally.lock().insert(key, noted);
            }
        }
        .boxed()
    }

    fn check(&self, _: &Stale) -> Vec<String> {
        let mut wrong = Vec::new();
        for (key, noted) in &*self.finally.lock() {
            let (number, records) = (self.first + key, self.history.of(*key));
            let asked: BTreeSet<_> = records
                .iter()
                .filter(|record| record.outcome != Outcome::Refused)
                .map(|record| match record.call {
                    Ask::Fire(id) | Ask::Tell(id) => id,
                })
                .collect();
            let mut seen = BTreeSet::new();
            for id in noted.fired.iter().map(|(id, _)| id).chain(&noted.told) {
                if !seen.insert(*id) {
                    wrong.push(format!("ledger-{number}: {id} twice in {noted:?}"));
                }
                if !asked.contains(id) {
                    wrong.push(format!("ledger-{number}: nobody asked for {id}, which is there"));
                }
            }
            if let Some((id, early)) = noted.fired.iter().find(|(_, early)| *early > 0) {
                wrong.push(format!("ledger-{number}: {id} fired {early} ms early"));
            }
        }
        wrong
    }

    fn counts(&self) -> Counts {
        self.history.counts()
    }

    fn failed(&self) -> String {
        self.history.failed()
    }
}
