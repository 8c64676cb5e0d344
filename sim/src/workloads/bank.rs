//! Accounts between which money goes, grain to grain.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gristmill::prelude::*;
use gristmill::{Client, SiloBuilder};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{Caller, PATIENCE, SLACK, Stale, Workload, surely};
use crate::history::{Counts, History, told};

/// Accounts.
const KEYS: usize = 5;

/// What each begins with.
const BEGIN: i64 = 100;

/// An account.
#[grain_interface]
pub trait Account {
    /// Sends money to another account. It leaves with this turn, and arrives once, now or later. Says whether there was
    /// enough.
    async fn transfer(&mut self, to: usize, amount: i64, id: u64) -> bool;
    /// Money arrives; once for each id.
    async fn deposit(&mut self, amount: i64, id: u64);
    /// Sends off what has not arrived; says how much is still under way.
    async fn settle(&mut self) -> i64;
    /// What is there.
    async fn balance(&self) -> i64;
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Books {
    begun: bool,
    balance: i64,
    /// By id: to whom, how much.
    under_way: BTreeMap<u64, (usize, i64)>,
    arrived: BTreeSet<u64>,
}

/// A durable account.
#[derive(Grain)]
#[grain(implements(Account))]
struct AccountGrain {
    ctx: GrainContext<Self>,
    #[state]
    books: Persistent<Books>,
}

impl AccountGrain {
    fn begin(&mut self) {
        if !self.books.begun {
            let books = &mut *self.books;
            (books.begun, books.balance) = (true, BEGIN);
        }
    }

    async fn send_off(&mut self, id: u64) {
        let Some((to, amount)) = self.books.under_way.get(&id).copied() else { return };
        let other: AccountRef = self.ctx.grain(format!("account-{to}"));
        // The books that say so are durable before this leaves.
        if other.deposit(amount, id).await.is_ok() {
            self.books.under_way.remove(&id);
        }
    }
}

impl Account for AccountGrain {
    async fn transfer(&mut self, to: usize, amount: i64, id: u64) -> bool {
        self.begin();
        if self.books.balance < amount {
            return false;
        }
        let books = &mut *self.books;
        books.balance -= amount;
        books.under_way.insert(id, (to, amount));
        if self.books.commit().await.is_ok() {
            self.send_off(id).await;
        }
        true
    }

    async fn deposit(&mut self, amount: i64, id: u64) {
        self.begin();
        let books = &mut *self.books;
        if books.arrived.insert(id) {
            books.balance += amount;
        }
    }

    async fn settle(&mut self) -> i64 {
        let ids: Vec<_> = self.books.under_way.keys().copied().collect();
        for id in ids {
            self.send_off(id).await;
        }
        self.books.under_way.values().map(|(_, amount)| amount).sum()
    }

    async fn balance(&self) -> i64 {
        if self.books.begun { self.books.balance } else { BEGIN }
    }
}

/// A transfer: to whom, how much, and its id.
pub type Ask = (usize, i64, u64);

/// No money is made or lost.
#[derive(Default)]
pub struct Bank {
    first: usize,
    history: History<Ask, bool>,
    finally: Arc<Mutex<BTreeMap<usize, i64>>>,
}

impl Bank {
    /// Its grains are numbered from `first`.
    pub fn of(first: usize) -> Self {
        Self { first, ..Self::default() }
    }
}

fn account(client: &Client, number: usize) -> AccountRef {
    client.grain(format!("account-{number}"))
}

impl Workload for Bank {
    fn name(&self) -> &'static str {
        "bank"
    }

    fn describe(&self, silo: SiloBuilder) -> SiloBuilder {
        silo.grain::<AccountGrain>()
    }

    fn play(&self, caller: Caller) -> BoxFuture<'static, ()> {
        let (history, first) = (self.history.clone(), self.first);
        async move {
            let (mut rng, clock, who) = (caller.rng(3), caller.clock.clone(), caller.number);
            let mut next = 0;
            while !caller.is_over() {
                let (from, by) = (rng.usize(..KEYS), rng.usize(1..KEYS));
                let (to, amount) = ((from + by) % KEYS, rng.i64(1..40));
                next += 1;
                let id = (who as u64) << 32 | next;
                let grain = account(&caller.client, first + from);
                let call = grain.transfer(first + to, amount, id).timeout(caller.patience(&mut rng));
                history.note(&clock, (who, from, (to, amount, id)), call).await;
                caller.rest(&mut rng).await;
            }
        }
        .boxed()
    }

    fn audit(&self, client: Client) -> BoxFuture<'static, ()> {
        let (finally, first) = (self.finally.clone(), self.first);
        async move {
            for key in 0..KEYS {
                while surely(|| account(&client, first + key).settle().into_owned()).await != 0 {
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
            for key in 0..KEYS {
                let balance = surely(|| account(&client, first + key).balance().into_owned()).await;
                finally.lock().insert(key, balance);
            }
        }
        .boxed()
    }

    fn check(&self, _: &Stale) -> Vec<String> {
        let finally = self.finally.lock();
        let sum: i64 = finally.values().sum();
        let wrong = (sum != BEGIN * finally.len() as i64)
            .then(|| format!("there is {sum} in all accounts: {finally:?}\n{}", told(&self.history.all())));
        wrong.into_iter().chain(self.history.slow(PATIENCE + SLACK)).collect()
    }

    fn counts(&self) -> Counts {
        self.history.counts()
    }

    fn failed(&self) -> String {
        self.history.failed()
    }
}
