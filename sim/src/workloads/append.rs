//! Lists that callers append to.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join, join_all};
use gristmill::grains::{CallError, Fault, GrainContext};
use gristmill::prelude::*;
use gristmill::{Client, SiloBuilder};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

use super::{Caller, PATIENCE, SLACK, Stale, Workload, surely};
use crate::history::{Counts, History, Outcome, Record, told};

/// Lists.
const KEYS: usize = 4;

/// Grains that append for callers.
const RELAYS: usize = 4;

/// A list of numbers.
#[grain_interface]
pub trait List {
    /// Appends; gives the list's length.
    async fn append(&mut self, item: u64) -> u64;
    /// All items.
    async fn read(&self) -> Vec<u64>;
}

/// A durable list.
#[derive(Grain)]
#[grain(implements(List))]
struct ListGrain {
    #[state]
    items: Persistent<Vec<u64>>,
}

impl List for ListGrain {
    async fn append(&mut self, item: u64) -> u64 {
        // Some turns wait between what they read and what they write.
        if item.is_multiple_of(3) {
            tokio::task::yield_now().await;
        }
        self.items.push(item);
        self.items.len() as u64
    }

    async fn read(&self) -> Vec<u64> {
        self.items.clone()
    }
}

/// A grain that appends for its callers, so that a silo calls too.
#[grain_interface]
pub trait Relay {
    /// Appends these to a list, in this order, without waiting for one before the next; gives the lengths.
    async fn append(&mut self, list: usize, items: Vec<u64>) -> Result<Vec<u64>, Fault>;
}

#[derive(Grain)]
#[grain(implements(Relay))]
struct RelayGrain {
    ctx: GrainContext<Self>,
}

impl Relay for RelayGrain {
    async fn append(&mut self, list: usize, items: Vec<u64>) -> Result<Vec<u64>, Fault> {
        let list: ListRef = self.ctx.grain(format!("list-{list}"));
        let append = |items: &[u64]| join_all(items.iter().map(|item| list.append(*item).into_future()));
        let (some, others) = items.split_at(items.len() / 2);
        // The others while the list's activation ends or moves, perhaps, which the first ones have met. One pause for
        // all of them: of two timers that end together either may be seen first.
        let later = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            append(others).await
        };
        let (some, others) = join(append(some), later).await;
        let fault = |error| match error {
            CallError::Fault(fault) => fault,
            CallError::App(never) => match never {},
        };
        some.into_iter().chain(others).map(|length| length.map_err(fault)).collect()
    }
}

/// A call of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    /// Append.
    Append(u64),
    /// Read.
    Read,
}

/// Its answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The length after an append.
    Length(u64),
    /// What was read.
    Items(Vec<u64>),
}

/// Everything appended is there once and in order, and what was read stays.
#[derive(Default)]
pub struct Append {
    first: usize,
    history: History<Ask, Answer>,
    finally: Arc<Mutex<BTreeMap<usize, Vec<u64>>>>,
}

impl Append {
    /// Its grains are numbered from `first`.
    pub fn of(first: usize) -> Self {
        Self { first, ..Self::default() }
    }
}

fn list(client: &Client, number: usize) -> ListRef {
    client.grain(format!("list-{number}"))
}

