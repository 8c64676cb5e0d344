//! Calls of one turn leave in the order they were made in, also those that wait for earlier turns' commits.

use std::future::IntoFuture;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use gristmill::grains::filter::{CallFilter, FilteredCall};
use gristmill::prelude::*;
use gristmill::storage::MemoryStorage;
use gristmill::storage::memory::When;

use crate::support::{Probe, assert_fault, ms, others_run, soon, spawn};

#[grain_interface]
trait Line {
    async fn note(&self, text: String) -> String;
}

#[derive(Grain)]
#[grain(implements(Line))]
struct LineGrain {
    #[service]
    probe: Arc<Probe>,
}

impl Line for LineGrain {
    async fn note(&self, text: String) -> String {
        self.probe.note(text.clone());
        text
    }
}

#[grain_interface]
trait Caller {
    async fn add(&mut self) -> u64;
    async fn two(&mut self) -> (String, String);
    async fn give_up_one(&mut self) -> String;
    async fn patience(&mut self) -> Result<String, CallError>;
    async fn cycle(&mut self) -> Result<u64, CallError>;
    async fn choose(&mut self) -> String;
}

#[derive(Grain)]
#[grain(implements(Caller))]
struct CallerGrain {
    ctx: GrainContext<Self>,
    #[service]
    probe: Arc<Probe>,
    #[state]
    count: Persistent<u64>,
}

impl Caller for CallerGrain {
    async fn add(&mut self) -> u64 {
        *self.count += 1;
        *self.count
    }

    async fn two(&mut self) -> (String, String) {
        let line: LineRef = self.ctx.grain("l");
        let mut one = line.note("one".into()).into_future();
        let polled = std::pin::Pin::new(&mut one).poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Pending), "an earlier turn is not durable");
        self.probe.note("held");
        self.probe.pass("durable").await; // `one` is not polled meanwhile
        let two = line.note("two".into()).await.unwrap();
        (one.await.unwrap(), two)
    }

    async fn give_up_one(&mut self) -> String {
        let line: LineRef = self.ctx.grain("l");
        let mut one = line.note("one".into()).into_future();
        assert!(std::pin::Pin::new(&mut one).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(one);
        self.probe.note("held");
        line.note("two".into()).await.unwrap()
    }

    async fn patience(&mut self) -> Result<String, CallError> {
        self.probe.note("held");
        self.ctx.grain::<LineRef>("l").note("late".into()).timeout(ms(100)).await
    }

    async fn cycle(&mut self) -> Result<u64, CallError> {
        self.probe.note("held");
        self.ctx.grain::<CallerRef>("c").add().await
    }

    async fn choose(&mut self) -> String {
        let (own, line) = (self.ctx.grain::<CallerRef>("c"), self.ctx.grain::<LineRef>("l"));
        tokio::select! {
            biased;
            Ok(_) = own.add() => "myself".to_owned(),
            Ok(text) = line.note("another".into()) => text,
        }
    }
}

struct Scene {
    storage: MemoryStorage,
    probe: Arc<Probe>,
    caller: CallerRef,
    _silo: Silo,
}

/// A caller, its storage held.
async fn scene() -> Scene {
    let (storage, probe) = (MemoryStorage::new(), Arc::new(Probe::default()));
    let builder = Silo::builder().storage("default", storage.clone()).service::<Probe>(probe.clone());
    let silo = builder.grain::<CallerGrain>().grain::<LineGrain>().start().await.unwrap();
    let caller: CallerRef = silo.grain("c");
    caller.add().await.unwrap();
    Scene { storage, probe, caller, _silo: silo }
}

