//! The tables of the file, and the contract's operations inside one write transaction.

use bytes::Bytes;
use gristmill_grains::storage::{Commit, Fence, Opened, StorageError, StoredRecord, WriteId};
use gristmill_grains::{ActivationId, GrainId};
use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};

use super::error::Failure;
use crate::rules::{self, Verdict};

/// The layout described in the [module docs](super). A change of it is a new number, and code that reads the old one.
const FORMAT: u64 = 1;

type GrainKey = (&'static str, &'static str);
type GrainRow = (u64, u128, Option<(u128, u64)>);
type RecordKey = (&'static str, &'static str, &'static str);
type RecordRow = (u64, Option<&'static [u8]>);

/// Who wrote a grain last, and which of its writes it was.
type LastWrite = Option<(ActivationId, WriteId)>;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const GRAINS: TableDefinition<'_, GrainKey, GrainRow> = TableDefinition::new("grains");
const RECORDS: TableDefinition<'_, RecordKey, RecordRow> = TableDefinition::new("records");

/// Refuses a file of another format; stamps a new one. Returns the file's id.
pub(super) fn check(transaction: &WriteTransaction) -> Result<u64, Failure> {
    let mut meta = transaction.open_table(META)?;
    let found = meta.get("format")?.map(|format| format.value());
    match found {
        Some(FORMAT) => {}
        Some(found) => return Err(Failure::Format { found, known: FORMAT }),
        None => drop(meta.insert("format", FORMAT)?),
    }
    let store = meta.get("store")?.map(|store| store.value());
    if let Some(store) = store {
        return Ok(store);
    }
    #[allow(clippy::disallowed_methods, reason = "two files must differ, also those of silos with one seed")]
    let store = fastrand::u64(..);
    meta.insert("store", store)?;
    Ok(store)
}

/// Refuses a file that is not the one with this id, and does not write to it.
pub(super) fn check_store(database: &Database, store: u64) -> Result<(), Failure> {
    let meta = match database.begin_read()?.open_table(META) {
        Ok(meta) => meta,
        Err(redb::TableError::Storage(error)) => return Err(error.into()),
        Err(_) => return Err(Failure::Stranger),
    };
    match meta.get("store")? {
        Some(found) if found.value() == store => Ok(()),
        _ => Err(Failure::Stranger),
    }
}

/// The tables, open in one write transaction.
pub(super) struct Tables<'txn> {
    meta: Table<'txn, &'static str, u64>,
    grains: Table<'txn, GrainKey, GrainRow>,
    records: Table<'txn, RecordKey, RecordRow>,
    /// Is there anything to write? If not, the transaction needs no fsync.
    pub(super) changed: bool,
}

impl<'txn> Tables<'txn> {
    pub(super) fn of(transaction: &'txn WriteTransaction) -> Result<Self, Failure> {
        Ok(Self {
            meta: transaction.open_table(META)?,
            grains: transaction.open_table(GRAINS)?,
            records: transaction.open_table(RECORDS)?,
            changed: false,
        })
    }

    pub(super) fn open(&mut self, grain: &GrainId, fence: Fence) -> Result<Result<Opened, StorageError>, Failure> {
        let (stored, last_write) = self.grain(grain)?;
        if !fence.opens(stored) {
            return Ok(Err(StorageError::Fenced { seen: stored }));
        }
        if stored != Some(fence) {
            self.set_grain(grain, fence, last_write)?;
        }
        Ok(Ok(Opened { records: self.records_of(grain)?, last_write }))
    }

    pub(super) fn commit(&mut self, commit: &Commit) -> Result<Result<(), StorageError>, Failure> {
        let (grain_type, key) = (commit.grain.grain_type().as_str(), &**commit.grain.key());
        let (stored, last_write) = self.grain(&commit.grain)?;
        let version = |name: &str| -> Result<u64, Failure> {
            Ok(self.records.get((grain_type, key, name))?.map_or(0, |row| row.value().0))
        };
        match rules::admit(commit, stored, last_write, version) {
            Ok(Verdict::Applied) => Ok(Ok(())),
            Ok(Verdict::Apply) => {
                for write in &commit.records {
                    let row = (write.version, write.body.as_deref());
                    self.records.insert((grain_type, key, write.name.as_str()), row)?;
                }
                self.set_grain(&commit.grain, commit.fence, Some((commit.fence.activation, commit.write)))?;
                Ok(Ok(()))
            }
            Err(Failure::Refused(refused)) => Ok(Err(refused)),
            Err(failure) => Err(failure),
        }
    }

    pub(super) fn begin_run(&mut self, floor: u64) -> Result<u64, Failure> {
        let run = self.run()?.max(floor) + 1;
        self.changed = true;
        self.meta.insert("run", run)?;
        Ok(run)
    }

    pub(super) fn run(&mut self) -> Result<u64, Failure> {
        Ok(self.meta.get("run")?.map_or(0, |run| run.value()))
    }

    fn grain(&self, grain: &GrainId) -> Result<(Option<Fence>, LastWrite), Failure> {
        let Some(row) = self.grains.get((grain.grain_type().as_str(), &**grain.key()))? else {
            return Ok((None, None));
        };
        let (epoch, activation, last_write) = row.value();
        let fence = Fence { epoch, activation: ActivationId::from_u128(activation) };
        Ok((Some(fence), last_write.map(|(writer, write)| (ActivationId::from_u128(writer), WriteId(write)))))
    }

    fn set_grain(&mut self, grain: &GrainId, fence: Fence, last_write: LastWrite) -> Result<(), Failure> {
        self.changed = true;
        let last_write = last_write.map(|(writer, write)| (writer.as_u128(), write.0));
        let row = (fence.epoch, fence.activation.as_u128(), last_write);
        self.grains.insert((grain.grain_type().as_str(), &**grain.key()), row)?;
        Ok(())
    }

    fn records_of(&self, grain: &GrainId) -> Result<Vec<StoredRecord>, Failure> {
        let (grain_type, key) = (grain.grain_type().as_str(), &**grain.key());
        let mut records = Vec::new();
        for entry in self.records.range((grain_type, key, "")..)? {
            let (found, row) = entry?;
            let (found_type, found_key, name) = found.value();
            if (found_type, found_key) != (grain_type, key) {
                break;
            }
            let (version, body) = row.value();
            let body = body.map(Bytes::copy_from_slice);
            records.push(StoredRecord { name: name.to_owned(), version, body });
        }
        Ok(records)
    }
}
