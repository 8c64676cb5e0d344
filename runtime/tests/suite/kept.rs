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

#[grain_interface]
trait Moody {
    async fn call(&self);
}

/// Cannot be activated until the probe says so.
#[derive(Grain)]
#[grain(implements(Moody), lifecycle, keep_running)]
struct MoodyGrain {
    #[service]
    probe: Arc<Probe>,
}

impl Lifecycle for MoodyGrain {
    async fn on_activate(&mut self) -> Result<(), BoxError> {
        if self.probe.has("ill") && !self.probe.has("well") {
            return Err("not yet".into());
        }
        self.probe.note("up");
        Ok(())
    }
}

impl Moody for MoodyGrain {
    async fn call(&self) {}
}

#[tokio::test(start_paused = true)]
async fn a_kept_grain_that_fails_comes_back_though_callers_tried_it_meanwhile() {
    for callers in [false, true] {
        let storage = MemoryStorage::new();
        let probe = Arc::new(Probe::default());
        let start = || {
            let builder = Silo::builder().storage("default", storage.clone()).service::<Probe>(probe.clone());
            builder.grain::<MoodyGrain>().start()
        };
        let silo = start().await.unwrap();
        silo.grain::<MoodyRef>("m").call().await.unwrap();
        let _ = silo.stop().await;
        probe.note("ill");
        let silo = start().await.unwrap();
        for _ in 0..250 {
            if callers {
                silo.grain::<MoodyRef>("m").call().await.unwrap_err();
            }
            tokio::time::sleep(ms(10)).await;
        }
        probe.note("well");
        tokio::time::sleep(ms(10_000)).await;
        assert_eq!(probe.count("up"), 2, "callers: {callers}");
    }
}

#[tokio::test(start_paused = true)]
async fn failed_activations_of_any_type_are_forgotten() {
    let probe = Arc::new(Probe::default());
    probe.note("ill");
    let builder = Silo::builder().service::<Probe>(probe.clone());
    let silo = builder.grain_with::<MoodyGrain>(|setup| setup.options.idle = None).start().await.unwrap();
    for n in 0..200 {
        silo.grain::<MoodyRef>(format!("m{n}")).call().await.unwrap_err();
    }
    tokio::time::sleep(ms(200_000)).await;
    assert_eq!(silo.metrics().grain("moody").unwrap().live, 0);
}
