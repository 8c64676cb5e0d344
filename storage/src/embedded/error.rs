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
    /// The failure as the caller sees it; `path` is the file.
    ///
    /// What another attempt may cure (a full disk, mostly) is transient. What it cannot is definite.
    pub(super) fn at(self, path: &str) -> StorageError {
        let error = match self {
            Self::Redb(error) => error,
            Self::Refused(refused) => return refused,
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
