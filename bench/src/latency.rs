//! How long a call takes at a part of the load that the silo can bear.
//!
//! Arrivals are open-loop: each call has a time at which it is due, drawn beforehand (a Poisson process), and its latency
//! counts from then, whether the caller got to it or not. So a stall is charged to every call it delays (no coordinated
//! omission). One caller a worker thread makes the calls that are due, in order.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::runtime::Runtime;

use crate::args::Args;
use crate::contenders::Contender;
use crate::contenders::channel::Channel;
use crate::contenders::gristmill::Gristmill;
use crate::contenders::kameo::Kameo;
use crate::contenders::ractor::Ractor;
use crate::machine::WORKERS;
use crate::report::{Figure, Outcome, Report};

const LOADS: [u32; 3] = [10, 50, 80];
const ACTORS: usize = 1_000;

/// A nanosecond to a minute.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("these bounds can be")
}

struct Stage<C: Contender> {
    runtime: Runtime,
    handles: std::sync::Arc<[C::Handle]>,
    /// Calls a second, as fast as the callers can.
    capacity: f64,
    _contender: C,
}

impl<C: Contender> Stage<C> {
    fn new(args: &Args) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(WORKERS).enable_all().build().expect("a runtime starts");
        let (contender, handles) = runtime.block_on(async {
            let contender = C::start().await;
            let mut handles = Vec::new();
            for number in 0..ACTORS {
                handles.push(contender.actor(&format!("grain-{number:010}"), None).await);
            }
            (contender, handles)
        });
        let mut stage = Self { runtime, handles: handles.into(), capacity: 0.0, _contender: contender };
        stage.capacity = stage.saturate(args.round() * 2);
        stage
    }

    /// Calls one after the other for so long, from every worker.
    fn saturate(&self, time: Duration) -> f64 {
        let calls: u64 = self
            .on_every_worker(|handles, caller| async move {
                let mut rng = fastrand::Rng::with_seed(caller);
                let (started, mut calls) = (Instant::now(), 0);
                while started.elapsed() < time {
                    C::add(&handles[rng.usize(..handles.len())], 1).await;
                    calls += 1;
                    if calls % 64 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                calls
            })
            .into_iter()
            .sum();
        calls as f64 / time.as_secs_f64()
    }

    /// Latencies at this rate, in nanoseconds.
    fn at(&self, per_second: f64, time: Duration) -> Histogram<u64> {
        let mean = WORKERS as f64 / per_second;
        let parts = self.on_every_worker(move |handles, caller| async move {
            let mut rng = fastrand::Rng::with_seed(caller);
            let mut latencies = histogram();
            let started = Instant::now();
            let mut due = Duration::ZERO;
            while due < time {
                while started.elapsed() < due {
                    tokio::task::yield_now().await;
                }
                C::add(&handles[rng.usize(..handles.len())], 1).await;
                let late = started.elapsed().saturating_sub(due);
                latencies.saturating_record(late.as_nanos() as u64);
                due += Duration::from_secs_f64(-mean * (1.0 - rng.f64()).ln());
            }
            latencies
        });
        let mut all = histogram();
        parts.iter().for_each(|part| all.add(part).expect("histograms of one kind"));
        all
    }

    fn on_every_worker<T: Send + 'static, F>(&self, work: impl Fn(std::sync::Arc<[C::Handle]>, u64) -> F) -> Vec<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        self.runtime.block_on(async {
            let callers: Vec<_> =
                (0..WORKERS as u64).map(|caller| tokio::task::spawn(work(self.handles.clone(), caller))).collect();
            let mut done = Vec::new();
            for caller in callers {
                done.push(caller.await.expect("a caller ends"));
            }
            done
        })
    }
}

/// A contender's name, capacity, and its latencies at each load.
type Measured = (&'static str, f64, Vec<Histogram<u64>>);

fn measure<C: Contender>(args: &Args) -> Measured {
    let stage = Stage::<C>::new(args);
    let time = if args.quick { Duration::from_millis(300) } else { Duration::from_secs(10) };
    let at_load = |load: &u32| stage.at(stage.capacity * f64::from(*load) / 100.0, time);
    (C::NAME, stage.capacity, LOADS.iter().map(at_load).collect())
}

pub(crate) fn run(args: &Args, report: &Report) {
    let mut measured = vec![measure::<Gristmill>(args)];
    if !args.alone {
        measured.extend([measure::<Ractor>(args), measure::<Kameo>(args), measure::<Channel>(args)]);
    }
    let figure = |name, value| Figure { name, value, cpu_ns: None };
    report.outcome(&Outcome {
        scenario: "latency: capacity".to_owned(),
        unit: "calls/s",
        figures: measured.iter().map(|(name, capacity, _)| figure(name, *capacity)).collect(),
        extra: Vec::new(),
    });
    for (place, load) in LOADS.iter().enumerate() {
        for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
            let micros = |latencies: &Histogram<u64>| latencies.value_at_quantile(quantile) as f64 / 1_000.0;
            report.outcome(&Outcome {
                scenario: format!("latency: {name} at {load} % of its capacity"),
                unit: "µs",
                figures: measured.iter().map(|(name, _, at)| figure(name, micros(&at[place]))).collect(),
                extra: Vec::new(),
            });
        }
    }
}
