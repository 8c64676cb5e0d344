//! The directory of silos that share one process: for tests and simulation.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use gristmill_grains::{ActivationId, GrainId};
use parking_lot::Mutex;

use crate::{Claim, Directory, DirectoryError, Location};

/// A directory in memory; clones are the same one. What the adapter of a real server does must not be told from it.
#[derive(Clone, Default)]
pub struct MemoryDirectory(Arc<Mutex<Rows>>);

#[derive(Default)]
struct Rows {
    rows: BTreeMap<GrainId, Location>,
    epoch: u64,
    unavailable: bool,
}

impl Rows {
    fn next(&mut self, floor: u64) -> u64 {
        self.epoch = self.epoch.max(floor) + 1;
        self.epoch
    }
}

impl MemoryDirectory {
    /// From now on it answers, or does not.
    pub fn set_available(&self, available: bool) {
        self.0.lock().unavailable = !available;
    }

    /// Loses everything, its counter included.
    pub fn lose(&self) {
        let mut rows = self.0.lock();
        rows.rows.clear();
        rows.epoch = 0;
    }

    /// How many grains have an owner.
    pub fn len(&self) -> usize {
        self.0.lock().rows.len()
    }

    /// Has no grain one?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn with<T>(&self, f: impl FnOnce(&mut Rows) -> T) -> Result<T, DirectoryError> {
        let mut rows = self.0.lock();
        match rows.unavailable {
            true => Err(DirectoryError::Unavailable("told to be".to_owned())),
            false => Ok(f(&mut rows)),
        }
    }
}

#[async_trait]
impl Directory for MemoryDirectory {
    async fn lookup(&self, grain: &GrainId) -> Result<Option<Location>, DirectoryError> {
        self.with(|rows| rows.rows.get(grain).copied())
    }

    async fn claim(&self, grain: &GrainId, claim: Claim) -> Result<Result<Location, Location>, DirectoryError> {
        self.with(|rows| match rows.rows.get(grain) {
            Some(row) if row.activation == claim.activation => Ok(*row),
            Some(row) if claim.expect != Some(*row) => Err(*row),
            _ => {
                let Claim { owner, join, activation, floor, .. } = claim;
                let epoch = rows.next(floor);
                let row = Location { owner, join, activation, epoch };
                rows.rows.insert(grain.clone(), row);
                Ok(row)
            }
        })
    }

    async fn raise(
        &self,
        grain: &GrainId,
        activation: ActivationId,
        floor: u64,
    ) -> Result<Result<Location, Option<Location>>, DirectoryError> {
        self.with(|rows| {
            let Some(mut row) = rows.rows.get(grain).copied().filter(|row| row.activation == activation) else {
                return Err(rows.rows.get(grain).copied());
            };
            row.epoch = rows.next(floor);
            rows.rows.insert(grain.clone(), row);
            Ok(row)
        })
    }

    async fn release(&self, grain: &GrainId, activation: ActivationId) -> Result<(), DirectoryError> {
        self.with(|rows| {
            if rows.rows.get(grain).is_some_and(|row| row.activation == activation) {
                rows.rows.remove(grain);
            }
        })
    }

    async fn reassert(&self, asserted: &[(GrainId, Location)]) -> Result<Vec<Location>, DirectoryError> {
        self.with(|rows| {
            let assert = |(grain, row): &(GrainId, Location)| {
                rows.epoch = rows.epoch.max(row.epoch);
                *rows.rows.entry(grain.clone()).or_insert(*row)
            };
            asserted.iter().map(assert).collect()
        })
    }
}
