//! What an idle grain takes, and how fast grains are activated, beside actors that are spawned.

use std::sync::Arc;
use std::time::Instant;

use gristmill::prelude::*;
use tokio::runtime::Runtime;

use crate::args::Args;
use crate::contenders::Contender;
use crate::contenders::channel::Channel;
use crate::contenders::gristmill::{Gristmill, WorkGrain, WorkRef};
use crate::contenders::kameo::Kameo;
use crate::contenders::ractor::Ractor;
use crate::counting;
use crate::machine::{WORKERS, resident};
use crate::nowhere::Nowhere;
use crate::report::{Figure, Outcome, Report};
use crate::rounds::median;

/// Bytes of a key's text; with its counts, the allocator gives it twice that.
const KEY: usize = 16;
/// Activators in parallel.
const ACTIVATORS: usize = 2;

/// Who makes actors, one after the other.
#[derive(Clone, Copy, PartialEq)]
enum Makers {
    /// Tasks, one for each worker: a spawned actor begins on the worker that spawned it.
    Tasks,
    /// The program's main task, as under `#[tokio::main]`: it is no worker's, so a spawned actor begins on another thread.
    Main,
}

/// What making some actors took; bytes or time, as counting bytes takes time.
struct Made {
    name: &'static str,
    live: f64,
    per_second: f64,
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(WORKERS).enable_all().build().expect("a runtime starts")
}

fn key(number: usize) -> String {
    format!("grain-{number:010}")
}

/// Makes so many actors with so many bytes of state each, and lets them go.
fn make<C: Contender>(actors: usize, bytes: usize, makers: Makers, counted: bool) -> Made {
    let runtime = runtime();
    let contender = Arc::new(runtime.block_on(C::start()));
    let parts = if makers == Makers::Main { 1 } else { ACTIVATORS };
    let each = actors / parts;
    let keep: Vec<Vec<C::Handle>> = (0..parts).map(|_| Vec::with_capacity(each)).collect();
    let started = Instant::now();
    let work = || {
        runtime.block_on(async {
            let work = keep.into_iter().enumerate().map(|(maker, mut keep)| {
                let contender = contender.clone();
                async move {
                    for number in maker * each..(maker + 1) * each {
                        let actor = contender.holder(&key(number), bytes).await;
                        if C::NEEDS_HANDLES {
                            keep.push(actor);
                        }
                    }
                    keep
                }
            });
            if makers == Makers::Main {
                let mut kept = Vec::new();
                for work in work {
                    kept.push(work.await);
                }
                return kept;
            }
            let makers: Vec<_> = work.map(tokio::task::spawn).collect();
            let mut kept = Vec::new();
            for maker in makers {
                kept.push(maker.await.expect("a maker ends"));
            }
            kept
        })
    };
    let (kept, live) = if counted { counting::left_by(work) } else { (work(), 0) };
    let took = started.elapsed();
    let count = (each * parts) as f64;
    let made = Made { name: C::NAME, live: live as f64 / count, per_second: count / took.as_secs_f64() };
    drop(kept);
    runtime.block_on(async { drop(contender) });
    made
}

pub(crate) fn run(args: &Args, report: &Report) {
    let actors = if args.quick { 20_000 } else { 200_000 };
    for (scenario, bytes) in [("no state", 0), ("256 bytes of state", 256)] {
        if !args.wants(scenario) {
            continue;
        }
        let round = |makers, counted: bool| {
            let mut round = vec![make::<Gristmill>(actors, bytes, makers, counted)];
            if !args.alone {
                round.push(make::<Ractor>(actors, bytes, makers, counted));
                round.push(make::<Kameo>(actors, bytes, makers, counted));
                round.push(make::<Channel>(actors, bytes, makers, counted));
            }
            round
        };
        let figure = |name, value| Figure { name, value, cpu_ns: None };
        let live: Vec<_> = round(Makers::Tasks, true).iter().map(|made| figure(made.name, made.live)).collect();
        let beyond = live[0].value - (2 * KEY + bytes) as f64;
        report.outcome(&Outcome {
            scenario: format!("memory: live bytes of an idle grain, {scenario}"),
            unit: "bytes",
            extra: vec![("beyond key and state".to_owned(), beyond)],
            figures: live,
        });
        for (makers, by) in [(Makers::Main, "the main task"), (Makers::Tasks, "two tasks")] {
            let rounds: Vec<_> = (0..if args.quick { 1 } else { 5 }).map(|_| round(makers, false)).collect();
            let rates = (0..rounds[0].len()).map(|place| {
                let rates = rounds.iter().map(|round| round[place].per_second).collect();
                figure(rounds[0][place].name, median(rates))
            });
            report.outcome(&Outcome {
                scenario: format!("memory: activations by {by}, {scenario}"),
                unit: "grains/s",
                figures: rates.collect(),
                extra: Vec::new(),
            });
        }
    }
    if args.wants("durable") {
        durable(actors, report);
    }
    if args.wants("ten million") && !args.quick {
        ten_million(report);
    }
}

