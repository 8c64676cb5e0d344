//! The storage port: what an adapter (memory, redb, Redis, yours) must do.
//!
//! # The contract
//!
//! A storage holds, per grain, one [`Fence`], the id of the last write, and any number of named records, each with a
//! version. Everything of one grain changes together, atomically; nothing here spans two grains.
//!
//! - [`open`](GrainStorage::open) is the only operation that raises a fence, and is also the read. It succeeds iff the
//!   given epoch is larger than the stored fence's, or both parts of the fence are equal, or no fence is stored. It
//!   stores the fence *even when the grain has no record yet*.
//! - [`commit`](GrainStorage::commit) succeeds iff the stored fence equals the given one **exactly** and every record
//!   has the expected version. Then all records of it change together. A commit whose [`WriteId`] equals the stored one,
//!   and whose activation wrote it, has been applied already: it answers as it did the first time and changes nothing. So a
//!   commit whose answer was lost is settled by sending it again, and never by reading: a read cannot tell that a
//!   straggler will not land later.
//! - A commit that was refused leaves nothing behind, its write id neither: it may be corrected and sent under the same one.
//! - A commit without records is refused as [`StorageError::Invalid`]: no version would stop it if it came late, so it
//!   could set the last write back.
//! - A commit with `body: None` clears a record: a tombstone that keeps its version. So a zombie's old write cannot
//!   bring it back.
//! - An adapter may forget fences of grains that have only tombstones after [`FENCE_RETENTION`]; that is the longest
//!   pause of a silo survived without lease checks.
//!
//! "Exactly equal" and "a fence without records" are what stop a zombie: with "not older" it comes back through a
//! missing record, a clear, or an equal epoch.
//!
//! Answers are of two kinds: *definite* ([`StorageError::is_definite`]), which end the activation, and *transient*,
//! which say nothing about the outcome: the runtime sends the same commit again, with the same write id.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{ActivationId, GrainId};

/// Epochs and versions stay below 2^53, so that a store that counts in doubles (Redis' Lua) keeps them exact.
pub const MAX_COUNTER: u64 = 1 << 53;

/// How long an adapter keeps the fence of a grain that has no record, or only cleared ones.
pub const FENCE_RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// Who may write a grain: the epoch the directory gave, and the activation it gave it to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Fence {
    /// Grows with every owner of the grain; below [`MAX_COUNTER`].
    pub epoch: u64,
    /// The owner.
    pub activation: ActivationId,
}

impl Fence {
    /// May this fence replace `stored`, by the rule of [`GrainStorage::open`]?
    pub fn opens(&self, stored: Option<Fence>) -> bool {
        stored.is_none_or(|stored| self.epoch > stored.epoch || *self == stored)
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.activation)
    }
}

/// Names one commit among those of one activation: it counts them. Settles a commit whose answer was lost.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct WriteId(pub u64);

/// One record as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredRecord {
    /// The record's name, unique within its grain.
    pub name: String,
    /// One more with every commit that changed the record; 0 = never written.
    pub version: u64,
    /// The enveloped state; `None` once cleared.
    pub body: Option<Bytes>,
}

/// What [`GrainStorage::open`] found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Opened {
    /// Every record of the grain, tombstones included, sorted by name.
    pub records: Vec<StoredRecord>,
    /// The last write of the grain: who wrote, and which of its writes. `None` = never written.
    pub last_write: Option<(ActivationId, WriteId)>,
}

/// A change of one record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordWrite {
    /// The record's name.
    pub name: String,
    /// The version it must have now (0 = never written).
    pub expect: u64,
    /// The version it gets: `expect + 1`, except when a store that lost its tail is restored, where it may be larger.
    pub version: u64,
    /// The enveloped state; `None` clears the record.
    pub body: Option<Bytes>,
}

/// All changes of one grain's turn, applied together or not at all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Commit {
    /// The grain.
    pub grain: GrainId,
    /// Must equal the stored fence exactly.
    pub fence: Fence,
    /// Identifies this commit among those of `fence`.
    pub write: WriteId,
    /// The records, at least one; names are distinct.
    pub records: Vec<RecordWrite>,
}

