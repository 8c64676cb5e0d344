//! The durable side of an activation: snapshots on their way to the storages, and the output held back for them.
//!
//! Every dirty turn gets a *generation*. A storage's slot has at most one commit in flight; a newer snapshot replaces an
//! unsent older one. What leaves the activation waits in one queue, each item tagged with the generation it needs, and is
//! released in order once every slot has settled that generation.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Weak;

use bytes::Bytes;
use gristmill_grains::Fault;
use gristmill_grains::chaos::{self, Bug};
use gristmill_grains::port::Outgoing;
use gristmill_grains::storage::{Commit, Fence, Opened, RecordWrite, StoredRecord, WriteId};
use gristmill_grains::{GrainId, StorageError};
use tokio::sync::oneshot;

use super::mailbox::Expire;

/// Something that leaves the activation once it is durable.
pub(crate) trait Held: Send {
    fn release(self: Box<Self>);
    fn fail(self: Box<Self>, fault: &Fault);
    /// Does somebody still wait for it?
    fn is_wanted(&self) -> bool {
        true
    }
    /// What ends when its deadline passes, though it is held back.
    fn expiry(&self) -> Option<Weak<dyn Expire>> {
        None
    }
}

/// A call or one-way send; it does not leave if what it waits for is lost.
pub(crate) struct HeldSend(pub(crate) Box<dyn Outgoing>);

impl Held for HeldSend {
    fn release(self: Box<Self>) {
        self.0.leave();
    }

    fn fail(self: Box<Self>, _: &Fault) {}

    fn is_wanted(&self) -> bool {
        self.0.is_wanted()
    }
}

/// Somebody who waits until everything so far is durable.
pub(crate) struct HeldSignal(pub(crate) oneshot::Sender<Result<(), Fault>>);

impl Held for HeldSignal {
    fn release(self: Box<Self>) {
        let _ = self.0.send(Ok(())); // whoever waited may have gone
    }

    fn fail(self: Box<Self>, fault: &Fault) {
        let _ = self.0.send(Err(fault.clone()));
    }
}

/// An encoded record.
pub(crate) struct Snapshot {
    pub(crate) slot: usize,
    pub(crate) record: &'static str,
    pub(crate) body: Option<Bytes>,
}

/// The records of one grain in one storage.
pub(crate) struct Slot {
    /// The storage's place in the silo.
    pub(crate) storage: usize,
    pub(crate) fence: Fence,
    /// The version of each of the type's records as this activation knows it: it only grows.
    pub(crate) versions: BTreeMap<String, u64>,
    /// The version the store has, where it is another: it lost its tail.
    behind: BTreeMap<String, u64>,
    /// What the store acknowledged last, of types with several records here: they are restored together or not at all.
    acknowledged: Option<BTreeMap<String, Option<Bytes>>>,
    in_flight: Option<InFlight>,
    pending: BTreeMap<&'static str, Option<Bytes>>,
    pending_since: Option<u64>,
}

/// The commit in flight.
struct InFlight {
    /// Its oldest generation; `None`: nobody waits for it.
    since: Option<u64>,
    records: Vec<&'static str>,
}

