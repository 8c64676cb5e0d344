//! How many matches of the sample one silo sustains: 8 players (bots in the same process), 30 ticks a second, storage in
//! memory, every check of the sample on. Sustained means that 99 in 100 ticks begin less than 5 ms late.

use std::time::Duration;

use arena::args::{Args as Arena, Game, StorageChoice};
use arena::checks::PLAYED;
use arena::play::{self, Outcome as Played};

use crate::args::Args;
use crate::machine::{self, WORKERS};
use crate::report::{Figure, Outcome, Report};

const LATE: Duration = Duration::from_millis(5);
/// Of the step in which the answer is looked for.
const STEP: u32 = 8;

/// What a run showed.
struct Shown {
    p99: Duration,
    skipped: u64,
    cores: f64,
    played: bool,
}

fn play(matches: u32, seconds: u32) -> Shown {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(WORKERS).enable_all().build().expect("a runtime starts");
    let game = Game { matches, players: 8, seconds, tick_hz: 30, seed: 1, json: true };
    let args = Arena { game, storage: StorageChoice::Memory, command: None };
    let cpu = machine::cpu_time();
    let played = runtime.block_on(play::run(&args, std::future::pending())).expect("the matches are played");
    let Played::Done(run) = played else { unreachable!("nobody interrupts it") };
    let broken: Vec<_> = run.checks.0.iter().filter(|(_, wrong)| !wrong.is_empty()).collect();
    // Bots that found no place in time are what an overload looks like; anything else must hold under any load.
    assert!(broken.iter().all(|(name, _)| **name == PLAYED), "the sample's own checks: {broken:?}");
    let played = broken.is_empty();
    let ticks = run.metrics.grain("match").and_then(|grain| grain.ticks).expect("matches tick");
    let cores = (machine::cpu_time() - cpu).as_secs_f64() / run.elapsed.as_secs_f64();
    Shown { p99: ticks.p99, skipped: ticks.skipped, cores, played }
}

pub(crate) fn run(args: &Args, report: &Report) {
    let seconds = if args.quick { 2 } else { 10 };
    let sustains = |matches: u32| {
        let shown = play(matches, seconds);
        let line = format!(
            "{matches} matches: p99 {:.1?} late, {} ticks skipped, {:.2} cores",
            shown.p99, shown.skipped, shown.cores
        );
        report.head(&[line]);
        (shown.p99 < LATE && shown.skipped == 0 && shown.played).then_some(shown)
    };
    // Twice as many each time, then halving the gap.
    let (mut good, mut bad, mut best) = (0, STEP, None);
    while let Some(shown) = sustains(bad) {
        (good, bad, best) = (bad, bad * 2, Some(shown));
    }
    while bad - good > STEP.max(good / 8) {
        let middle = (good + bad) / 2;
        match sustains(middle) {
            Some(shown) => (good, best) = (middle, Some(shown)),
            None => bad = middle,
        }
    }
    let extra = best.map_or_else(Vec::new, |best| {
        vec![("p99 lateness, ms".to_owned(), best.p99.as_secs_f64() * 1_000.0), ("cores".to_owned(), best.cores)]
    });
    report.outcome(&Outcome {
        scenario: "match: 8 players, 30 Hz, p99 lateness under 5 ms".to_owned(),
        unit: "matches",
        figures: vec![Figure { name: "gristmill", value: f64::from(good), cpu_ns: None }],
        extra,
    });
}
