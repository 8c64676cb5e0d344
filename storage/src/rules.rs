//! What a commit must meet: the contract's decision, for the adapters that decide in Rust.

use gristmill_grains::ActivationId;
use gristmill_grains::storage::{Commit, Fence, StorageError, WriteId};

/// Whether an acceptable commit still has to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Apply,
    /// It is the grain's last write: its answer was lost, and this is the second time it is sent.
    Applied,
}

/// Refuses a commit that no storage takes.
pub(crate) fn check(commit: &Commit) -> Result<(), StorageError> {
    if commit.records.is_empty() {
        let detail = format!("a commit of {} has no records", commit.grain);
        return Err(StorageError::Invalid { detail });
    }
    Ok(())
}

/// Decides `commit` against what is stored of its grain. `version` looks up a record (0 = never written).
///
/// The write id is looked at before the versions: the commit itself has moved them.
pub(crate) fn admit<E: From<StorageError>>(
    commit: &Commit,
    stored: Option<Fence>,
    last_write: Option<(ActivationId, WriteId)>,
    mut version: impl FnMut(&str) -> Result<u64, E>,
) -> Result<Verdict, E> {
    check(commit)?;
    if stored != Some(commit.fence) {
        return Err(StorageError::Fenced { seen: stored }.into());
    }
    if last_write == Some((commit.fence.activation, commit.write)) {
        return Ok(Verdict::Applied);
    }
    for record in &commit.records {
        let found = version(&record.name)?;
        if found != record.expect {
            let (record, expected) = (record.name.clone(), record.expect);
            return Err(StorageError::Conflict { record, expected, found }.into());
        }
    }
    Ok(Verdict::Apply)
}