impl Slot {
    /// `own`: the records that the grain's type keeps here.
    pub(crate) fn new(storage: usize, fence: Fence, own: &[&'static str], opened: &[StoredRecord]) -> Self {
        let own_of = || opened.iter().filter(|record| own.contains(&record.name.as_str()));
        let bodies = || own_of().map(|record| (record.name.clone(), record.body.clone())).collect();
        Self {
            storage,
            fence,
            versions: own_of().map(|record| (record.name.clone(), record.version)).collect(),
            behind: BTreeMap::new(),
            acknowledged: (own.len() > 1).then(bodies),
            in_flight: None,
            pending: BTreeMap::new(),
            pending_since: None,
        }
    }

    /// What the store held when it was opened again, compared with what was `known` just before: the records that it has
    /// lost. Those of the commit in flight are left to its own answer, those settled meanwhile are newer than both.
    pub(crate) fn compare(&mut self, known: &BTreeMap<String, u64>, opened: &Opened) -> Vec<String> {
        let stored = |name: &String| opened.records.iter().find(|record| record.name == *name).map_or(0, |r| r.version);
        let in_flight = self.in_flight.as_ref().map_or(&[][..], |commit| &commit.records);
        let lost = known.iter().filter(|(name, version)| {
            self.versions.get(*name) == Some(*version)
                && stored(name) < **version
                && !in_flight.contains(&name.as_str())
        });
        let lost: Vec<_> = lost.map(|(name, _)| name.clone()).collect();
        self.behind.extend(lost.iter().map(|name| (name.clone(), stored(name))));
        lost
    }

    fn write(&self, name: String, body: Option<Bytes>) -> RecordWrite {
        let known = self.versions.get(&name).copied().unwrap_or(0);
        let expect = self.behind.get(&name).copied().unwrap_or(known);
        RecordWrite { name, expect, version: known + 1, body }
    }

    /// The commit in flight was refused by a store that lost its tail: the same commit for what the store has now, with
    /// every other record it has lost, so that the grain is whole again at once. Also gives the lost records.
    pub(crate) fn again(&mut self, commit: Commit, opened: &Opened) -> (Commit, Vec<String>) {
        let in_flight = self.in_flight.take();
        let lost = self.compare(&self.versions.clone(), opened);
        self.in_flight = in_flight;
        let mut records: Vec<_> =
            commit.records.into_iter().map(|record| self.write(record.name, record.body)).collect();
        for (name, body) in self.acknowledged.iter().flatten() {
            if lost.contains(name) && !records.iter().any(|record| record.name == *name) {
                records.push(self.write(name.clone(), body.clone()));
            }
        }
        (Commit { records, ..commit }, lost)
    }

    pub(crate) fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// The oldest generation that is not durable here.
    fn unsettled(&self) -> Option<u64> {
        self.in_flight.as_ref().and_then(|commit| commit.since).or(self.pending_since)
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.in_flight.is_none() && self.pending.is_empty()
    }
}

/// Bounds on what may be uncommitted in one activation.
const MAX_UNCOMMITTED_TURNS: u64 = 1_000;
const MAX_UNCOMMITTED_BYTES: usize = 1024 * 1024;
/// What may be held back in one activation.
pub(crate) const MAX_HELD: usize = 10_000;

#[derive(Default)]
pub(crate) struct Gate {
    pub(crate) slots: Vec<Slot>,
    generation: u64,
    /// Commits made, of all slots: each has its own id even where two slots are one store.
    writes: u64,
    held: VecDeque<(u64, Box<dyn Held>)>,
    /// Is a thread letting items go? Then others queue behind them.
    releasing: bool,
    /// Of the snapshots that are pending or in flight.
    bytes: usize,
    /// Bytes of the largest snapshot so far, for the memory budget.
    pub(crate) state_bytes: usize,
    /// Waits until nothing is on its way.
    on_settled: Vec<oneshot::Sender<()>>,
    /// Is the silo's lease looked at before an answer leaves?
    strict: bool,
}

impl Gate {
    /// A gate through which nothing has passed.
    pub(crate) fn new(strict: bool) -> Self {
        Self { strict, ..Self::default() }
    }

    /// May output pass without waiting?
    pub(crate) fn is_open(&self) -> bool {
        let settled = self.unsettled().is_none() || chaos::planted(Bug::GateOpen);
        self.held.is_empty() && !self.releasing && settled
    }

    /// May it pass without another look?
    pub(crate) fn lets_pass(&self) -> bool {
        self.is_open() && !self.strict
    }

    /// Is nothing on its way to a storage?
    pub(crate) fn is_settled(&self) -> bool {
        self.held.is_empty() && !self.releasing && self.slots.iter().all(Slot::is_settled)
    }

    /// Ends when nothing is on its way any more, or the activation is lost.
    pub(crate) fn when_settled(&mut self) -> Option<oneshot::Receiver<()>> {
        if self.is_settled() {
            return None;
        }
        let (settled, wait) = oneshot::channel();
        self.on_settled.push(settled);
        Some(wait)
    }

    /// Tells whoever waited, if nothing is on its way.
    fn tell_settled(&mut self) {
        if self.is_settled() {
            for settled in self.on_settled.drain(..) {
                let _ = settled.send(()); // whoever waited may have gone
            }
        }
    }

    /// What is held back.
    pub(crate) fn held(&self) -> impl Iterator<Item = &dyn Held> {
        self.held.iter().map(|(_, held)| &**held)
    }

    pub(crate) fn holds_too_much(&self) -> bool {
        self.held.len() >= MAX_HELD
    }

    /// Takes out what nobody waits for any more.
    pub(crate) fn forget_unwanted(&mut self) -> Vec<Box<dyn Held>> {
        let (kept, unwanted) = std::mem::take(&mut self.held).into_iter().partition(|(_, item)| item.is_wanted());
        self.held = kept;
        let unwanted: VecDeque<_> = unwanted;
        unwanted.into_iter().map(|(_, item)| item).collect()
    }

