//! How long a call takes at a part of the load that the silo can bear.
//!
//! Arrivals are open-loop: each call has a time at which it is due, drawn beforehand (a Poisson process), and its latency
//! counts from then, whether the caller got to it or not. So a stall is charged to every call it delays (no coordinated
//! omission). One caller a worker thread makes the calls that are due, in order, and sleeps when none is, as a server does
//! that waits for its network: one that spun would lose its time slice to whatever else the machine runs, for milliseconds.
//!
//! The load that a contender can bear is what the same callers get done when every call is long due: with the clock, the
//! histogram and the drawing of arrivals, which cost as much as a call to an idle grain. What the sleep and the machine add
//! is measured too, by callers that call nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
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
use crate::rounds::median;

const LOADS: [u32; 3] = [10, 50, 80];
const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];
const ACTORS: usize = 1_000;
/// What a caller sleeps when no call is due; Linux makes some 75 µs of it.
const NAP: Duration = Duration::from_micros(20);

/// A nanosecond to a minute.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("these bounds can be")
}

/// Whose latencies can be measured.
trait Measured {
    fn name(&self) -> &'static str;
    /// Calls a second, as fast as the callers can.
    fn capacity(&self) -> f64;
    /// Latencies at this rate, in nanoseconds.
    fn at(&self, per_second: f64, time: Duration) -> Histogram<u64>;
}

struct Stage<C: Contender> {
    runtime: Runtime,
    handles: Arc<[C::Handle]>,
    capacity: f64,
    _contender: C,
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(WORKERS).enable_all().build().expect("a runtime starts")
}

/// Runs a caller on every worker thread.
fn on_every_worker<T: Send + 'static, F>(runtime: &Runtime, work: impl Fn(u64) -> F) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
{
    runtime.block_on(async {
        let together = Arc::new(Barrier::new(WORKERS));
        let callers = (0..WORKERS as u64).map(|caller| {
            let (together, work) = (together.clone(), work(caller));
            tokio::task::spawn(async move {
                together.wait(); // holds its thread, so that the next caller gets another
                work.await
            })
        });
        let callers: Vec<_> = callers.collect();
        let mut done = Vec::new();
        for caller in callers {
            done.push(caller.await.expect("a caller ends"));
        }
        done
    })
}

/// Which calls are due, and how long they are made.
#[derive(Clone, Copy)]
struct Arrivals {
    per_second: f64,
    /// Calls due until then are made.
    time: Duration,
    /// No call is made after that, due or not.
    end: Duration,
}

impl Arrivals {
    /// Calls at this rate, all of them made, however late.
    fn at(per_second: f64, time: Duration) -> Self {
        Self { per_second, time, end: Duration::MAX }
    }

    /// More than can be made.
    fn flood(time: Duration) -> Self {
        Self { per_second: 1e9, time, end: time }
    }
}

/// Makes each call when it is due.
async fn open_loop<F: Future>(
    caller: u64,
    places: Arc<Places>,
    arrivals: Arrivals,
    call: impl Fn(u64) -> F,
) -> Histogram<u64> {
    let mean = WORKERS as f64 / arrivals.per_second;
    let mut rng = fastrand::Rng::with_seed(caller);
    let mut latencies = histogram();
    let started = Instant::now();
    let (mut now, mut due) = (Duration::ZERO, Duration::ZERO);
    while due < arrivals.time && now < arrivals.end {
        while now < due {
            tokio::task::yield_now().await; // what waits for this thread goes first
            if places.is_alone(caller) {
                #[allow(clippy::disallowed_methods)]
                std::thread::sleep(NAP);
            }
            now = started.elapsed();
        }
        call(rng.u64(..)).await;
        now = started.elapsed();
        latencies.saturating_record(now.saturating_sub(due).as_nanos() as u64);
        due += Duration::from_secs_f64(-mean * (1.0 - rng.f64()).ln());
    }
    latencies
}

/// On which thread each caller last was: a wake-up may bring two to one. Then neither holds it up by sleeping, until one
/// of them was taken over by the other thread.
#[derive(Default)]
struct Places([AtomicU64; WORKERS]);

