//! Timers tick as turns, and end with their activation.

use std::sync::Arc;

use gristmill::grains::TimerHandle;
use gristmill::prelude::*;
use tokio::time::Instant;

use crate::support::{ms, soon};

#[grain_interface]
trait Clock {
    async fn every(&mut self, period: u64, takes: u64);
    async fn rate(&mut self, hz: u64);
    async fn once(&mut self, after: u64);
    async fn stall(&mut self, millis: u64);
    async fn halt(&mut self);
    async fn leave(&mut self);
    async fn doom(&mut self);
    /// Ten timers, then gone.
    async fn swarm(&mut self);
}

#[derive(Grain)]
#[grain(implements(Clock))]
struct ClockGrain {
    ctx: GrainContext<Self>,
    #[service]
    ticks: Arc<Ticks>,
    timer: Option<TimerHandle>,
    swarm: Vec<TimerHandle>,
    takes: u64,
    doomed: bool,
}

/// When each tick began and ended.
#[derive(Default)]
struct Ticks(parking_lot::Mutex<Vec<(Instant, Instant)>>);

impl Ticks {
    /// In milliseconds since `start`.
    fn since(&self, start: Instant) -> Vec<u64> {
        self.0.lock().iter().map(|(begun, _)| (*begun - start).as_millis() as u64).collect()
    }
}

impl ClockGrain {
    async fn tick(&mut self) {
        let begun = Instant::now();
        if self.doomed {
            panic!("doomed");
        }
        if self.takes > 0 {
            tokio::time::sleep(ms(self.takes)).await;
        }
        self.ticks.0.lock().push((begun, Instant::now()));
    }
}

impl Clock for ClockGrain {
    async fn every(&mut self, period: u64, takes: u64) {
        self.takes = takes;
        self.timer = Some(self.ctx.every(ms(period), Self::tick).unwrap());
    }

    async fn rate(&mut self, hz: u64) {
        self.timer = Some(self.ctx.tick_hz(hz as f64, Self::tick).unwrap());
    }

    async fn once(&mut self, after: u64) {
        self.ctx.after(ms(after), async |grain: &mut Self| grain.tick().await).unwrap();
    }

    async fn stall(&mut self, millis: u64) {
        tokio::time::sleep(ms(millis)).await;
    }

    async fn halt(&mut self) {
        self.timer.take().unwrap().stop();
    }

    async fn leave(&mut self) {
        self.ctx.deactivate_on_idle();
    }

    async fn doom(&mut self) {
        self.doomed = true;
    }

    async fn swarm(&mut self) {
        self.swarm = (0..10).map(|_| self.ctx.every(ms(1), Self::tick).unwrap()).collect();
        tokio::time::sleep(ms(2)).await; // ticks queue behind this turn
        self.ctx.deactivate_on_idle();
    }
}

async fn clock() -> (Silo, ClockRef, Arc<Ticks>) {
    let ticks = Arc::new(Ticks::default());
    let silo = Silo::builder().service::<Ticks>(ticks.clone()).grain::<ClockGrain>().start().await.unwrap();
    let clock = silo.grain("c");
    (silo, clock, ticks)
}

