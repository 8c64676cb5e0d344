//! Rounds by turns: A B C A B C, and the median of each.

use std::time::{Duration, Instant};

use crate::args::Args;
use crate::machine;

/// Something that can be measured: makes so many calls.
pub(crate) trait Run {
    fn name(&self) -> &'static str;
    /// Makes at least so many calls; gives how many.
    fn run(&mut self, calls: u64) -> u64;
    /// CPU time so far, of all processes that take part.
    fn cpu_time(&self) -> Duration {
        machine::cpu_time()
    }
}

/// What one contender did: the median rate, and the CPU time a call.
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    pub(crate) per_second: f64,
    pub(crate) cpu_ns: f64,
}

/// Measures the contenders by turns.
pub(crate) fn measure(args: &Args, contenders: &mut [Box<dyn Run>]) -> Vec<Measured> {
    let calls: Vec<u64> = contenders.iter_mut().map(|contender| calibrate(&mut **contender, args.round())).collect();
    let mut rates = vec![Vec::new(); contenders.len()];
    let mut cpu = vec![(Duration::ZERO, 0u64); contenders.len()];
    for _ in 0..args.rounds() {
        for (place, contender) in contenders.iter_mut().enumerate() {
            let (started, cpu_before) = (Instant::now(), contender.cpu_time());
            let done = contender.run(calls[place]);
            rates[place].push(done as f64 / started.elapsed().as_secs_f64());
            cpu[place].0 += contender.cpu_time().saturating_sub(cpu_before);
            cpu[place].1 += done;
        }
    }
    let names = contenders.iter().map(|contender| contender.name());
    let measured = names.zip(rates).zip(cpu);
    measured
        .map(|((name, rates), (cpu, done))| {
            let cpu_ns = cpu.as_nanos() as f64 / done.max(1) as f64;
            Measured { name, per_second: median(rates), cpu_ns }
        })
        .collect()
}

/// How many calls take about this long. Also warms up.
fn calibrate(contender: &mut dyn Run, round: Duration) -> u64 {
    let mut calls = 1_000;
    loop {
        let started = Instant::now();
        let done = contender.run(calls);
        let took = started.elapsed();
        if took >= round / 4 {
            return ((done as f64) * round.as_secs_f64() / took.as_secs_f64()) as u64;
        }
        calls *= 4;
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
