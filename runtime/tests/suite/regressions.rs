//! Bugs that were found, so that they stay found.

use std::time::Duration;

use gristmill::prelude::*;
use gristmill::storage::MemoryStorage;
use gristmill::storage::memory::When;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::{ms, soon};

const LONG: Duration = Duration::from_secs(3600);

#[grain_interface]
trait Ticker {
    async fn tick_then_stop(&mut self) -> u64;
    async fn ticks(&self) -> u64;
    async fn tick_once_after_5s(&mut self);
    async fn add(&mut self) -> u64;
    async fn hang(&mut self);
}

#[derive(Grain)]
#[grain(implements(Ticker))]
struct TickerGrain {
    ctx: GrainContext<Self>,
    ticks: u64,
    #[state]
    count: Persistent<u64>,
}

impl TickerGrain {
    async fn tick(&mut self) {
        self.ticks += 1;
    }
}

impl Ticker for TickerGrain {
    async fn tick_then_stop(&mut self) -> u64 {
        let timer = self.ctx.every(ms(10), Self::tick).unwrap();
        tokio::time::sleep(ms(30)).await; // a tick is queued behind this turn by now
        timer.stop();
        self.ticks
    }

    async fn ticks(&self) -> u64 {
        self.ticks
    }

    async fn tick_once_after_5s(&mut self) {
        self.ctx.after(Duration::from_secs(5), Self::tick).unwrap();
    }

    async fn add(&mut self) -> u64 {
        *self.count += 1;
        *self.count
    }

    async fn hang(&mut self) {
        std::future::pending().await
    }
}

async fn ticker(storage: &MemoryStorage) -> (Silo, TickerRef) {
    let silo = Silo::builder().storage("default", storage.clone()).grain::<TickerGrain>().start().await.unwrap();
    let grain = silo.grain("a");
    (silo, grain)
}

#[tokio::test(start_paused = true)]
async fn a_tick_that_waits_does_not_begin_once_its_timer_is_stopped() {
    let (_silo, grain) = ticker(&MemoryStorage::new()).await;
    let at_stop = grain.tick_then_stop().await.unwrap();
    tokio::time::sleep(ms(100)).await;
    assert_eq!(grain.ticks().await.unwrap(), at_stop);
}

