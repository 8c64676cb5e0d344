//! Watches what is written to the grains' records, and says when it cannot be (invariants I1 and I3).

use std::collections::BTreeMap;

use gristmill_redis::model::Command;

/// What the store held last.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    fences: BTreeMap<Vec<u8>, (u64, Vec<u8>)>,
    versions: BTreeMap<(Vec<u8>, Vec<u8>), u64>,
    /// The store has lost writes, so versions may jump.
    pub(super) lost: bool,
    pub(super) broken: Vec<String>,
    pub(super) commits: u64,
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

impl Oracle {
    pub(super) fn see(&mut self, written: &[Command]) {
        for command in written {
            let [name, key, field, value] = command.as_slice() else { continue };
            if name != b"HSET" || !key.starts_with(b"gm:") {
                continue;
            }
            match field.as_slice() {
                b"f" => self.fence(key, value),
                b"w" => self.commits += 1,
                field if field.starts_with(b"v:") => self.version(key, field, value),
                _ => {}
            }
        }
    }

    fn fence(&mut self, key: &[u8], value: &[u8]) {
        let mut parts = value.splitn(2, |byte| *byte == b':');
        let epoch = parts.next().and_then(number).unwrap_or(0);
        let owner = parts.next().unwrap_or_default().to_vec();
        let before = self.fences.insert(key.to_vec(), (epoch, owner.clone()));
        if let Some((last, who)) = before.filter(|_| !self.lost)
            && (epoch < last || epoch == last && who != owner)
        {
            let key = key.escape_ascii();
            self.broken.push(format!("I1: the fence of {key} went from {last} to {epoch}"));
        }
    }

    fn version(&mut self, key: &[u8], field: &[u8], value: &[u8]) {
        let version = number(value).unwrap_or(0);
        let before = self.versions.insert((key.to_vec(), field.to_vec()), version).unwrap_or(0);
        if !self.lost && version != before + 1 {
            let (key, field) = (key.escape_ascii(), field.escape_ascii());
            self.broken.push(format!("I3: {field} of {key} went from version {before} to {version}"));
        }
    }
}
