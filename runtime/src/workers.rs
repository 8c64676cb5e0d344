//! Stateless workers: several activations answer for one key.

use std::collections::BTreeMap;
use std::sync::Arc;

use gristmill_grains::sync::Mutex;
use gristmill_grains::{ActivationId, Grain, GrainKey};

use crate::activation::Activation;
use crate::host::TypeHost;

/// The workers of each key, in the order of their making.
pub(crate) struct Workers<G: Grain> {
    most: usize,
    by_key: Mutex<BTreeMap<Arc<str>, Pool<G>>>,
}

type Pool<G> = Vec<Arc<Activation<G>>>;

impl<G: Grain> Workers<G> {
    /// At most `most` workers a key.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, by_key: Mutex::default() }
    }

    /// The first idle worker, else a new one, else the one with the fewest calls waiting; none of `tried`, as long as
    /// there is another.
    pub(crate) fn route(
        &self,
        host: &Arc<TypeHost<G>>,
        key: &G::Key,
        inline: bool,
        tried: &[ActivationId],
    ) -> Arc<Activation<G>> {
        let mut by_key = self.by_key.lock();
        let workers = by_key.entry(key.to_text()).or_default();
        workers.retain(|worker| worker.failed_and_over().is_none());
        if let Some(idle) = workers.iter().find(|worker| worker.is_at_rest()) {
            return idle.clone();
        }
        // One that is ending passes what waits on to its successor, so it may be chosen, too.
        let busy = workers.iter().min_by_key(|worker| (tried.contains(&worker.id), worker.waiting()));
        match busy {
            Some(busy) if workers.len() >= self.most => busy.clone(),
            _ => {
                let made = Activation::new(host, key.clone(), 0);
                workers.push(made.clone());
                drop(by_key);
                made.activate(inline);
                made
            }
        }
    }

    /// Is there, or may there be, a worker that is not in `tried`?
    pub(crate) fn has_other(&self, key: &G::Key, tried: &[ActivationId]) -> bool {
        let by_key = self.by_key.lock();
        let workers = by_key.get(&key.to_text()).map_or(&[][..], Vec::as_slice);
        workers.len() < self.most || workers.iter().any(|worker| !tried.contains(&worker.id))
    }

    /// Takes an ended worker out and puts the successor that `make` makes in its place. `make` learns whether the old
    /// one was in. One step, or a call that comes in between would make one worker too many.
    pub(crate) fn replace(
        &self,
        old: &Arc<Activation<G>>,
        make: impl FnOnce(bool) -> Option<Arc<Activation<G>>>,
    ) -> Option<Arc<Activation<G>>> {
        let key = old.key.to_text();
        let mut by_key = self.by_key.lock();
        let workers = by_key.entry(key.clone()).or_default();
        let place = workers.iter().position(|worker| Arc::ptr_eq(worker, old));
        let successor = make(place.is_some());
        match (place, &successor) {
            (Some(place), Some(successor)) => workers[place] = successor.clone(),
            (Some(place), None) => drop(workers.remove(place)),
            (None, Some(successor)) => workers.push(successor.clone()),
            (None, None) => {}
        }
        if workers.is_empty() {
            by_key.remove(&key);
        }
        successor
    }

    pub(crate) fn all(&self) -> Vec<Arc<Activation<G>>> {
        self.by_key.lock().values().flatten().cloned().collect()
    }

    pub(crate) fn clear(&self) {
        let cleared = std::mem::take(&mut *self.by_key.lock());
        drop(cleared);
    }
}
