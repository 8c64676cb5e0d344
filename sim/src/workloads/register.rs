//! Registers with compare-and-set.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use gristmill::prelude::*;
use gristmill::{Client, SiloBuilder};

use super::{Caller, Stale, Workload, surely};
use crate::history::{Clock, Counts, History, Outcome, Record, told};
use crate::linear::{Event, Model, Verdict, check};

/// Registers.
const KEYS: usize = 3;

/// Who reads in the end.
const AUDITOR: usize = usize::MAX;

/// A register.
#[grain_interface]
pub trait Register {
    /// Its value.
    async fn read(&self) -> u64;
    /// Sets it.
    async fn write(&mut self, value: u64);
    /// Sets it if it is what is expected; says whether it was.
    async fn swap(&mut self, expected: u64, value: u64) -> bool;
}

/// A durable register.
#[derive(Grain)]
#[grain(implements(Register))]
struct RegisterGrain {
    #[state]
    value: Persistent<u64>,
}

impl Register for RegisterGrain {
    async fn read(&self) -> u64 {
        *self.value
    }

    async fn write(&mut self, value: u64) {
        *self.value = value;
    }

    async fn swap(&mut self, expected: u64, value: u64) -> bool {
        let is = *self.value == expected;
        if is {
            tokio::task::yield_now().await;
            *self.value = value;
        }
        is
    }
}

/// A call of a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    /// Read.
    Read,
    /// Write.
    Write(u64),
    /// Compare, and set.
    Swap(u64, u64),
}

impl Ask {
    fn value(&self) -> Option<u64> {
        match *self {
            Self::Read => None,
            Self::Write(value) | Self::Swap(_, value) => Some(value),
        }
    }
}

/// Its answer: a value, or whether it was set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The value.
    Value(u64),
    /// Written.
    Written,
    /// Was it what was expected?
    Swapped(bool),
}

/// Each register is linearizable.
#[derive(Default)]
pub struct Registers {
    first: usize,
    strict: bool,
    history: History<Ask, Answer>,
    /// Histories whose search was given up.
    unsure: AtomicU64,
}

/// A register by itself.
struct Sequential;

impl Model for Sequential {
    type State = u64;
    type Call = (Ask, Option<Answer>);

    fn initial(&self) -> u64 {
        0
    }

    fn apply(&self, state: &u64, (ask, answer): &(Ask, Option<Answer>)) -> Option<u64> {
        let (after, would) = match *ask {
            Ask::Read => (*state, Answer::Value(*state)),
            Ask::Write(value) => (value, Answer::Written),
            Ask::Swap(expected, value) if expected == *state => (value, Answer::Swapped(true)),
            Ask::Swap(..) => (*state, Answer::Swapped(false)),
        };
        answer.is_none_or(|answer| answer == would).then_some(after)
    }
}

impl Registers {
    /// Its grains are numbered from `first`.
    pub fn of(first: usize, strict: bool) -> Self {
        Self { first, strict, ..Self::default() }
    }
}

fn register(client: &Client, number: usize) -> RegisterRef {
    client.grain(format!("register-{number}"))
}

