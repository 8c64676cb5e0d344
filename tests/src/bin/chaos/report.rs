//! What is printed.

use std::collections::BTreeMap;
use std::time::Duration;

use gristmill_sim::history::Counts;

use crate::round::Round;
use crate::silos::Ended;
use crate::storm::Storm;

/// What all rounds came to.
#[derive(Default)]
pub(crate) struct Report {
    rounds: usize,
    lasted: Duration,
    counts: BTreeMap<&'static str, Counts>,
    unsure: u64,
    stale: Duration,
    /// When the last round began.
    since: Duration,
    broken: Vec<String>,
}

impl Report {
    /// A round is over; says so.
    pub(crate) fn add(&mut self, number: usize, lasts: Duration, round: &Round) {
        self.rounds += 1;
        self.lasted += lasts;
        self.unsure += round.unsure;
        self.stale += round.stale;
        self.since = round.began;
        self.broken.extend(round.broken.iter().cloned());
        let mut all = Counts::default();
        for (name, counts) in &round.counts {
            *self.counts.entry(name).or_default() += *counts;
            all += *counts;
        }
        let Counts { done, refused, unknown } = all;
        let broken = round.broken.len();
        println!("round {number}: {done} calls done, {refused} refused, {unknown} unknown; {broken} violations");
    }

    /// Does something not hold?
    pub(crate) fn is_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    /// Tells everything.
    pub(crate) fn tell(&self, storm: &Storm) {
        println!("\n{} rounds, {:?} of faults", self.rounds, self.lasted);
        println!("calls:");
        for (name, Counts { done, refused, unknown }) in &self.counts {
            println!("  {name:<10} {done:>8} done {refused:>7} refused {unknown:>7} unknown");
        }
        let counts = storm.log.counts();
        println!("faults: {}", counts.values().sum::<u64>());
        counts.iter().for_each(|(kind, count)| println!("  {kind:<16} {count:>6}"));
        println!("done by the proxy:");
        storm.net.done().iter().for_each(|(what, count)| println!("  {what:<26} {count:>8}"));
        println!("silo processes that ended:");
        let mut ended = BTreeMap::new();
        for (_, how) in storm.slots.iter().flat_map(|slot| slot.runs()).filter_map(|run| run.ended) {
            let how = match how {
                Ended::Killed => "killed".to_owned(),
                Ended::Left => "left in order".to_owned(),
                Ended::Dead => "declared dead".to_owned(),
                Ended::NotStarted => "did not start: something was away".to_owned(),
                Ended::Otherwise(status) => status.to_string(),
            };
            *ended.entry(how).or_insert(0) += 1;
        }
        ended.iter().for_each(|(how, count)| println!("  {how:<34} {count:>5}"));
        println!("reads may have been old for {:.1?} in all: a silo that was dead to the others still ran", self.stale);
        println!("histories that were too long to judge: {}", self.unsure);
        println!("violations: {}", self.broken.len());
        if self.is_broken() {
            println!("{}\n\nfaults of that round:\n{}", self.broken.join("\n\n"), storm.log.since(self.since));
        }
    }
}
