//! How an activation begins and ends.
//!
//! ```text
//! Activating ──▶ Active ──▶ Closing ──▶ Dead
//!     │                        ▲
//!     └──▶ Failed              └ lost (panic, abort, fenced, over its turn limit), or told to deactivate
//! ```
//! Whoever waits in its mailbox when it leaves the catalog goes to the next activation, in order.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use gristmill_cluster::DirectoryError;
use gristmill_grains::port::Outgoing;
use gristmill_grains::state::{Loader, StoredRecords};
use gristmill_grains::storage::{Fence, Opened};
use gristmill_grains::{
    Access, BuildContext, Cause, DeactivationReason, Fault, Grain, GrainContext, StorageError, reference,
};
use tokio::time::Instant;
use tracing::Instrument;

use super::Activation;
use super::gate::{Gate, HeldSend, Slot};
use super::mailbox::Phase;
use super::turn::{Ended, TurnRun, discard, next_turn_id};
use crate::events::SiloEvent;

/// How a lost activation ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Loss {
    /// Nothing of it can become durable any more: what is held back fails, its successor may start.
    Now,
    /// Only its last turn is lost: what earlier turns have put behind the gate settles first.
    AfterSettling,
}

/// Back-off of a storage that does not answer while a grain is activated.
const OPEN_RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// Back-off after a failed activation: doubles with every failure in a row.
const FAILED_FIRST: Duration = Duration::from_millis(100);
const FAILED_LAST: Duration = Duration::from_secs(5);

fn stopping_fault() -> Fault {
    Fault::not_executed(Cause::SiloUnavailable { reason: "the silo is stopping".to_owned() })
}

impl<G: Grain> Activation<G> {
    /// Begins; `here`: on this task as far as it goes without waiting.
    pub(crate) fn activate(self: &Arc<Self>, here: bool) {
        let mut frame = self.bare_frame("on_activate", Access::Exclusive);
        frame.turn = next_turn_id();
        self.inner.lock().writer = frame.turn;
        let activation = self.clone();
        let mut run = TurnRun::new(frame, async move { activation.load().await });
        if here && let Poll::Ready(ended) = Pin::new(&mut run).poll(&mut Context::from_waker(Waker::noop())) {
            return self.activated(ended);
        }
        // From here on others may wait for this turn.
        run.detach();
        let activation = self.clone();
        self.host.core.spawn_task(async move {
            let limit = activation.host.core.options.activation_timeout;
            match tokio::time::timeout(limit, &mut run).await {
                Ok(ended) => activation.activated(ended),
                Err(_) => {
                    discard(run);
                    let reason = format!("it did not end within {limit:?}");
                    activation.fail_activation(Fault::not_executed(Cause::ActivationFailed { reason }));
                }
            }
        });
    }

    /// Claims the grain, opens its storages, makes its value, runs `on_activate`.
    async fn load(self: Arc<Self>) -> Result<Arc<G>, Fault> {
        let id = self.grain_id();
        let failed = |reason: String| Fault::not_executed(Cause::ActivationFailed { reason }).of(&id);
        let unavailable = |error: DirectoryError| failed(error.to_string());
        let directory = &self.host.core.directory;
        let mut records = Vec::new();
        if !self.host.slots.is_empty() {
            let mut epoch = directory.claim(&id, self.id).await.map_err(unavailable)?;
            let mut gate = Gate::default();
            for (slot, &storage) in self.host.slots.iter().enumerate() {
                let opened = loop {
                    let fence = Fence { epoch, activation: self.id };
                    match self.open(slot, fence).await? {
                        Ok(opened) => break opened,
                        Err(seen) => {
                            // The storage remembers later owners than the directory does.
                            match self.host.core.superseded(storage).await {
                                Ok(None) => {}
                                Ok(Some(fault)) => return Err(fault.of(&id)),
                                Err(_) => {
                                    tokio::time::sleep(OPEN_RETRY.0).await;
                                    continue;
                                }
                            }
                            epoch = directory.raise(&id, self.id, seen.epoch).await.map_err(unavailable)?;
                        }
                    }
                };
                let versions = opened.records.iter().map(|record| (record.name.clone(), record.version)).collect();
                gate.slots.push(Slot::new(storage, Fence { epoch, activation: self.id }, versions));
                let name = self.host.storage_names[slot];
                records.push(StoredRecords { storage: name, records: opened.records });
            }
            self.inner.lock().gate = Some(Box::new(gate));
        }
        let context = GrainContext::new(id.clone(), self.me.clone() as _);
        let built = reference::decoding(&self.host.runtime, || {
            G::build(&mut BuildContext::new(context, &*self, Loader::new(&records)))
        });
        drop(records);
        let mut grain = built.map_err(|error| failed(error.to_string()).caused_by(error))?;
        self.host.core.keep(&self.host.options, &id).await?;
        grain.on_activate().await.map_err(|error| failed(error.to_string()).caused_by(error))?;
        Ok(Arc::new(grain))
    }

