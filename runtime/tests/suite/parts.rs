//! A storage of which a part is away, or broken, does not take the rest along; and what belongs together is restored
//! together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use gristmill::grains::storage::{Commit, Durability, Fence, Opened};
use gristmill::grains::{GrainId, StorageError};
use gristmill::prelude::*;
use gristmill::storage::memory::When;
use gristmill::storage::{GrainStorage, MemoryStorage};
use tokio::sync::watch;

use crate::support::{assert_fault, ms, others_run, soon, spawn};

#[grain_interface]
trait Two {
    async fn a(&mut self, n: u64) -> u64;
    async fn b(&mut self, n: u64) -> u64;
    async fn leave(&mut self);
    async fn get(&self) -> (u64, u64);
    async fn commit_beside_a_call(&mut self, n: u64) -> Result<u64, CallError>;
}

/// Two records in one storage.
#[derive(Grain)]
#[grain(implements(Two), dirty_calls = "deny")]
struct TwoGrain {
    ctx: GrainContext<Self>,
    #[state]
    a: Persistent<u64>,
    #[state]
    b: Persistent<u64>,
}

impl Two for TwoGrain {
    async fn a(&mut self, n: u64) -> u64 {
        *self.a = n;
        n
    }

    async fn b(&mut self, n: u64) -> u64 {
        *self.b = n;
        n
    }

    async fn leave(&mut self) {
        self.ctx.deactivate_on_idle();
    }

    async fn get(&self) -> (u64, u64) {
        (*self.a, *self.b)
    }

    async fn commit_beside_a_call(&mut self, n: u64) -> Result<u64, CallError> {
        *self.a = n;
        let other: TwoRef = self.ctx.grain("other");
        let (_, called) = tokio::join!(tokio::time::timeout(ms(100), self.a.commit()), other.a(1));
        called
    }
}

/// Breaks for the grains whose key says so.
#[derive(Clone, Default)]
struct Parts {
    inner: MemoryStorage,
    ways: Arc<Ways>,
}

#[derive(Default)]
struct Ways {
    broken: AtomicBool,
    panics: AtomicBool,
    opens_hang: AtomicBool,
    delay: AtomicU64,
}

fn of_key(grain: &GrainId, key: &str) -> bool {
    grain.key().starts_with(key)
}

#[async_trait::async_trait]
impl GrainStorage for Parts {
    fn durability(&self) -> Durability {
        self.inner.durability()
    }

    async fn open(&self, grain: &GrainId, fence: Fence) -> Result<Opened, StorageError> {
        if self.ways.opens_hang.load(SeqCst) {
            std::future::pending().await
        }
        if &**grain.key() == "kept+3" {
            return Err(StorageError::Unreadable { detail: "not today".to_owned() });
        }
        self.inner.open(grain, fence).await
    }

    async fn commit(&self, batch: &[Commit]) -> Vec<Result<(), StorageError>> {
        let delay = self.ways.delay.load(SeqCst);
        if delay > 0 {
            tokio::time::sleep(ms(delay)).await;
        }
        if self.ways.panics.load(SeqCst) && batch.iter().any(|commit| of_key(&commit.grain, "bomb")) {
            panic!("the adapter is broken");
        }
        let mut answers = Vec::new();
        for commit in batch {
            let away = self.ways.broken.load(SeqCst) && of_key(&commit.grain, "away");
            answers.push(match away {
                true => Err(StorageError::unavailable("its shard is away")),
                false => self.inner.commit(std::slice::from_ref(commit)).await.remove(0),
            });
        }
        answers
    }

    async fn begin_run(&self, floor: u64) -> Result<u64, StorageError> {
        self.inner.begin_run(floor).await
    }

    async fn run(&self) -> Result<u64, StorageError> {
        self.inner.run().await
    }

    fn restarts(&self) -> watch::Receiver<u64> {
        self.inner.restarts()
    }
}

