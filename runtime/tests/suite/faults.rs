//! Whatever part of a grain or of its storage breaks: a typed error that names the grain and the cause, nothing lost or
//! overwritten, and the silo alive.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use gristmill::StartError;
use gristmill::grains::storage::{Commit, Durability, Fence, Opened};
use gristmill::grains::{GrainId, StorageError};
use gristmill::prelude::*;
use gristmill::storage::memory::When;
use gristmill::storage::{GrainStorage, MemoryStorage};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::support::{Do, NodeGrain, NodeRef, Probe, assert_fault, ms, soon, spawn};

/// A storage that is full, slow, hangs or panics.
#[derive(Clone, Default)]
struct Odd {
    inner: MemoryStorage,
    ways: Arc<Ways>,
}

#[derive(Default)]
struct Ways {
    /// The most bytes of a commit; 0: any.
    limit: AtomicUsize,
    /// How many milliseconds each operation takes.
    slow: AtomicU32,
    /// How many of the next commits panic, or open panics.
    panics: AtomicU32,
    /// Opens never answer.
    hangs: AtomicBool,
    /// Commits are answered with nothing at all.
    speechless: AtomicBool,
}

impl Odd {
    async fn way(&self) {
        let slow = self.ways.slow.load(SeqCst);
        if slow > 0 {
            tokio::time::sleep(ms(slow.into())).await;
        }
        if self.ways.panics.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
            panic!("the adapter is broken");
        }
    }
}

#[async_trait::async_trait]
impl GrainStorage for Odd {
    fn durability(&self) -> Durability {
        self.inner.durability()
    }

    async fn open(&self, grain: &GrainId, fence: Fence) -> Result<Opened, StorageError> {
        self.way().await;
        if self.ways.hangs.load(SeqCst) {
            std::future::pending().await
        }
        self.inner.open(grain, fence).await
    }