impl Workload for Append {
    fn name(&self) -> &'static str {
        "append"
    }

    fn describe(&self, silo: SiloBuilder) -> SiloBuilder {
        silo.grain::<ListGrain>().grain::<RelayGrain>()
    }

    fn play(&self, caller: Caller) -> BoxFuture<'static, ()> {
        let (history, first) = (self.history.clone(), self.first);
        async move {
            let (mut rng, clock, who) = (caller.rng(1), caller.clock.clone(), caller.number);
            let mut next = 0;
            while !caller.is_over() {
                let key = rng.usize(..KEYS);
                let grain = list(&caller.client, first + key);
                let mut number = || {
                    next += 1;
                    (who as u64) << 32 | next
                };
                if rng.u8(..5) == 0 {
                    let items: Vec<_> = (0..4).map(|_| number()).collect();
                    let relay: RelayRef = caller.client.grain(format!("relay-{}", rng.usize(..RELAYS)));
                    let call = relay.append(first + key, items.clone()).timeout(caller.patience(&mut rng));
                    let call = async { call.await.map(|lengths| lengths.into_iter().map(Answer::Length).collect()) };
                    history.note_all(&clock, (who, key, items.into_iter().map(Ask::Append)), call).await;
                    caller.rest(&mut rng).await;
                    continue;
                }
                let mut append = || {
                    let item = number();
                    let call = grain.append(item).timeout(caller.patience(&mut rng)).into_owned();
                    let call = async move { call.await.map(Answer::Length) };
                    (item, call)
                };
                let (item, one) = append();
                if item.is_multiple_of(4) {
                    // Two at once: they run in the order they were made in.
                    let (later, other) = append();
                    let one = history.note(&clock, (who, key, Ask::Append(item)), one);
                    let other = history.note(&clock, (who, key, Ask::Append(later)), other);
                    join(one, other).await;
                } else if item.is_multiple_of(5) {
                    let time = caller.patience(&mut rng);
                    let read = async { grain.read().timeout(time).await.map(Answer::Items) };
                    history.note(&clock, (who, key, Ask::Read), read).await;
                } else {
                    history.note(&clock, (who, key, Ask::Append(item)), one).await;
                }
                caller.rest(&mut rng).await;
            }
        }
        .boxed()
    }

    fn audit(&self, client: Client) -> BoxFuture<'static, ()> {
        let (finally, first) = (self.finally.clone(), self.first);
        async move {
            for key in 0..KEYS {
                let items = surely(|| list(&client, first + key).read().into_owned()).await;
                finally.lock().insert(key, items);
            }
        }
        .boxed()
    }

    fn check(&self, stale: &Stale) -> Vec<String> {
        let finally = self.finally.lock();
        let wrong = |(key, items): (&usize, &Vec<u64>)| {
            let records = self.history.of(*key);
            wrong(items, &records, stale).map(|(what, items)| {
                let about = |record: &&Record<Ask, Answer>| match (&record.call, items.as_slice()) {
                    (Ask::Append(item), about) => about.contains(item),
                    (Ask::Read, about) => about.is_empty(),
                };
                let shown: Vec<_> = records.iter().filter(about).cloned().collect();
                format!("list-{}: {what}\n{}", self.first + key, told(&shown))
            })
        };
        finally.iter().filter_map(wrong).chain(self.history.slow(PATIENCE + SLACK)).collect()
    }

    fn counts(&self) -> Counts {
        self.history.counts()
    }

    fn failed(&self) -> String {
        self.history.failed()
    }
}

