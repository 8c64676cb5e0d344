//! A grain type in a silo: its options, its activations, and how its methods are reached.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use gristmill_cluster::{Answer, Location};
use gristmill_grains::filter::CallFilter;
use gristmill_grains::port::{CallOptions, Runtime};
use gristmill_grains::state::{Policy, StateField, StateSpec, StateVisitor};
use gristmill_grains::{
    ActivationId, BoxFuture, DeactivationReason, Fault, Grain, GrainId, GrainKey, GrainOptions, GrainType, Placement,
};

use crate::activation::lifecycle::Loss;
use crate::activation::{Activation, Claiming, Stored};
use crate::catalog::Catalog;
use crate::committer::Committer;
use crate::core::Core;
use crate::metrics::{GrainMetrics, TypeMetrics};
use crate::routes;
use crate::workers::Workers;

/// A grain type in a silo.
pub(crate) struct TypeHost<G: Grain> {
    pub(crate) core: Arc<Core>,
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) grain_type: GrainType,
    pub(crate) options: GrainOptions,
    pub(crate) incoming: Vec<Arc<dyn CallFilter>>,
    /// The storages of its state, by their place in the silo.
    pub(crate) slots: Vec<usize>,
    pub(crate) storage_names: Vec<&'static str>,
    /// By state field: its slot.
    pub(crate) slot_of: Vec<usize>,
    /// Does it have state under the `turn` policy?
    pub(crate) gates: bool,
    /// Does it have state that changes through `&self`? Known once a grain has been made.
    cells: AtomicBool,
    pub(crate) catalog: Catalog<G>,
    workers: Option<Workers<G>>,
    pub(crate) metrics: TypeMetrics,
}

impl<G: Grain> TypeHost<G> {
    /// # Errors
    /// Says what is wrong with the type's declaration in this silo.
    pub(crate) fn new(
        core: &Arc<Core>,
        options: GrainOptions,
        incoming: Vec<Arc<dyn CallFilter>>,
    ) -> Result<Arc<Self>, String> {
        let (mut slots, mut storage_names, mut slot_of) = (Vec::new(), Vec::new(), Vec::new());
        let mut turn_storages = Vec::new();
        for spec in G::STATES {
            let storage = core.storages.iter().position(|storage| storage.name == spec.storage).ok_or_else(|| {
                format!("its state {:?} is kept in storage {:?}, which the silo does not have", spec.name, spec.storage)
            })?;
            let slot = slots.iter().position(|slot| *slot == storage).unwrap_or_else(|| {
                slots.push(storage);
                storage_names.push(spec.storage);
                slots.len() - 1
            });
            slot_of.push(slot);
            if spec.policy == Policy::Turn && !turn_storages.contains(&slot) {
                turn_storages.push(slot);
            }
        }
        if turn_storages.len() > 1 && !options.several_storages {
            return Err("it has `turn` state in several storages, which are not atomic with each other; \
                        say #[grain(several_storages)] if that is meant"
                .to_owned());
        }
        let workers = match options.stateless_workers {
            Some(_) if !G::STATES.is_empty() => return Err("stateless workers cannot have state".to_owned()),
            Some(_) if options.keep_running => return Err("stateless workers cannot be kept running".to_owned()),
            workers => workers.map(|most| Workers::new(if most == 0 { core.options.cores } else { most })),
        };
        if let Placement::Custom(name) = &options.placement
            && !core.placements.contains_key(&**name)
        {
            return Err(format!("its placement {name:?} is unknown to the silo: SiloBuilder::placement registers it"));
        }
        if options.mailbox == 0 {
            return Err("its mailbox has no room for a single call".to_owned());
        }
        Ok(Arc::new(Self {
            core: core.clone(),
            runtime: core.clone(),
            grain_type: G::grain_type(),
            options,
            incoming,
            slots,
            storage_names,
            slot_of,
            gates: !turn_storages.is_empty(),
            cells: AtomicBool::new(false),
            catalog: Catalog::new(core.random()),
            workers,
            metrics: TypeMetrics::new(),
        }))
    }