impl Workload for Registers {
    fn name(&self) -> &'static str {
        "register"
    }

    fn describe(&self, silo: SiloBuilder) -> SiloBuilder {
        let strict = self.strict;
        silo.grain_with::<RegisterGrain>(move |setup| setup.options.strict = strict)
    }

    fn play(&self, caller: Caller) -> BoxFuture<'static, ()> {
        let (history, first) = (self.history.clone(), self.first);
        async move {
            let (mut rng, clock, who) = (caller.rng(2), caller.clock.clone(), caller.number);
            let mut known = [0; KEYS];
            let mut next = 0;
            while !caller.is_over() {
                let key = rng.usize(..KEYS);
                let (grain, time) = (register(&caller.client, first + key), caller.patience(&mut rng));
                next += 1;
                let value = (who as u64 + 1) << 32 | next;
                let outcome = match rng.u8(..10) {
                    0..4 => {
                        let call = async { grain.read().timeout(time).await.map(Answer::Value) };
                        history.note(&clock, (who, key, Ask::Read), call).await
                    }
                    4..6 => {
                        let call = async { grain.write(value).timeout(time).await.map(|()| Answer::Written) };
                        history.note(&clock, (who, key, Ask::Write(value)), call).await
                    }
                    _ => {
                        let swap = Ask::Swap(known[key], value);
                        let call = async { grain.swap(known[key], value).timeout(time).await.map(Answer::Swapped) };
                        history.note(&clock, (who, key, swap), call).await
                    }
                };
                match outcome {
                    Outcome::Done(Answer::Value(value)) => known[key] = value,
                    Outcome::Done(Answer::Written | Answer::Swapped(true)) => known[key] = value,
                    _ => {}
                }
                caller.rest(&mut rng).await;
            }
        }
        .boxed()
    }

    fn audit(&self, client: Client) -> BoxFuture<'static, ()> {
        let (history, first) = (self.history.clone(), self.first);
        // After everything else.
        let last = history.all().iter().map(|record| record.end).max().unwrap_or_default();
        let clock: Clock = std::sync::Arc::new(move || last + std::time::Duration::from_secs(1));
        async move {
            for key in 0..KEYS {
                let value = surely(|| register(&client, first + key).read().into_owned()).await;
                let read =
                    async { Ok::<_, gristmill::grains::CallError<gristmill::grains::Never>>(Answer::Value(value)) };
                history.note(&clock, (AUDITOR, key, Ask::Read), read).await;
            }
        }
        .boxed()
    }

    fn check(&self, stale: &Stale) -> Vec<String> {
        let wrong = |key: usize| {
            let mut records = self.history.of(key);
            let written: BTreeSet<_> = records.iter().filter_map(|record| record.call.value()).chain([0]).collect();
            let made_up = |record: &Record<Ask, Answer>| match record.outcome {
                Outcome::Done(Answer::Value(value)) => !written.contains(&value),
                _ => false,
            };
            if let Some(record) = records.iter().find(|record| made_up(record)) {
                let record = told(std::slice::from_ref(record));
                return Some(format!("register-{} held what nobody wrote:\n{record}", self.first + key));
            }
            // What changes nothing may have been answered out of what was true before, unless the grain is strict.
            let old = |record: &Record<Ask, Answer>| {
                let reads = matches!(record.outcome, Outcome::Done(Answer::Value(_) | Answer::Swapped(false)));
                reads && !self.strict && stale.may_be(record.begin, record.end)
            };
            records.retain(|record| !old(record));
            let event = |record: &Record<Ask, Answer>| match record.outcome {
                Outcome::Done(answer) => {
                    Some(Event { call: (record.call, Some(answer)), begin: record.begin, end: Some(record.end) })
                }
                // A read that nobody got says nothing.
                Outcome::Unknown if record.call != Ask::Read => {
                    Some(Event { call: (record.call, None), begin: record.begin, end: None })
                }
                _ => None,
            };
            let events: Vec<_> = records.iter().filter_map(event).collect();
            match check(&Sequential, &events) {
                Verdict::Linearizable => return None,
                Verdict::TooLong => {
                    self.unsure.fetch_add(1, Ordering::Relaxed);
                    return None;
                }
                Verdict::Broken => {}
            }
            // The shortest beginning that is broken.
            let mut ends: Vec<_> = events.iter().filter_map(|event| event.end).collect();
            ends.sort_unstable();
            let until = ends.into_iter().find(|until| {
                let events: Vec<_> = events
                    .iter()
                    .filter(|event| event.begin <= *until)
                    .map(|event| match event.end {
                        Some(end) if end > *until => Event { call: (event.call.0, None), end: None, ..event.clone() },
                        _ => event.clone(),
                    })
                    .filter(|event| event.end.is_some() || event.call.0 != Ask::Read)
                    .collect();
                check(&Sequential, &events) == Verdict::Broken
            });
            let shown: Vec<_> =
                records.into_iter().filter(|record| until.is_none_or(|until| record.begin <= until)).collect();
            // Of a long history the end is what breaks it.
            let shown = &shown[shown.len().saturating_sub(30)..];
            Some(format!("register-{} is not linearizable:\n{}", self.first + key, told(shown)))
        };
        (0..KEYS).filter_map(wrong).collect()
    }

    fn unsure(&self) -> u64 {
        self.unsure.load(Ordering::Relaxed)
    }

    fn counts(&self) -> Counts {
        self.history.counts()
    }

    fn failed(&self) -> String {
        self.history.failed()
    }
}
