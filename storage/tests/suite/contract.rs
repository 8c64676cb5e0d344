//! Every adapter keeps the contract.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use gristmill_grains::GrainId;
use gristmill_grains::storage::{Commit, Durability, Fence, GrainStorage, MAX_COUNTER, Opened, StorageError, WriteId};
use gristmill_storage::contract::restarts::restart_is_told_before_an_answer;
use gristmill_storage::contract::{Options, Rig, sequences};
use gristmill_storage::{EmbeddedStorage, MemoryStorage, RedisClusterStorage, RedisStorage, contract};
use gristmill_test_servers::{RedisCluster, RedisOptions, RedisServer};
use tokio::sync::watch;

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_the_contract() {
    contract::all(MemoryStorage::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    contract::all(EmbeddedStorage::open(dir.path().join("game.redb")).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_keeps_the_contract() {
    let server = RedisServer::start(RedisOptions::default());
    contract::all(RedisStorage::connect(server.url()).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_cluster_keeps_the_contract() {
    let cluster = RedisCluster::start(3);
    contract::all(RedisClusterStorage::connect(cluster.urls()).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_are_told_as_the_contract_says() {
    let memory = MemoryStorage::new();
    let faults = memory.faults();
    restart_is_told_before_an_answer(&Rig::new(Arc::new(memory)).await, async { faults.restore(&faults.snapshot()) })
        .await;
    for options in [RedisOptions::fsync(), RedisOptions::default()] {
        let mut server = RedisServer::start(options);
        let storage = Arc::new(RedisStorage::connect(server.url()).await.unwrap());
        restart_is_told_before_an_answer(&Rig::new(storage).await, async { server.restart() }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn missed_restart_is_found() {
    let memory = MemoryStorage::new();
    let (faults, storage) = (memory.faults(), Mistaken(memory, MissesRestarts));
    let rig = Rig::new(Arc::new(storage)).await;
    let restart = async { faults.restore(&faults.snapshot()) };
    let found = verdict(restart_is_told_before_an_answer(&rig, restart)).await;
    assert!(found.expect_err("a mistake").contains("told no later than the answer"));
}

/// A storage with one of the mistakes that the contract is there to stop.
struct Mistaken(MemoryStorage, Mistake);

#[derive(Clone, Copy, PartialEq, Debug)]
enum Mistake {
    /// A commit with a larger epoch raises the fence.
    CommitRaisesTheFence,
    /// The activation of a fence is not looked at.
    EpochsAlone,
    /// A commit that is sent again is another one.
    ForgetsWriteIds,
    /// Records of a commit are written one by one.
    TearsCommits,
    /// Cleared records are left out.
    HidesTombstones,
    /// Counters are 32-bit floats.
    RoundsEpochs,
    /// A commit without records is done, as there is nothing to do.
    TakesEmptyCommits,
    /// A restart is not looked for.
    MissesRestarts,
    /// Answers are in the opposite order.
    TurnsAnswers,
    /// The floor of a run is ignored.
    IgnoresTheFloor,
}

use Mistake::*;

#[async_trait]
impl GrainStorage for Mistaken {
    fn durability(&self) -> Durability {
        self.0.durability()
    }

    async fn open(&self, grain: &GrainId, mut fence: Fence) -> Result<Opened, StorageError> {
        match self.1 {
            EpochsAlone => fence.activation = gristmill_grains::ActivationId::from_u128(0),
            RoundsEpochs => fence.epoch = (fence.epoch as f32) as u64,
            _ => {}
        }
        let mut opened = self.0.open(grain, fence).await?;
        opened.records.retain(|record| self.1 != HidesTombstones || record.body.is_some());
        Ok(opened)
    }

    async fn commit(&self, batch: &[Commit]) -> Vec<Result<(), StorageError>> {
        let mut answers = Vec::new();
        for commit in batch {
            let mut commit = commit.clone();
            match self.1 {
                CommitRaisesTheFence => drop(self.0.open(&commit.grain, commit.fence).await),
                EpochsAlone => commit.fence.activation = gristmill_grains::ActivationId::from_u128(0),
                RoundsEpochs => commit.fence.epoch = (commit.fence.epoch as f32) as u64,
                ForgetsWriteIds => commit.write = WriteId(self.0.faults().counts().commits + 1),
                TearsCommits if !commit.records.is_empty() => {
                    let last = commit.records.split_off(commit.records.len() - 1);
                    for record in std::mem::replace(&mut commit.records, last) {
                        // Any id that nobody else has.
                        let write = WriteId(MAX_COUNTER / 2 + self.0.faults().counts().commits);
                        self.0.commit(&[Commit { records: vec![record], write, ..commit.clone() }]).await;
                    }
                }
                TakesEmptyCommits if commit.records.is_empty() => {
                    answers.push(Ok(()));
                    continue;
                }
                _ => {}
            }
            answers.extend(self.0.commit(&[commit]).await);
        }
        if self.1 == TurnsAnswers {
            answers.reverse();
        }
        answers
    }

    async fn begin_run(&self, floor: u64) -> Result<u64, StorageError> {
        self.0.begin_run(if self.1 == IgnoresTheFloor { 0 } else { floor }).await
    }

    async fn run(&self) -> Result<u64, StorageError> {
        self.0.run().await
    }

    fn restarts(&self) -> watch::Receiver<u64> {
        if self.1 == MissesRestarts { watch::channel(0).1 } else { self.0.restarts() }
    }
}

/// How the suite ends for a storage; `Err` is the message of its panic.
async fn verdict(suite: impl Future<Output = ()>) -> Result<(), String> {
    let ended = AssertUnwindSafe(suite).catch_unwind().await;
    ended.map_err(|panic| panic.downcast_ref::<String>().cloned().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_is_found_by_the_cases() {
    for mistake in [
        CommitRaisesTheFence,
        EpochsAlone,
        ForgetsWriteIds,
        TearsCommits,
        HidesTombstones,
        RoundsEpochs,
        TurnsAnswers,
        IgnoresTheFloor,
        TakesEmptyCommits,
    ] {
        let storage = Mistaken(MemoryStorage::new(), mistake);
        let no_sequences = Options { sequences: 0, ..Options::default() };
        let found = verdict(async move { contract::all_with(storage, &no_sequences).await }).await;
        assert!(found.is_err(), "{mistake:?} is not found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_of_state_is_found_by_sequences_and_shrunk() {
    for mistake in [CommitRaisesTheFence, EpochsAlone, ForgetsWriteIds, TearsCommits, HidesTombstones, TurnsAnswers] {
        let storage = Arc::new(Mistaken(MemoryStorage::new(), mistake));
        let found = verdict(async move {
            sequences::agree_with_the_model(&Rig::new(storage).await, &Options::default()).await;
        });
        let message = found.await.expect_err("a mistake");
        let steps = message.matches("Open {").count()
            + message.matches("Commit(").count()
            + message.matches("Resend {").count();
        assert!(message.contains("after the steps (seed 0)"), "{message}");
        assert!((1..=6).contains(&steps), "{mistake:?} is shown in {steps} steps:\n{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_may_be_tested_twice() {
    let storage = MemoryStorage::new();
    contract::all(storage.clone()).await;
    contract::all(storage).await;
}