/// What an acknowledged write survives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Durability {
    /// Lost with the process that holds it.
    Memory,
    /// Handed to the operating system: survives a kill of the server, not a power cut.
    Os,
    /// On disk before it is acknowledged.
    Fsync,
    /// Received by so many replicas before it is acknowledged.
    Replicated(u8),
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::Os => f.write_str("os"),
            Self::Fsync => f.write_str("fsync"),
            Self::Replicated(n) => write!(f, "replicated({n})"),
        }
    }
}

/// Why a storage did not do what it was asked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StorageError {
    /// Definite: another activation holds the fence. `seen` is what is stored (`None`: the store has no fence at all,
    /// which after an open means that it lost data).
    #[error("fenced: the store's fence is {}", seen.map_or_else(|| "missing".to_owned(), |f| f.to_string()))]
    Fenced {
        /// The stored fence.
        seen: Option<Fence>,
    },
    /// Definite: a record has another version than the commit expected.
    #[error("conflict: record {record:?} has version {found}, expected {expected}")]
    Conflict {
        /// The record's name.
        record: String,
        /// The version the commit expected.
        expected: u64,
        /// The stored version.
        found: u64,
    },
    /// Definite: what is stored cannot be understood. It is never overwritten.
    #[error("unreadable: {detail}")]
    Unreadable {
        /// What is wrong with it.
        detail: String,
    },
    /// Definite: the commit is larger than the store takes.
    #[error("too large: {size} bytes, the limit is {limit}")]
    TooLarge {
        /// Bytes of the commit's bodies.
        size: usize,
        /// The store's limit.
        limit: usize,
    },
    /// Definite: the store is set up so that it cannot keep what it acknowledges; says what to set.
    #[error("misconfigured: {detail}")]
    Misconfigured {
        /// What to set.
        detail: String,
    },
    /// Definite: the commit breaks the contract; a mistake of the caller.
    #[error("invalid: {detail}")]
    Invalid {
        /// What is wrong with it.
        detail: String,
    },
    /// Transient: not reached, loading, out of memory, read-only, or no answer in time. The outcome is unknown.
    #[error("unavailable: {detail}")]
    Unavailable {
        /// What the store or its client said.
        detail: String,
    },
}

impl StorageError {
    /// Is the outcome known to be "not done, and will not be"? A transient error says nothing about the outcome.
    pub fn is_definite(&self) -> bool {
        !matches!(self, Self::Unavailable { .. })
    }

    /// A transient error with this explanation.
    pub fn unavailable(detail: impl fmt::Display) -> Self {
        Self::Unavailable { detail: detail.to_string() }
    }
}

/// A store of grain state. See the [module docs](self) for the contract; `gristmill_storage::contract` tests it.
///
/// Every method may be cancelled (dropped) at any await: the operation then has happened or not, as after a transient
/// error.
#[async_trait]
pub trait GrainStorage: Send + Sync + 'static {
    /// What an acknowledged commit survives.
    fn durability(&self) -> Durability;

    /// Raises the grain's fence and reads all its records. See the [module docs](self).
    async fn open(&self, grain: &GrainId, fence: Fence) -> Result<Opened, StorageError>;

    /// Applies commits of different grains, each atomic by itself; the answers are in their order. Called with at most
    /// [`MAX_BATCH`] commits; several calls may run at once, never two with the
    /// same activation of a grain.
    async fn commit(&self, batch: &[Commit]) -> Vec<Result<(), StorageError>>;

    /// Raises the storage's run counter to at least `floor + 1` and returns it. A silo without a cluster calls it once
    /// at start: a later run that opened this storage is noticed by [`run`](Self::run).
    async fn begin_run(&self, floor: u64) -> Result<u64, StorageError>;

    /// The run counter (0 = never begun).
    async fn run(&self) -> Result<u64, StorageError>;

    /// Is it several servers, of which some may be away while the others answer? Then commits that fail say nothing of
    /// other grains' commits, and while it counts as down a write is let through now and then.
    fn is_in_parts(&self) -> bool {
        false
    }

    /// Grows by one whenever the adapter sees that the serving process is another than before (a restart, a
    /// fail-over), so that acknowledged writes may be gone. The runtime then opens its live grains again with their own
    /// fence and restores what the store has lost. A storage that lives and dies with the silo never changes it.
    fn restarts(&self) -> watch::Receiver<u64>;
}

/// The most commits in one [`GrainStorage::commit`] call.
pub const MAX_BATCH: usize = 512;
