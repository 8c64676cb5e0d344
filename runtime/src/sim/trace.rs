//! What happened, in order: two runs of one seed have the same.

use std::fmt::Write;

use super::world::Micros;

/// What bytes are known by in a trace.
pub(super) fn digest(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

/// A digest of all that happened, and the text of it if it is kept.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    digest: u64,
    events: u64,
    text: Option<String>,
}

impl Trace {
    pub(super) fn new(keep: bool) -> Self {
        Self { text: keep.then(String::new), ..Self::default() }
    }

    pub(super) fn note(&mut self, at: Micros, line: &str) {
        self.events += 1;
        self.digest = self.digest.rotate_left(5) ^ digest(line.as_bytes()) ^ at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        if let Some(text) = &mut self.text {
            let _ = writeln!(text, "{:>12} {line}", at); // writing to a String cannot fail
        }
    }

    pub(super) fn digest(&self) -> (u64, u64) {
        (self.digest, self.events)
    }

    pub(super) fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }
}