impl Scene {
    /// A turn whose commit does not get through.
    async fn earlier_turn(&self) {
        self.storage.faults().hold(When::Before);
        self.caller.add().send();
        soon(self.storage.faults().held(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_held_call_leaves_before_a_later_one_though_nobody_polls_it() {
    let scene = scene().await;
    scene.earlier_turn().await;
    let caller = scene.caller.clone();
    let two = spawn(async move { caller.two().await });
    scene.probe.saw("held").await;
    others_run().await;
    assert!(!scene.probe.has("one"), "it left before the earlier turn was durable");
    scene.storage.faults().heal();
    scene.probe.saw("one").await;
    scene.probe.open("durable");
    assert_eq!(soon(two).await.unwrap().unwrap(), ("one".to_owned(), "two".to_owned()));
    assert_eq!(scene.probe.lines(), ["held", "one", "two"]);
}

#[tokio::test(start_paused = true)]
async fn a_held_call_that_is_given_up_never_runs() {
    let scene = scene().await;
    scene.earlier_turn().await;
    let caller = scene.caller.clone();
    let call = spawn(async move { caller.give_up_one().await });
    scene.probe.saw("held").await;
    others_run().await;
    scene.storage.faults().heal();
    assert_eq!(soon(call).await.unwrap().unwrap(), "two");
    assert_eq!(scene.probe.lines(), ["held", "two"]);
}

#[tokio::test(start_paused = true)]
async fn a_held_call_keeps_its_timeout_and_has_not_run() {
    let scene = scene().await;
    scene.earlier_turn().await;
    let caller = scene.caller.clone();
    let call = spawn(async move { caller.patience().await });
    scene.probe.saw("held").await;
    tokio::time::sleep(ms(200)).await;
    scene.storage.faults().heal();
    let error = soon(call).await.unwrap().unwrap_err();
    let CallError::App(error) = error else { panic!("{error}") };
    assert_fault!(Err::<String, _>(error), Cause::Timeout, false);
    assert!(!scene.probe.has("late"));
}

#[tokio::test(start_paused = true)]
async fn a_held_call_that_would_wait_for_its_own_turn_is_a_deadlock() {
    let scene = scene().await;
    scene.earlier_turn().await;
    let caller = scene.caller.clone();
    let call = spawn(async move { caller.cycle().await });
    scene.probe.saw("held").await;
    others_run().await;
    scene.storage.faults().heal();
    let error = soon(call).await.unwrap().unwrap_err();
    let CallError::App(CallError::Fault(fault)) = error else { panic!("{error}") };
    assert!(matches!(fault.cause(), Cause::Deadlock { .. }), "{fault}");
}

#[tokio::test(start_paused = true)]
async fn a_deadlocked_branch_of_a_select_fails_and_the_other_one_wins() {
    let scene = scene().await;
    assert_eq!(soon(scene.caller.choose()).await.unwrap(), "another");
    assert_eq!(soon(scene.caller.add()).await.unwrap(), 2, "the refused branch did not run");
}

#[grain_interface]
trait Book {
    async fn write(&self, n: u64);
    async fn all(&self) -> Vec<u64>;
}

/// Reentrant, and it shows the order its turns began in.
#[derive(Grain)]
#[grain(implements(Book))]
struct BookGrain {
    lines: Lines,
}

#[derive(Default)]
struct Lines(parking_lot::Mutex<Vec<u64>>);

impl Book for BookGrain {
    async fn write(&self, n: u64) {
        self.lines.0.lock().push(n);
    }

    async fn all(&self) -> Vec<u64> {
        self.lines.0.lock().clone()
    }
}

struct Through;

#[async_trait::async_trait]
impl CallFilter for Through {
    async fn filter(&self, call: &mut FilteredCall<'_>) -> Result<(), Fault> {
        call.proceed().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sends_and_calls_of_one_caller_run_in_order_also_of_a_reentrant_grain_and_through_filters() {
    for filtered in [false, true] {
        let mut builder = Silo::builder().grain::<BookGrain>();
        if filtered {
            builder = builder.outgoing(Through);
        }
        let silo = builder.start().await.unwrap();
        for round in 0..200 {
            let book: BookRef = silo.grain(format!("b{round}"));
            for n in 0..40 {
                if n % 4 == 3 { book.write(n).await.unwrap() } else { book.write(n).send() }
            }
            let lines = soon(book.all()).await.unwrap();
            assert_eq!(lines, (0..40).collect::<Vec<_>>(), "round {round}, filtered: {filtered}");
        }
    }
}
