//! What the cases share: a storage under test, fresh grains and activations, and short ways to say a commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use gristmill_grains::storage::{
    Commit, Fence, GrainStorage, Opened, RecordWrite, StorageError, StoredRecord, WriteId,
};
use gristmill_grains::{ActivationId, GrainId, GrainType};

/// The type of the grains that the suite makes.
pub(super) const TYPE: GrainType = GrainType::new("contract");

/// A storage under test, and a source of grains that nobody has used in it.
#[derive(Clone)]
pub struct Rig {
    storage: Arc<dyn GrainStorage>,
    run: u64,
    next: Arc<AtomicU64>,
}

impl Rig {
    /// A rig for `storage`. It begins a run, whose number keeps the grains of different rigs apart.
    ///
    /// # Panics
    ///
    /// If the storage cannot be reached.
    pub async fn new(storage: Arc<dyn GrainStorage>) -> Self {
        let run = storage.begin_run(0).await.unwrap_or_else(|error| panic!("begin_run: {error}"));
        Self { storage, run, next: Arc::default() }
    }

    pub(super) fn storage(&self) -> &dyn GrainStorage {
        &*self.storage
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Distinguishes names within the storage.
    pub(super) fn unique(&self) -> String {
        format!("{}-{}", self.run, self.number())
    }

    pub(super) fn grain(&self) -> GrainId {
        GrainId::new(TYPE, self.unique())
    }

    /// A fence of a new activation.
    pub(super) fn fence(&self, epoch: u64) -> Fence {
        let activation = (u128::from(self.run) << 64) | u128::from(self.number());
        Fence { epoch, activation: ActivationId::from_u128(activation) }
    }

    /// A new grain, opened by a new activation in epoch 1.
    pub(super) async fn owner(&self) -> Owner {
        self.owner_of(self.grain(), 1).await
    }

    /// `grain`, opened by a new activation.
    pub(super) async fn owner_of(&self, grain: GrainId, epoch: u64) -> Owner {
        let fence = self.fence(epoch);
        self.must_open(&grain, fence).await;
        self.owning(grain, fence)
    }

    /// Who has opened `grain` with `fence`.
    pub(super) fn owning(&self, grain: GrainId, fence: Fence) -> Owner {
        Owner { grain, fence, writes: 0 }
    }

    pub(super) async fn open(&self, grain: &GrainId, fence: Fence) -> Result<Opened, StorageError> {
        self.storage.open(grain, fence).await
    }

    pub(super) async fn must_open(&self, grain: &GrainId, fence: Fence) -> Opened {
        match self.open(grain, fence).await {
            Ok(opened) => opened,
            Err(error) => panic!("open of {grain} with {fence}: {error}"),
        }
    }

    pub(super) async fn commit(&self, commit: &Commit) -> Result<(), StorageError> {
        let mut answers = self.storage.commit(std::slice::from_ref(commit)).await;
        assert_eq!(answers.len(), 1, "a batch of one has one answer");
        answers.remove(0)
    }

    pub(super) async fn must_commit(&self, commit: &Commit) {
        if let Err(error) = self.commit(commit).await {
            panic!("commit {commit:?}: {error}");
        }
    }

    /// The records, as the owner sees them when it opens again.
    pub(super) async fn read(&self, owner: &Owner) -> Vec<StoredRecord> {
        self.must_open(&owner.grain, owner.fence).await.records
    }
}

/// An activation that has opened a grain, and numbers its commits.
#[derive(Clone)]
pub(super) struct Owner {
    pub(super) grain: GrainId,
    pub(super) fence: Fence,
    writes: u64,
}

impl Owner {
    /// The activation's next commit.
    pub(super) fn write(&mut self, records: impl Into<Vec<RecordWrite>>) -> Commit {
        self.writes += 1;
        let (grain, write) = (self.grain.clone(), WriteId(self.writes));
        Commit { grain, fence: self.fence, write, records: records.into() }
    }
}

/// A write that expects `expect` and makes it `expect + 1`.
pub(super) fn put(name: &str, expect: u64, body: impl Into<Bytes>) -> RecordWrite {
    RecordWrite { name: name.to_owned(), expect, version: expect + 1, body: Some(body.into()) }
}

/// A clear that expects `expect`.
pub(super) fn clear(name: &str, expect: u64) -> RecordWrite {
    RecordWrite { name: name.to_owned(), expect, version: expect + 1, body: None }
}

/// A record with a body, as it is read.
pub(super) fn stored(name: &str, version: u64, body: impl Into<Bytes>) -> StoredRecord {
    StoredRecord { name: name.to_owned(), version, body: Some(body.into()) }
}

/// A cleared record, as it is read.
pub(super) fn tombstone(name: &str, version: u64) -> StoredRecord {
    StoredRecord { name: name.to_owned(), version, body: None }
}

/// Asserts that this answer names the stored fence.
#[track_caller]
pub(super) fn assert_fenced<T: std::fmt::Debug>(answer: Result<T, StorageError>, seen: Option<Fence>, clause: &str) {
    match answer {
        Err(StorageError::Fenced { seen: found }) => assert_eq!(found, seen, "{clause}: the fence seen"),
        other => panic!("{clause}: must be fenced, was {other:?}"),
    }
}

/// Asserts that this answer names the record, and both versions.
#[track_caller]
pub(super) fn assert_conflict(answer: Result<(), StorageError>, name: &str, expected: u64, found: u64, clause: &str) {
    let conflict = StorageError::Conflict { record: name.to_owned(), expected, found };
    assert_eq!(answer, Err(conflict), "{clause}");
}

/// Asserts that this commit was refused as one that breaks the contract.
#[track_caller]
pub(super) fn assert_invalid(answer: Result<(), StorageError>) {
    assert!(matches!(answer, Err(StorageError::Invalid { .. })), "must be invalid, was {answer:?}");
}
