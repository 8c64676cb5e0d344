//! From a turn's end to the storage and back: snapshots, commits, their answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gristmill_grains::call::deadline_after;
use gristmill_grains::chaos::{self, Bug};
use gristmill_grains::state::{Policy, StateField, StateSpec, StateVisitor};
use gristmill_grains::storage::{Commit, Opened};
use gristmill_grains::{Access, Cause, Fault, Grain, StorageError};

use tokio::time::Instant;

use super::Activation;
use super::gate::{Snapshot, rolled_back};
use super::lifecycle::Loss;
use super::mailbox::{Admitted, Expire, Job, Phase};
use super::turn::{Body, Sink};
use crate::committer::CommitOwner;
use crate::events::SiloEvent;

/// Between attempts to open a storage that lost its tail.
const REOPEN_RETRY: Duration = Duration::from_millis(100);

/// What a turn left to be written.
#[derive(Default)]
pub(super) struct Snapshots {
    /// For the commit that the turn's output waits for.
    pub(super) records: Vec<Snapshot>,
    /// `every` state is dirty: write it after this time.
    pub(super) flush: Option<Duration>,
}

/// Which dirty fields are encoded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which<'a> {
    /// Those of `turn` policy.
    Turn,
    /// Those of `every` policy.
    Due,
    /// All that are written without being asked to.
    All,
    /// Those that the store has lost, dirty or not.
    Named(usize, &'a [String]),
}

struct Encoder<'a, G: Grain> {
    activation: &'a Activation<G>,
    which: Which<'a>,
    index: usize,
    snapshots: Snapshots,
    error: Option<String>,
}

impl<G: Grain> StateVisitor for Encoder<'_, G> {
    fn field<S: StateField>(&mut self, spec: &'static StateSpec, field: &S) {
        let slot = self.activation.host.slot_of[self.index];
        self.index += 1;
        let wanted = match (self.which, spec.policy) {
            (Which::Named(of, names), _) => of == slot && names.iter().any(|name| name == spec.name),
            _ if !field.is_dirty() => false,
            (Which::Turn, Policy::Every(after)) => {
                let flush = &mut self.snapshots.flush;
                *flush = Some(flush.map_or(after, |earlier| earlier.min(after)));
                false
            }
            (Which::Turn | Which::All, Policy::Turn) => true,
            (Which::Due | Which::All, Policy::Every(_)) | (Which::All, Policy::OnDeactivate) => true,
            (_, Policy::Turn | Policy::Manual | Policy::OnDeactivate) => false,
        };
        if wanted {
            match field.snapshot() {
                Ok(body) => self.snapshots.records.push(Snapshot { slot, record: spec.name, body }),
                Err(error) => self.error = Some(format!("record {:?} cannot be encoded: {error}", spec.name)),
            }
        }
    }
}

impl<G: Grain> Activation<G> {
    /// Encodes what a turn changed under the `turn` policy.
    pub(super) fn snapshot(&self, grain: &G) -> Result<Snapshots, Fault> {
        if !grain.is_dirty() || chaos::planted(Bug::DirtyForgotten) {
            return Ok(Snapshots::default());
        }
        self.encode(grain, Which::Turn)
    }

    /// Encodes everything that changed.
    pub(super) fn snapshot_all(&self, grain: &G) -> Result<Snapshots, Fault> {
        self.encode(grain, Which::All)
    }

    fn encode(&self, grain: &G, which: Which<'_>) -> Result<Snapshots, Fault> {
        let mut encoder = Encoder { activation: self, which, index: 0, snapshots: Snapshots::default(), error: None };
        let visited = super::turn::guarded(|| grain.visit_states(&mut encoder));
        match (visited, encoder.error) {
            (Ok(()), None) => Ok(encoder.snapshots),
            (Ok(()), Some(detail)) => Err(Fault::maybe_executed_with(Cause::Codec { detail })),
            (Err(panic), _) => Err(Fault::maybe_executed_with(Cause::Panicked { message: panic })),
        }
    }

    /// Encodes, puts the snapshots behind the gate, and sends what can be sent.
    fn write(self: &Arc<Self>, grain: &G, which: Which<'_>, gating: bool) -> Result<(), Fault> {
        let _encoding = self.encoding.lock();
        let snapshots = self.encode(grain, which)?;
        self.put(snapshots.records, gating);
        Ok(())
    }

    /// Puts snapshots behind the gate and sends what can be sent; nothing of a lost activation.
    pub(super) fn put(self: &Arc<Self>, snapshots: Vec<Snapshot>, gating: bool) {
        let mut inner = self.inner.lock();
        if inner.lost.is_some() || snapshots.is_empty() {
            return;
        }
        let Some(gate) = inner.gate.as_mut() else { return };
        gate.put(snapshots, gating);
        let commits = gate.sendable(&self.grain_id());
        drop(inner);
        self.submit(commits);
    }