/// What is wrong with a list, and of which items.
fn wrong(items: &[u64], records: &[Record<Ask, Answer>], stale: &Stale) -> Option<(String, Vec<u64>)> {
    let mut places = BTreeMap::new();
    for (place, item) in items.iter().enumerate() {
        if let Some(before) = places.insert(*item, place) {
            return Some((format!("{item} is there twice, at {before} and {place}"), vec![*item]));
        }
    }
    let mut asked = BTreeSet::new();
    for record in records {
        match (&record.call, &record.outcome) {
            (Ask::Append(item), Outcome::Done(Answer::Length(length))) => {
                asked.insert(*item);
                match places.get(item) {
                    None => return Some((format!("{item} was acknowledged and is not there"), vec![*item])),
                    Some(place) if *place as u64 + 1 != *length => {
                        let what = format!("{item} was acknowledged as number {length} and is number {}", place + 1);
                        return Some((what, vec![*item]));
                    }
                    Some(_) => {}
                }
            }
            (Ask::Append(item), Outcome::Refused) if places.contains_key(item) => {
                return Some((format!("{item} was refused as not run and is there"), vec![*item]));
            }
            (Ask::Append(item), _) => drop(asked.insert(*item)),
            (Ask::Read, Outcome::Done(Answer::Items(seen))) if !items.starts_with(seen) => {
                let what = format!("what was read at {:?} is not how it began: {seen:?}", record.end);
                return Some((what, Vec::new()));
            }
            _ => {}
        }
    }
    if let Some(item) = items.iter().find(|item| !asked.contains(item)) {
        return Some((format!("{item} is there and nobody appended it"), vec![*item]));
    }
    // Each caller's items are in its order. A call that was given up may still be on its way, by another way than the next.
    let lost = |record: &&Record<Ask, Answer>| record.outcome == Outcome::Unknown;
    let given_up: BTreeSet<_> = records
        .iter()
        .filter(lost)
        .filter_map(|record| match record.call {
            Ask::Append(item) => Some(item),
            Ask::Read => None,
        })
        .collect();
    let mut last = BTreeMap::new();
    for item in items.iter().filter(|item| !given_up.contains(item)) {
        if let Some(before) = last.insert(item >> 32, *item).filter(|before| before > item) {
            return Some((format!("{before} of one caller is there before its {item}"), vec![before, *item]));
        }
    }
    // A read or an append sees every append that was acknowledged before it began.
    let mut acknowledged: Vec<_> = records
        .iter()
        .filter_map(|record| match (&record.call, &record.outcome) {
            (Ask::Append(item), Outcome::Done(_)) => Some((record.end, places.get(item).copied()?, *item)),
            _ => None,
        })
        .collect();
    acknowledged.sort_unstable();
    for record in records {
        let seen = match &record.outcome {
            Outcome::Done(Answer::Length(length)) => *length as usize - 1,
            Outcome::Done(Answer::Items(_)) if stale.may_be(record.begin, record.end) => continue,
            Outcome::Done(Answer::Items(seen)) => seen.len(),
            _ => continue,
        };
        let before = acknowledged.iter().take_while(|(end, ..)| *end < record.begin);
        if let Some((end, place, item)) =
            before.max_by_key(|(_, place, _)| *place).filter(|(_, place, _)| *place >= seen)
        {
            let what = format!(
                "{item} is number {} and was acknowledged at {end:?}; {:?}, made at {:?}, did not see it",
                place + 1,
                record.call,
                record.begin
            );
            return Some((what, vec![*item]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn appended(item: u64, begin: u64, end: u64, outcome: Outcome<Answer>) -> Record<Ask, Answer> {
        let (begin, end) = (Duration::from_secs(begin), Duration::from_secs(end));
        Record { who: 0, key: 0, call: Ask::Append(item), begin, end, outcome }
    }

    fn done(length: u64) -> Outcome<Answer> {
        Outcome::Done(Answer::Length(length))
    }

    #[test]
    fn a_good_list_is_good() {
        let records = [appended(1, 0, 1, done(1)), appended(2, 2, 3, Outcome::Unknown), appended(3, 4, 5, done(3))];
        assert_eq!(wrong(&[1, 2, 3], &records, &Stale::default()), None);
    }

    #[test]
    fn each_kind_of_wrong_is_found() {
        let (one, two) = (appended(1, 0, 1, done(1)), appended(2, 2, 3, done(2)));
        type Case<'a> = (&'a [u64], &'a [Record<Ask, Answer>], &'a str);
        let cases: [Case<'_>; 6] = [
            (&[1], &[one.clone(), two.clone()], "is not there"),
            (&[1, 2, 1], &[one.clone(), two.clone()], "twice"),
            (&[2, 1], &[one.clone(), two.clone()], "is number"),
            (&[1], &[appended(1, 0, 1, Outcome::Refused)], "refused"),
            (&[1, 9], std::slice::from_ref(&one), "nobody"),
            (&[2, 1], &[one.clone(), two.clone()], "is number"),
        ];
        for (items, records, what) in cases {
            let found = wrong(items, records, &Stale::default()).map(|(found, _)| found).unwrap_or_default();
            assert!(found.contains(what), "{items:?}: {found}");
        }
    }

    #[test]
    fn a_read_that_does_not_see_what_was_acknowledged_is_found() {
        let at = Duration::from_secs(5);
        let outcome = Outcome::Done(Answer::Items(Vec::new()));
        let read = Record { who: 1, key: 0, call: Ask::Read, begin: at, end: at, outcome };
        let records = [appended(1, 0, 1, done(1)), read];
        assert!(wrong(&[1], &records, &Stale::default()).is_some());
        assert!(wrong(&[1], &records, &Stale(vec![(at, at)])).is_none(), "unless a zombie may have answered");
    }
}