    pub(crate) fn has_cells(&self) -> bool {
        self.cells.load(Ordering::Relaxed)
    }

    /// Looks at a grain that was made.
    pub(crate) fn look_at(&self, grain: &G) {
        struct Cells(bool);
        impl StateVisitor for Cells {
            fn field<S: StateField>(&mut self, _: &'static StateSpec, _: &S) {
                self.0 |= S::INTERIOR;
            }
        }
        if !G::STATES.is_empty() && !self.has_cells() {
            let mut cells = Cells(false);
            grain.visit_states(&mut cells);
            self.cells.store(cells.0, Ordering::Relaxed);
        }
    }

    pub(crate) fn id_of(&self, key: &G::Key) -> GrainId {
        GrainId::new(self.grain_type.clone(), key.to_text())
    }

    /// The names of the type's records in this storage.
    pub(crate) fn records_in(&self, slot: usize) -> impl Iterator<Item = &'static str> {
        G::STATES.iter().zip(&self.slot_of).filter(move |(_, of)| **of == slot).map(|(spec, _)| spec.name)
    }

    pub(crate) fn committer_of(&self, slot: usize) -> &Arc<Committer> {
        &self.core.storages[self.slots[slot]]
    }

    /// The activation of `key`; makes one if there is none, unless the cluster says where. Of stateless workers, one that
    /// is not in `tried`.
    #[inline]
    pub(crate) fn route(
        self: &Arc<Self>,
        key: &G::Key,
        options: &CallOptions,
        inline: bool,
        tried: &[ActivationId],
    ) -> Result<Option<Arc<Activation<G>>>, Fault> {
        self.core.admits(options)?;
        if let Some(workers) = &self.workers {
            key.validate()?;
            return Ok(Some(workers.route(self, key, inline, tried)));
        }
        let hash = self.catalog.hash(key);
        if let Some(known) = routes::take(self, hash, key) {
            return Ok(Some(known));
        }
        if let Some(found) = self.catalog.get(hash, key)
            && found.failed_and_over().is_none()
        {
            return Ok(Some(found));
        }
        if self.core.is_clustered() {
            return Ok(None);
        }
        key.validate()?;
        Ok(Some(self.make(hash, key, None, inline)))
    }

    /// Has a grain one activation, which threads may remember?
    pub(crate) fn has_routes(&self) -> bool {
        self.workers.is_none()
    }

    /// Is there another worker than those in `tried`?
    pub(crate) fn may_route_past(&self, key: &G::Key, tried: &[ActivationId]) -> bool {
        self.workers.as_ref().is_some_and(|workers| workers.has_other(key, tried))
    }

    fn make(self: &Arc<Self>, hash: u64, key: &G::Key, claiming: Option<Claiming>, here: bool) -> Arc<Activation<G>> {
        let made = self.catalog.get_or_make(hash, key, |existing| {
            let failures = match existing.map(|existing| existing.failed_and_over()) {
                None => 0,
                Some(None) => return None, // somebody was faster
                Some(Some(failures)) => failures,
            };
            let made = Activation::new(self, key.clone(), hash);
            made.succeed(failures, existing.is_some_and(|existing| existing.is_kept()));
            claiming.into_iter().for_each(|claiming| made.claim_as(claiming));
            Some(made)
        });
        let Some((activation, new)) = made else { unreachable!("a missing activation is always made") };
        if new {
            activation.activate(here);
        }
        activation
    }

    /// Brings a grain back without a call.
    pub(crate) fn reactivate(self: &Arc<Self>, key: &G::Key) {
        if !self.core.is_stopping() {
            self.make(self.catalog.hash(key), key, None, false).keep();
        }
    }

    fn all(&self) -> Vec<Arc<Activation<G>>> {
        let mut all = Vec::new();
        self.catalog.for_each(|activation| all.push(activation.clone()));
        all.extend(self.workers.iter().flat_map(Workers::all));
        all
    }

    /// Takes an ended activation out and puts the successor that `make` makes in its place.
    pub(crate) fn replace(
        &self,
        old: &Arc<Activation<G>>,
        make: impl FnOnce(bool) -> Option<Arc<Activation<G>>>,
    ) -> Option<Arc<Activation<G>>> {
        match &self.workers {
            Some(workers) => workers.replace(old, make),
            None => self.catalog.replace(old, make),
        }
    }
}