    pub(super) fn submit(self: &Arc<Self>, commits: Vec<(usize, Commit)>) {
        for (slot, commit) in commits {
            self.host.committer_of(slot).submit(self.clone(), slot, commit);
        }
    }

    /// Lets go what may go, in order, one thread at a time.
    pub(super) fn release_held(&self) {
        let mut first = true;
        loop {
            let mut inner = self.inner.lock();
            let Some(item) = inner.gate.as_mut().and_then(|gate| gate.next_released(first)) else { return };
            drop(inner);
            first = false;
            // A waker of somebody else's executor may panic; what waits behind must go on.
            if let Err(panic) = super::turn::guarded(|| item.release()) {
                tracing::error!(grain = %self.grain_id(), panic, "delivering a reply panicked");
            }
        }
    }

    /// Writes dirty `every` state after this time, unless it is written earlier.
    pub(super) fn flush_after(self: &Arc<Self>, after: Duration) {
        let due = deadline_after(after);
        let mut inner = self.inner.lock();
        if inner.phase == Phase::Active && inner.slow().flush_due.is_none_or(|earlier| due < earlier) {
            inner.slow().flush_due = Some(due);
            let activation = Arc::downgrade(self);
            inner.slow().timers.task(&self.host.core, async move {
                tokio::time::sleep_until(due).await;
                if let Some(activation) = activation.upgrade() {
                    activation.inner.lock().slow().flush_due = None;
                    activation.enqueue_internal(Box::new(InternalJob(Flush(activation.clone()))));
                }
            });
        }
    }

    /// A full mailbox does not keep the runtime's own turns out; a lost activation does not need them.
    fn enqueue_internal(self: &Arc<Self>, job: Box<dyn Job<G>>) {
        let mut inner = self.inner.lock();
        if !matches!(inner.phase, Phase::Activating | Phase::Active) || inner.lost.is_some() {
            return;
        }
        inner.slow().queue.push_back(job);
        let work = inner.has_work();
        drop(inner);
        if work {
            self.pump_later();
        }
    }

    /// Opens the storage again with the activation's own fence. Gives the versions that were known just before, and what
    /// the storage holds; nothing if the activation is over.
    async fn reopen(&self, slot: usize) -> Result<Option<(BTreeMap<String, u64>, Opened)>, Fault> {
        let committer = self.host.committer_of(slot).clone();
        loop {
            let (fence, known) = {
                let inner = self.inner.lock();
                match inner.gate.as_ref() {
                    Some(gate) if inner.phase != Phase::Dead => {
                        (gate.slots[slot].fence, gate.slots[slot].versions.clone())
                    }
                    _ => return Ok(None),
                }
            };
            let (sent, grain) = (Instant::now(), self.grain_id());
            match committer.answered(committer.storage().open(&grain, fence)).await {
                Ok(opened) => {
                    committer.observe(None, sent);
                    return Ok(Some((known, opened)));
                }
                Err(error) if error.is_definite() => return Err(self.storage_fault(slot, &error)),
                Err(error) => {
                    committer.observe(Some(&error), sent);
                    tokio::time::sleep(REOPEN_RETRY).await;
                }
            }
        }
    }

    /// Makes a commit anew that a storage refused because it has lost what it acknowledged.
    async fn commit_again(self: Arc<Self>, slot: usize, commit: Commit) {
        let opened = match self.reopen(slot).await {
            Ok(Some((_, opened))) => opened,
            Ok(None) => return,
            Err(fault) => return self.lose(fault, Loss::Now),
        };
        let mut inner = self.inner.lock();
        // Given up meanwhile: nothing of it may be written any more.
        let Some(gate) = inner.gate.as_mut().filter(|gate| gate.slots[slot].is_in_flight()) else { return };
        let (again, lost) = gate.slots[slot].again(commit, &opened);
        drop(inner);
        self.report_restored(slot, lost);
        self.host.committer_of(slot).submit(self.clone(), slot, again);
    }

    fn report_restored(&self, slot: usize, records: Vec<String>) {
        if !records.is_empty() {
            self.host.metrics.restored.fetch_add(1, Ordering::Relaxed);
            let (grain, storage) = (self.grain_id(), self.host.committer_of(slot).name.clone());
            tracing::error!(%grain, storage, ?records, "the storage lost acknowledged writes; restoring them");
            self.host.core.event(SiloEvent::Restored { grain, storage, records });
        }
    }

    pub(super) fn storage_fault(&self, slot: usize, error: &StorageError) -> Fault {
        let cause = match error {
            StorageError::Fenced { .. } => Cause::Fenced,
            _ => Cause::Storage { storage: self.host.committer_of(slot).name.clone(), detail: error.to_string() },
        };
        Fault::maybe_executed_with(cause).of(&self.grain_id())
    }
}

/// An activation with state in a storage.
pub(crate) trait Stored: Send + Sync {
    /// The storage's process is another one: what it lacks of this grain is written again.
    fn recheck(self: Arc<Self>, storage: usize);
}

