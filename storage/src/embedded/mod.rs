//! A storage in one local file, through [redb](https://docs.rs/redb): durable state without a server.
//!
//! # What is in the file
//!
//! Three redb tables, typed, so that redb itself refuses a file whose types differ. Integers are little-endian; redb's
//! own layout of tuples and options applies.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | name: `format`, `run` or `store` | u64: the format version (now 1), the run counter, the file's random id |
//! | `grains` | (grain type, grain key) | (fence epoch u64, fence activation u128, last write: option of (activation u128, write id u64)) |
//! | `records` | (grain type, grain key, record name) | (version u64, body: option of bytes; none = cleared) |
//!
//! A file that vanishes while it is in use (an unmounted volume, say) is not made again, and another in its place is not
//! written to: operations fail with [`StorageError::Unavailable`] until the file with the same id is back.
//!
//! A file of a newer format is refused and left as it is. Fences are kept for ever: about 100 bytes per grain ever
//! activated.

mod error;
mod format;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use gristmill_grains::GrainId;
use gristmill_grains::storage::{Commit, Durability, Fence, GrainStorage, Opened, StorageError};
use tokio::sync::watch;

use crate::size;
use format::Tables;
use writer::{Opening, Writer};

/// Options of [`EmbeddedStorage`].
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// Bytes of memory for cached pages. Default 256 MiB.
    pub cache_bytes: usize,
    /// The most bytes of record bodies in one commit; above it, [`StorageError::TooLarge`]. Default 8 MiB.
    pub commit_limit: usize,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self { cache_bytes: 256 * 1024 * 1024, commit_limit: size::DEFAULT_LIMIT }
    }
}

/// Grains in one redb file. A cheap handle; the file is closed, and its lock free, when the last clone is dropped
/// (which waits for the transaction in progress).
///
/// Every acknowledged operation is on disk ([`Durability::Fsync`]); a killed process loses none. Operations that are
/// waiting together share one transaction and one fsync, each still accepted or refused by itself.
///
/// The file's lock keeps other processes out: it is the fence between two silos on one machine.
///
/// After a crash the next open verifies the whole file, at the speed of reading it.
///
/// ```
/// use gristmill_storage::{EmbeddedStorage, GrainStorage};
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("game.redb");
/// let storage = EmbeddedStorage::open(&path).await?;
/// assert_eq!(storage.begin_run(0).await?, 1);
/// drop(storage);
/// assert_eq!(EmbeddedStorage::open(&path).await?.run().await?, 1);
/// # Ok::<_, gristmill_grains::storage::StorageError>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct EmbeddedStorage {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    writer: Writer,
    commit_limit: usize,
    /// Never changes: what was acknowledged is on disk, whoever reads it next.
    restarts: watch::Sender<u64>,
}

impl EmbeddedStorage {
    /// Opens the file at `path`, or creates it (its folder must exist), with default options.
    ///
    /// # Errors
    ///
    /// [`Misconfigured`](StorageError::Misconfigured) if another process, or another handle in this one, has the file
    /// open, or it cannot be created there; [`Unreadable`](StorageError::Unreadable) if it is no redb file, damaged, or
    /// of a newer format.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StorageError> {
        Self::open_with(path, EmbeddedOptions::default()).await
    }

    /// As [`open`](Self::open), with these options.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn open_with(path: impl AsRef<Path>, options: EmbeddedOptions) -> Result<Self, StorageError> {
        let path = PathBuf::from(path.as_ref());
        let writer = Writer::start(path.display().to_string(), opener(path, options.cache_bytes)).await?;
        let shared = Shared { writer, commit_limit: options.commit_limit, restarts: watch::Sender::default() };
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl EmbeddedStorage {
    /// Commits all in one transaction; an error is that of the whole transaction.
    async fn commit_together(&self, batch: &[Commit]) -> Result<Vec<Result<(), StorageError>>, StorageError> {
        let (limit, commits) = (self.shared.commit_limit, batch.to_vec());
        let work = move |tables: &mut Tables<'_>| {
            let one = |commit| match size::check(commit, limit) {
                Ok(()) => tables.commit(commit),
                Err(too_large) => Ok(Err(too_large)),
            };
            commits.iter().map(one).collect()
        };
        self.shared.writer.run(work).await
    }
}

/// Opens the file. Only the first time may it make one: later, an empty file would not be the store.
fn opener(path: PathBuf, cache_bytes: usize) -> impl Fn(Opening) -> Result<redb::Database, redb::DatabaseError> {
    move |opening| {
        let mut builder = redb::Database::builder();
        builder.set_cache_size(cache_bytes);
        match opening {
            Opening::First => builder.create(&path),
            Opening::Again => builder.open(&path),
        }
    }
}

#[async_trait]
impl GrainStorage for EmbeddedStorage {
    fn durability(&self) -> Durability {
        Durability::Fsync
    }

    async fn open(&self, grain: &GrainId, fence: Fence) -> Result<Opened, StorageError> {
        let grain = grain.clone();
        self.shared.writer.run(move |tables| tables.open(&grain, fence)).await?
    }

    async fn commit(&self, batch: &[Commit]) -> Vec<Result<(), StorageError>> {
        match self.commit_together(batch).await {
            Ok(answers) => answers,
            Err(error) if error.is_definite() && batch.len() > 1 => {
                // One of them can never be done, and nothing is. The others do not depend on it.
                let mut answers = Vec::with_capacity(batch.len());
                for commit in batch.chunks(1) {
                    answers.extend(self.commit_together(commit).await.unwrap_or_else(|error| vec![Err(error)]));
                }
                answers
            }
            Err(error) => vec![Err(error); batch.len()],
        }
    }

    async fn begin_run(&self, floor: u64) -> Result<u64, StorageError> {
        self.shared.writer.run(move |tables| tables.begin_run(floor)).await
    }

    async fn run(&self) -> Result<u64, StorageError> {
        self.shared.writer.run(|tables| tables.run()).await
    }

    fn restarts(&self) -> watch::Receiver<u64> {
        self.shared.restarts.subscribe()
    }
}
