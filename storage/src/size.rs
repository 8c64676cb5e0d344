//! How large a commit may be, for the adapters that limit it.

use gristmill_grains::storage::{Commit, StorageError};

/// The most bytes of record bodies in one commit, unless an adapter is told otherwise.
pub(crate) const DEFAULT_LIMIT: usize = 8 * 1024 * 1024;

/// Refuses a commit whose bodies are larger than `limit` bytes together.
pub(crate) fn check(commit: &Commit, limit: usize) -> Result<(), StorageError> {
    let size = body_bytes(commit);
    if size > limit { Err(StorageError::TooLarge { size, limit }) } else { Ok(()) }
}

/// The bytes of a commit's bodies.
pub(crate) fn body_bytes(commit: &Commit) -> usize {
    commit.records.iter().filter_map(|record| record.body.as_ref()).map(|body| body.len()).sum()
}