/// A grain type in a silo, its type erased.
pub(crate) trait AnyHost: Send + Sync {
    fn grain_type(&self) -> &GrainType;
    fn options(&self) -> &GrainOptions;
    fn live(&self) -> usize;
    fn metrics(&self) -> GrainMetrics;
    fn count_deadlock(&self);
    /// Asks every activation for an orderly end.
    fn close_all(&self, reason: DeactivationReason);
    /// Drops every activation.
    fn clear(&self);
    /// Ends activations that were idle for their time; gives the bytes of the rest, by estimate.
    fn collect(&self, now: u32, idle_ticks: Option<u32>) -> usize;
    /// When each idle activation was last used.
    fn idle_since(&self, into: &mut Vec<u32>);
    /// Ends at most so many idle activations last used before this; gives how many.
    fn evict(&self, before: u32, most: usize) -> usize;
    /// The live activations with state in this storage.
    fn stored_in(&self, storage: usize) -> Vec<Weak<dyn Stored>>;
    /// Brings a grain back, by the text of its key.
    fn reactivate(self: Arc<Self>, key: &str) -> Result<(), Fault>;
    /// Is the grain in memory?
    fn is_active(&self, key: &str) -> bool;
    /// Activates the grain, unless it is active; tells who owns it then.
    fn adopt(self: Arc<Self>, key: &str, expect: Option<Location>) -> BoxFuture<'static, Answer>;
    /// Where the directory has the grain, if an activation here owns it.
    fn location(&self, key: &str) -> Option<Location>;
    /// Every activation that owns its grain in the cluster's directory.
    fn owned(&self) -> Vec<(GrainId, Location)>;
    /// The grain has another activation elsewhere: this one is lost.
    fn lose(&self, key: &str, activation: ActivationId);
    /// The grain's activation lets everybody in from now on.
    fn open(&self, key: &str);
    /// Does it?
    fn is_open(&self, key: &str) -> bool;
}

impl<G: Grain> AnyHost for TypeHost<G> {
    fn grain_type(&self) -> &GrainType {
        &self.grain_type
    }

    fn options(&self) -> &GrainOptions {
        &self.options
    }

    fn live(&self) -> usize {
        self.catalog.len() + self.workers.as_ref().map_or(0, |workers| workers.all().len())
    }

    fn metrics(&self) -> GrainMetrics {
        self.all().iter().for_each(|activation| activation.fold_calls());
        self.metrics.read(&self.grain_type, self.live())
    }

    fn count_deadlock(&self) {
        self.metrics.deadlocks.fetch_add(1, Ordering::Relaxed);
    }

    fn close_all(&self, reason: DeactivationReason) {
        self.all().iter().for_each(|activation| activation.request_close(reason));
    }

    fn clear(&self) {
        self.all().iter().for_each(|activation| activation.drop_now());
        self.catalog.clear();
        self.workers.iter().for_each(Workers::clear);
    }