impl<G: Grain> Stored for Activation<G> {
    fn recheck(self: Arc<Self>, storage: usize) {
        let Some(slot) = self.host.slots.iter().position(|of| *of == storage) else { return };
        let activation = self.clone();
        self.enqueue_internal(Box::new(InternalJob(Recheck { activation, slot })));
    }
}

impl<G: Grain> CommitOwner for Activation<G> {
    fn committed(self: Arc<Self>, slot: usize, commit: Commit, answer: Result<(), StorageError>) {
        let answer = match answer {
            Err(StorageError::Fenced { .. }) if chaos::planted(Bug::FencedServes) => Ok(()),
            answer => answer,
        };
        match answer {
            Ok(()) => {
                let mut inner = self.inner.lock();
                let Some(gate) = inner.gate.as_mut() else { return };
                gate.settle(slot, &commit);
                let commits = gate.sendable(&self.grain_id());
                drop(inner);
                self.submit(commits);
                self.release_held();
            }
            Err(error) if rolled_back(&commit, &error) => {
                tracing::error!(grain = %self.grain_id(), %error, "the storage is behind what it acknowledged");
                let activation = self.clone();
                self.host.core.spawn_task(async move { activation.commit_again(slot, commit).await });
            }
            Err(error) => {
                let fault = self.storage_fault(slot, &error);
                if matches!(error, StorageError::Fenced { .. }) {
                    self.host.metrics.fenced.fetch_add(1, Ordering::Relaxed);
                    self.host.core.check_superseded(self.host.slots[slot]);
                }
                if matches!(error, StorageError::Conflict { .. }) {
                    chaos::reach("a commit met a version that nobody else can have written");
                }
                tracing::error!(%fault, "a commit was refused; the activation is lost");
                self.lose(fault, Loss::Now);
            }
        }
    }
}

/// A turn of the runtime's own.
struct InternalJob<B>(B);

/// Where the result of such a turn goes: nowhere.
pub(super) struct Nowhere;

impl Sink<()> for Nowhere {
    fn deliver(self, _: Result<(), Fault>) {}
}

impl<G: Grain, B: Body<G, Out = ()>> Job<G> for InternalJob<B> {
    fn access(&self) -> Access {
        B::ACCESS
    }

    fn is_live(&self) -> bool {
        true
    }

    fn method(&self) -> &'static str {
        "(state)"
    }

    fn caller(&self) -> Option<&Arc<gristmill_grains::turn::ChainNode>> {
        None
    }

    fn wait(&self) -> Option<crate::graph::WaitId> {
        None
    }

    fn expire(&self) -> Option<std::sync::Weak<dyn Expire>> {
        None
    }

    fn run(self: Box<Self>, activation: &Arc<Activation<G>>, admitted: Admitted<G>) {
        let frame = activation.clone().bare_frame("(state)", B::ACCESS);
        Activation::run_turn(admitted, frame, self.0, Nowhere, None, |_, _| {});
    }

    fn fail(self: Box<Self>, _: Fault) {}

    fn is_refusable(&self) -> bool {
        false
    }

    fn transfers(&self) -> bool {
        false
    }
}

/// Writes dirty `every` state.
struct Flush<G: Grain>(Arc<Activation<G>>);

impl<G: Grain> Body<G> for Flush<G> {
    type Out = ();
    const ACCESS: Access = Access::Shared;
    const LIMITED: bool = false;

    async fn run(self, grain: Arc<G>) -> (Arc<G>, ()) {
        if let Err(fault) = self.0.write(&grain, Which::Due, false) {
            self.0.lose(fault, Loss::AfterSettling);
        }
        (grain, ())
    }
}

/// Writes again what the storage has lost. A read turn: no write turn may change what is compared.
struct Recheck<G: Grain> {
    activation: Arc<Activation<G>>,
    slot: usize,
}

impl<G: Grain> Body<G> for Recheck<G> {
    type Out = ();
    const ACCESS: Access = Access::Shared;
    const LIMITED: bool = false;

    async fn run(self, grain: Arc<G>) -> (Arc<G>, ()) {
        let Self { activation, slot } = self;
        let result = match activation.reopen(slot).await {
            Ok(Some((known, opened))) => {
                let mut inner = activation.inner.lock();
                let lost = inner.gate.as_mut().map(|gate| gate.slots[slot].compare(&known, &opened));
                drop(inner);
                let lost = lost.unwrap_or_default();
                activation.report_restored(slot, lost.clone());
                if lost.is_empty() { Ok(()) } else { activation.write(&grain, Which::Named(slot, &lost), true) }
            }
            Ok(None) => Ok(()),
            Err(fault) => Err(fault),
        };
        if let Err(fault) = result {
            activation.lose(fault, Loss::Now);
        }
        (grain, ())
    }
}
