//! The activations of one grain type: key to activation, sharded. The key is stored once, in the activation.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::fast::FixedState;
use gristmill_grains::Grain;
use gristmill_grains::sync::RwLock;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::activation::Activation;

const SHARDS: usize = 64;

pub(crate) struct Catalog<G: Grain> {
    /// Seeded by the silo: the same in every replay, unknown to those who choose keys.
    hasher: FixedState,
    shards: Box<[Shard<G>]>,
}

type Shard<G> = RwLock<HashTable<Arc<Activation<G>>>>;

impl<G: Grain> Catalog<G> {
    pub(crate) fn new(seed: u64) -> Self {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        Self { hasher: FixedState::with_seed(seed), shards }
    }

    pub(crate) fn hash(&self, key: &impl Hash) -> u64 {
        self.hasher.hash_one(key)
    }

    fn shard(&self, hash: u64) -> &Shard<G> {
        // The table uses the low bits and the top seven.
        &self.shards[(hash >> 32) as usize % SHARDS]
    }

    pub(crate) fn get(&self, hash: u64, key: &G::Key) -> Option<Arc<Activation<G>>> {
        self.shard(hash).read().find(hash, |activation| activation.key == *key).cloned()
    }

    /// The activation of `key`, or the one that `make` makes. `make` also sees an existing one, and may replace it.
    pub(crate) fn get_or_make(
        &self,
        hash: u64,
        key: &G::Key,
        make: impl FnOnce(Option<&Arc<Activation<G>>>) -> Option<Arc<Activation<G>>>,
    ) -> Option<(Arc<Activation<G>>, bool)> {
        let mut shard = self.shard(hash).write();
        match shard.entry(hash, |activation| activation.key == *key, |activation| activation.hash) {
            Entry::Occupied(mut found) => Some(match make(Some(found.get())) {
                Some(made) => {
                    *found.get_mut() = made.clone();
                    (made, true)
                }
                None => (found.get().clone(), false),
            }),
            Entry::Vacant(vacant) => {
                let made = make(None)?;
                vacant.insert(made.clone());
                Some((made, true))
            }
        }
    }

    /// Takes `old` out and puts what `make` makes in its place. `make` runs under the shard's lock and is told whether
    /// `old` is still the grain's activation; if not, nothing changes here.
    pub(crate) fn replace(
        &self,
        old: &Arc<Activation<G>>,
        make: impl FnOnce(bool) -> Option<Arc<Activation<G>>>,
    ) -> Option<Arc<Activation<G>>> {
        let mut shard = self.shard(old.hash).write();
        let found = shard.entry(old.hash, |activation| activation.key == old.key, |activation| activation.hash);
        match found {
            Entry::Occupied(mut found) if Arc::ptr_eq(found.get(), old) => {
                let successor = make(true);
                match &successor {
                    Some(successor) => *found.get_mut() = successor.clone(),
                    None => drop(found.remove()),
                }
                successor
            }
            _ => make(false),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    /// Looks at every activation, one shard's lock at a time. The order is the same in every replay.
    pub(crate) fn for_each(&self, mut look: impl FnMut(&Arc<Activation<G>>)) {
        for shard in &self.shards {
            let shard = shard.read();
            shard.iter().for_each(&mut look);
        }
    }

    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            let cleared = std::mem::take(&mut *shard.write());
            drop(cleared);
        }
    }
}