    /// Opens the grain in one storage. Inside `Ok`: what is stored, or the later fence that is.
    async fn open(&self, slot: usize, fence: Fence) -> Result<Result<Opened, Fence>, Fault> {
        let committer = self.host.committer_of(slot);
        let mut retry = OPEN_RETRY.0;
        let deadline = Instant::now() + self.host.core.options.activation_timeout;
        loop {
            let sent = Instant::now();
            let span = tracing::debug_span!("open", storage = committer.name, grain = %self.grain_id());
            let answer = committer.storage.open(&self.grain_id(), fence).instrument(span).await;
            let error = match answer {
                Ok(opened) => {
                    committer.observe(None, sent);
                    return Ok(Ok(opened));
                }
                Err(StorageError::Fenced { seen: Some(seen) }) => return Ok(Err(seen)),
                Err(error) => error,
            };
            let cause = Cause::Storage { storage: committer.name.clone(), detail: error.to_string() };
            let fault = Fault::not_executed(cause).of(&self.grain_id()).caused_by(Box::new(error.clone()));
            if error.is_definite() {
                return Err(fault);
            }
            committer.observe(Some(&error), sent);
            if Instant::now() + retry >= deadline {
                return Err(fault);
            }
            tokio::time::sleep(retry).await;
            retry = (retry * 2).min(OPEN_RETRY.1);
        }
    }

    fn activated(self: &Arc<Self>, (result, mut frame): Ended<Result<Arc<G>, Fault>>) {
        let failed = |reason: String| Fault::not_executed(Cause::ActivationFailed { reason });
        let grain = match result {
            Ok(Ok(grain)) if !frame.aborted => grain,
            Ok(Ok(grain)) => {
                discard(grain);
                return self.fail_activation(failed("on_activate aborted".to_owned()));
            }
            Ok(Err(fault)) => return self.fail_activation(fault),
            Err(panic) => return self.fail_activation(failed(format!("panicked: {panic}"))),
        };
        let snapshots = match self.snapshot(&grain) {
            Ok(snapshots) => snapshots,
            Err(fault) => {
                discard(grain);
                return self.fail_activation(fault);
            }
        };
        let outbox = frame.extra.as_mut().map(|extra| std::mem::take(&mut extra.outbox)).unwrap_or_default();
        let mut inner = self.inner.lock();
        if inner.lost.is_some() {
            drop(inner);
            return discard(grain); // `lose` has taken care of everything else
        }
        inner.phase = Phase::Active;
        inner.writer = 0;
        inner.held = Some(grain);
        let mut commits = Vec::new();
        let mut leaving = Some(outbox);
        if let Some(gate) = inner.gate.as_mut() {
            if !snapshots.records.is_empty() {
                gate.put(snapshots.records, true);
                commits = gate.sendable(&self.grain_id());
            }
            if !gate.is_open() {
                leaving.take().into_iter().flatten().for_each(|send| gate.hold(Box::new(HeldSend(send))));
            }
        }
        let work = inner.has_work();
        drop(inner);
        self.host.metrics.activated.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(grain = %self.grain_id(), activation = %self.id, "activated");
        self.submit(commits);
        leaving.into_iter().flatten().for_each(|send| send.leave());
        if let Some(after) = snapshots.flush {
            self.flush_after(after);
        }
        if work {
            self.pump();
        }
    }