    /// Is as much uncommitted as may be?
    pub(crate) fn is_full(&self) -> bool {
        let turns = self.unsettled().map_or(0, |unsettled| self.generation - unsettled + 1);
        // One snapshot in flight and one behind it are the least a grain of any size needs.
        turns >= MAX_UNCOMMITTED_TURNS || self.bytes >= MAX_UNCOMMITTED_BYTES.max(3 * self.state_bytes)
    }

    /// The oldest generation that is not durable everywhere.
    fn unsettled(&self) -> Option<u64> {
        self.slots.iter().filter_map(Slot::unsettled).min()
    }

    /// Takes a dirty turn's snapshots. `gating`: output of this and later turns waits for them.
    pub(crate) fn put(&mut self, snapshots: Vec<Snapshot>, gating: bool) {
        if gating {
            self.generation += 1;
        }
        for snapshot in snapshots {
            let size = snapshot.body.as_ref().map_or(0, Bytes::len);
            self.bytes += size;
            self.state_bytes = self.state_bytes.max(size);
            let slot = &mut self.slots[snapshot.slot];
            if chaos::planted(Bug::SnapshotNotReplaced) && slot.pending.contains_key(snapshot.record) {
                continue;
            }
            if let Some(Some(replaced)) = slot.pending.insert(snapshot.record, snapshot.body) {
                self.bytes = self.bytes.saturating_sub(replaced.len());
            }
            if gating {
                slot.pending_since.get_or_insert(self.generation);
            }
        }
    }

    /// Holds an item back for everything put so far.
    pub(crate) fn hold(&mut self, item: Box<dyn Held>) {
        self.held.push_back((self.generation, item));
    }

    /// Commits that can be sent now: those of slots with something pending and nothing in flight.
    pub(crate) fn sendable(&mut self, grain: &GrainId) -> Vec<(usize, Commit)> {
        let mut commits = Vec::new();
        for (number, slot) in self.slots.iter_mut().enumerate() {
            if slot.in_flight.is_some() || slot.pending.is_empty() {
                continue;
            }
            let pending = std::mem::take(&mut slot.pending);
            slot.in_flight =
                Some(InFlight { since: slot.pending_since.take(), records: pending.keys().copied().collect() });
            let records = pending.into_iter().map(|(name, body)| slot.write(name.to_owned(), body)).collect();
            self.writes += 1;
            let write = WriteId(self.writes);
            commits.push((number, Commit { grain: grain.clone(), fence: slot.fence, write, records }));
        }
        commits
    }

    /// A commit of this slot is durable.
    pub(crate) fn settle(&mut self, number: usize, commit: &Commit) {
        let slot = &mut self.slots[number];
        slot.in_flight = None;
        for record in &commit.records {
            self.bytes = self.bytes.saturating_sub(record.body.as_ref().map_or(0, Bytes::len));
            slot.versions.insert(record.name.clone(), record.version);
            slot.behind.remove(&record.name);
            if let Some(acknowledged) = &mut slot.acknowledged {
                acknowledged.insert(record.name.clone(), record.body.clone());
            }
        }
    }

    /// The next item that may leave. After `Some`, ask again once it has left; `None` ends the releasing.
    pub(crate) fn next_released(&mut self, first: bool) -> Option<Box<dyn Held>> {
        if first && self.releasing {
            return None; // the thread that is at it will see what we made leavable
        }
        let unsettled = self.unsettled().unwrap_or(u64::MAX);
        self.releasing = self.held.front().is_some_and(|(generation, _)| *generation < unsettled);
        if self.releasing {
            return self.held.pop_front().map(|(_, item)| item);
        }
        self.tell_settled();
        None
    }

    /// The activation is lost: nothing of it will be durable any more.
    pub(crate) fn give_up(&mut self) -> Vec<Box<dyn Held>> {
        for slot in &mut self.slots {
            slot.pending.clear();
            slot.pending_since = None;
            slot.in_flight = None;
        }
        let held = self.held.drain(..).map(|(_, item)| item).collect();
        self.tell_settled();
        held
    }
}

/// Did the store lose its tail? It refuses with an answer that only an older state of the same owner's can give.
pub(crate) fn rolled_back(commit: &Commit, error: &StorageError) -> bool {
    match error {
        StorageError::Fenced { seen: None } => true,
        StorageError::Fenced { seen: Some(seen) } => seen.epoch < commit.fence.epoch,
        StorageError::Conflict { expected, found, .. } => found < expected,
        _ => false,
    }
}
