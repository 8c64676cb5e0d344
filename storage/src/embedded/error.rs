//! What redb's errors mean to a grain.

use gristmill_grains::storage::StorageError;

/// Why work on the file stopped.
#[derive(Debug)]
pub(super) enum Failure {
    Redb(redb::Error),
    Format {
        found: u64,
        known: u64,
    },
    /// Where the file was, there is another.
    Stranger,
    /// Not a failure of the file: the contract refuses this one commit.
    Refused(StorageError),
}

macro_rules! from_redb {
    ($($error:ident),*) => {
        $(impl From<redb::$error> for Failure {
            fn from(error: redb::$error) -> Self {
                Self::Redb(error.into())
            }
        })*
    };
}

from_redb!(CommitError, DatabaseError, SetDurabilityError, StorageError, TableError, TransactionError);

impl From<StorageError> for Failure {
    fn from(refused: StorageError) -> Self {
        Self::Refused(refused)
    }
}

impl Failure {
    /// Is the file no longer where it was?
    pub(super) fn is_lost_file(&self) -> bool {
        match self {
            Self::Stranger => true,
            Self::Redb(redb::Error::Io(io)) => io.kind() == std::io::ErrorKind::NotFound,
            _ => false,
        }
    }

    /// The failure as the caller sees it, once the file was open: what is wrong with its place or its lock is transient,
    /// as the operator may cure it while the grains live.
    pub(super) fn in_operation(self, path: &str) -> StorageError {
        match self {
            Self::Redb(
                error @ (redb::Error::Io(_) | redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch),
            ) => StorageError::unavailable(format_args!("{path}: {error}")),
            other => other.at_start(path),
        }
    }

    /// The failure as the caller sees it at the start; `path` is the file.
    ///
    /// What another attempt may cure (a full disk, mostly) is transient. What it cannot is definite.
    pub(super) fn at_start(self, path: &str) -> StorageError {
        let error = match self {
            Self::Redb(error) => error,
            Self::Refused(refused) => return refused,
            Self::Stranger => return StorageError::unavailable(format_args!("{path} is not the file it was")),
            Self::Format { found, known } => {
                let detail =
                    format!("{path} has format {found}, this build reads {known}: use the build that wrote it");
                return StorageError::Unreadable { detail };
            }
        };
        match error {
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => StorageError::Misconfigured {
                detail: format!("{path} is open elsewhere: end that process, or give this silo a file of its own"),
            },
            redb::Error::Io(io) => io_error(path, &io),
            redb::Error::Corrupted(_)
            | redb::Error::UpgradeRequired(_)
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TypeDefinitionChanged { .. }
            | redb::Error::TableIsMultimap(_)
            | redb::Error::RepairAborted => StorageError::Unreadable { detail: format!("{path}: {error}") },
            other => StorageError::unavailable(format_args!("{path}: {other}")),
        }
    }
}

fn io_error(path: &str, error: &std::io::Error) -> StorageError {
    use std::io::ErrorKind::{InvalidData, IsADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
    match error.kind() {
        InvalidData => StorageError::Unreadable { detail: format!("{path} is not a redb file: {error}") },
        NotFound | PermissionDenied | IsADirectory | ReadOnlyFilesystem => StorageError::Misconfigured {
            detail: format!("{path} cannot be opened for writing: {error}; create its folder, or name another"),
        },
        _ => StorageError::unavailable(format_args!("{path}: {error}")),
    }
}
