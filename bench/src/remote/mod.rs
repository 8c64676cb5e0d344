//! Calls from one process to another on this machine, beside a bare echo that batches as silos do.
//!
//! The caller's silo hosts nothing; another process hosts the grains. Each call carries 64 bytes and gets them back with a
//! count, and every answer is checked: the bytes are those of this call, and the count says that no call was lost, done
//! twice or passed by a later one.

pub(crate) mod bare;
mod frames;
pub(crate) mod grain;
mod stage;

use std::rc::Rc;
use std::sync::Arc;

use gristmill::prelude::*;
use gristmill_test_servers::{RedisOptions, RedisServer};
use hdrhistogram::Histogram;
use tokio::runtime::Runtime;

use crate::args::Args;
use crate::child::{self, Process};
use crate::remote::bare::Bare;
use crate::remote::grain::EchoRef;
use crate::remote::stage::Stage;
use crate::report::{Figure, Outcome, Report};
use crate::rounds::{self, Run, median};

/// How many callers there are, and of how many grains: caller n calls grain n, or all call one.
struct Scenario {
    name: &'static str,
    callers: usize,
    grains: usize,
}

const SCENARIOS: [Scenario; 6] = [
    Scenario { name: "one caller", callers: 1, grains: 1 },
    Scenario { name: "16 callers, 16 grains", callers: 16, grains: 16 },
    Scenario { name: "100 callers, 100 grains", callers: 100, grains: 100 },
    Scenario { name: "1,000 callers, 1,000 grains", callers: 1_000, grains: 1_000 },
    Scenario { name: "4,000 callers, 4,000 grains", callers: 4_000, grains: 4_000 },
    Scenario { name: "100 callers, one grain", callers: 100, grains: 1 },
];

const QUANTILES: [(&str, f64); 2] = [("p50", 0.5), ("p99", 0.99)];

/// Both servers, and the silo that calls one of them. What is declared first ends first.
struct World {
    silo: Silo,
    runtime: Arc<Runtime>,
    echo: Rc<Process>,
    bare: Rc<Process>,
    bare_address: String,
    _redis: RedisServer,
}

impl World {
    fn start() -> Result<Self, BoxError> {
        let redis = RedisServer::start(RedisOptions::default());
        let echo = Rc::new(Process::start(&["echo", &redis.url()])?);
        echo.says("ready")?;
        let bare = Rc::new(Process::start(&["bare"])?);
        let bare_address = bare.says("ready")?;
        let runtime = Arc::new(child::runtime()?);
        let silo = runtime.block_on(grain::caller(&redis.url()))?;
        Ok(Self { silo, runtime, echo, bare, bare_address, _redis: redis })
    }

    /// Callers of grains that nobody has called before.
    fn grains(&self, scenario: &Scenario, part: &str) -> Stage<EchoRef> {
        let Scenario { name, callers, grains } = *scenario;
        let peers = (0..callers).map(|caller| self.silo.grain(format!("{name}, {part}: {}", caller % grains)));
        Stage::new(&self.runtime, &self.echo, peers.collect(), callers == grains)
    }

    /// Callers of the bare echo, on a connection of their own.
    fn bare(&self, scenario: &Scenario) -> Result<Stage<Bare>, BoxError> {
        let bare = self.runtime.block_on(Bare::connect(&self.bare_address))?;
        Ok(Stage::new(&self.runtime, &self.bare, vec![bare; scenario.callers], false))
    }
}

fn throughput(args: &Args, report: &Report, world: &World, scenario: &Scenario) -> Result<(), BoxError> {
    let mut contenders: Vec<Box<dyn Run>> = vec![Box::new(world.grains(scenario, "calls"))];
    if !args.alone {
        contenders.push(Box::new(world.bare(scenario)?));
    }
    let figure = |measured: rounds::Measured| Figure {
        name: measured.name,
        value: measured.per_second,
        cpu_ns: Some(measured.cpu_ns),
    };
    let figures = rounds::measure(args, &mut contenders).into_iter().map(figure).collect();
    let scenario = format!("remote: {}", scenario.name);
    report.outcome(&Outcome { scenario, unit: "calls/s", figures, extra: Vec::new() });
    Ok(())
}

/// How long one caller waits for each answer.
fn round_trips(args: &Args, report: &Report, world: &World) -> Result<(), BoxError> {
    let [scenario, ..] = &SCENARIOS;
    let (mut grain, mut bare) = (world.grains(scenario, "round trips"), world.bare(scenario)?);
    let mut trips: [Vec<Histogram<u64>>; 2] = [Vec::new(), Vec::new()];
    for _ in 0..args.rounds() {
        trips[0].push(grain.round_trips(args.round()));
        trips[1].push(bare.round_trips(args.round()));
    }
    for (name, quantile) in QUANTILES {
        let micros = |trips: &Histogram<u64>| trips.value_at_quantile(quantile) as f64 / 1_000.0;
        let figure = |name, trips: &[Histogram<u64>]| {
            let value = median(trips.iter().map(micros).collect());
            Figure { name, value, cpu_ns: None }
        };
        report.outcome(&Outcome {
            scenario: format!("remote: round trip of one caller, {name}"),
            unit: "µs",
            figures: vec![figure(grain.name(), &trips[0]), figure(bare.name(), &trips[1])],
            extra: Vec::new(),
        });
    }
    Ok(())
}

pub(crate) fn run(args: &Args, report: &Report) -> Result<(), BoxError> {
    let world = World::start()?;
    for scenario in SCENARIOS.iter().filter(|scenario| args.wants(&format!("remote: {}", scenario.name))) {
        throughput(args, report, &world, scenario)?;
    }
    if args.wants("remote: round trip of one caller") && !args.alone {
        round_trips(args, report, &world)?;
    }
    Ok(())
}