    /// The grain's value could not be made: everybody who waits learns why, and so does who calls before the back-off
    /// is over.
    fn fail_activation(self: &Arc<Self>, fault: Fault) {
        let fault = fault.of(&self.grain_id());
        let mut inner = self.inner.lock();
        if inner.phase != Phase::Activating {
            return;
        }
        inner.phase = Phase::Failed;
        inner.writer = 0;
        inner.gate = None;
        inner.lost = Some(fault.clone());
        let slow = inner.slow();
        slow.failures += 1;
        let back_off = FAILED_FIRST.saturating_mul(1 << (slow.failures - 1).min(16)).min(FAILED_LAST);
        slow.failed_until = Some(Instant::now() + back_off);
        let queue = std::mem::take(&mut slow.queue);
        let timers = std::mem::take(&mut slow.timers);
        self.mute.store(true, Ordering::Release);
        drop(inner);
        drop(timers);
        self.host.metrics.failed.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%fault, waiting = queue.len(), ?back_off, "activation failed");
        queue.into_iter().for_each(|job| job.fail(fault.clone()));
        let activation = self.clone();
        let keep = self.host.options.keep_running;
        self.host.core.spawn_task(async move {
            activation.release_claim().await;
            if keep {
                tokio::time::sleep(back_off).await;
                activation.host.reactivate(&activation.key);
            }
        });
    }

    /// For the next activation after this failed one: may it start, and after how many failures?
    pub(crate) fn failed_and_over(&self) -> Option<u32> {
        if !self.mute.load(Ordering::Acquire) {
            return None;
        }
        let inner = self.inner.lock();
        let slow = inner.slow_ref().filter(|_| inner.phase == Phase::Failed)?;
        slow.failed_until.filter(|until| *until <= Instant::now()).map(|_| slow.failures)
    }

    pub(crate) fn set_failures(&self, failures: u32) {
        if failures > 0 {
            self.inner.lock().slow().failures = failures;
        }
    }

    /// Asks for an orderly end: after the running turns, before the queued ones.
    pub(crate) fn request_close(self: &Arc<Self>, reason: DeactivationReason) {
        let stopping = reason == DeactivationReason::SiloStopping;
        let mut inner = self.inner.lock();
        if inner.phase == Phase::Failed && stopping {
            drop(inner);
            return self.leave_catalog();
        }
        if !matches!(inner.phase, Phase::Active | Phase::Activating) {
            return;
        }
        let slow = inner.slow();
        slow.close.get_or_insert(reason);
        // A silo that stops still serves what its running turns wait for; the rest has nowhere to go.
        let mut refused = std::collections::VecDeque::new();
        if stopping {
            let (kept, others) = std::mem::take(&mut slow.queue).into_iter().partition(|job| job.is_from_turn());
            (slow.queue, refused) = (kept, others);
        }
        let now = inner.phase == Phase::Active && inner.writer == 0 && inner.readers == 0;
        drop(inner);
        for job in refused {
            job.fail(stopping_fault().of(&self.grain_id()));
        }
        if now {
            self.pump_later();
        }
    }

    /// Runs `on_deactivate`, writes what is dirty, and leaves the catalog once that is durable.
    pub(super) fn begin_close(self: &Arc<Self>, reason: DeactivationReason) {
        let mut inner = self.inner.lock();
        if inner.phase != Phase::Active || inner.writer != 0 || inner.readers != 0 {
            return;
        }
        let Some(grain) = inner.held.take() else { return };
        let turn = next_turn_id();
        inner.phase = Phase::Closing;
        inner.writer = turn;
        let timers = std::mem::take(&mut inner.slow().timers);
        drop(inner);
        drop(timers);
        let mut frame = self.bare_frame("on_deactivate", Access::Exclusive);
        frame.turn = turn;
        let activation = self.clone();
        self.host.core.spawn_task(async move { activation.close(grain, reason, frame).await });
    }

    async fn close(
        self: Arc<Self>,
        mut grain: Arc<G>,
        reason: DeactivationReason,
        frame: gristmill_grains::turn::Frame,
    ) {
        let limit = self.host.core.options.activation_timeout;
        let mut hook = TurnRun::new(frame, async move {
            let result = super::call::only(&mut grain).on_deactivate(reason).await;
            (grain, result)
        });
        let id = self.grain_id();
        let mut outbox = Vec::new();
        let snapshots = match tokio::time::timeout(limit, &mut hook).await {
            Ok((Ok((grain, result)), mut frame)) => {
                if let Err(error) = result {
                    tracing::error!(grain = %id, %error, "on_deactivate failed; the state is written as it is");
                }
                if let Some(extra) = &mut frame.extra {
                    outbox = std::mem::take(&mut extra.outbox);
                }
                let snapshots = if frame.aborted { Ok(Default::default()) } else { self.snapshot_all(&grain) };
                discard(grain);
                snapshots
            }
            Ok((Err(panic), _)) => Err(Fault::maybe_executed_with(Cause::Panicked { message: panic })),
            Err(_) => {
                discard(hook);
                Err(Fault::maybe_executed_with(Cause::Timeout))
            }
        };
        match snapshots {
            Ok(snapshots) => self.put(snapshots.records, true),
            Err(fault) => tracing::error!(grain = %id, %fault, "on_deactivate failed; what it changed is dropped"),
        }
        self.let_go(outbox);
        self.leave_settled().await;
    }

    /// The last hook is over; its sends leave with what it changed.
    fn let_go(&self, outbox: Vec<Box<dyn Outgoing>>) {
        let mut inner = self.inner.lock();
        inner.writer = 0;
        match inner.gate.as_mut() {
            Some(gate) if !gate.is_open() => {
                outbox.into_iter().for_each(|send| gate.hold(Box::new(HeldSend(send))));
            }
            _ => {
                drop(inner);
                outbox.into_iter().for_each(|send| send.leave());
            }
        }
    }

    /// The activation is lost: from now on its turns may neither call nor commit.
    pub(crate) fn lose(self: &Arc<Self>, fault: Fault, loss: Loss) {
        let fault = fault.of(&self.grain_id());
        let mut inner = self.inner.lock();
        let was_lost = inner.lost.is_some();
        if inner.phase == Phase::Dead || (was_lost && loss == Loss::AfterSettling) {
            return;
        }
        if !was_lost {
            let reason = fault.to_string();
            inner.lost = Some(Fault::not_executed(Cause::ActivationLost { reason }).of(&self.grain_id()));
        }
        let activating = inner.phase == Phase::Activating;
        inner.phase = Phase::Closing;
        let held = inner.held.take();
        let timers = std::mem::take(&mut inner.slow().timers);
        let failed = match inner.gate.as_mut() {
            Some(gate) if loss == Loss::Now => gate.give_up(),
            _ => Vec::new(),
        };
        self.mute.store(true, Ordering::Release);
        drop(inner);
        drop(timers);
        discard(held);
        if !was_lost {
            self.host.metrics.lost.fetch_add(1, Ordering::Relaxed);
            self.host.core.event(SiloEvent::ActivationLost { grain: self.grain_id(), fault: fault.clone() });
        }
        failed.into_iter().for_each(|item| item.fail(&fault));
        let settled = self.inner.lock().gate.as_ref().is_none_or(|gate| gate.is_settled());
        if loss == Loss::Now || settled || activating {
            self.leave_catalog();
            let activation = self.clone();
            self.host.core.spawn_task(async move { activation.release_claim().await });
        } else {
            let activation = self.clone();
            self.host.core.spawn_task(async move { activation.leave_settled().await });
        }
    }

    /// Leaves the catalog once everything is durable (or given up).
    async fn leave_settled(self: Arc<Self>) {
        loop {
            let settled = self.inner.lock().gate.as_mut().and_then(|gate| gate.when_settled());
            match settled {
                Some(settled) => {
                    let _ = settled.await; // dropped with the gate: then there is nothing to wait for either
                }
                None => break,
            }
        }
        self.release_claim().await;
        self.leave_catalog();
    }

    async fn release_claim(&self) {
        if !self.host.slots.is_empty()
            && let Err(error) = self.host.core.directory.release(&self.grain_id(), self.id).await
        {
            tracing::warn!(grain = %self.grain_id(), %error, "the directory row was not released; its next owner replaces it");
        }
    }

    /// Out of the catalog; what waits goes on at a successor.
    pub(super) fn leave_catalog(self: &Arc<Self>) {
        let host = &self.host;
        let mut waits = Vec::new();
        let successor = host.replace(self, |current| {
            let mut inner = self.inner.lock();
            if inner.phase == Phase::Dead {
                return None;
            }
            inner.phase = Phase::Dead;
            if !current {
                return None; // a failed one, replaced already: nobody waits in it
            }
            let slow = inner.slow();
            let retired = slow.retired;
            let queue: std::collections::VecDeque<_> =
                std::mem::take(&mut slow.queue).into_iter().filter(|job| job.is_live() && job.transfers()).collect();
            let again = host.options.keep_running && !retired && !host.core.is_stopping();
            if queue.is_empty() && !again {
                return None;
            }
            let successor = Activation::new(host, self.key.clone(), self.hash);
            waits.extend(queue.iter().filter_map(|job| job.wait()));
            let watch = !queue.is_empty();
            let mut fresh = successor.inner.lock();
            fresh.slow().queue = queue;
            fresh.watched = watch;
            drop(fresh);
            Some(successor)
        });
        host.metrics.deactivated.fetch_add(1, Ordering::Relaxed);
        host.core.deactivated.notify_waiters();
        if let Some(successor) = successor {
            for wait in waits {
                host.core.graph.retarget(wait, successor.me.clone());
            }
            successor.watch();
            let host = host.clone();
            let lost = self.mute.load(Ordering::Acquire);
            host.core.clone().spawn_task(async move {
                // A grain that is lost in its first turn each time must not spin.
                if lost && host.options.keep_running {
                    tokio::time::sleep(FAILED_FIRST).await;
                }
                successor.activate(true);
            });
        }
    }
}
