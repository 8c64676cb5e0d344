//! What a script answered: `{run id or '', status, ...}`.

use std::fmt::{self, Write};

use bytes::Bytes;
use gristmill_grains::ActivationId;
use gristmill_grains::storage::{Fence, Opened, StorageError, StoredRecord, WriteId};
use redis::Value;

/// How much of malformed data an error shows, in characters.
const SHOWN: usize = 100;

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
            "unreadable" => Err(StorageError::Unreadable { detail: shortened(text(items.next())?) }),
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

fn malformed<T: fmt::Debug + ?Sized>(what: &T) -> StorageError {
    let mut start = Start(String::new());
    // Fails where it is long enough: what is stored may be of any size.
    let _ = write!(start, "{what:?}");
    StorageError::Unreadable { detail: format!("not as Gristmill stores it: {}", shortened(start.0)) }
}

/// Keeps the start of what is written to it.
struct Start(String);

impl Write for Start {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = (SHOWN + 1).saturating_sub(self.0.chars().count());
        self.0.extend(text.chars().take(room));
        if text.chars().nth(room).is_some() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// At most [`SHOWN`] characters of a text, and whether there are more.
fn shortened(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(SHOWN) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_show_only_the_start_of_what_is_malformed() {
        let huge = Value::BulkString(vec![b'x'; 1 << 20]);
        let text = "\u{fc}".repeat(1 << 20);
        let unreadable = ["", "unreadable", &text].map(|text| Value::SimpleString(text.to_owned())).to_vec();
        let [parsed, refused] = [Value::Array(vec![huge.clone(), huge.clone()]), Value::Array(unreadable)]
            .map(|reply| Reply::parse(reply).and_then(Reply::number).expect_err("malformed").to_string());
        for message in [malformed(&huge).to_string(), malformed(&text).to_string(), parsed, refused] {
            assert!(message.chars().count() < 200 && message.ends_with("..."), "{message}");
        }
        assert!(malformed("short").to_string().ends_with(r#": "short""#));
    }
}
