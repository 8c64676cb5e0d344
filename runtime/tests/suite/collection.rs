//! Idle activations end; busy and kept ones stay. Stateless workers answer side by side.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gristmill::prelude::*;
use gristmill::storage::MemoryStorage;

use crate::support::{Do, PATIENCE, Probe, Rig, ended, halt, ms, others_run, soon};

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

#[grain_interface]
trait Worker {
    async fn work(&mut self, script: String) -> u64;
    async fn through(&mut self, key: String) -> u64;
}

/// At most four answer for one key.
#[derive(Grain)]
#[grain(implements(Worker), stateless_worker = 4)]
struct WorkerGrain {
    ctx: GrainContext<Self>,
    #[service]
    probe: Arc<Probe>,
    #[service]
    busy: Arc<Busy>,
    done: u64,
}

#[derive(Default)]
struct Busy {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Worker for WorkerGrain {
    async fn work(&mut self, latch: String) -> u64 {
        let now = self.busy.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.busy.most.fetch_max(now, Ordering::SeqCst);
        self.probe.note("working");
        match latch.as_str() {
            "" => tokio::task::yield_now().await,
            "leave" => self.ctx.deactivate_on_idle(),
            _ => self.probe.pass(&latch).await,
        }
        self.busy.now.fetch_sub(1, Ordering::SeqCst);
        self.done += 1;
        self.done
    }

    async fn through(&mut self, key: String) -> u64 {
        self.ctx.grain::<WorkerRef>(key).work(String::new()).await.unwrap()
    }
}

async fn workers() -> (Rig, Arc<Busy>) {
    let busy = Arc::new(Busy::default());
    let service = busy.clone();
    (Rig::with(|silo| silo.service::<Busy>(service).grain::<WorkerGrain>()).await, busy)
}

#[tokio::test(start_paused = true)]
async fn workers_run_side_by_side_up_to_their_number_and_an_idle_one_is_taken_first() {
    let (rig, busy) = workers().await;
    let worker: WorkerRef = rig.silo.grain("w");
    for n in 1..=3 {
        assert_eq!(worker.work(String::new()).await.unwrap(), n, "one is enough for one caller");
    }
    let mut calls = Vec::new();
    for _ in 0..10 {
        let worker = worker.clone();
        calls.push(tokio::task::spawn(async move { worker.work("go".into()).await }));
    }
    rig.probe.saw_times("working", 7).await;
    others_run().await;
    assert_eq!(rig.probe.count("working"), 7, "four at once, the others wait");
    rig.probe.open("go");
    for call in calls {
        ended(call).await.unwrap();
    }
    assert_eq!(busy.most.load(Ordering::SeqCst), 4);
    assert_eq!(rig.silo.metrics().grain("worker").unwrap().live, 4);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_calls_its_own_kind_waits_only_if_all_lead_back() {
    let (rig, _) = workers().await;
    let worker: WorkerRef = rig.silo.grain("w");
    assert_eq!(soon(worker.through("w".into())).await.unwrap(), 1, "another one answers");
    // All busy, one of them with a call to the rest: it waits for them, and is none of a cycle.
    let through = {
        let mut stuck = Vec::new();
        for _ in 0..3 {
            let worker = worker.clone();
            stuck.push(tokio::task::spawn(async move { worker.work("go".into()).await }));
        }
        rig.probe.saw_times("working", 4).await;
        let call = tokio::task::spawn(async move { worker.through("w".into()).await });
        others_run().await;
        rig.probe.open("go");
        for one in stuck {
            ended(one).await.unwrap();
        }
        call
    };
    ended(through).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_come_and_go_under_load_and_are_never_too_many() {
    let (rig, busy) = workers().await;
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..20 {
        let worker: WorkerRef = rig.silo.grain("w");
        callers.spawn(async move {
            for n in 0..100 {
                let latch = if (caller + n) % 10 == 0 { "leave" } else { "" };
                worker.work(latch.into()).await.unwrap();
            }
        });
    }
    tokio::time::timeout(PATIENCE, callers.join_all()).await.expect("every call ends");
    assert!(busy.most.load(Ordering::SeqCst) <= 4, "{} at once", busy.most.load(Ordering::SeqCst));
    assert_eq!(rig.probe.count("working"), 2_000);
}
