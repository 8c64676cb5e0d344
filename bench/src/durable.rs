//! Durable turns on a real Redis, which is started for the purpose, and on an embedded store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use gristmill::grains::storage::{Commit, Fence, GrainStorage, RecordWrite, WriteId};
use gristmill::grains::{ActivationId, GrainId, GrainType};
use gristmill::prelude::*;
use gristmill::storage::{EmbeddedStorage, RedisStorage};
use gristmill_test_servers::{RedisOptions, RedisServer};
use tokio::runtime::Runtime;

use crate::args::Args;
use crate::machine::WORKERS;
use crate::report::{Figure, Outcome, Report};
use crate::rounds::{self, Run};

const HOT_CALLERS: u64 = 256;
const GRAINS: u64 = 1_000;
/// Bytes of each grain's state.
const STATE: usize = 256;
/// As the silo has: batches under way at once, and commits in one.
const LANES: usize = 2;
const BATCH: usize = 512;

#[grain_interface]
trait Save {
    async fn add(&mut self) -> u64;
    async fn add_and_wait(&mut self) -> u64;
    async fn get(&self) -> u64;
}

#[derive(Grain)]
#[grain(implements(Save))]
struct SaveGrain {
    #[state(codec = "bincode")]
    save: Persistent<Saved>,
}

#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Saved {
    count: u64,
    rest: Vec<u8>,
}

impl SaveGrain {
    fn count(&mut self) -> u64 {
        let save = &mut *self.save;
        save.rest.resize(STATE, 7);
        save.count += 1;
        save.count
    }
}

impl Save for SaveGrain {
    async fn add(&mut self) -> u64 {
        self.count()
    }

    async fn add_and_wait(&mut self) -> u64 {
        let count = self.count();
        self.save.commit().await.expect("it is committed");
        count
    }

    async fn get(&self) -> u64 {
        self.save.count
    }
}

/// Grains that are called by so many callers.
struct Grains {
    name: &'static str,
    runtime: Arc<Runtime>,
    silo: Silo,
    key: &'static str,
    callers: u64,
    /// Each caller its own grain?
    apart: bool,
    waits: bool,
}

impl Run for Grains {
    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&mut self, calls: u64) -> u64 {
        let each = calls.div_ceil(self.callers);
        self.runtime.block_on(async {
            let callers = (0..self.callers).map(|caller| {
                let key = if self.apart { format!("{}-{caller}", self.key) } else { self.key.to_owned() };
                let (grain, waits): (SaveRef, _) = (self.silo.grain(key), self.waits);
                tokio::task::spawn(async move {
                    for _ in 0..each {
                        let added = if waits { grain.add_and_wait().await } else { grain.add().await };
                        added.expect("the grain answers");
                    }
                })
            });
            for caller in callers.collect::<Vec<_>>() {
                caller.await.expect("a caller ends");
            }
        });
        each * self.callers
    }
}

/// The same commits through the same adapter, and no grain above it.
struct Bare {
    runtime: Arc<Runtime>,
    storage: Arc<dyn GrainStorage>,
    fences: Vec<(GrainId, Fence)>,
    versions: Arc<Vec<AtomicU64>>,
}

impl Bare {
    fn new(runtime: &Arc<Runtime>, storage: &Arc<dyn GrainStorage>) -> Self {
        let fences = runtime.block_on(async {
            let mut fences = Vec::new();
            for number in 0..GRAINS {
                let grain = GrainId::new(GrainType::new("bare"), format!("bare-{number}"));
                let fence = Fence { epoch: 1, activation: ActivationId::from_u128(u128::from(number) + 1) };
                storage.open(&grain, fence).await.expect("the storage opens");
                fences.push((grain, fence));
            }
            fences
        });
        let versions = Arc::new((0..GRAINS).map(|_| AtomicU64::new(0)).collect());
        Self { runtime: runtime.clone(), storage: storage.clone(), fences, versions }
    }
}

impl Run for Bare {
    fn name(&self) -> &'static str {
        "bare commits"
    }

    fn run(&mut self, calls: u64) -> u64 {
        let rounds = calls.div_ceil(GRAINS);
        let lanes = self.fences.chunks(self.fences.len().div_ceil(LANES)).enumerate().map(|(lane, fences)| {
            let (storage, versions, fences) = (self.storage.clone(), self.versions.clone(), fences.to_vec());
            let first = lane * GRAINS.div_ceil(LANES as u64) as usize;
            async move {
                let body = Bytes::from(vec![7; STATE + 32]);
                for _ in 0..rounds {
                    for (part, fences) in fences.chunks(BATCH).enumerate() {
                        let commits: Vec<_> = fences
                            .iter()
                            .enumerate()
                            .map(|(place, (grain, fence))| {
                                let known = versions[first + part * BATCH + place].fetch_add(1, Ordering::Relaxed);
                                let (name, body) = ("save".into(), Some(body.clone()));
                                let record = RecordWrite { name, expect: known, version: known + 1, body };
                                let (grain, write) = (grain.clone(), WriteId(known + 1));
                                Commit { grain, fence: *fence, write, records: vec![record] }
                            })
                            .collect();
                        for answer in storage.commit(&commits).await {
                            answer.expect("it is committed");
                        }
                    }
                }
            }
        });
        let lanes: Vec<_> = lanes.collect();
        self.runtime.block_on(async {
            let lanes: Vec<_> = lanes.into_iter().map(tokio::task::spawn).collect();
            for lane in lanes {
                lane.await.expect("a lane ends");
            }
        });
        rounds * GRAINS
    }
}

