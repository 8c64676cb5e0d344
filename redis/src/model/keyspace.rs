//! Keys and what they hold.

use std::collections::BTreeMap;
use std::fmt::Write;

/// The fields of a hash. They come in the order in which they were made, as those of a server's small hashes do.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Fields {
    named: BTreeMap<Vec<u8>, (u64, Vec<u8>)>,
    made: u64,
}

impl Fields {
    pub(super) fn get(&self, field: &[u8]) -> Option<&Vec<u8>> {
        self.named.get(field).map(|(_, value)| value)
    }

    /// Gives what the field held.
    pub(super) fn insert(&mut self, field: &[u8], value: Vec<u8>) -> Option<Vec<u8>> {
        if let Some((_, held)) = self.named.get_mut(field) {
            return Some(std::mem::replace(held, value));
        }
        self.made += 1;
        self.named.insert(field.to_vec(), (self.made, value));
        None
    }

    /// Was it there?
    pub(super) fn remove(&mut self, field: &[u8]) -> bool {
        self.named.remove(field).is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Vec<u8>, &Vec<u8>)> {
        let mut fields: Vec<_> = self.named.iter().map(|(field, (made, value))| (made, field, value)).collect();
        fields.sort_unstable_by_key(|(made, ..)| *made);
        fields.into_iter().map(|(_, field, value)| (field, value))
    }
}

/// What a key holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Held {
    Text(Vec<u8>),
    Hash(Fields),
}

#[derive(Clone, Debug)]
struct Entry {
    held: Held,
    /// In milliseconds.
    expires: Option<u64>,
}

/// All keys.
#[derive(Clone, Debug, Default)]
pub(super) struct Keyspace(BTreeMap<Vec<u8>, Entry>);

pub(super) const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

impl Keyspace {
    fn live(&self, key: &[u8], now: u64) -> Option<&Entry> {
        self.0.get(key).filter(|entry| entry.expires.is_none_or(|at| now < at))
    }

    pub(super) fn text(&self, key: &[u8], now: u64) -> Result<Option<&Vec<u8>>, String> {
        match self.live(key, now).map(|entry| &entry.held) {
            None => Ok(None),
            Some(Held::Text(text)) => Ok(Some(text)),
            Some(Held::Hash(_)) => Err(WRONG_TYPE.to_owned()),
        }
    }

    /// As `SET` does it: whatever was there is gone, its expiry too.
    pub(super) fn set(&mut self, key: &[u8], text: Vec<u8>) {
        self.0.insert(key.to_vec(), Entry { held: Held::Text(text), expires: None });
    }

    pub(super) fn hash(&self, key: &[u8], now: u64) -> Result<Option<&Fields>, String> {
        match self.live(key, now).map(|entry| &entry.held) {
            None => Ok(None),
            Some(Held::Hash(fields)) => Ok(Some(fields)),
            Some(Held::Text(_)) => Err(WRONG_TYPE.to_owned()),
        }
    }

    /// The fields of a hash, made if there is none.
    pub(super) fn hash_mut(&mut self, key: &[u8], now: u64) -> Result<&mut Fields, String> {
        if self.live(key, now).is_none() {
            self.0.insert(key.to_vec(), Entry { held: Held::Hash(Fields::default()), expires: None });
        }
        match self.0.get_mut(key).map(|entry| &mut entry.held) {
            Some(Held::Hash(fields)) => Ok(fields),
            _ => Err(WRONG_TYPE.to_owned()),
        }
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        self.0.remove(key);
    }

    pub(super) fn exists(&self, key: &[u8], now: u64) -> bool {
        self.live(key, now).is_some()
    }

    pub(super) fn set_expiry(&mut self, key: &[u8], expires: Option<u64>) {
        if let Some(entry) = self.0.get_mut(key) {
            entry.expires = expires;
        }
    }

    pub(super) fn expiry(&self, key: &[u8]) -> Option<u64> {
        self.0.get(key)?.expires
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn dump(&self) -> String {
        let mut out = String::new();
        for (key, entry) in &self.0 {
            // Writing to a String cannot fail.
            let _ = write!(out, "{}", key.escape_ascii());
            match &entry.held {
                Held::Text(text) => drop(writeln!(out, " = {}", text.escape_ascii())),
                Held::Hash(fields) => {
                    let _ = writeln!(out);
                    for (field, value) in fields.iter() {
                        let _ = writeln!(out, "  {} = {}", field.escape_ascii(), value.escape_ascii());
                    }
                }
            }
        }
        out
    }
}
