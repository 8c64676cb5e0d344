//! Many runs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gristmill::sim::Bug;
use parking_lot::Mutex;

use crate::history::Counts;
use crate::run::{Ran, Settings, run};
use crate::shrink::shrink;

/// Which runs.
#[derive(Clone, Debug)]
pub struct Many {
    /// The first seed.
    pub from: u64,
    /// How many.
    pub seeds: u64,
    /// Side by side.
    pub jobs: usize,
    /// A bug that is planted.
    pub bug: Option<Bug>,
    /// Only this workload.
    pub only: Option<String>,
    /// Ends at the first failure.
    pub first: bool,
}

/// What they came to.
#[derive(Debug, Default)]
pub struct Report {
    /// Runs made.
    pub ran: u64,
    /// How long it took.
    pub took: Duration,
    /// Virtual time in all.
    pub lasted: Duration,
    /// The calls.
    pub counts: Counts,
    /// How often each fault was met, and each place reached.
    pub coverage: BTreeMap<String, u64>,
    /// The seeds that failed, and what was broken.
    pub failures: BTreeMap<u64, Vec<String>>,
}

impl Report {
    fn add(&mut self, seed: u64, ran: Ran) {
        self.ran += 1;
        self.lasted += ran.lasted;
        self.counts += ran.counts;
        for (name, count) in ran.coverage {
            *self.coverage.entry(name).or_default() += count;
        }
        if !ran.broken.is_empty() {
            self.failures.insert(seed, ran.broken);
        }
    }
}

/// Makes the runs; tells `progress` now and then how far it is.
#[expect(clippy::disallowed_methods, reason = "how long runs take by a real clock")]
pub fn many(many: &Many, progress: impl Fn(&Report) + Sync) -> Report {
    let (report, next, begun) = (Mutex::new(Report::default()), AtomicU64::new(0), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..many.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= many.seeds || many.first && !report.lock().failures.is_empty() {
                        return;
                    }
                    let seed = many.from + number;
                    let ran = run(&Settings { bug: many.bug, only: many.only.clone(), ..Settings::of(seed) });
                    let mut report = report.lock();
                    report.add(seed, ran);
                    report.took = begun.elapsed();
                    if report.ran.is_multiple_of(100) {
                        progress(&report);
                    }
                }
            });
        }
    });
    let mut report = report.into_inner();
    report.took = begun.elapsed();
    report
}

/// Tells of a failing seed: the smallest plan that fails, what is broken, and how to see it again.
pub fn tell(settings: &Settings, ran: Ran) -> String {
    let (smallest, ran) = shrink(settings, ran);
    let plan: Vec<_> = smallest.plan.faults.iter().map(|planned| format!("  {planned}")).collect();
    let bug = smallest.bug.map(|bug| format!(" --bug {bug:?}")).unwrap_or_default();
    let only = smallest.only.as_ref().map(|only| format!(" --workload {only}")).unwrap_or_default();
    format!(
        "seed {seed} fails\nbroken:\n{broken}\nwith {silos} silos and these faults, of {all}:\n{plan}\nso it went:\n{story}\n\
         again: cargo run --release -p gristmill-sim -- --seed {seed}{only}{bug}\n",
        seed = smallest.seed,
        broken = ran.broken.join("\n"),
        silos = smallest.plan.silos,
        all = settings.plan.faults.len(),
        plan = plan.join("\n"),
        story = ran.story,
    )
}