    fn collect(&self, now: u32, idle_ticks: Option<u32>) -> usize {
        let mut bytes = 0;
        let mut idle = Vec::new();
        let mut look = |activation: &Arc<Activation<G>>| {
            activation.fold_calls();
            bytes += activation.estimated_bytes();
            let idle_for_long = idle_ticks.is_some_and(|ticks| now.wrapping_sub(activation.last_used()) >= ticks);
            if activation.is_forgettable() || (idle_for_long && activation.may_be_collected()) {
                idle.push(activation.clone());
            }
        };
        self.catalog.for_each(&mut look);
        self.workers.iter().flat_map(Workers::all).for_each(|worker| look(&worker));
        idle.iter().for_each(|activation| activation.collect(DeactivationReason::Idle));
        bytes
    }

    fn idle_since(&self, into: &mut Vec<u32>) {
        self.catalog.for_each(|activation| {
            if activation.may_be_collected() {
                into.push(activation.last_used());
            }
        });
    }

    fn evict(&self, before: u32, most: usize) -> usize {
        let mut victims = Vec::new();
        self.catalog.for_each(|activation| {
            if victims.len() < most && activation.last_used() < before && activation.may_be_collected() {
                victims.push(activation.clone());
            }
        });
        victims.iter().for_each(|activation| activation.collect(DeactivationReason::MemoryPressure));
        victims.len()
    }

    fn stored_in(&self, storage: usize) -> Vec<Weak<dyn Stored>> {
        if !self.slots.contains(&storage) {
            return Vec::new();
        }
        self.all().iter().map(|activation| Arc::downgrade(activation) as _).collect()
    }

    fn reactivate(self: Arc<Self>, key: &str) -> Result<(), Fault> {
        let key = G::Key::from_text(key)?;
        TypeHost::reactivate(&self, &key);
        Ok(())
    }

    fn is_active(&self, key: &str) -> bool {
        let found = G::Key::from_text(key).ok().and_then(|key| self.catalog.get(self.catalog.hash(&key), &key));
        found.is_some_and(|activation| !activation.has_failed())
    }

    fn adopt(self: Arc<Self>, key: &str, expect: Option<Location>) -> BoxFuture<'static, Answer> {
        let key = match G::Key::from_text(key).and_then(|key| key.validate().map(|()| key)) {
            Ok(key) => key,
            Err(error) => return Box::pin(std::future::ready(Answer::Failed(error.into()))),
        };
        if self.workers.is_some() {
            // Every silo that hosts them has its own, and no row; those of this one do.
            let here = self.core.node.as_ref().map(|node| node.without_row());
            return Box::pin(std::future::ready(here.map_or(Answer::No, Answer::At)));
        }
        let activation = self.make(self.catalog.hash(&key), &key, Some(Claiming::behind_lane(expect)), false);
        Box::pin(async move { activation.claimed().await })
    }

    fn owned(&self) -> Vec<(GrainId, Location)> {
        let mut owned = Vec::new();
        self.catalog.for_each(|activation| {
            owned.extend(activation.owned_as().map(|location| (activation.grain_id(), location)));
        });
        owned
    }

    fn location(&self, key: &str) -> Option<Location> {
        let key = G::Key::from_text(key).ok()?;
        self.catalog.get(self.catalog.hash(&key), &key)?.owned_as()
    }

    fn lose(&self, key: &str, activation: ActivationId) {
        let found = G::Key::from_text(key).ok().and_then(|key| self.catalog.get(self.catalog.hash(&key), &key));
        if let Some(found) = found.filter(|found| found.id == activation) {
            let reason = "another silo has the grain".to_owned();
            found.lose(Fault::maybe_executed_with(gristmill_grains::Cause::ActivationLost { reason }), Loss::Now);
        }
    }

    fn open(&self, key: &str) {
        let found = G::Key::from_text(key).ok().and_then(|key| self.catalog.get(self.catalog.hash(&key), &key));
        found.inspect(|activation| activation.let_all_in());
    }

    fn is_open(&self, key: &str) -> bool {
        let found = G::Key::from_text(key).ok().and_then(|key| self.catalog.get(self.catalog.hash(&key), &key));
        found.is_some_and(|activation| activation.lets_all_in())
    }
}
