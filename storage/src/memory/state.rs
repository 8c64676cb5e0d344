//! What the memory storage holds, and the contract over it. Plain data: cloning it is a snapshot.

use std::collections::BTreeMap;

use bytes::Bytes;
use gristmill_grains::storage::{Commit, Fence, Opened, StorageError, StoredRecord, WriteId};
use gristmill_grains::{ActivationId, GrainId};

use crate::rules::{self, Verdict};

#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) grains: BTreeMap<GrainId, Grain>,
    pub(super) run: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Grain {
    fence: Fence,
    last_write: Option<(ActivationId, WriteId)>,
    records: BTreeMap<String, Record>,
}

#[derive(Clone, Debug)]
struct Record {
    version: u64,
    body: Option<Bytes>,
}

impl State {
    pub(super) fn open(&mut self, grain: &GrainId, fence: Fence) -> Result<Opened, StorageError> {
        let stored = self.grains.get(grain).map(|grain| grain.fence);
        if !fence.opens(stored) {
            return Err(StorageError::Fenced { seen: stored });
        }
        let grain = self.grains.entry(grain.clone()).or_insert_with(|| Grain {
            fence,
            last_write: None,
            records: BTreeMap::new(),
        });
        grain.fence = fence;
        let records = grain.records.iter().map(|(name, record)| StoredRecord {
            name: name.clone(),
            version: record.version,
            body: record.body.clone(),
        });
        Ok(Opened { records: records.collect(), last_write: grain.last_write })
    }

    pub(super) fn commit(&mut self, commit: &Commit) -> Result<(), StorageError> {
        let Some(grain) = self.grains.get_mut(&commit.grain) else {
            rules::check(commit)?;
            return Err(StorageError::Fenced { seen: None });
        };
        let version = |name: &str| Ok::<_, StorageError>(grain.records.get(name).map_or(0, |record| record.version));
        if rules::admit(commit, Some(grain.fence), grain.last_write, version)? == Verdict::Apply {
            for write in &commit.records {
                let record = Record { version: write.version, body: write.body.clone() };
                grain.records.insert(write.name.clone(), record);
            }
            grain.last_write = Some((commit.fence.activation, commit.write));
        }
        Ok(())
    }

    pub(super) fn begin_run(&mut self, floor: u64) -> u64 {
        self.run = self.run.max(floor) + 1;
        self.run
    }
}
