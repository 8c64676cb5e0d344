//! What a script answered: `{run id or '', status, ...}`.

use bytes::Bytes;
use gristmill_grains::ActivationId;
use gristmill_grains::storage::{Fence, Opened, StorageError, StoredRecord, WriteId};
use redis::Value;

/// The answer of a script, taken apart.
#[derive(Debug)]
pub(super) struct Reply {
    /// The process that answered and its history (`<run id>:<replication id>`, or `replica`), where the call asked for
    /// it.
    pub(super) run_id: Option<String>,
    /// What follows `ok`, or the refusal.
    pub(super) outcome: Result<Vec<Value>, StorageError>,
}

impl Reply {
    pub(super) fn parse(value: Value) -> Result<Self, StorageError> {
        let Value::Array(items) = value else { return Err(malformed(&value)) };
        let mut items = items.into_iter();
        let run_id = text(items.next())?;
        let status = text(items.next())?;
        let outcome = match status.as_str() {
            "ok" => Ok(items.collect()),
            "fenced" => Err(StorageError::Fenced { seen: optional_fence(&text(items.next())?)? }),
            "conflict" => Err(StorageError::Conflict {
                record: text(items.next())?,
                expected: number(&text(items.next())?)?,
                found: number(&text(items.next())?)?,
            }),
            "unreadable" => Err(StorageError::Unreadable { detail: text(items.next())? }),
            other => Err(malformed(other)),
        };
        Ok(Self { run_id: (!run_id.is_empty()).then_some(run_id), outcome })
    }

    /// The answer to an open: the fields of the grain's hash.
    pub(super) fn opened(self) -> Result<Opened, StorageError> {
        match self.outcome?.pop() {
            Some(Value::Array(fields)) => opened(fields),
            other => Err(malformed(&other)),
        }
    }

    /// The answer that is one number.
    pub(super) fn number(self) -> Result<u64, StorageError> {
        number(&text(self.outcome?.pop())?)
    }
}

/// `f` the fence, `w` the last write, `v:<name>` a record's version, `d:<name>` its body.
fn opened(fields: Vec<Value>) -> Result<Opened, StorageError> {
    let mut opened = Opened::default();
    let mut bodies = Vec::new();
    let mut fields = fields.into_iter();
    while let Some(field) = fields.next() {
        let (field, value) = (text(Some(field))?, fields.next());
        match field.split_at_checked(2) {
            Some(("v:", name)) => {
                let version = number(&text(value)?)?;
                opened.records.push(StoredRecord { name: name.to_owned(), version, body: None });
            }
            Some(("d:", name)) => bodies.push((name.to_owned(), bytes(value)?)),
            _ if field == "w" => opened.last_write = Some(last_write(&text(value)?)?),
            _ if field == "f" => {}
            _ => return Err(malformed(&field)),
        }
    }
    opened.records.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    for (name, body) in bodies {
        let found = opened.records.binary_search_by(|record| record.name.cmp(&name));
        let index = found.map_err(|_| malformed(&format_args!("a body without a version: {name:?}")))?;
        opened.records[index].body = Some(body);
    }
    Ok(opened)
}

fn last_write(text: &str) -> Result<(ActivationId, WriteId), StorageError> {
    let (activation, write) = text.split_once(':').ok_or_else(|| malformed(text))?;
    Ok((activation.parse().map_err(|_| malformed(text))?, WriteId(number(write)?)))
}

fn optional_fence(text: &str) -> Result<Option<Fence>, StorageError> {
    if text.is_empty() {
        return Ok(None);
    }
    let (epoch, activation) = text.split_once(':').ok_or_else(|| malformed(text))?;
    Ok(Some(Fence { epoch: number(epoch)?, activation: activation.parse().map_err(|_| malformed(text))? }))
}

fn number(text: &str) -> Result<u64, StorageError> {
    text.parse().map_err(|_| malformed(text))
}

fn text(value: Option<Value>) -> Result<String, StorageError> {
    String::from_utf8(bytes(value)?.into()).map_err(|error| malformed(&error))
}

fn bytes(value: Option<Value>) -> Result<Bytes, StorageError> {
    match value {
        Some(Value::BulkString(bytes)) => Ok(bytes.into()),
        Some(Value::SimpleString(text)) => Ok(text.into()),
        other => Err(malformed(&other)),
    }
}

fn malformed<T: std::fmt::Debug + ?Sized>(what: &T) -> StorageError {
    StorageError::Unreadable { detail: format!("not as Gristmill stores it: {what:?}") }
}
