//! The mailbox, the pump's hand-over, the gate and the catalog under shuttle: thousands of schedules of a few threads,
//! each of which must end with every call answered. Run by `tests/run`; `RUSTFLAGS="--cfg shuttle"`.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::Poll;

use gristmill_grains::state::Persistent;
use gristmill_grains::{BoxError, CallError, Cause, DeactivationReason, Fault, GrainContext, InterfaceRef, Lifecycle};
use gristmill_storage::MemoryStorage;
use shuttle::future::{JoinHandle, block_on, spawn};

use crate::Silo;
use crate::core::Core;
use crate::grains;

#[grains::grain_interface(crate = crate::grains)]
pub(crate) trait Probe {
    async fn write(&mut self) -> u64;
    async fn write_and_yield(&mut self) -> u64;
    async fn read(&self) -> u64;
    async fn write_other(&mut self, other: String) -> Result<u64, Fault>;
    async fn write_and_go(&mut self) -> u64;
    async fn blow_up(&mut self);
}

#[derive(grains::Grain)]
#[grain(implements(Probe), lifecycle, crate = crate::grains)]
pub(crate) struct ProbeGrain {
    ctx: GrainContext<Self>,
    #[state]
    count: Persistent<u64>,
    inside: AtomicU32,
    #[service]
    world: Arc<World>,
}

/// What all grains of one schedule share.
#[derive(Default)]
pub(crate) struct World {
    lives: AtomicU32,
    overlapped: AtomicBool,
}

impl Lifecycle for ProbeGrain {
    async fn on_activate(&mut self) -> Result<(), BoxError> {
        self.world.lives.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    async fn on_deactivate(&mut self, _: DeactivationReason) -> Result<(), BoxError> {
        yield_once().await;
        Ok(())
    }
}

impl ProbeGrain {
    fn enter(&self) {
        if self.inside.fetch_add(1, Ordering::SeqCst) != 0 {
            self.world.overlapped.store(true, Ordering::SeqCst);
        }
    }

