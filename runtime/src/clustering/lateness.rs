//! How late the silo's worker threads are. They read what other silos send: while they compute, all others seem silent.

use std::sync::Weak;
use std::time::Duration;

use gristmill_grains::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::core::Core;

/// How late the workers were lately.
pub(super) struct Lateness {
    /// Between two measurements.
    period: Duration,
    /// For so long a measurement counts.
    counts: Duration,
    state: Mutex<State>,
}

struct State {
    /// When the next measurement is due.
    due: Instant,
    /// The worst one that counts, and when it was.
    worst: (Duration, Instant),
}

impl Lateness {
    /// Measures every `period`; what is measured counts for `counts`.
    pub(super) fn new(period: Duration, counts: Duration) -> Self {
        let now = Instant::now();
        Self { period, counts, state: Mutex::new(State { due: now + period, worst: (Duration::ZERO, now) }) }
    }

    /// Measures on a worker, until the silo is gone.
    pub(super) async fn measure(&self, core: Weak<Core>) {
        while core.upgrade().is_some_and(|core| !core.is_stopped()) {
            self.begin();
            sleep(self.period).await;
            self.end();
        }
    }

    fn begin(&self) {
        self.state.lock().due = Instant::now() + self.period;
    }

    fn end(&self) {
        let now = Instant::now();
        let worst = self.worst(now);
        self.state.lock().worst = worst;
    }

    fn worst(&self, now: Instant) -> (Duration, Instant) {
        let State { due, worst: (worst, at) } = *self.state.lock();
        let running = now.saturating_duration_since(due);
        match at + self.counts > now && worst > running {
            true => (worst, at),
            false => (running, now),
        }
    }

    /// How late they were at worst lately, or are.
    pub(super) fn now(&self) -> Duration {
        self.worst(Instant::now()).0
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_worst_measurement_counts_for_a_while() {
        let (second, ms) = (Duration::from_secs(1), Duration::from_millis);
        let lateness = Lateness::new(ms(100), second * 7);
        assert_eq!(lateness.now(), Duration::ZERO);
        sleep(ms(3_100)).await; // nothing measures meanwhile
        assert_eq!(lateness.now(), second * 3, "it is not over yet");
        lateness.end();
        for _ in 0..69 {
            lateness.begin();
            sleep(ms(100)).await;
            lateness.end();
            assert_eq!(lateness.now(), second * 3);
        }
        lateness.begin();
        sleep(ms(101)).await;
        lateness.end();
        assert!(lateness.now() <= ms(2), "that was long ago");
    }
}
