//! Writers that never stop, and what must be stored of what they wrote.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gristmill::prelude::*;
use gristmill_tests::{LedgerGrain, LedgerRef};
use tokio::sync::watch;
use tokio::task::JoinSet;

const GRAINS: usize = 6;
const WRITERS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(20);

/// A silo of ledgers on this storage.
pub(crate) async fn silo(storage: impl gristmill::storage::GrainStorage) -> Silo {
    Silo::builder().storage("default", storage).grain::<LedgerGrain>().start().await.expect("the silo starts")
}

/// Writers under way.
pub(crate) struct Load {
    answered: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
    writers: JoinSet<(usize, usize, u64)>,
}

impl Load {
    /// Activates the ledgers and begins to write.
    pub(crate) async fn start(silo: &Silo) -> Self {
        for number in 0..GRAINS {
            silo.grain::<LedgerRef>(format!("l{number}")).all().await.expect("an activation");
        }
        let answered = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = watch::channel(false);
        let mut writers = JoinSet::new();
        for number in 0..GRAINS {
            for writer in 0..WRITERS {
                let (ledger, answered, stopped) =
                    (silo.grain::<LedgerRef>(format!("l{number}")), answered.clone(), stopped.clone());
                writers.spawn(async move {
                    let mut n = 0;
                    while !*stopped.borrow() {
                        match ledger.append(format!("{writer}.{n}")).await {
                            Ok(_) => {
                                n += 1;
                                answered.fetch_add(1, Ordering::Relaxed);
                            }
                            // Only what was not run may fail: the same entry again must not be there twice.
                            Err(error) if !error.maybe_executed() => tokio::task::yield_now().await,
                            Err(error) => panic!("an answer was lost: {error}"),
                        }
                    }
                    (number, writer, n)
                });
            }
        }
        Self { answered, stop, writers }
    }

    /// Waits for so many more answers.
    pub(crate) async fn more(&self, answers: u64) {
        let enough = self.answered.load(Ordering::Relaxed) + answers;
        let progress = async {
            while self.answered.load(Ordering::Relaxed) < enough {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, progress).await.expect("writes go on");
    }

    /// Ends the writers; asserts that no activation was lost, and stops the silo. Gives what must be stored.
    pub(crate) async fn end(self, silo: Silo) -> Written {
        self.stop.send_replace(true);
        let written = tokio::time::timeout(PATIENCE, self.writers.join_all()).await.expect("every call ends");
        let metrics = silo.metrics();
        let ledgers = metrics.grain("ledger").expect("it is hosted");
        assert_eq!((ledgers.activated, ledgers.lost), (GRAINS as u64, 0), "no activation was lost: {ledgers:?}");
        assert_eq!(silo.stop().await.dropped, 0);
        Written(written)
    }
}

/// By ledger and writer: how many entries were answered.
pub(crate) struct Written(Vec<(usize, usize, u64)>);

impl Written {
    /// Asserts that another silo finds all of it.
    pub(crate) async fn assert_found_by(self, silo: &Silo) {
        for (number, writer, n) in self.0 {
            let (entries, _) = silo.grain::<LedgerRef>(format!("l{number}")).all().await.expect("an answer");
            let prefix = format!("{writer}.");
            let mine: Vec<_> = entries.iter().filter_map(|entry| entry.strip_prefix(&prefix)).collect();
            let expected: Vec<_> = (0..n).map(|n| n.to_string()).collect();
            assert_eq!(mine, expected, "of ledger {number}, writer {writer}: in order, once each");
        }
    }
}
