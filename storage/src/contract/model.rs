//! What a storage must answer, worked out from the history of a grain.
//!
//! Deliberately unlike any adapter: it keeps no state but the list of what was accepted, and reads that backwards.

use gristmill_grains::storage::{Commit, Fence, Opened, StorageError, StoredRecord, WriteId};
use gristmill_grains::{ActivationId, GrainId};

/// Everything that was accepted, of all grains, in order.
#[derive(Default)]
pub(super) struct Model {
    accepted: Vec<Accepted>,
}

enum Accepted {
    Open(GrainId, Fence),
    Commit(Commit),
}

impl Model {
    /// The answer to this open, which then has happened.
    pub(super) fn open(&mut self, grain: &GrainId, fence: Fence) -> Result<Opened, StorageError> {
        match self.fence(grain) {
            Some(held) if held != fence && held.epoch >= fence.epoch => Err(StorageError::Fenced { seen: Some(held) }),
            _ => {
                self.accepted.push(Accepted::Open(grain.clone(), fence));
                Ok(Opened { records: self.records(grain), last_write: self.last_write(grain) })
            }
        }
    }

    /// The answers this commit may get (which of several conflicts is told is free); it then has happened, if it may.
    pub(super) fn commit(&mut self, commit: &Commit) -> Vec<Result<(), StorageError>> {
        let held = self.fence(&commit.grain);
        if held.is_none_or(|held| held != commit.fence) {
            return vec![Err(StorageError::Fenced { seen: held })];
        }
        if self.last_write(&commit.grain) == Some((commit.fence.activation, commit.write)) {
            return vec![Ok(())];
        }
        let wrong = commit.records.iter().filter_map(|record| {
            let found = self.version(&commit.grain, &record.name);
            let (record, expected) = (record.name.clone(), record.expect);
            (found != expected).then_some(Err(StorageError::Conflict { record, expected, found }))
        });
        let conflicts: Vec<_> = wrong.collect();
        if conflicts.is_empty() {
            self.accepted.push(Accepted::Commit(commit.clone()));
            return vec![Ok(())];
        }
        conflicts
    }

    /// The version a record has now.
    pub(super) fn version(&self, grain: &GrainId, name: &str) -> u64 {
        let mut writes = self.commits(grain).flat_map(|commit| &commit.records);
        writes.find(|write| write.name == name).map_or(0, |write| write.version)
    }

    fn records(&self, grain: &GrainId) -> Vec<StoredRecord> {
        let mut records: Vec<StoredRecord> = Vec::new();
        for write in self.commits(grain).flat_map(|commit| &commit.records) {
            if records.iter().all(|record| record.name != write.name) {
                let (name, version, body) = (write.name.clone(), write.version, write.body.clone());
                records.push(StoredRecord { name, version, body });
            }
        }
        records.sort_by(|a, b| a.name.cmp(&b.name));
        records
    }

    fn last_write(&self, grain: &GrainId) -> Option<(ActivationId, WriteId)> {
        self.commits(grain).next().map(|commit| (commit.fence.activation, commit.write))
    }

    fn fence(&self, of: &GrainId) -> Option<Fence> {
        self.accepted.iter().rev().find_map(|accepted| match accepted {
            Accepted::Open(grain, fence) if grain == of => Some(*fence),
            _ => None,
        })
    }

    /// The grain's commits, the last one first.
    fn commits(&self, of: &GrainId) -> impl Iterator<Item = &Commit> {
        self.accepted.iter().rev().filter_map(move |accepted| match accepted {
            Accepted::Commit(commit) if commit.grain == *of => Some(commit),
            _ => None,
        })
    }
}
