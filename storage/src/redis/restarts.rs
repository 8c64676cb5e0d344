//! Notices that another process serves than before, or the same with another's data, so that acknowledged writes may be
//! gone.
//!
//! A process is known by its run id and its replication id: the first changes with a restart, the second with a promotion
//! (also, and harmlessly, when a server gets its first replica).

use std::collections::{BTreeMap, BTreeSet};

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long one event may look like several, by answers that overtake each other.
const BURST: Duration = Duration::from_secs(2);

/// What a replica answers instead of its ids.
const REPLICA: &str = "replica";

/// Which process served what, when it was last asked.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    seen: Mutex<Seen>,
    count: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Seen {
    /// The process that served each shard (a slot; one shard if there is one server).
    serving: BTreeMap<u16, String>,
    /// Which process took over from which. A fail-over is met once in each of its thousands of slots, and is told once:
    /// its process is gone. A process that goes on serving only gave some slots away, and what it loses next is news.
    took_over: BTreeMap<(String, String), Told>,
    /// Shards whose process was a replica for a while.
    doubted: BTreeSet<u16>,
}

/// A takeover that was told.
#[derive(Debug)]
struct Told {
    at: Instant,
    /// Has the process that was taken over from served since?
    lives: bool,
}

impl Restarts {
    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }

    /// The process that serves `shard` does not take writes: once one does, it may have lost some.
    pub(super) fn doubt(&self, shard: u16) {
        self.seen.lock().doubted.insert(shard);
    }

    /// `shard` took a write, by a process that does not tell which it is.
    pub(super) fn took_a_write(&self, shard: u16) {
        if self.seen.lock().doubted.remove(&shard) {
            tracing::warn!("Redis takes writes again: it may have lost acknowledged writes");
            self.count.send_modify(|count| *count += 1);
        }
    }

    /// `shard` was served by the process `run_id`.
    pub(super) fn saw(&self, shard: u16, run_id: &str) {
        if run_id == REPLICA {
            return self.doubt(shard);
        }
        let mut seen = self.seen.lock();
        let doubted = seen.doubted.remove(&shard);
        // Whoever serves is not gone.
        for ((before, _), told) in &mut seen.took_over {
            told.lives |= before == run_id;
        }
        if !doubted && seen.serving.get(&shard).is_some_and(|before| before == run_id) {
            return;
        }
        let Some(before) = seen.serving.insert(shard, run_id.to_owned()) else { return };
        let Seen { serving, took_over, .. } = &mut *seen;
        let takeover = (before, run_id.to_owned());
        if took_over.get(&takeover).is_some_and(|told| !told.lives || told.at.elapsed() < BURST) {
            return;
        }
        let before = takeover.0.clone();
        // If it gives back one day, that is news again.
        took_over.remove(&(run_id.to_owned(), before.clone()));
        took_over.insert(takeover, Told { at: Instant::now(), lives: false });
        // What nobody is remembered by cannot be met again, so this stays as small as the cluster.
        took_over.retain(|(before, _), _| serving.values().any(|serving| serving == before));
        drop(seen);
        tracing::warn!(
            before,
            after = run_id,
            "another Redis process serves now: it may have lost acknowledged writes"
        );
        self.count.send_modify(|count| *count += 1);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time;

    use super::*;

    #[test]
    fn a_process_that_was_a_replica_is_told_once_it_takes_writes() {
        let restarts = Restarts::default();
        let mut count = restarts.subscribe();
        let mut saw = |run_id| {
            restarts.saw(1, run_id);
            *count.borrow_and_update()
        };
        assert_eq!([saw("a"), saw("replica"), saw("replica")], [0; 3]);
        assert_eq!([saw("a"), saw("a")], [1; 2], "also if it calls itself the same");
        assert_eq!([saw("replica"), saw("b"), saw("b")], [1, 2, 2], "and once if not");
    }

    #[test]
    fn a_takeover_is_told_once_and_a_return_again() {
        let restarts = Restarts::default();
        let mut count = restarts.subscribe();
        let mut saw = |shard, run_id| {
            restarts.saw(shard, run_id);
            *count.borrow_and_update()
        };
        assert_eq!([saw(1, "a"), saw(2, "a"), saw(3, "b"), saw(1, "a")], [0; 4], "nothing changed yet");
        assert_eq!([saw(1, "c"), saw(2, "c"), saw(1, "c")], [1; 3], "c took over from a");
        assert_eq!([saw(1, "a"), saw(2, "a")], [2; 2], "a is back");
        assert_eq!([saw(2, "c"), saw(1, "c")], [3; 2], "and goes again");
        assert_eq!([saw(3, "a")], [4]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_takeover_after_a_resharding_is_told() {
        let restarts = Restarts::default();
        let mut count = restarts.subscribe();
        let mut saw = |shard, run_id| {
            restarts.saw(shard, run_id);
            *count.borrow_and_update()
        };
        assert_eq!([saw(1, "a"), saw(2, "a"), saw(3, "a"), saw(4, "b")], [0; 4]);
        assert_eq!([saw(1, "b"), saw(2, "a")], [1; 2], "slot 1 moved from a to b");
        assert_eq!([saw(3, "b")], [1], "and slot 3 with it");
        time::advance(BURST).await;
        assert_eq!([saw(2, "b")], [2], "a was there after the move, and is not now");
        assert_eq!([saw(5, "b"), saw(2, "b")], [2; 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_that_is_met_late_is_not_another_takeover() {
        let restarts = Restarts::default();
        for (shard, run_id) in [(1, "a"), (2, "a"), (1, "b")] {
            restarts.saw(shard, run_id);
        }
        time::advance(Duration::from_secs(3_600)).await;
        restarts.saw(2, "b");
        assert_eq!(*restarts.subscribe().borrow(), 1);
    }
}