    fn leave(&self) {
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Probe for ProbeGrain {
    async fn write(&mut self) -> u64 {
        self.enter();
        *self.count += 1;
        self.leave();
        *self.count
    }

    async fn write_and_yield(&mut self) -> u64 {
        self.enter();
        let before = *self.count;
        yield_once().await;
        *self.count = before + 1;
        self.leave();
        *self.count
    }

    async fn read(&self) -> u64 {
        *self.count
    }

    async fn write_other(&mut self, other: String) -> Result<u64, Fault> {
        *self.count += 1;
        let other: ProbeRef = self.ctx.grain(other);
        match other.write().await {
            Ok(count) => Ok(count),
            Err(CallError::Fault(fault)) => Err(fault),
            Err(CallError::App(never)) => match never {},
        }
    }

    async fn write_and_go(&mut self) -> u64 {
        self.ctx.deactivate_on_idle();
        *self.count += 1;
        *self.count
    }

    async fn blow_up(&mut self) {
        *self.count += 1000;
        panic!("planted");
    }
}

/// Pending once.
async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        cx.waker().wake_by_ref();
        if std::mem::replace(&mut yielded, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// A silo without its services but the committers.
struct Bench {
    core: Arc<Core>,
    lanes: Vec<JoinHandle<()>>,
    world: Arc<World>,
}

impl Bench {
    fn new() -> Self {
        let world = Arc::new(World::default());
        let mut builder = Silo::builder()
            .seed(1)
            .storage("default", MemoryStorage::new())
            .service::<World>(world.clone())
            .grain::<ProbeGrain>();
        builder.name_storages().expect("one storage");
        let handle = tokio::runtime::Handle::current();
        let core = builder.assemble(handle, vec![1, 1], 0).expect("a silo of one grain type");
        let lanes = core.storages.iter().map(|storage| spawn(storage.clone().run_lane())).collect();
        Self { core, lanes, world }
    }

    fn grain(&self, key: &str) -> ProbeRef {
        ProbeRef::from_ref(self.core.reference(key.into()))
    }

    fn end(self) {
        assert!(!self.world.overlapped.load(Ordering::SeqCst), "two write turns overlapped");
        for host in self.core.hosts() {
            host.clear();
        }
        self.lanes.iter().for_each(JoinHandle::abort);
    }
}

/// Runs a scenario under many schedules.
fn explore(iterations: usize, scenario: impl Fn(&Bench) + Send + Sync + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let handle = runtime.handle().clone();
    shuttle::check_random(
        move || {
            let _entered = handle.enter();
            let bench = Bench::new();
            scenario(&bench);
            bench.end();
        },
        iterations,
    );
}

fn go<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    spawn(future)
}

fn join<T>(handle: JoinHandle<T>) -> T {
    block_on(handle).expect("a task that does not panic")
}

const SCHEDULES: usize = 1_000;

#[test]
fn every_call_is_answered_and_writes_never_overlap() {
    explore(SCHEDULES, |bench| {
        let grain = bench.grain("a");
        let (a, b, c) = (grain.clone(), grain.clone(), grain.clone());
        let calls = [
            go(async move { a.write().await.is_ok() && a.read().await.is_ok() }),
            go(async move { b.write_and_yield().await.is_ok() && b.write().await.is_ok() }),
            go(async move { c.read().await.is_ok() && c.write_and_yield().await.is_ok() }),
        ];
        assert!(calls.into_iter().map(join).all(|answered| answered));
        assert_eq!(block_on(async { grain.read().await }).ok(), Some(4));
        assert_eq!(bench.world.lives.load(Ordering::SeqCst), 1, "one activation for concurrent first calls");
    });
}

#[test]
fn a_call_given_up_at_any_moment_leaves_the_mailbox_whole() {
    explore(SCHEDULES, |bench| {
        let grain = bench.grain("a");
        let (a, b) = (grain.clone(), grain.clone());
        let given_up = go(async move {
            let _ = a.write_and_yield().await;
        });
        let other = go(async move { b.write_and_yield().await.is_ok() });
        shuttle::thread::yield_now();
        given_up.abort();
        assert!(join(other));
        let after = block_on(async { grain.write().await }).expect("the grain answers");
        assert!((2..=3).contains(&after), "{after}");
    });
}

#[test]
fn calls_raced_with_deactivation_all_run_once() {
    explore(SCHEDULES, |bench| {
        let grain = bench.grain("a");
        let (a, b, c) = (grain.clone(), grain.clone(), grain.clone());
        let calls = [
            go(async move { a.write_and_go().await.is_ok() }),
            go(async move { b.write_and_yield().await.is_ok() }),
            go(async move { c.write().await.is_ok() }),
        ];
        assert!(calls.into_iter().map(join).all(|answered| answered));
        assert_eq!(block_on(async { grain.read().await }).ok(), Some(3), "no write was lost between two lives");
    });
}

#[test]
fn a_panic_among_calls_loses_only_its_own_turn() {
    explore(SCHEDULES, |bench| {
        let grain = bench.grain("a");
        let (a, b, c) = (grain.clone(), grain.clone(), grain.clone());
        let panicked = go(async move { a.blow_up().await });
        let calls = [go(async move { b.write_and_yield().await.is_ok() }), go(async move { c.write().await.is_ok() })];
        assert!(calls.into_iter().map(join).all(|answered| answered));
        let error = join(panicked).expect_err("it panicked");
        assert!(matches!(error.cause(), Some(Cause::Panicked { .. })), "{error}");
        assert_eq!(block_on(async { grain.read().await }).ok(), Some(2));
    });
}

#[test]
fn calls_that_cross_end_at_once_and_at_most_one_is_refused() {
    explore(SCHEDULES, |bench| {
        let (a, b) = (bench.grain("a"), bench.grain("b"));
        let calls = [
            go(async move { a.write_other("b".to_owned()).await }),
            go(async move { b.write_other("a".to_owned()).await }),
        ];
        let outcomes: Vec<_> = calls.into_iter().map(join).collect();
        let refused = outcomes.iter().filter(|outcome| match outcome {
            Ok(_) => false,
            Err(CallError::App(fault)) => {
                assert!(matches!(fault.cause(), Cause::Deadlock { .. }), "{fault}");
                true
            }
            Err(other) => panic!("{other}"),
        });
        assert!(refused.count() <= 1, "the newest call of the cycle is the only victim");
    });
}
