//! An activation, and what the runtime does with transient answers.

use std::time::Duration;

use bytes::Bytes;
use gristmill_grains::storage::{Commit, Fence, GrainStorage, Opened, RecordWrite, StorageError, WriteId};
use gristmill_grains::{ActivationId, GrainId, GrainType};
use tokio::time;

/// How long anything may take that must come about.
const PATIENCE: Duration = Duration::from_secs(15);

/// An activation of a grain with one record.
#[derive(Clone)]
pub(crate) struct Owner {
    pub(crate) grain: GrainId,
    pub(crate) fence: Fence,
    /// The version of the record; the number of the last write.
    pub(crate) version: u64,
}

impl Owner {
    pub(crate) fn new(key: &str) -> Self {
        let fence = Fence { epoch: 1, activation: ActivationId::from_u128(7) };
        Self { grain: GrainId::new(GrainType::new("player"), key), fence, version: 0 }
    }

    /// A new grain, opened.
    pub(crate) async fn opened(storage: &impl GrainStorage, key: &str) -> Self {
        let owner = Self::new(key);
        owner.open(storage).await.unwrap();
        owner
    }

    pub(crate) async fn open(&self, storage: &impl GrainStorage) -> Result<Opened, StorageError> {
        storage.open(&self.grain, self.fence).await
    }

    /// The next commit; `None` clears.
    pub(crate) fn write(&mut self, body: Option<&[u8]>) -> Commit {
        let body = body.map(Bytes::copy_from_slice);
        let record = RecordWrite { name: "state".to_owned(), expect: self.version, version: self.version + 1, body };
        self.version += 1;
        Commit { grain: self.grain.clone(), fence: self.fence, write: WriteId(self.version), records: vec![record] }
    }

    /// Asserts that the store has this body in the version of the last write.
    pub(crate) async fn assert_stored(&self, storage: &impl GrainStorage, body: &[u8]) {
        let opened = self.open(storage).await.unwrap();
        let records: Vec<_> = opened.records.iter().map(|record| (record.version, record.body.as_deref())).collect();
        assert_eq!(records, [(self.version, Some(body))]);
        assert_eq!(opened.last_write, Some((self.fence.activation, WriteId(self.version))));
    }
}

/// One commit.
pub(crate) async fn commit(storage: &impl GrainStorage, commit: &Commit) -> Result<(), StorageError> {
    storage.commit(std::slice::from_ref(commit)).await.remove(0)
}

/// Sends a commit until the answer is definite, as the runtime does.
pub(crate) async fn settle(storage: &impl GrainStorage, write: &Commit) -> Result<(), StorageError> {
    let attempts = async {
        loop {
            match commit(storage, write).await {
                Err(error) if !error.is_definite() => time::sleep(Duration::from_millis(20)).await,
                definite => return definite,
            }
        }
    };
    time::timeout(PATIENCE, attempts).await.expect("a definite answer in time")
}

/// Asserts that an operation fails transiently, and in time.
pub(crate) async fn assert_unavailable<T: std::fmt::Debug>(operation: impl Future<Output = Result<T, StorageError>>) {
    let answer = time::timeout(PATIENCE, operation).await.expect("an answer in time");
    assert!(matches!(answer, Err(StorageError::Unavailable { .. })), "must be unavailable, was {answer:?}");
}

/// Asserts that this names what to set.
#[track_caller]
pub(crate) fn assert_misconfigured<T: std::fmt::Debug>(answer: Result<T, StorageError>, hint: &str) {
    match answer {
        Err(StorageError::Misconfigured { detail }) => assert!(detail.contains(hint), "{detail} names {hint}"),
        other => panic!("must be misconfigured, was {other:?}"),
    }
}