#[tokio::test(start_paused = true)]
async fn a_one_shot_that_falls_into_an_outage_ticks_after_it() {
    let storage = MemoryStorage::new();
    let (silo, grain) = ticker(&storage).await;
    grain.tick_once_after_5s().await.unwrap();
    let other: TickerRef = silo.grain("b");
    other.add().await.unwrap();
    storage.faults().fail_all(When::Before);
    other.add().timeout(Duration::from_secs(3)).await.unwrap_err();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(grain.ticks().await.unwrap(), 0, "the outage covers the tick");
    storage.faults().heal();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(grain.ticks().await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_longest_duration_means_no_limit() {
    let options = SiloOptions {
        call_timeout: Duration::MAX,
        activation_timeout: Duration::MAX,
        drain_timeout: Duration::MAX,
        stuck_after: Duration::MAX,
        ..SiloOptions::default()
    };
    let silo = Silo::builder()
        .options(options)
        .grain_with::<TickerGrain>(|setup| {
            setup.options.turn_limit = Duration::MAX;
            setup.options.idle = Some(Duration::MAX);
        })
        .start()
        .await
        .unwrap();
    let (a, b): (TickerRef, TickerRef) = (silo.grain("a"), silo.grain("b"));
    assert_eq!(a.ticks().timeout(Duration::MAX).await.unwrap(), 0);
    timeout(LONG, a.hang()).await.unwrap_err();
    // The sweeper has looked at that turn all the while, and still ends other calls.
    let error = soon(async { silo.grain::<TickerRef>("a").add().timeout(ms(500)).await }).await.unwrap_err();
    assert!(matches!(error.cause(), Some(Cause::Timeout)), "{error}");
    assert_eq!(b.add().await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_held_back_by_an_outage_is_bounded() {
    let storage = MemoryStorage::new();
    let (_silo, grain) = ticker(&storage).await;
    grain.add().await.unwrap();
    storage.faults().fail_all(When::Before);
    grain.add().send();
    tokio::time::sleep(ms(50)).await;
    let mut readers = JoinSet::new();
    for _ in 0..12_000 {
        let grain = grain.clone();
        readers.spawn(async move { grain.ticks().timeout(Duration::from_secs(1)).await });
    }
    let outcomes = readers.join_all().await;
    let overloaded = |outcome: &Result<_, CallError>| {
        matches!(outcome.as_ref().unwrap_err().cause(), Some(Cause::Overloaded { .. }))
    };
    assert_eq!(outcomes.iter().filter(|outcome| overloaded(outcome)).count(), 2_001, "the write is held, too");
    tokio::time::sleep(ms(200)).await; // the sweeper's round
    let error = grain.ticks().timeout(ms(10)).await.unwrap_err();
    assert!(matches!(error.cause(), Some(Cause::Timeout)), "what timed out makes room: {error}");
    storage.faults().heal();
    assert_eq!(soon(grain.ticks()).await.unwrap(), 0);
}

#[grain_interface]
trait Pair {
    async fn set(&mut self);
    async fn get(&self) -> (u64, u64);
}

#[derive(Grain)]
#[grain(implements(Pair), several_storages)]
struct PairGrain {
    #[state(storage = "one")]
    a: Persistent<u64>,
    #[state(storage = "two")]
    b: Persistent<u64>,
}

impl Pair for PairGrain {
    async fn set(&mut self) {
        *self.a += 1;
        *self.b += 1;
    }

    async fn get(&self) -> (u64, u64) {
        (*self.a, *self.b)
    }
}

#[tokio::test(start_paused = true)]
async fn two_names_for_one_store_lose_no_commit() {
    let storage = MemoryStorage::new();
    for expected in [(0, 0), (1, 1)] {
        let builder = Silo::builder().storage("one", storage.clone()).storage("two", storage.clone());
        let silo = builder.grain::<PairGrain>().start().await.unwrap();
        let pair: PairRef = silo.grain("a");
        assert_eq!(pair.get().await.unwrap(), expected);
        pair.set().await.unwrap();
        let _ = silo.stop().await;
    }
}

#[grain_interface]
trait Windows {
    async fn slow(&mut self);
    async fn quick(&mut self);
}

#[derive(Grain)]
#[grain(implements(Windows))]
struct WindowsGrain {
    #[state(every = "100s")]
    slow: Persistent<u64>,
    #[state(every = "1s")]
    quick: Persistent<u64>,
}

impl Windows for WindowsGrain {
    async fn slow(&mut self) {
        *self.slow += 1;
    }

    async fn quick(&mut self) {
        *self.quick += 1;
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_window_is_kept_beside_a_long_one() {
    let storage = MemoryStorage::new();
    let silo = Silo::builder().storage("default", storage.clone()).grain::<WindowsGrain>().start().await.unwrap();
    let grain: WindowsRef = silo.grain("a");
    grain.slow().await.unwrap();
    grain.quick().await.unwrap();
    assert_eq!(storage.faults().counts().commits, 0);
    tokio::time::sleep(ms(1_200)).await;
    assert_eq!(storage.faults().counts().commits, 1);
}

#[grain_interface]
trait Cells {
    async fn touch_windowed(&self);
    async fn add_and_linger(&self);
    async fn add_and_delay(&self) -> u64;
}

#[derive(Grain)]
#[grain(implements(Cells))]
struct CellsGrain {
    ctx: GrainContext<Self>,
    #[state(every = "1s")]
    windowed: PersistentCell<u64>,
    #[state]
    durable: PersistentCell<u64>,
}

impl Cells for CellsGrain {
    async fn touch_windowed(&self) {
        self.windowed.update(|value| *value += 1);
    }

    async fn add_and_linger(&self) {
        self.durable.update(|value| *value += 1);
        tokio::time::sleep(Duration::from_secs(2)).await;
    }

    async fn add_and_delay(&self) -> u64 {
        self.durable.update(|value| {
            *value += 1;
            self.ctx.delay_deactivation(Duration::from_secs(1)); // takes the activation's lock under the cell's
            *value
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_window_that_closes_within_a_turn_does_not_let_its_reply_out_early() {
    let storage = MemoryStorage::new();
    let silo = Silo::builder().storage("default", storage.clone()).grain::<CellsGrain>().start().await.unwrap();
    let grain: CellsRef = silo.grain("a");
    grain.touch_windowed().await.unwrap();
    storage.faults().hold(When::Before);
    let error = grain.add_and_linger().timeout(Duration::from_secs(20)).await.unwrap_err();
    assert!(matches!(error.cause(), Some(Cause::Timeout)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cell_may_call_its_context_while_turns_end_beside_it() {
    let silo = Silo::builder().grain::<CellsGrain>().start().await.unwrap();
    let mut callers = JoinSet::new();
    for _ in 0..4 {
        let grain: CellsRef = silo.grain("a");
        callers.spawn(async move {
            for _ in 0..2_000 {
                grain.add_and_delay().await.unwrap();
            }
        });
    }
    soon(callers.join_all()).await;
    assert_eq!(silo.grain::<CellsRef>("a").add_and_delay().await.unwrap(), 8_001);
}

#[tokio::test(start_paused = true)]
async fn a_reference_made_after_the_stop_says_that_the_silo_has_stopped() {
    let (silo, _) = ticker(&MemoryStorage::new()).await;
    let _ = silo.stop().await;
    let error = silo.grain::<TickerRef>("a").ticks().await.unwrap_err();
    assert!(matches!(error.cause(), Some(Cause::SiloUnavailable { .. })), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeout_is_kept_on_a_thread_without_a_runtime() {
    let (_silo, grain) = ticker(&MemoryStorage::new()).await;
    let call = std::thread::spawn(move || futures_block_on(async move { grain.hang().timeout(ms(300)).await }));
    let ended = soon(tokio::task::spawn_blocking(move || call.join().unwrap())).await.unwrap();
    assert!(matches!(ended.unwrap_err().cause(), Some(Cause::Timeout)));
}

/// Polls a future on this thread, which has no runtime, until it is over.
fn futures_block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut future = std::pin::pin!(future);
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            return output;
        }
        std::thread::park();
    }
}

#[grain_interface]
trait Brief {
    async fn lives(&self) -> usize;
}

#[derive(Grain)]
#[grain(implements(Brief), lifecycle)]
struct BriefGrain {
    ctx: GrainContext<Self>,
    #[service]
    lives: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

impl Lifecycle for BriefGrain {
    async fn on_activate(&mut self) -> Result<(), BoxError> {
        self.lives.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        tokio::time::sleep(ms(10)).await; // so that the call waits in the mailbox
        self.ctx.deactivate_on_idle();
        Ok(())
    }
}

impl Brief for BriefGrain {
    async fn lives(&self) -> usize {
        self.lives.load(std::sync::atomic::Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn a_grain_that_ends_itself_while_it_is_activated_serves_who_waits() {
    let lives = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let builder = Silo::builder().service::<std::sync::atomic::AtomicUsize>(lives);
    let silo = builder.grain::<BriefGrain>().start().await.unwrap();
    assert_eq!(soon(silo.grain::<BriefRef>("a").lives()).await.unwrap(), 1);
    assert_eq!(soon(silo.grain::<BriefRef>("a").lives()).await.unwrap(), 2, "the first life is over");
}
