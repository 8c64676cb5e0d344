//! Stateless workers answer side by side, up to their number.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gristmill::prelude::*;

use crate::support::{PATIENCE, Probe, Rig, ended, others_run, soon, spawn};

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
        calls.push(spawn(async move { worker.work("go".into()).await }));
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
            stuck.push(spawn(async move { worker.work("go".into()).await }));
        }
        rig.probe.saw_times("working", 4).await;
        let call = spawn(async move { worker.through("w".into()).await });
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
