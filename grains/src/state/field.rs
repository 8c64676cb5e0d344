//! State fields as the runtime sees them: their specification, loading and snapshots.

use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::envelope::Sealed;
use crate::codec::Codec;
use crate::storage::StoredRecord;
use crate::{BoxError, StorageError};

/// When a change of a state field is written, and so what a reply means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Policy {
    /// At the end of every turn that dirtied it: **the state behind a reply is durable**.
    #[default]
    Turn,
    /// On `write().await`.
    Manual,
    /// At most this long after it was dirtied, and on deactivation. A crash may lose that much.
    Every(Duration),
    /// When the activation goes. A crash may lose all of it.
    OnDeactivate,
}

/// Makes today's value of a record that an older schema version wrote.
pub type Migrate<T> = fn(Old<'_>) -> Result<T, BoxError>;

/// A record that an older schema version wrote.
#[derive(Clone, Copy, Debug)]
pub struct Old<'a>(pub(super) Sealed<'a>);

impl Old<'_> {
    /// The schema version that wrote it.
    pub fn version(&self) -> u32 {
        self.0.schema
    }

    /// Decodes it as the type it had then.
    ///
    /// # Errors
    /// What the codec says.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, BoxError> {
        self.0.decode().map_err(Into::into)
    }
}

/// What `#[state(..)]` says of a field.
#[derive(Clone, Copy, Debug)]
pub struct StateSpec {
    /// The record's name: the field's, unless given. Part of the stored data.
    pub name: &'static str,
    /// The name of the storage in the silo. Default `default`.
    pub storage: &'static str,
    /// When it is written.
    pub policy: Policy,
    /// How it is encoded.
    pub codec: Codec,
    /// The schema version of the value.
    pub schema: u32,
    /// The field's [`Migrate`] function, when older schema versions can be read.
    pub migrate: Option<&'static (dyn std::any::Any + Send + Sync)>,
}

impl StateSpec {
    /// A field named `name`, everything else by default.
    pub const fn new(name: &'static str) -> Self {
        let (policy, codec) = (Policy::Turn, Codec::Json);
        Self { name, storage: "default", policy, codec, schema: 0, migrate: None }
    }

    pub(super) fn read<T: DeserializeOwned + 'static>(&self, body: &[u8]) -> Result<T, BoxError> {
        let sealed = Sealed::read(body)?;
        let migrate = self.migrate.and_then(|migrate| migrate.downcast_ref::<Migrate<T>>());
        match migrate {
            _ if sealed.schema > self.schema => Err(format!(
                "it was written by schema version {}, this build knows versions up to {}; it is left as it is",
                sealed.schema, self.schema
            )
            .into()),
            Some(migrate) if sealed.schema < self.schema => migrate(Old(sealed)),
            _ => sealed.decode().map_err(Into::into),
        }
    }
}

/// The stored records of a grain, while its value is made.
pub struct Loader<'a> {
    records: &'a [StoredRecords],
}

/// The records of one storage.
#[derive(Debug, Default)]
pub struct StoredRecords {
    /// The storage's name.
    pub storage: &'static str,
    /// What it holds of the grain.
    pub records: Vec<StoredRecord>,
}

impl<'a> Loader<'a> {
    /// Loads from these.
    pub fn new(records: &'a [StoredRecords]) -> Self {
        Self { records }
    }

    pub(crate) fn load<S: StateField>(&self, index: usize, spec: &'static StateSpec) -> Result<S, BoxError> {
        let storage = self.records.iter().find(|records| records.storage == spec.storage);
        let record = storage.and_then(|storage| storage.records.iter().find(|record| record.name == spec.name));
        S::load(index, spec, record.and_then(|record| record.body.as_ref())).map_err(|error| {
            StorageError::Unreadable {
                detail: format!("record {:?} in storage {:?}: {error}", spec.name, spec.storage),
            }
            .into()
        })
    }
}

/// A field of a grain that holds durable state.
pub trait StateField: Sized + Send + Sync {
    /// What it holds.
    type Value;

    /// Can it change through `&self`, in turns that run side by side?
    const INTERIOR: bool = false;

    /// Makes the field from its stored body; `None` = nothing is stored.
    fn load(index: usize, spec: &'static StateSpec, body: Option<&Bytes>) -> Result<Self, BoxError>;

    /// Has it changed since it was last encoded?
    fn is_dirty(&self) -> bool;

    /// Encodes it as it is now, and takes it for clean. `None` inside: cleared.
    ///
    /// # Errors
    /// What its `Serialize` says; it stays dirty.
    fn snapshot(&self) -> Result<Option<Bytes>, BoxError>;
}

/// Looks at every state field of a grain.
pub trait StateVisitor {
    /// The next field.
    fn field<S: StateField>(&mut self, spec: &'static StateSpec, field: &S);
}
