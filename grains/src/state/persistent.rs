//! `Persistent<T>`.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::envelope::seal;
use super::field::{Policy, StateField, StateSpec};
use crate::port::RecordCommit;
use crate::{BoxError, Cause, Fault, turn};

/// A durable field of a grain. Derefs to its value; touching it mutably marks it dirty, and it is then written as its
/// [`Policy`](super::Policy) says. A grain that was never stored starts with `T::default()`.
///
/// ```
/// use gristmill_grains::state::Persistent;
/// let mut score = Persistent::detached(41u64); // in a grain, the runtime makes it
/// *score += 1;
/// assert_eq!(*score, 42);
/// ```
pub struct Persistent<T> {
    value: T,
    /// Atomic only so that a snapshot can be taken through `&self`; never contended.
    dirty: AtomicBool,
    exists: bool,
    index: u16,
    spec: Option<&'static StateSpec>,
}

impl<T> Persistent<T> {
    /// A field of a grain that no silo hosts, for tests of a grain's own code: `commit` and `write` do nothing.
    pub fn detached(value: T) -> Self {
        Self { value, dirty: AtomicBool::new(false), exists: false, index: 0, spec: None }
    }

    /// Is there a stored value behind it, or a change that makes one?
    pub fn exists(&self) -> bool {
        self.exists
    }

    fn touch(&mut self) {
        self.exists = true;
        if !std::mem::replace(self.dirty.get_mut(), true) && self.spec.is_some_and(|spec| spec.policy == Policy::Turn) {
            turn::mark_dirty(self.index.into());
        }
    }
}

impl<T: Serialize> Persistent<T> {
    /// A commit point: writes this field now and returns when it is durable, with the one-way sends made so far in this
    /// turn. What is written stays even if the turn then fails. Other fields are written at the turn's end.
    ///
    /// Dropping the future leaves it open whether the write happens.
    ///
    /// # Errors
    /// The activation's loss, or the storage's definite answer; the activation is lost then.
    pub async fn commit(&mut self) -> Result<(), Fault>
    where
        T: Send + Sync,
    {
        let Some(_) = self.spec else { return Ok(()) };
        let body =
            self.snapshot().map_err(|error| Fault::maybe_executed_with(Cause::Codec { detail: error.to_string() }))?;
        let bit = turn::dirty_bit(self.index.into());
        let record = RecordCommit { index: self.index.into(), body };
        let turn = turn::with_current(|frame| {
            let frame = frame?;
            let outbox = frame.extra.as_mut().map(|extra| std::mem::take(&mut extra.outbox)).unwrap_or_default();
            Some((frame.activation.clone(), outbox))
        });
        // Outside of the above: what the outbox holds is the user's, and may be dropped there.
        let Some(commit) = turn.map(|(activation, outbox)| activation.commit(record, outbox)) else {
            *self.dirty.get_mut() = true;
            return Err(Fault::not_executed(Cause::Unbound).detailed("a state field is committed inside a turn"));
        };
        let result = commit.await;
        match &result {
            Ok(()) => turn::with_current(|frame| frame.into_iter().for_each(|frame| frame.dirty &= !bit)),
            Err(_) => self.touch(),
        }
        result
    }

    /// Writes a `manual` field; the same as [`commit`](Self::commit).
    ///
    /// # Errors
    /// As `commit`.
    pub async fn write(&mut self) -> Result<(), Fault>
    where
        T: Send + Sync,
    {
        self.commit().await
    }
}

impl<T: Default> Persistent<T> {
    /// Back to the default, and nothing stored. Written like any change.
    pub fn clear(&mut self) {
        self.value = T::default();
        self.touch();
        self.exists = false;
    }
}

impl<T> Deref for Persistent<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Persistent<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.touch();
        &mut self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Persistent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T: Serialize> Persistent<T> {
    fn snapshot(&self) -> Result<Option<Bytes>, BoxError> {
        let spec = self.spec.unwrap_or(&DETACHED);
        let body = self.exists.then(|| seal(spec.codec, spec.schema, &self.value)).transpose()?;
        self.dirty.store(false, Ordering::Relaxed);
        Ok(body)
    }
}

static DETACHED: StateSpec = StateSpec::new("detached");

impl<T> StateField for Persistent<T>
where
    T: Serialize + DeserializeOwned + Default + Send + Sync + 'static,
{
    type Value = T;

    fn load(index: usize, spec: &'static StateSpec, body: Option<&Bytes>) -> Result<Self, BoxError> {
        let value = body.map(|body| spec.read(body)).transpose()?;
        let exists = value.is_some();
        let (value, dirty) = (value.unwrap_or_default(), AtomicBool::new(false));
        Ok(Self { value, dirty, exists, index: u16::try_from(index)?, spec: Some(spec) })
    }

    fn is_dirty(&self) -> bool {
        self.dirty.load(Ordering::Relaxed)
    }

    fn snapshot(&self) -> Result<Option<Bytes>, BoxError> {
        Persistent::snapshot(self)
    }
}
