//! Counters of a silo, kept where they cost least and added up when asked for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gristmill_grains::GrainType;
use gristmill_grains::sync::Mutex;
use hdrhistogram::Histogram;

/// Counters of one grain type.
pub(crate) struct TypeMetrics {
    pub(crate) calls: AtomicU64,
    pub(crate) activated: AtomicU64,
    pub(crate) deactivated: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) panics: AtomicU64,
    pub(crate) fenced: AtomicU64,
    pub(crate) restored: AtomicU64,
    pub(crate) deadlocks: AtomicU64,
    pub(crate) dirty_calls: AtomicU64,
    ticks_skipped: AtomicU64,
    /// How late fixed-rate ticks began, in microseconds. Touched once a tick.
    lateness: Mutex<Option<Histogram<u64>>>,
}

impl TypeMetrics {
    pub(crate) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            calls: zero(),
            activated: zero(),
            deactivated: zero(),
            failed: zero(),
            lost: zero(),
            panics: zero(),
            fenced: zero(),
            restored: zero(),
            deadlocks: zero(),
            dirty_calls: zero(),
            ticks_skipped: zero(),
            lateness: Mutex::new(None),
        }
    }

    pub(crate) fn tick(&self, late: Duration) {
        let mut lateness = self.lateness.lock();
        if lateness.is_none() {
            // 1 µs to a minute, two significant digits: a few KiB, only for types that tick.
            *lateness = Histogram::new_with_bounds(1, 60_000_000, 2).ok();
        }
        if let Some(histogram) = lateness.as_mut() {
            histogram.saturating_record(u64::try_from(late.as_micros()).unwrap_or(u64::MAX));
        }
    }

    pub(crate) fn skip_ticks(&self, ticks: u64) {
        self.ticks_skipped.fetch_add(ticks, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, grain_type: &GrainType, live: usize) -> GrainMetrics {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let ticks = self.lateness.lock().as_ref().map(|histogram| {
            let at = |quantile| Duration::from_micros(histogram.value_at_quantile(quantile));
            TickMetrics {
                ticks: histogram.len(),
                skipped: get(&self.ticks_skipped),
                p50: at(0.5),
                p99: at(0.99),
                max: Duration::from_micros(histogram.max()),
            }
        });
        GrainMetrics {
            grain_type: grain_type.clone(),
            live,
            calls: get(&self.calls),
            activated: get(&self.activated),
            deactivated: get(&self.deactivated),
            failed: get(&self.failed),
            lost: get(&self.lost),
            panics: get(&self.panics),
            fenced: get(&self.fenced),
            restored: get(&self.restored),
            deadlocks: get(&self.deadlocks),
            dirty_calls: get(&self.dirty_calls),
            ticks,
        }
    }
}

/// How late fixed-rate ticks of a grain type began.
#[derive(Clone, Copy, Debug)]
pub struct TickMetrics {
    /// Ticks run.
    pub ticks: u64,
    /// Ticks left out: more were due than the overrun policy makes up for, or the mailbox was full.
    pub skipped: u64,
    /// Half of the ticks began at most this long after they were due.
    pub p50: Duration,
    /// 99 in 100 did.
    pub p99: Duration,
    /// The latest.
    pub max: Duration,
}

/// Counters of one grain type, since the silo's start.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GrainMetrics {
    /// The type.
    pub grain_type: GrainType,
    /// Activations in memory now.
    pub live: usize,
    /// Turns begun: calls, ticks, the runtime's own.
    pub calls: u64,
    /// Activations that became ready.
    pub activated: u64,
    /// Activations that ended.
    pub deactivated: u64,
    /// Activations that could not be made.
    pub failed: u64,
    /// Activations lost: panicked, aborted, fenced, over their turn limit.
    pub lost: u64,
    /// Turns that panicked.
    pub panics: u64,
    /// Commits refused because another activation holds the fence.
    pub fenced: u64,
    /// Times a storage's lost writes were restored.
    pub restored: u64,
    /// Calls refused because they would have waited for themselves.
    pub deadlocks: u64,
    /// Awaited calls out of a turn with uncommitted changes.
    pub dirty_calls: u64,
    /// Fixed-rate ticks, if the type has any.
    pub ticks: Option<TickMetrics>,
}

/// Counters of one storage, since the silo's start.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StorageMetrics {
    /// Its name.
    pub name: String,
    /// Commits acknowledged.
    pub commits: u64,
    /// Batches sent.
    pub batches: u64,
    /// Batches sent again because the storage did not answer.
    pub retries: u64,
    /// Does it not answer now?
    pub down: bool,
}

/// Counters of a silo.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Metrics {
    /// By grain type.
    pub grains: Vec<GrainMetrics>,
    /// By storage.
    pub storages: Vec<StorageMetrics>,
    /// One-way calls that could not be accepted.
    pub lost_sends: u64,
}

impl Metrics {
    /// Turns begun, of all types.
    pub fn calls(&self) -> u64 {
        self.grains.iter().map(|grain| grain.calls).sum()
    }

    /// Commits acknowledged, of all storages.
    pub fn commits(&self) -> u64 {
        self.storages.iter().map(|storage| storage.commits).sum()
    }

    /// The counters of this grain type.
    pub fn grain(&self, grain_type: &str) -> Option<&GrainMetrics> {
        self.grains.iter().find(|grain| grain.grain_type.as_str() == grain_type)
    }
}
