//! `PersistentCell<T>`.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::envelope::seal;
use super::field::{StateField, StateSpec};
use crate::sync::RwLock;
use crate::{BoxError, turn};

/// Durable state of a reentrant grain, one whose methods are all `&self`: read and changed through closures, which
/// cannot await, so a change is never half done when another turn looks. Written like a
/// [`Persistent`](super::Persistent).
///
/// The closures run under a lock of this field: they must be short, and must not touch the same field again.
pub struct PersistentCell<T> {
    value: RwLock<T>,
    dirty: AtomicBool,
    spec: Option<&'static StateSpec>,
}

impl<T> PersistentCell<T> {
    /// A field of a grain that no silo hosts, for tests of a grain's own code.
    pub fn detached(value: T) -> Self {
        Self { value: RwLock::new(value), dirty: AtomicBool::new(false), spec: None }
    }

    /// Looks at the value.
    pub fn read<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(&self.value.read())
    }

    /// Changes the value.
    pub fn update<R>(&self, update: impl FnOnce(&mut T) -> R) -> R {
        let mut value = self.value.write();
        let result = update(&mut value);
        // Under the lock, so that a snapshot sees either neither the change nor the mark, or both.
        if !self.dirty.swap(true, Ordering::Relaxed) {
            turn::mark_dirty();
        }
        result
    }
}

impl<T: fmt::Debug> fmt::Debug for PersistentCell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.read().fmt(f)
    }
}

impl<T> StateField for PersistentCell<T>
where
    T: Serialize + DeserializeOwned + Default + Send + Sync + 'static,
{
    type Value = T;

    fn load(_: usize, spec: &'static StateSpec, body: Option<&Bytes>) -> Result<Self, BoxError> {
        let value = body.map(|body| spec.read(body)).transpose()?.unwrap_or_default();
        Ok(Self { value: RwLock::new(value), dirty: AtomicBool::new(false), spec: Some(spec) })
    }

    fn is_dirty(&self) -> bool {
        self.dirty.load(Ordering::Relaxed)
    }

    fn snapshot(&self) -> Result<Option<Bytes>, BoxError> {
        let value = self.value.read();
        let (codec, schema) = self.spec.map_or((Default::default(), 0), |spec| (spec.codec, spec.schema));
        let body = seal(codec, schema, &*value)?;
        self.dirty.store(false, Ordering::Relaxed);
        Ok(Some(body))
    }
}