async fn silo(storage: &Parts) -> Silo {
    Silo::builder().storage("default", storage.clone()).grain::<TwoGrain>().start().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_records_of_a_grain_are_restored_together_also_when_it_is_ending() {
    for leaves in [true, false] {
        let storage = Parts::default();
        let silo = silo(&storage).await;
        let two: TwoRef = silo.grain("t");
        two.a(1).await.unwrap();
        two.b(1).await.unwrap();
        let past = storage.inner.faults().snapshot();
        two.a(2).await.unwrap();
        two.b(2).await.unwrap();
        storage.inner.faults().hold(When::Before);
        let last = two.clone();
        let last = spawn(async move { last.b(3).await });
        soon(storage.inner.faults().held(1)).await;
        if leaves {
            two.leave().send();
            others_run().await;
        }
        storage.inner.faults().restore_grain(&past, &two.id());
        storage.inner.faults().heal();
        assert_eq!(soon(last).await.unwrap().unwrap(), 3);
        others_run().await;
        let copy = Parts::default();
        copy.inner.faults().restore(&storage.inner.faults().snapshot());
        let crashed = self::silo(&copy).await;
        let after: TwoRef = crashed.grain("t");
        assert_eq!(after.get().await.unwrap(), (2, 3), "what a crash leaves now; it was leaving: {leaves}");
        assert_eq!(soon(two.get()).await.unwrap(), (2, 3));
    }
}

#[tokio::test(start_paused = true)]
async fn one_grain_without_an_answer_does_not_make_its_storage_count_as_down() {
    let storage = Parts::default();
    let silo = silo(&storage).await;
    let (away, good): (TwoRef, TwoRef) = (silo.grain("away"), silo.grain("good"));
    good.a(1).await.unwrap();
    away.get().await.unwrap();
    storage.ways.broken.store(true, SeqCst);
    away.a(1).send();
    for n in 0..20 {
        tokio::time::sleep(ms(3_000)).await;
        assert_eq!(good.a(n).await.unwrap(), n);
    }
    storage.ways.broken.store(false, SeqCst);
    assert_eq!(soon(away.b(1)).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_takes_no_commit_at_all_counts_as_down_though_it_answers_otherwise() {
    let storage = Parts::default();
    let silo = silo(&storage).await;
    let [one, two, three]: [TwoRef; 3] = ["away-1", "away-2", "away-3"].map(|key| silo.grain(key));
    for grain in [&one, &two, &three] {
        grain.get().await.unwrap();
    }
    storage.ways.broken.store(true, SeqCst); // as a full server: it still reads
    one.a(1).send();
    two.a(1).send();
    tokio::time::sleep(ms(3_000)).await;
    assert_fault!(three.a(1).await, Cause::Storage { .. }, false);
    assert_eq!(three.get().await.unwrap(), (0, 0), "reads go on");
    storage.ways.broken.store(false, SeqCst);
    tokio::time::sleep(ms(2_000)).await;
    assert_eq!(three.a(1).await.unwrap(), 1);
    assert_eq!((soon(one.get()).await.unwrap(), soon(two.get()).await.unwrap()), ((1, 0), (1, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_commit_on_which_the_adapter_panics_is_sent_by_itself() {
    let storage = Parts::default();
    let silo = silo(&storage).await;
    let (bomb, good): (TwoRef, TwoRef) = (silo.grain("bomb"), silo.grain("good"));
    good.a(1).await.unwrap();
    bomb.get().await.unwrap();
    storage.ways.panics.store(true, SeqCst);
    bomb.a(1).send();
    for n in 2..20 {
        assert_eq!(good.a(n).timeout(ms(2_000)).await.unwrap(), n);
        tokio::time::sleep(ms(300)).await;
    }
    storage.ways.panics.store(false, SeqCst);
    assert_eq!(soon(bomb.b(1)).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_comparison_with_a_slow_store_is_no_overlong_turn() {
    let storage = Parts::default();
    let builder = Silo::builder().storage("default", storage.clone());
    let silo = builder.grain_with::<TwoGrain>(|setup| setup.options.turn_limit = ms(2_000)).start().await.unwrap();
    let two: TwoRef = silo.grain("t");
    let past = storage.inner.faults().snapshot();
    two.a(7).await.unwrap();
    storage.ways.opens_hang.store(true, SeqCst);
    storage.inner.faults().restore(&past);
    tokio::time::sleep(ms(30_000)).await;
    storage.ways.opens_hang.store(false, SeqCst);
    tokio::time::sleep(ms(30_000)).await;
    assert_eq!(silo.metrics().grain("two").unwrap().lost, 0);
    assert_eq!(silo.metrics().grain("two").unwrap().restored, 1);
    let copy = Parts::default();
    copy.inner.faults().restore(&storage.inner.faults().snapshot());
    assert_eq!(self::silo(&copy).await.grain::<TwoRef>("t").get().await.unwrap(), (7, 0));
}

#[grain_interface]
trait Hot {
    async fn add(&self) -> u64;
}

#[derive(Grain)]
#[grain(implements(Hot))]
struct HotGrain {
    #[state]
    sum: PersistentCell<u64>,
}

impl Hot for HotGrain {
    async fn add(&self) -> u64 {
        self.sum.update(|sum| {
            *sum += 1;
            *sum
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_comparison_does_not_wait_for_a_hot_grain_to_rest() {
    let storage = Parts::default();
    let silo = Silo::builder().storage("default", storage.clone()).grain::<HotGrain>().start().await.unwrap();
    storage.ways.delay.store(5, SeqCst);
    let callers: Vec<_> = (0..3)
        .map(|_| {
            let hot: HotRef = silo.grain("h");
            spawn(async move {
                for _ in 0..1_000 {
                    hot.add().await.unwrap();
                }
            })
        })
        .collect();
    tokio::time::sleep(ms(100)).await;
    let now = storage.inner.faults().snapshot();
    let opens = storage.inner.faults().counts().opens;
    storage.inner.faults().restore(&now); // a restart that lost nothing, or a commit that had just landed
    tokio::time::sleep(ms(200)).await;
    assert!(storage.inner.faults().counts().opens > opens, "it was compared while it was called");
    for caller in callers {
        soon(caller).await.unwrap();
    }
    assert_eq!(soon(silo.grain::<HotRef>("h").add()).await.unwrap(), 3_001);
    assert_eq!(silo.metrics().grain("hot").unwrap().lost, 0);
}

#[tokio::test(start_paused = true)]
async fn a_commit_point_that_is_not_durable_yet_leaves_its_turn_dirty() {
    let storage = Parts::default();
    let silo = silo(&storage).await;
    let two: TwoRef = silo.grain("t");
    two.get().await.unwrap();
    storage.inner.faults().hold(When::Before);
    let call = spawn(async move { two.commit_beside_a_call(5).await });
    tokio::time::sleep(ms(500)).await;
    storage.inner.faults().heal();
    let Err(CallError::App(called)) = soon(call).await.unwrap() else { panic!("the call must be refused") };
    assert_fault!(Err::<u64, _>(called), Cause::Uncommitted, false);
}

#[grain_interface]
trait Kept {
    async fn begin(&self);
}

#[derive(Grain)]
#[grain(implements(Kept), keep_running)]
struct KeptGrain {}

impl Kept for KeptGrain {
    async fn begin(&self) {}
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_part_of_the_registry_does_not_keep_the_other_grains_away() {
    let storage = Parts::default();
    let plain = Silo::builder().storage("default", storage.inner.clone()).grain::<KeptGrain>().start().await.unwrap();
    for n in 0..200 {
        plain.grain::<KeptRef>(format!("k{n}")).begin().await.unwrap();
    }
    let _ = plain.stop().await;
    let silo = Silo::builder().storage("default", storage.clone()).grain::<KeptGrain>().start().await.unwrap();
    tokio::time::sleep(ms(10_000)).await;
    let back = silo.metrics().grain("kept").unwrap().live;
    assert!((150..200).contains(&back), "all but those of one part in sixteen: {back}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_with_a_commit_under_way_lets_the_storage_go() {
    let storage = Parts::default();
    let options = SiloOptions { drain_timeout: ms(500), ..SiloOptions::default() };
    let builder = Silo::builder().options(options).storage("default", storage.clone());
    let silo = builder.grain::<TwoGrain>().start().await.unwrap();
    let two: TwoRef = silo.grain("t");
    two.get().await.unwrap();
    storage.inner.faults().hold(When::Before);
    two.a(1).send();
    soon(storage.inner.faults().held(1)).await;
    let (first, second) = tokio::join!(silo.stop(), silo.stop());
    assert_eq!((first.dropped, second.dropped), (1, 1), "both learn how it went");
    drop((silo, two));
    let ways = Arc::downgrade(&storage.ways);
    drop(storage);
    soon(async {
        while ways.upgrade().is_some() {
            tokio::time::sleep(ms(10)).await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_silo_that_does_not_start_lets_its_storages_go() {
    let storage = Parts::default();
    let builder = Silo::builder().storage("default", storage.clone());
    builder.grain::<TwoGrain>().grain::<TwoGrain>().start().await.unwrap_err();
    assert_eq!(Arc::strong_count(&storage.ways), 1);
}