#[tokio::test(start_paused = true)]
async fn every_counts_from_the_end_of_a_tick() {
    let (_silo, clock, ticks) = clock().await;
    let start = Instant::now();
    clock.every(100, 30).await.unwrap();
    tokio::time::sleep(ms(600)).await;
    let (begun, expected) = (ticks.since(start), [100, 230, 360, 490]);
    assert_eq!(begun.len(), 4, "{begun:?}");
    assert!(begun.iter().zip(expected).all(|(is, due)| *is >= due && *is <= due + 8), "{begun:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stopped_timer_ticks_no_more_and_a_single_one_ticks_once() {
    let (_silo, clock, ticks) = clock().await;
    clock.every(10, 0).await.unwrap();
    tokio::time::sleep(ms(105)).await;
    clock.halt().await.unwrap();
    let ticked = ticks.0.lock().len();
    assert!((8..=10).contains(&ticked), "{ticked}");
    tokio::time::sleep(ms(1_000)).await;
    assert_eq!(ticks.0.lock().len(), ticked);
    clock.once(50).await.unwrap();
    tokio::time::sleep(ms(1_000)).await;
    assert_eq!(ticks.0.lock().len(), ticked + 1);
}

#[tokio::test(start_paused = true)]
async fn a_rate_does_not_drift_catches_up_a_little_and_skips_the_rest() {
    let (silo, clock, ticks) = clock().await;
    let start = Instant::now();
    clock.rate(50).await.unwrap(); // a tick every 20 ms
    tokio::time::sleep(ms(10_010)).await;
    let begun = ticks.since(start);
    assert_eq!(begun.len(), 500);
    assert!(begun.iter().zip(1..).all(|(at, n)| *at >= n * 20 && *at <= n * 20 + 2), "each at its own multiple");
    // Ten are due while another turn runs: three are made up for in a row, then it keeps its beat.
    ticks.0.lock().clear();
    let begin = Instant::now();
    clock.stall(205).await.unwrap();
    tokio::time::sleep(ms(100)).await;
    let begun = ticks.since(begin);
    let at_once = begun.iter().filter(|at| **at >= 204 && **at <= 208).count();
    assert!((3..=5).contains(&at_once), "{begun:?}");
    let after = begun.iter().filter(|at| **at > 208).count();
    assert!((4..=5).contains(&after), "{begun:?}");
    let metrics = silo.metrics().grain("clock").unwrap().ticks.unwrap();
    assert!(metrics.skipped >= 5 && metrics.skipped <= 7, "{metrics:?}");
    assert!(metrics.p50 <= ms(2) && metrics.max >= ms(100), "{metrics:?}");
    assert!(metrics.ticks >= 505);
}

#[tokio::test(start_paused = true)]
async fn a_tick_queues_like_a_call_and_never_overlaps_a_turn() {
    let (_silo, clock, ticks) = clock().await;
    let start = Instant::now();
    clock.every(10, 25).await.unwrap();
    let mut stalls = Vec::new();
    for _ in 0..10 {
        let begun = Instant::now();
        soon(clock.stall(15)).await.unwrap();
        let ended = Instant::now();
        stalls.push((ended - ms(15), ended));
        assert!(ended - begun <= ms(50), "a tick at most before it");
    }
    let mut turns = ticks.0.lock().clone();
    assert!(turns.len() >= 5, "{:?}", ticks.since(start));
    turns.extend(stalls);
    turns.sort();
    // Virtual clocks have a resolution of a millisecond.
    assert!(turns.windows(2).all(|pair| pair[0].1 <= pair[1].0 + ms(2)), "{turns:?}");
}

#[tokio::test(start_paused = true)]
async fn timers_end_with_the_activation() {
    let (_silo, clock, ticks) = clock().await;
    for end in 0..2 {
        clock.every(10, 0).await.unwrap();
        tokio::time::sleep(ms(55)).await;
        match end {
            0 => clock.leave().await.unwrap(),
            _ => clock.doom().await.unwrap(),
        }
        tokio::time::sleep(ms(20)).await;
        let ticked = ticks.0.lock().len();
        assert!(ticked > 0);
        tokio::time::sleep(ms(1_000)).await;
        assert_eq!(ticks.0.lock().len(), ticked);
        soon(clock.stall(1)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ticks_raced_with_deactivations_harm_no_call() {
    let (silo, _, _) = clock().await;
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..8 {
        let clock: ClockRef = silo.grain(format!("c{}", caller % 2));
        callers.spawn(async move {
            for _ in 0..50 {
                clock.swarm().await.unwrap();
                clock.stall(0).await.unwrap();
            }
        });
    }
    soon(callers.join_all()).await;
    let metrics = silo.metrics();
    let clocks = metrics.grain("clock").unwrap();
    assert!(clocks.deactivated > 20 && clocks.lost == 0, "{clocks:?}");
}

#[tokio::test(start_paused = true)]
async fn impossible_rates_are_refused() {
    let (silo, _, _) = clock().await;
    for hz in [0, 1_000_000] {
        let clock: ClockRef = silo.grain(format!("c{hz}"));
        assert!(clock.rate(hz).await.is_err(), "the unwrap in the grain panics");
    }
}
