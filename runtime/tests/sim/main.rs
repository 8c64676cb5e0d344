//! The simulator itself: that it replays, and that a cluster lives in it.
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Duration;

use gristmill::prelude::*;
use gristmill::sim::{Sim, Weather};

const SECOND: Duration = Duration::from_secs(1);

#[grain_interface]
trait Counter {
    async fn add(&mut self, n: u64) -> u64;
}

#[derive(Grain)]
#[grain(implements(Counter))]
struct CounterGrain {
    #[state]
    sum: Persistent<u64>,
}

impl Counter for CounterGrain {
    async fn add(&mut self, n: u64) -> u64 {
        *self.sum += n;
        *self.sum
    }
}

/// Counts on some grains while a silo crashes, another one is paused, and two are cut off; gives the sums.
fn counted(seed: u64, trace: bool) -> (Vec<u64>, (u64, u64), String) {
    let mut sim = Sim::with(seed, Weather::bad(), None, trace).silos(3, |silo| silo.grain::<CounterGrain>());
    let counting = sim.client(|client| async move {
        let mut sums = Vec::new();
        for key in 0..5 {
            let counter: CounterRef = client.grain(format!("counter-{key}"));
            let mut added = 0;
            while added < 10 {
                match counter.add(1).await {
                    Ok(_) => added += 1,
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
            let sum = loop {
                match counter.add(0).await {
                    Ok(sum) => break sum,
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            };
            sums.push(sum);
        }
        sums
    });
    sim.run_for(SECOND);
    sim.crash(0);
    sim.run_for(SECOND);
    sim.start(0);
    sim.pause(1);
    sim.run_for(SECOND * 12);
    sim.resume(1);
    sim.partition(0, 2);
    sim.run_for(SECOND * 2);
    sim.heal();
    let sums = sim.result(counting);
    sim.check();
    (sums, sim.digest(), sim.trace())
}

#[test]
fn acknowledged_changes_survive_crashes_pauses_and_partitions() {
    for seed in 0..20 {
        let (sums, ..) = counted(seed, false);
        assert!(sums.iter().all(|sum| *sum >= 10), "seed {seed}: {sums:?}");
    }
}

#[test]
fn a_seed_replays_byte_for_byte() {
    let (one, other) = (counted(3, true), counted(3, true));
    let differs = one.2.lines().zip(other.2.lines()).find(|(one, other)| one != other);
    assert_eq!(differs, None);
    assert_eq!(one, other);
    assert_ne!(one.1, counted(4, false).1, "another seed, another story");
}