/// One storage, named with what its acknowledgement means.
struct Stage {
    what: &'static str,
    runtime: Arc<Runtime>,
    storage: Arc<dyn GrainStorage>,
}

impl Stage {
    fn silo(&self) -> Silo {
        self.runtime.block_on(async {
            let builder = Silo::builder().shared_storage("default", self.storage.clone());
            builder.grain::<SaveGrain>().start().await.expect("the silo starts")
        })
    }

    fn grains(&self, silo: &Silo, name: &'static str, key: &'static str) -> Grains {
        let (runtime, silo) = (self.runtime.clone(), silo.clone());
        Grains { name, runtime, silo, key, callers: HOT_CALLERS, apart: false, waits: false }
    }
}

fn figures(args: &Args, mut contenders: Vec<Box<dyn Run>>) -> Vec<Figure> {
    let measured = rounds::measure(args, &mut contenders);
    let figure = |measured: rounds::Measured| Figure {
        name: measured.name,
        value: measured.per_second,
        cpu_ns: Some(measured.cpu_ns),
    };
    measured.into_iter().map(figure).collect()
}

fn measure(args: &Args, report: &Report, stage: &Stage) {
    let silo = stage.silo();
    let hot = stage.grains(&silo, "gristmill", "hot");
    let waits = Grains { waits: true, ..stage.grains(&silo, "write awaited", "waits") };
    let scenario = format!("durable: one hot grain, 256 callers, {}", stage.what);
    if args.wants(&scenario) {
        let figures = figures(args, vec![Box::new(hot), Box::new(waits)]);
        report.outcome(&Outcome { scenario, unit: "acknowledged turns/s", figures, extra: Vec::new() });
    }
    let scenario = format!("durable: 1,000 grains in parallel, {}", stage.what);
    if args.wants(&scenario) {
        let many = Grains { callers: GRAINS, apart: true, ..stage.grains(&silo, "gristmill", "many") };
        let figures = figures(args, vec![Box::new(many), Box::new(Bare::new(&stage.runtime, &stage.storage))]);
        report.outcome(&Outcome { scenario, unit: "acknowledged turns/s", figures, extra: Vec::new() });
    }
    let scenario = format!("durable: cold activations, {}", stage.what);
    if args.wants(&scenario) {
        cold(args, report, stage, scenario, silo);
    }
}

/// Grains that are stored and in no silo's memory.
fn cold(args: &Args, report: &Report, stage: &Stage, scenario: String, silo: Silo) {
    let grains: u64 = if args.quick { 2_000 } else { 50_000 };
    let each = grains / HOT_CALLERS;
    let touch = |silo: &Silo, write: bool| {
        let started = Instant::now();
        stage.runtime.block_on(async {
            let callers = (0..HOT_CALLERS).map(|caller| {
                let silo = silo.clone();
                tokio::task::spawn(async move {
                    for number in caller * each..(caller + 1) * each {
                        let grain: SaveRef = silo.grain(format!("cold-{number:011}"));
                        let count = if write { grain.add().await } else { grain.get().await };
                        assert!(count.expect("the grain answers") >= 1, "it is stored");
                    }
                })
            });
            for caller in callers.collect::<Vec<_>>() {
                caller.await.expect("a caller ends");
            }
        });
        (each * HOT_CALLERS) as f64 / started.elapsed().as_secs_f64()
    };
    let made = touch(&silo, true);
    let _ = stage.runtime.block_on(silo.stop());
    drop(silo);
    let again = stage.silo();
    let value = touch(&again, false);
    let _ = stage.runtime.block_on(again.stop());
    report.outcome(&Outcome {
        scenario,
        unit: "grains/s",
        figures: vec![Figure { name: "gristmill", value, cpu_ns: None }],
        extra: vec![("first ones, each with a commit".to_owned(), made)],
    });
}

pub(crate) fn run(args: &Args, report: &Report) {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        Arc::new(builder.worker_threads(WORKERS).enable_all().build().expect("a runtime starts"))
    };
    for (what, options) in
        [("Redis in memory", RedisOptions::default()), ("Redis, fsync always", RedisOptions::fsync())]
    {
        let server = RedisServer::start(options);
        let runtime = runtime();
        let storage = runtime.block_on(RedisStorage::connect(server.url())).expect("Redis answers");
        measure(args, report, &Stage { what, runtime, storage: Arc::new(storage) });
    }
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = runtime();
    let storage = runtime.block_on(EmbeddedStorage::open(folder.path().join("bench.redb"))).expect("the store opens");
    measure(args, report, &Stage { what: "embedded", runtime, storage: Arc::new(storage) });
}
