//! Idle activations end; busy and kept ones stay.

use std::sync::Arc;

use gristmill::prelude::*;
use gristmill::storage::MemoryStorage;

use crate::support::{Do, Probe, Rig, ended, halt, ms, others_run, soon};

/// Nodes that are idle after 2 s.
async fn idle_soon() -> Rig {
    Rig::of(|options| options.idle = Some(ms(2_000))).await
}

#[tokio::test(start_paused = true)]
async fn an_idle_activation_ends_and_one_that_is_called_does_not() {
    let rig = idle_soon().await;
    rig.node("idle").write(vec![Do::Push(1)]).await.unwrap();
    for _ in 0..10 {
        rig.node("used").list().await.unwrap();
        tokio::time::sleep(ms(500)).await;
    }
    assert_eq!((rig.probe.count("idle-"), rig.probe.count("used-")), (1, 0));
    assert!(!rig.silo.is_active(&rig.node("idle")) && rig.silo.is_active(&rig.node("used")));
    assert_eq!(rig.node("idle").list().await.unwrap(), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_busy_or_delayed_activation_is_not_idle() {
    let rig = idle_soon().await;
    let busy = rig.write("busy", halt("busy"));
    rig.probe.saw("busy").await;
    tokio::time::sleep(ms(10_000)).await;
    assert_eq!(rig.probe.count("busy-"), 0);
    rig.probe.open("busy");
    ended(busy).await.unwrap();
    tokio::time::sleep(ms(5_000)).await;
    assert_eq!(rig.probe.count("busy-"), 1, "and then it is");
}

#[tokio::test(start_paused = true)]
async fn idleness_is_by_type_and_can_be_forced() {
    let rig = Rig::of(|options| options.idle = None).await;
    rig.node("n").list().await.unwrap();
    tokio::time::sleep(ms(3_600_000)).await;
    assert_eq!(rig.probe.count("n-"), 0);
    let busy = rig.write("busy", halt("busy"));
    rig.probe.saw("busy").await;
    rig.silo.collect_idle();
    rig.probe.saw("n-").await;
    others_run().await;
    assert_eq!(rig.probe.count("busy-"), 0);
    rig.probe.open("busy");
    ended(busy).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn failed_activations_are_forgotten() {
    let rig = idle_soon().await;
    for n in 0..50 {
        rig.probe.hook(&format!("bad{n}+"), [Do::Fail("no".into())]);
        assert!(rig.node(&format!("bad{n}")).list().await.is_err());
    }
    assert_eq!(rig.silo.metrics().grain("node").unwrap().live, 50);
    tokio::time::sleep(ms(10_000)).await;
    assert_eq!(rig.silo.metrics().grain("node").unwrap().live, 0);
}

#[tokio::test(start_paused = true)]
async fn over_the_memory_budget_the_least_recently_used_go_first() {
    let options = SiloOptions { memory_budget: Some(70 * 1_024), ..SiloOptions::default() };
    let idle = |options: &mut gristmill::grains::GrainOptions| options.idle = Some(ms(600_000));
    let rig = Rig::on(MemoryStorage::new(), idle, |silo| silo.options(options)).await;
    let all = 300;
    for n in 0..all {
        rig.node(&format!("n{n}")).list().await.unwrap();
        if n == all / 2 {
            tokio::time::sleep(ms(11_000)).await; // two rounds of the collector
        }
    }
    tokio::time::sleep(ms(60_000)).await;
    let live = rig.silo.metrics().grain("node").unwrap().live;
    assert!(live > 50 && live < 280, "{live}");
    let gone = |n: usize| rig.probe.count(&format!("n{n}-"));
    let (old, young): (usize, usize) = ((0..all / 2).map(gone).sum(), (all / 2 + 1..all).map(gone).sum());
    assert!(old > 0 && (young == 0 || old == all / 2), "{old} of the older, {young} of the younger half");
}

#[grain_interface]
trait Lazy {
    async fn delay(&mut self, millis: u64);
    async fn tick(&mut self, keep_alive: bool);
}

#[derive(Grain)]
#[grain(implements(Lazy), lifecycle, idle = "2s")]
struct LazyGrain {
    ctx: GrainContext<Self>,
    #[service]
    probe: Arc<Probe>,
}

impl Lifecycle for LazyGrain {
    async fn on_deactivate(&mut self, reason: DeactivationReason) -> Result<(), BoxError> {
        self.probe.note(format!("{} {reason:?}", self.ctx.key()));
        Ok(())
    }
}

impl Lazy for LazyGrain {
    async fn delay(&mut self, millis: u64) {
        self.ctx.delay_deactivation(ms(millis));
    }

    async fn tick(&mut self, keep_alive: bool) {
        use gristmill::grains::port::{Schedule, TimerSpec};
        let schedule = Schedule::AfterEnd { first: ms(30_000), every: ms(30_000) };
        self.ctx.timer(TimerSpec { name: "t", schedule, keep_alive }, async |_: &mut Self| {}).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_delay_and_a_timer_that_says_so_keep_an_activation() {
    let rig = Rig::with(|silo| silo.grain::<LazyGrain>()).await;
    let lazy = |key: &str| rig.silo.grain::<LazyRef>(key);
    lazy("delayed").delay(10_000).await.unwrap();
    lazy("undelayed").delay(10_000).await.unwrap();
    lazy("undelayed").delay(0).await.unwrap();
    lazy("kept").tick(true).await.unwrap();
    lazy("ticking").tick(false).await.unwrap();
    tokio::time::sleep(ms(6_000)).await;
    assert!(rig.probe.has("undelayed Idle") && rig.probe.has("ticking Idle"), "{:?}", rig.probe.lines());
    assert!(!rig.probe.has("delayed Idle") && !rig.probe.has("kept Idle"));
    tokio::time::sleep(ms(20_000)).await;
    assert!(rig.probe.has("delayed Idle") && !rig.probe.has("kept Idle"));
    let _ = soon(rig.silo.stop()).await;
    assert!(rig.probe.has("kept SiloStopping"));
}
