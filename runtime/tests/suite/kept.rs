//! A grain that is kept running comes back by itself, until it retires.

use std::sync::Arc;

use gristmill::prelude::*;
use gristmill::storage::MemoryStorage;

use crate::support::{PATIENCE, Probe, ms, others_run, soon};

#[grain_interface]
trait Match {
    async fn begin(&mut self);
    async fn ticks(&self) -> u64;
    async fn sabotage(&mut self);
    async fn end(&mut self);
}

/// A loop that must not stop.
#[derive(Grain)]
#[grain(implements(Match), lifecycle, keep_running)]
struct MatchGrain {
    ctx: GrainContext<Self>,
    #[service]
    probe: Arc<Probe>,
    ticks: u64,
    sabotaged: bool,
}

impl Lifecycle for MatchGrain {
    async fn on_activate(&mut self) -> Result<(), BoxError> {
        self.probe.note(format!("{} begins", self.ctx.key()));
        self.ctx.tick_hz(20.0, Self::tick)?;
        Ok(())
    }
}

impl MatchGrain {
    async fn tick(&mut self) {
        self.ticks += 1;
        self.probe.note(format!("{} ticks", self.ctx.key()));
        if self.sabotaged {
            panic!("sabotage");
        }
    }
}

impl Match for MatchGrain {
    async fn begin(&mut self) {}

    async fn ticks(&self) -> u64 {
        self.ticks
    }

    async fn sabotage(&mut self) {
        self.sabotaged = true;
    }

    async fn end(&mut self) {
        self.ctx.retire();
    }
}

async fn matches(storage: &MemoryStorage) -> (Silo, Arc<Probe>) {
    let probe = Arc::new(Probe::default());
    let builder = Silo::builder().storage("default", storage.clone()).service::<Probe>(probe.clone());
    (builder.grain::<MatchGrain>().start().await.unwrap(), probe)
}

#[tokio::test(start_paused = true)]
async fn a_kept_loop_is_back_after_a_panic_and_after_a_restart_and_not_after_it_retired() {
    let storage = MemoryStorage::new();
    let (silo, probe) = matches(&storage).await;
    let (one, two): (MatchRef, MatchRef) = (silo.grain("one"), silo.grain("two"));
    one.begin().await.unwrap();
    two.begin().await.unwrap();
    probe.saw_times("one ticks", 3).await;
    one.sabotage().await.unwrap();
    probe.saw_times("one begins", 2).await; // nobody called it
    let ticked = probe.count("one ticks");
    probe.saw_times("one ticks", ticked + 3).await;
    two.end().await.unwrap();
    let _ = soon(silo.stop()).await;

    let (silo, probe) = matches(&storage).await;
    probe.saw_times("one ticks", 3).await;
    tokio::time::sleep(ms(2_000)).await;
    assert_eq!(probe.count("two begins"), 0);
    drop(silo); // a crash
    let (silo, probe) = matches(&storage).await;
    probe.saw_times("one ticks", 1).await;
    soon(silo.grain::<MatchRef>("one").end()).await.unwrap();
    others_run().await;
    let ticked = probe.count("one ticks");
    tokio::time::sleep(PATIENCE).await;
    assert_eq!((probe.count("one ticks"), probe.count("one begins")), (ticked, 1));
}
