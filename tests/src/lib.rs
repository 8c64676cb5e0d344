//! What the integration tests and their worker processes share.
//!
//! - [`Ledger`]: the grain they write to.

use gristmill::prelude::*;

/// Keeps what it is told, in order.
#[grain_interface]
pub trait Ledger {
    /// Appends an entry; gives the number of entries.
    async fn append(&mut self, entry: String) -> u64;
    /// Counts one more; gives the count.
    async fn count(&mut self) -> u64;
    /// All entries, and the count.
    async fn all(&self) -> (Vec<String>, u64);
}

/// A ledger with two records, so that a commit has more than one.
#[derive(Grain)]
#[grain(implements(Ledger))]
pub struct LedgerGrain {
    #[state]
    entries: Persistent<Vec<String>>,
    #[state]
    counted: Persistent<u64>,
}

impl Ledger for LedgerGrain {
    async fn append(&mut self, entry: String) -> u64 {
        self.entries.push(entry);
        self.entries.len() as u64
    }

    async fn count(&mut self) -> u64 {
        *self.counted += 1;
        *self.counted
    }

    async fn all(&self) -> (Vec<String>, u64) {
        (self.entries.clone(), *self.counted)
    }
}

/// How many ledgers a worker writes to, and how many writers each has.
pub const LEDGERS: usize = 4;
/// See [`LEDGERS`].
pub const WRITERS: usize = 3;
