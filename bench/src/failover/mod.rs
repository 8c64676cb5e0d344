//! How soon grains answer again after their silo was killed, paused or told to stop.
//!
//! Three silos in processes of their own, on a Redis that is started for the purpose, with the default settings; this
//! process is a fourth silo that hosts nothing. A caller for each grain calls it without end, and at once again after an
//! error. A grain is back with its first answer out of another process than the one that was hit; each answer must hold
//! what the grain was told to keep.

mod callers;
pub(crate) mod grain;

use std::sync::Arc;
use std::time::{Duration, Instant};

use gristmill::prelude::*;
use gristmill_test_servers::{RedisOptions, RedisServer};
use tokio::runtime::Runtime;
use tokio::time::sleep;

use self::callers::{Callers, Round, Seen};
use self::grain::PlaceRef;
use crate::args::Args;
use crate::child::{self, Process};
use crate::report::{Figure, Outcome, Report};

const SILOS: usize = 3;
const GRAINS: u64 = 1_000;
/// How long the grains are called before the signal, and after the last one is back.
const BEFORE: Duration = Duration::from_secs(1);
const AFTER: Duration = Duration::from_millis(500);
/// How many of the calls that failed are shown, for each end.
const FAILURES: usize = 3;

/// How a silo ends.
struct End {
    name: &'static str,
    signal: &'static str,
    /// Does it leave in order?
    leaves: bool,
    /// What is aimed at for the 99th percentile until a grain is back, in milliseconds.
    target: f64,
}

const ENDS: [End; 3] = [
    End { name: "kill -9", signal: "KILL", leaves: false, target: 2_500.0 },
    End { name: "SIGSTOP", signal: "STOP", leaves: false, target: 8_000.0 },
    End { name: "SIGTERM", signal: "TERM", leaves: true, target: 250.0 },
];

/// What is declared first ends first.
struct Cluster {
    caller: Silo,
    runtime: Runtime,
    silos: Vec<Process>,
    redis: RedisServer,
}

impl Cluster {
    fn start() -> Result<Self, BoxError> {
        let redis = RedisServer::start(RedisOptions::default());
        let silos = (0..SILOS).map(|_| Process::start(&["places", &redis.url()])).collect::<Result<Vec<_>, _>>()?;
        for silo in &silos {
            silo.says("ready")?;
        }
        let runtime = child::runtime()?;
        let caller = runtime.block_on(grain::caller(&redis.url()))?;
        Ok(Self { caller, runtime, silos, redis })
    }

    /// Grains that are active, and the processes that they are in.
    async fn grains(&self, part: &str) -> Result<Vec<(PlaceRef, u32)>, BoxError> {
        let place = |number: u64| {
            let grain: PlaceRef = self.caller.grain(format!("{part}-{number}"));
            tokio::task::spawn(async move {
                grain.keep(number).await?;
                let (place, _) = grain.place().await?;
                Ok::<_, CallError>((grain, place))
            })
        };
        let mut grains = Vec::new();
        for task in (0..GRAINS).map(place).collect::<Vec<_>>() {
            grains.push(task.await??);
        }
        Ok(grains)
    }

    /// Hits one silo, and puts a fresh one in its place.
    fn round(&mut self, number: usize, end: &End) -> Result<Vec<Seen>, BoxError> {
        let grains = self.runtime.block_on(self.grains(&format!("{}-{number}", end.name)))?;
        let round = Arc::new(Round::default());
        let callers = self.runtime.block_on(async {
            let callers = Callers::start(&grains, &round);
            sleep(BEFORE).await;
            callers
        });
        let silo = &mut self.silos[number % SILOS];
        let process = silo.id();
        let _ = round.hit.set((process, Instant::now())); // it is set once
        silo.signal(end.signal)?;
        if end.leaves {
            let dropped = silo.says("dropped")?;
            silo.ends()?;
            if dropped != "0" {
                return Err(format!("the silo dropped {dropped} activations").into());
            }
        }
        let lost = grains.iter().filter(|(_, place)| *place == process).count();
        let seen = self.runtime.block_on(callers.finish(lost, AFTER))?;
        self.runtime.block_on(async {
            for (grain, _) in &grains {
                grain.rest().await?; // the next round has grains of its own
            }
            Ok::<_, CallError>(())
        })?;
        *silo = Process::start(&["places", &self.redis.url()])?;
        silo.says("ready")?;
        Ok(seen)
    }
}

fn show(report: &Report, end: &End, seen: &[Seen]) {
    let millis = |time: Duration| time.as_secs_f64() * 1_000.0;
    let mut back: Vec<_> = seen.iter().filter_map(|seen| seen.back).map(millis).collect();
    back.sort_by(f64::total_cmp);
    let quantile = |part: f64| {
        let place = (back.len() as f64 * part).ceil() as usize;
        back.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    };
    let longest = |gap: fn(&Seen) -> Duration| millis(seen.iter().map(gap).max().unwrap_or_default());
    let sum = |count: fn(&Seen) -> u64| seen.iter().map(count).sum::<u64>() as f64;
    let extra = [
        ("target of that p99", end.target),
        ("p50", quantile(0.5)),
        ("max", quantile(1.0)),
        ("grains that were hit", back.len() as f64),
        ("calls that failed, not run", sum(|seen| seen.not_run)),
        ("calls that failed, maybe run", sum(|seen| seen.maybe_run)),
        ("longest gap between two answers", longest(|seen| seen.gap)),
        ("the same before the signal", longest(|seen| seen.gap_before)),
    ];
    report.outcome(&Outcome {
        scenario: format!("failover: {}, until a grain is back, p99", end.name),
        unit: "ms",
        figures: vec![Figure { name: "gristmill", value: quantile(0.99), cpu_ns: None }],
        extra: extra.map(|(name, value)| (name.to_owned(), value)).into(),
    });
    let mut failures: Vec<_> = seen.iter().filter_map(|seen| seen.failure.as_ref()).collect();
    failures.sort();
    let failure = |(since, why): &&(Duration, String)| format!("  after {:.1} ms: {why}", millis(*since));
    report.head(&failures.iter().take(FAILURES).map(failure).collect::<Vec<_>>());
}

pub(crate) fn run(args: &Args, report: &Report) -> Result<(), BoxError> {
    let mut cluster = Cluster::start()?;
    let rounds = if args.quick { 1 } else { 3 };
    let mut seen = ENDS.map(|_| Vec::new());
    let ends = || ENDS.iter().enumerate().filter(|(_, end)| args.wants(&format!("failover: {}", end.name)));
    for round in 0..rounds {
        for (place, end) in ends() {
            seen[place].extend(cluster.round(round + place, end)?);
        }
    }
    ends().for_each(|(place, end)| show(report, end, &seen[place]));
    Ok(())
}