/// A grain with durable state, on a storage that keeps nothing: what the silo itself takes.
fn durable(grains: usize, report: &Report) {
    let runtime = runtime();
    let silo = runtime.block_on(async {
        let builder = Silo::builder().storage("default", Nowhere);
        builder.grain::<SaveGrain>().start().await.expect("the silo starts")
    });
    let ((), live) = counting::left_by(|| {
        runtime.block_on(async {
            for number in 0..grains {
                let save: SaveRef = silo.grain(key(number));
                save.fill(256).await.expect("the grain answers");
            }
        });
    });
    let live = live as f64 / grains as f64;
    report.outcome(&Outcome {
        scenario: "memory: live bytes of an idle grain, 256 bytes of durable state".to_owned(),
        unit: "bytes",
        figures: vec![Figure { name: "gristmill", value: live, cpu_ns: None }],
        extra: vec![("beyond key and state".to_owned(), live - (2 * KEY + 256) as f64)],
    });
}

/// Ten million grains in one process, which still answer.
fn ten_million(report: &Report) {
    const GRAINS: usize = 10_000_000;
    let runtime = runtime();
    let before = resident();
    let started = Instant::now();
    let silo = runtime.block_on(async {
        let silo = Silo::builder().grain::<WorkGrain>().start().await.expect("the silo starts");
        let makers: Vec<_> = (0..ACTIVATORS)
            .map(|maker| {
                let silo = silo.clone();
                tokio::task::spawn(async move {
                    for number in (maker..GRAINS).step_by(ACTIVATORS) {
                        let grain: WorkRef = silo.grain(key(number));
                        grain.add(number as u64).await.expect("the grain answers");
                    }
                })
            })
            .collect();
        for maker in makers {
            maker.await.expect("a maker ends");
        }
        silo
    });
    let took = started.elapsed();
    let resident = resident() - before;
    let (answered, calls_took) = runtime.block_on(async {
        let mut rng = fastrand::Rng::with_seed(1);
        let started = Instant::now();
        let mut answered = 0;
        for _ in 0..1_000_000 {
            let number = rng.usize(..GRAINS);
            let grain: WorkRef = silo.grain(key(number));
            answered += u64::from(grain.get().await.is_ok_and(|count| count == number as u64));
        }
        (answered, started.elapsed())
    });
    assert_eq!(answered, 1_000_000, "every grain still knows its number");
    report.outcome(&Outcome {
        scenario: "memory: ten million grains in one process".to_owned(),
        unit: "resident bytes a grain",
        figures: vec![Figure { name: "gristmill", value: resident as f64 / GRAINS as f64, cpu_ns: None }],
        extra: vec![
            ("live grains".to_owned(), silo.metrics().grain("work").map_or(0, |grain| grain.live) as f64),
            ("activations/s".to_owned(), GRAINS as f64 / took.as_secs_f64()),
            ("random calls/s, one caller".to_owned(), 1e6 / calls_took.as_secs_f64()),
        ],
    });
}

#[grain_interface]
trait Save {
    async fn fill(&mut self, bytes: u32);
}

#[derive(Grain)]
#[grain(implements(Save))]
struct SaveGrain {
    #[state(codec = "bincode")]
    blob: Persistent<Vec<u8>>,
}

impl Save for SaveGrain {
    async fn fill(&mut self, bytes: u32) {
        *self.blob = vec![7; bytes as usize];
    }
}