    async fn commit(&self, batch: &[Commit]) -> Vec<Result<(), StorageError>> {
        self.way().await;
        let mut answers = Vec::new();
        for commit in batch {
            let size = commit.records.iter().filter_map(|record| record.body.as_ref()).map(bytes::Bytes::len).sum();
            let limit = self.ways.limit.load(SeqCst);
            let fits = limit == 0 || size <= limit;
            answers.push(match fits {
                true => self.inner.commit(std::slice::from_ref(commit)).await.remove(0),
                false => Err(StorageError::TooLarge { size, limit }),
            });
        }
        if self.ways.speechless.load(SeqCst) { Vec::new() } else { answers }
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

async fn nodes(storage: &Odd) -> (Silo, Arc<Probe>) {
    let probe = Arc::new(Probe::default());
    let builder = Silo::builder().storage("default", storage.clone()).service::<Probe>(probe.clone());
    let options = SiloOptions { activation_timeout: ms(2_000), ..SiloOptions::default() };
    (builder.options(options).grain::<NodeGrain>().start().await.unwrap(), probe)
}

#[tokio::test(start_paused = true)]
async fn a_state_that_is_too_large_fails_its_turn_and_keeps_what_was_stored() {
    let storage = Odd::default();
    let (silo, probe) = nodes(&storage).await;
    let node: NodeRef = silo.grain("n");
    node.write(vec![Do::Push(1)]).await.unwrap();
    storage.ways.limit.store(100, SeqCst);
    let big: Vec<_> = (0..100).map(Do::Push).collect();
    let send = [Do::Send("m".into(), vec![Do::Note("never".into())])];
    let fault = assert_fault!(node.write([&big[..], &send].concat()).await, Cause::Storage { .. }, true);
    let text = fault.to_string();
    assert!(text.contains("node/n.write") && text.contains("\"default\"") && text.contains("too large"), "{text}");
    assert_eq!(soon(node.write(vec![Do::Push(2)])).await.unwrap(), [1, 2]);
    // Also at a commit point: the turn learns it there.
    let fault = assert_fault!(node.write([&big[..], &[Do::Commit]].concat()).await, _, true);
    assert!(fault.to_string().contains("too large"), "{fault}");
    assert!(probe.faults()[0].to_string().contains("too large"), "{:?}", probe.faults());
    assert_eq!(soon(node.list()).await.unwrap(), [1, 2]);
    assert!(!probe.has("never"));
}

#[tokio::test(start_paused = true)]
async fn a_slow_storage_slows_writes_and_refuses_none() {
    let storage = Odd::default();
    let (silo, _) = nodes(&storage).await;
    storage.ways.slow.store(300, SeqCst);
    let before = Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..100 {
        let node: NodeRef = silo.grain(format!("n{}", number % 10));
        writers.spawn(async move {
            for n in 0..5 {
                node.write(vec![Do::Push(number * 10 + n)]).await.unwrap();
            }
        });
    }
    soon(writers.join_all()).await;
    assert!(before.elapsed() < ms(10_000), "{:?}", before.elapsed());
    for number in 0..10 {
        assert_eq!(silo.grain::<NodeRef>(format!("n{number}")).list().await.unwrap().len(), 50);
    }
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_never_answers_an_activation_is_named() {
    let storage = Odd::default();
    let (silo, _) = nodes(&storage).await;
    storage.ways.hangs.store(true, SeqCst);
    let node: NodeRef = silo.grain("n");
    let before = Instant::now();
    let fault = assert_fault!(node.list().await, Cause::Storage { .. }, false);
    assert!(before.elapsed() < ms(2_100), "{:?}", before.elapsed());
    let text = fault.to_string();
    assert!(text.contains("node/n.list") && text.contains("\"default\""), "{text}");
    storage.ways.hangs.store(false, SeqCst);
    tokio::time::sleep(ms(100)).await;
    assert_eq!(node.write(vec![Do::Push(1)]).await.unwrap(), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_panics_or_says_nothing_loses_no_commit() {
    let storage = Odd::default();
    let (silo, _) = nodes(&storage).await;
    let node: NodeRef = silo.grain("n");
    node.write(vec![Do::Push(1)]).await.unwrap();
    storage.ways.panics.store(2, SeqCst);
    assert_eq!(soon(node.write(vec![Do::Push(2)])).await.unwrap(), [1, 2]);
    storage.ways.panics.store(1, SeqCst);
    let fault = assert_fault!(silo.grain::<NodeRef>("m").list().await, Cause::ActivationFailed { .. }, false);
    assert!(fault.to_string().contains("the adapter is broken"), "{fault}");
    // Applied, and the answers forgotten.
    storage.ways.speechless.store(true, SeqCst);
    let silent = node.clone();
    let write = spawn(async move { silent.write(vec![Do::Push(3)]).await });
    tokio::time::sleep(ms(500)).await;
    assert!(!write.is_finished());
    storage.ways.speechless.store(false, SeqCst);
    assert_eq!(crate::support::ended(write).await.unwrap(), [1, 2, 3]);
    assert_eq!(soon(node.write(vec![Do::Push(4)])).await.unwrap(), [1, 2, 3, 4], "and once only");
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_is_down_at_the_start_is_named_and_a_later_start_finds_its_data() {
    let storage = MemoryStorage::new();
    let start = || {
        let options = SiloOptions { activation_timeout: ms(500), ..SiloOptions::default() };
        let silo = Silo::builder().options(options).storage("default", storage.clone());
        silo.service::<Probe>(Arc::new(Probe::default())).grain::<NodeGrain>().start()
    };
    let silo = start().await.unwrap();
    silo.grain::<NodeRef>("n").write(vec![Do::Push(1)]).await.unwrap();
    let _ = silo.stop().await;
    storage.faults().fail_all(When::Before);
    for _ in 0..2 {
        let refused = start().await.unwrap_err();
        assert!(matches!(refused, StartError::Storage { ref name, .. } if name == "default"), "{refused:?}");
        assert!(refused.to_string().contains("injected"), "{refused}");
    }
    storage.faults().hold(When::Before); // it takes requests, and never answers
    let refused = soon(start()).await.unwrap_err();
    assert!(refused.to_string().contains("no answer"), "{refused}");
    storage.faults().heal();
    let silo = crate::support::spawn(start()).await.unwrap().unwrap(); // on any task
    assert_eq!(silo.grain::<NodeRef>("n").write(vec![Do::Push(2)]).await.unwrap(), [1, 2]);
}

/// A value that cannot be written, or be read.
#[derive(Default)]
struct Brittle(String);

impl Serialize for Brittle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_str() {
            "unwritable" => Err(serde::ser::Error::custom("has no form")),
            "panics" => panic!("cannot be written"),
            text => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Brittle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "unreadable" {
            panic!("cannot be read");
        }
        Ok(Self(text))
    }
}

#[grain_interface]
trait Vase {
    async fn fill(&mut self, with: String);
    async fn holds(&self) -> String;
    async fn spoil(&mut self);
}

#[derive(Grain)]
#[grain(implements(Vase))]
struct VaseGrain {
    ctx: GrainContext<Self>,
    #[state]
    inside: Persistent<Brittle>,
}

impl Vase for VaseGrain {
    async fn fill(&mut self, with: String) {
        self.inside.0 = with;
    }

    async fn holds(&self) -> String {
        self.inside.0.clone()
    }

    async fn spoil(&mut self) {
        self.ctx.spawn(async { panic!("spoilt") }).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_state_that_cannot_be_written_fails_its_turn_and_keeps_what_was_stored() {
    let silo = Silo::builder().grain::<VaseGrain>().start().await.unwrap();
    let vase: VaseRef = silo.grain("v");
    vase.fill("water".into()).await.unwrap();
    let fault = assert_fault!(vase.fill("unwritable".into()).await, Cause::Codec { .. }, true);
    let text = fault.to_string();
    assert!(text.contains("vase/v.fill") && text.contains("\"inside\"") && text.contains("has no form"), "{text}");
    assert_eq!(soon(vase.holds()).await.unwrap(), "water");
    let fault = assert_fault!(vase.fill("panics".into()).await, Cause::Panicked { .. }, true);
    assert!(fault.to_string().contains("cannot be written"), "{fault}");
    assert_eq!(soon(vase.holds()).await.unwrap(), "water");
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_a_record_is_read_fails_the_activation_and_leaves_the_record() {
    let storage = MemoryStorage::new();
    let silo = Silo::builder().storage("default", storage.clone()).grain::<VaseGrain>().start().await.unwrap();
    silo.grain::<VaseRef>("v").fill("unreadable".into()).await.unwrap();
    let _ = silo.stop().await;
    let silo = Silo::builder().storage("default", storage.clone()).grain::<VaseGrain>().start().await.unwrap();
    let fault = assert_fault!(silo.grain::<VaseRef>("v").fill("x".into()).await, Cause::ActivationFailed { .. }, false);
    assert!(fault.to_string().contains("vase/v.fill") && fault.to_string().contains("cannot be read"), "{fault}");
    silo.grain::<VaseRef>("w").fill("water".into()).await.unwrap();
    let _ = silo.stop().await;
    let thief = Fence { epoch: 1 << 45, activation: gristmill::grains::ActivationId::from_u128(1) };
    let stored = storage.open(&silo.grain::<VaseRef>("v").id(), thief).await.unwrap();
    assert!(stored.records[0].body.as_ref().unwrap().ends_with(b"\"unreadable\""), "{stored:?}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_spawned_work_ends_that_work_only() {
    let silo = Silo::builder().grain::<VaseGrain>().start().await.unwrap();
    let vase: VaseRef = silo.grain("v");
    vase.fill("water".into()).await.unwrap();
    vase.spoil().await.unwrap();
    tokio::time::sleep(ms(10)).await;
    assert_eq!(vase.holds().await.unwrap(), "water");
    assert_eq!(silo.metrics().grain("vase").unwrap().activated, 1);
}

#[derive(Debug)]
struct Unmade;

impl Default for Unmade {
    fn default() -> Self {
        panic!("not today")
    }
}

#[grain_interface]
trait Dud {
    async fn call(&self);
}

/// A grain whose value cannot be made.
macro_rules! dud {
    ($name:ident $(, $option:ident = $value:literal)?) => {
        #[derive(Grain)]
        #[grain(implements(Dud) $(, $option = $value)?)]
        struct $name {
            #[allow(dead_code)]
            part: Unmade,
        }

        impl Dud for $name {
            async fn call(&self) {}
        }
    };
}

dud!(DudGrain);
dud!(DudWorker, stateless_worker = 4);

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_constructor_reaches_every_caller_also_of_workers() {
    for builder in [Silo::builder().grain::<DudGrain>(), Silo::builder().grain::<DudWorker>()] {
        let silo = builder.grain::<VaseGrain>().start().await.unwrap();
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let dud: DudRef = silo.grain("d");
            callers.spawn(async move { dud.call().timeout(Duration::from_secs(5)).await });
        }
        for outcome in soon(callers.join_all()).await {
            let fault = assert_fault!(outcome, Cause::ActivationFailed { .. }, false);
            assert!(fault.to_string().contains("dud/d.call") && fault.to_string().contains("not today"), "{fault}");
        }
        assert_eq!(silo.grain::<VaseRef>("v").holds().await.unwrap(), "", "the silo lives");
    }
}
