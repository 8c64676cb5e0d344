//! Calling grains.

use std::time::Duration;

use gristmill::prelude::*;
use gristmill::storage::MemoryStorage;

#[grain_interface]
trait Counter {
    async fn add(&mut self, n: u64) -> u64;
    async fn get(&self) -> u64;
    async fn slow_add(&mut self, n: u64) -> u64;
    async fn fail(&mut self) -> Result<u64, String>;
    async fn blow_up(&mut self);
    async fn call_self(&mut self) -> String;
}

#[derive(Grain)]
#[grain(implements(Counter))]
struct CounterGrain {
    ctx: GrainContext<Self>,
    #[state]
    value: Persistent<u64>,
}

impl Counter for CounterGrain {
    async fn add(&mut self, n: u64) -> u64 {
        *self.value += n;
        *self.value
    }

    async fn get(&self) -> u64 {
        *self.value
    }

    async fn slow_add(&mut self, n: u64) -> u64 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        *self.value += n;
        *self.value
    }

    async fn fail(&mut self) -> Result<u64, String> {
        *self.value += 1;
        Err("no".to_owned())
    }

    async fn blow_up(&mut self) {
        *self.value += 1000;
        panic!("boom");
    }

    async fn call_self(&mut self) -> String {
        let me: CounterRef = self.ctx.grain(self.ctx.key());
        me.get().await.unwrap_err().to_string()
    }
}

#[tokio::test(start_paused = true)]
async fn state_survives_calls_and_activations() {
    let storage = MemoryStorage::new();
    let silo = Silo::builder().storage("default", storage.clone()).grain::<CounterGrain>().start().await.unwrap();
    let a: CounterRef = silo.grain("a");
    let b: CounterRef = silo.grain("b");
    assert_eq!(a.add(2).await.unwrap(), 2);
    assert_eq!(a.slow_add(3).await.unwrap(), 5);
    assert_eq!(b.get().await.unwrap(), 0);
    assert!(matches!(a.fail().await, Err(CallError::App(ref e)) if e == "no"));
    let err = a.blow_up().await.unwrap_err();
    assert!(matches!(err.cause(), Some(Cause::Panicked { .. })), "{err}");
    assert_eq!(a.get().await.unwrap(), 6);
    let text = a.call_self().await.unwrap();
    assert!(text.contains("deadlock"), "{text}");
    let _ = silo.stop().await;
    let silo = Silo::builder().storage("default", storage).grain::<CounterGrain>().start().await.unwrap();
    let a: CounterRef = silo.grain("a");
    assert_eq!(a.get().await.unwrap(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers() {
    let silo = Silo::builder().grain::<CounterGrain>().start().await.unwrap();
    let a: CounterRef = silo.grain("a");
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let a = a.clone();
        tasks.spawn(async move {
            for _ in 0..200 {
                a.add(1).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(a.get().await.unwrap(), 10_000);
}