impl Places {
    fn is_alone(&self, caller: u64) -> bool {
        thread_local! { static HERE: u64 = NEXT_THREAD.fetch_add(1, Ordering::Relaxed); }
        static NEXT_THREAD: AtomicU64 = AtomicU64::new(1);
        let here = HERE.with(|here| *here);
        self.0[caller as usize].store(here, Ordering::Relaxed);
        self.0.iter().filter(|place| place.load(Ordering::Relaxed) == here).count() == 1
    }
}

fn merged(parts: &[Histogram<u64>]) -> Histogram<u64> {
    let mut all = histogram();
    parts.iter().for_each(|part| all.add(part).expect("histograms of one kind"));
    all
}

impl<C: Contender> Stage<C> {
    fn new(args: &Args) -> Self {
        let runtime = runtime();
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

    /// Calls a second when every call is long due.
    fn saturate(&self, time: Duration) -> f64 {
        self.calls(Arrivals::flood(time)).len() as f64 / time.as_secs_f64()
    }

    fn calls(&self, arrivals: Arrivals) -> Histogram<u64> {
        let places = Arc::new(Places::default());
        merged(&on_every_worker(&self.runtime, |caller| {
            let (handles, places) = (self.handles.clone(), places.clone());
            async move {
                let handles = &handles;
                let call = |random: u64| C::add(&handles[random as usize % handles.len()], 1);
                open_loop(caller, places, arrivals, call).await
            }
        }))
    }
}

impl<C: Contender> Measured for Stage<C> {
    fn name(&self) -> &'static str {
        C::NAME
    }

    fn capacity(&self) -> f64 {
        self.capacity
    }

    fn at(&self, per_second: f64, time: Duration) -> Histogram<u64> {
        self.calls(Arrivals::at(per_second, time))
    }
}

/// Callers that call nothing: what the generator and the machine add.
struct Nothing {
    runtime: Runtime,
    /// Of the contender it stands beside.
    capacity: f64,
}

impl Measured for Nothing {
    fn name(&self) -> &'static str {
        "no call"
    }

    fn capacity(&self) -> f64 {
        self.capacity
    }

    fn at(&self, per_second: f64, time: Duration) -> Histogram<u64> {
        let places = Arc::new(Places::default());
        merged(&on_every_worker(&self.runtime, |caller| {
            open_loop(caller, places.clone(), Arrivals::at(per_second, time), |_| std::future::ready(()))
        }))
    }
}

pub(crate) fn run(args: &Args, report: &Report) {
    let (rounds, time) = match args.quick {
        true => (1, Duration::from_millis(300)),
        false => (9, Duration::from_secs(1)),
    };
    let gristmill = Stage::<Gristmill>::new(args);
    let nothing = Nothing { runtime: runtime(), capacity: gristmill.capacity };
    let mut measured: Vec<Box<dyn Measured>> = vec![Box::new(gristmill)];
    if !args.alone {
        measured.push(Box::new(Stage::<Ractor>::new(args)));
        measured.push(Box::new(Stage::<Kameo>::new(args)));
        measured.push(Box::new(Stage::<Channel>::new(args)));
    }
    let figure = |name, value| Figure { name, value, cpu_ns: None };
    report.outcome(&Outcome {
        scenario: "latency: capacity".to_owned(),
        unit: "calls/s",
        figures: measured.iter().map(|who| figure(who.name(), who.capacity())).collect(),
        extra: Vec::new(),
    });
    measured.push(Box::new(nothing));
    for load in LOADS {
        let mut latencies: Vec<Vec<Histogram<u64>>> = measured.iter().map(|_| Vec::new()).collect();
        for _ in 0..rounds {
            for (who, latencies) in measured.iter().zip(&mut latencies) {
                latencies.push(who.at(who.capacity() * f64::from(load) / 100.0, time));
            }
        }
        for (name, quantile) in QUANTILES {
            let micros = |latencies: &Histogram<u64>| latencies.value_at_quantile(quantile) as f64 / 1_000.0;
            let medians = measured
                .iter()
                .zip(&latencies)
                .map(|(who, latencies)| figure(who.name(), median(latencies.iter().map(micros).collect())));
            report.outcome(&Outcome {
                scenario: format!("latency: {name} at {load} % of its capacity"),
                unit: "µs",
                figures: medians.collect(),
                extra: vec![("over all rounds".to_owned(), micros(&merged(&latencies[0])))],
            });
        }
    }
}
