//! Writers that note what each call came to, and what the ledgers must hold in the end.
//!
//! Each writer appends its numbers one after the other to one ledger. An entry whose append was acknowledged is there, once.
//! One whose append failed and may have run is there once or not at all. One that did not run is tried again. Each writer's
//! entries are in order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gristmill::prelude::*;
use gristmill_tests::LedgerRef;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const LEDGERS: usize = 24;
const WRITERS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(60);

/// Writers under way.
pub(crate) struct Histories {
    over: Arc<AtomicBool>,
    writers: Vec<JoinHandle<History>>,
}

/// What one writer's calls came to: by number, was it acknowledged?
struct History {
    ledger: usize,
    writer: usize,
    calls: Vec<bool>,
    refused: u64,
}

/// What all came to.
#[derive(Default, Debug)]
pub(crate) struct Summary {
    pub(crate) acknowledged: usize,
    pub(crate) unknown: usize,
    pub(crate) refused: u64,
}

pub(crate) fn ledger_of(silo: &Silo, number: usize) -> LedgerRef {
    silo.grain(format!("history-{number}"))
}

impl Histories {
    pub(crate) fn start(silo: &Silo) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let writer = |ledger: usize, writer: usize| {
            let (grain, over) = (ledger_of(silo, ledger), over.clone());
            tokio::runtime::Handle::current().spawn(async move {
                let mut history = History { ledger, writer, calls: Vec::new(), refused: 0 };
                while !over.load(Ordering::Relaxed) {
                    match grain.append(format!("{writer}.{}", history.calls.len())).await {
                        Ok(_) => history.calls.push(true),
                        Err(error) if error.maybe_executed() => history.calls.push(false),
                        Err(_) => {
                            history.refused += 1;
                            sleep(Duration::from_millis(5)).await;
                        }
                    }
                    sleep(Duration::from_millis(1)).await;
                }
                history
            })
        };
        let writers = (0..LEDGERS).flat_map(|ledger| (0..WRITERS).map(move |number| (ledger, number)));
        Self { writers: writers.map(|(ledger, number)| writer(ledger, number)).collect(), over }
    }

    /// Ends the writers and compares with what is there.
    pub(crate) async fn end(self, silo: &Silo) -> Summary {
        self.over.store(true, Ordering::Relaxed);
        let mut summary = Summary::default();
        let mut histories = Vec::new();
        for writer in self.writers {
            histories.push(timeout(PATIENCE, writer).await.expect("every call ends").expect("no writer panics"));
        }
        let mut ledgers = BTreeMap::new();
        for number in 0..LEDGERS {
            let ledger = ledger_of(silo, number);
            let all = timeout(PATIENCE, async {
                loop {
                    match ledger.all().await {
                        Ok((entries, _)) => break entries,
                        Err(_) => sleep(Duration::from_millis(20)).await,
                    }
                }
            });
            ledgers.insert(number, all.await.expect("every ledger answers"));
        }
        for history in histories {
            let mine = format!("{}.", history.writer);
            let mut last = None;
            let mut counts = vec![0; history.calls.len()];
            let entries = &ledgers[&history.ledger];
            for entry in entries.iter().filter_map(|entry| entry.strip_prefix(&mine)) {
                let number: usize = entry.parse().expect("a number");
                assert!(last < Some(number), "{entries:?}: in order");
                last = Some(number);
                counts[number] += 1;
            }
            for (number, acknowledged) in history.calls.iter().enumerate() {
                let (ledger, count) = (history.ledger, counts[number]);
                match acknowledged {
                    true => assert_eq!(count, 1, "ledger {ledger}: {mine}{number} was acknowledged"),
                    false => assert!(count <= 1, "ledger {ledger}: {mine}{number} ran twice"),
                }
                summary.acknowledged += usize::from(*acknowledged);
                summary.unknown += usize::from(!acknowledged);
            }
            summary.refused += history.refused;
        }
        summary
    }
}
