//! Where a turn is polled: on its caller's task where that is harmless, else on the silo's own.

use std::collections::BTreeSet;
use std::future::IntoFuture;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, ThreadId};

use gristmill::grains::GrainOptions;
use gristmill::prelude::*;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle};

use crate::support::{PATIENCE, ms, soon, spawn};

#[grain_interface]
trait Place {
    /// The task it is polled on, before and after a wait.
    async fn tasks(&self, wait: bool) -> (String, String);
    /// Stays until calls are inside on two threads, for at most a few milliseconds.
    async fn meet(&self);
    async fn sleep(&mut self, millis: u64) -> u64;
}

#[derive(Default)]
struct Threads(Mutex<BTreeSet<String>>);

#[derive(Grain)]
#[grain(implements(Place))]
struct PlaceGrain {
    #[service]
    threads: Arc<Threads>,
}

fn task() -> String {
    format!("{:?}", tokio::task::try_id())
}

impl Place for PlaceGrain {
    async fn tasks(&self, wait: bool) -> (String, String) {
        let before = task();
        if wait {
            tokio::task::yield_now().await;
        }
        (before, task())
    }

    async fn meet(&self) {
        let here: ThreadId = thread::current().id();
        for _ in 0..2_000 {
            self.threads.0.lock().insert(format!("{here:?}"));
            if self.threads.0.lock().len() > 1 {
                return;
            }
            thread::yield_now();
        }
    }

    async fn sleep(&mut self, millis: u64) -> u64 {
        tokio::time::sleep(ms(millis)).await;
        millis
    }
}

async fn silo(options: impl FnOnce(&mut GrainOptions) + Send + 'static) -> (Silo, Arc<Threads>) {
    let threads = Arc::new(Threads::default());
    let builder = Silo::builder().service::<Threads>(threads.clone());
    let silo = builder.grain_with::<PlaceGrain>(|setup| options(&mut setup.options)).start().await.unwrap();
    (silo, threads)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_is_polled_first_on_its_callers_task_and_waits_on_its_own() {
    let (silo, _) = silo(|_| {}).await;
    let place: PlaceRef = silo.grain("here");
    let caller = async move {
        let mine = task();
        (mine, place.tasks(false).await.unwrap(), place.tasks(true).await.unwrap())
    };
    let (mine, quick, waiting) = soon(spawn(caller)).await.unwrap();
    assert_eq!(quick, (mine.clone(), mine.clone()));
    assert_eq!(waiting.0, mine);
    assert_ne!(waiting.1, mine, "the caller may go; the turn stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_type_that_says_so_never_runs_on_its_callers_task() {
    let (silo, _) = silo(|options| options.inline = false).await;
    let place: PlaceRef = silo.grain("there");
    for _ in 0..2 {
        let place = place.clone();
        let caller = async move { (task(), place.tasks(false).await.unwrap().0) };
        let (mine, turn) = soon(spawn(caller)).await.unwrap();
        assert_ne!(mine, turn);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_task_that_awaits_many_grains_uses_every_worker() {
    let (silo, threads) = silo(|_| {}).await;
    let places: Vec<PlaceRef> = (0..1_000).map(|n| silo.grain(format!("p{n}"))).collect();
    let all = async move {
        let mut calls: Vec<_> = places.iter().map(|place| Box::pin(place.meet().into_future())).collect();
        std::future::poll_fn(move |cx| {
            calls.retain_mut(|call| call.as_mut().poll(cx).map(Result::unwrap).is_pending());
            if calls.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    };
    soon(spawn(all)).await.unwrap();
    assert_eq!(threads.0.lock().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_tokio_runtime_may_call_and_end_before_the_turn_does() {
    let (silo, _) = silo(|_| {}).await;
    let place: PlaceRef = silo.grain("n");
    let foreign = place.clone();
    let caller = thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            assert_eq!(foreign.sleep(2).await.unwrap(), 2);
            assert_eq!(foreign.sleep(3).timeout(PATIENCE).await.unwrap(), 3);
            // Begun, and then its runtime is gone.
            assert!(tokio::time::timeout(ms(1), foreign.sleep(20).into_future()).await.is_err());
        });
    });
    soon(tokio::task::spawn_blocking(move || caller.join().unwrap())).await.unwrap();
    assert_eq!(soon(place.sleep(1)).await.unwrap(), 1, "the turn that sleeps belongs to the silo's runtime");
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: IntoFuture>(future: F) -> F::Output {
    assert!(Handle::try_current().is_err(), "no tokio here");
    let mut future = pin!(future.into_future());
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park_timeout(PATIENCE),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thread_without_any_runtime_may_call() {
    let (silo, _) = silo(|_| {}).await;
    let place: PlaceRef = silo.grain("n");
    let caller = thread::spawn(move || {
        assert_eq!(block_on(place.sleep(2)).unwrap(), 2);
        block_on(place.meet()).unwrap();
        place.meet().send();
        block_on(place.sleep(1)).unwrap()
    });
    assert_eq!(soon(tokio::task::spawn_blocking(move || caller.join().unwrap())).await.unwrap(), 1);
}
