//! How an activation begins: the claim, the storages, the grain's value, `on_activate`.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use gristmill_cluster::{Answer, DirectoryError};
use gristmill_grains::call::deadline_after;
use gristmill_grains::state::{Loader, StoredRecords};
use gristmill_grains::storage::{Fence, Opened};
use gristmill_grains::{Access, BuildContext, Cause, Fault, Grain, GrainContext, StorageError, reference};
use tokio::time::Instant;
use tracing::Instrument;

use super::Activation;
use super::gate::{Gate, HeldSend, Slot};
use super::mailbox::Phase;
use super::turn::{Ended, TurnRun, discard, next_turn_id};

/// Back-off of a storage that does not answer while a grain is activated.
const OPEN_RETRY: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// Back-off after a failed activation: doubles with every failure in a row.
pub(super) const FAILED_FIRST: Duration = Duration::from_millis(100);
const FAILED_LAST: Duration = Duration::from_secs(5);

impl<G: Grain> Activation<G> {
    /// Begins; `here`: on this task as far as it goes without waiting.
    pub(crate) fn activate(self: &Arc<Self>, here: bool) {
        let mut frame = self.clone().bare_frame("on_activate", Access::Exclusive);
        frame.turn = next_turn_id();
        {
            let mut inner = self.inner.lock();
            if inner.phase != Phase::Activating {
                return; // the silo ended before it began
            }
            inner.writer = frame.turn;
        }
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
        let node = self.host.core.node.as_ref().filter(|_| self.host.has_routes());
        let claimed = match node {
            Some(_) => Some(self.claim().await?),
            None => None,
        };
        let mut records = Vec::new();
        if !self.host.slots.is_empty() {
            let mut epoch = match claimed {
                Some(epoch) => epoch,
                None => self.claim_local(directory).await.map_err(unavailable)?,
            };
            let mut gate = Gate::new(self.host.options.strict);
            for (slot, &storage) in self.host.slots.iter().enumerate() {
                let opened = loop {
                    let fence = Fence { epoch, activation: self.id };
                    match self.open(slot, fence).await? {
                        Ok(opened) => break opened,
                        Err(seen) => {
                            // The storage remembers later owners than the directory does.
                            match self.host.core.superseded(storage).await {
                                _ if node.is_some() => {}
                                Ok(None) => {}
                                Ok(Some(fault)) => return Err(fault.of(&id)),
                                Err(_) => {
                                    tokio::time::sleep(OPEN_RETRY.0).await;
                                    continue;
                                }
                            }
                            let raised = match node {
                                Some(node) => node.raise(&id, self.id, seen.epoch).await,
                                None => directory.raise(&id, self.id, seen.epoch).await,
                            };
                            epoch = match raised.map_err(unavailable)? {
                                Ok(location) => location.epoch,
                                Err(_) => return Err(Fault::not_executed(Cause::Moved)),
                            };
                            self.raised(epoch);
                        }
                    }
                };
                let own: Vec<_> = self.host.records_in(slot).collect();
                gate.slots.push(Slot::new(storage, Fence { epoch, activation: self.id }, &own, &opened.records));
                let name = self.host.storage_names[slot];
                records.push(StoredRecords { storage: name, records: opened.records });
            }
            self.inner.lock().gate = Some(Box::new(gate));
        } else if self.host.options.strict {
            self.inner.lock().gate = Some(Box::new(Gate::new(true)));
        }
        let context = GrainContext::new(id.clone(), self.me.clone() as _);
        let built = reference::decoding(&self.host.runtime, || {
            G::build(&mut BuildContext::new(context, &*self, Loader::new(&records)))
        });
        drop(records);
        let mut grain = built.map_err(|error| failed(error.to_string()).caused_by(error))?;
        self.host.look_at(&grain);
        grain.on_activate().await.map_err(|error| failed(error.to_string()).caused_by(error))?;
        // Only what could be activated is brought back.
        let kept = self.host.core.keep(&self.host.options, &id).await;
        kept.map_err(|fault| failed(format!("it cannot be recorded as kept: {fault}")))?;
        Ok(Arc::new(grain))
    }

    /// Opens the grain in one storage. Inside `Ok`: what is stored, or the later fence that is.
    async fn open(&self, slot: usize, fence: Fence) -> Result<Result<Opened, Fence>, Fault> {
        let committer = self.host.committer_of(slot);
        let mut retry = OPEN_RETRY.0;
        let deadline = deadline_after(self.host.core.options.activation_timeout);
        loop {
            let sent = Instant::now();
            let span = tracing::debug_span!("open", storage = committer.name, grain = %self.grain_id());
            let grain = self.grain_id();
            let adapter = committer.storage();
            let open = adapter.open(&grain, fence).instrument(span);
            let answer = tokio::time::timeout_at(deadline, open).await;
            let answer = answer.unwrap_or_else(|_| Err(StorageError::unavailable("no answer in time")));
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

    fn activated(self: &Arc<Self>, ended: Ended<Result<Arc<G>, Fault>>) {
        let Ended { result, aborted, extra, .. } = ended;
        let failed = |reason: String| Fault::not_executed(Cause::ActivationFailed { reason });
        let grain = match result {
            Ok(Ok(grain)) if !aborted => grain,
            Ok(Ok(grain)) => {
                discard(grain);
                return self.fail_activation(failed("on_activate aborted".to_owned()));
            }
            Ok(Err(fault)) if matches!(fault.cause(), Cause::Moved) => return self.give_way(),
            Ok(Err(fault)) => return self.fail_activation(fault),
            Err(panic) => return self.fail_activation(failed(format!("panicked: {panic}"))),
        };
        let snapshots = match self.snapshot(&grain) {
            Ok(snapshots) => snapshots,
            Err(fault) => {
                discard(grain);
                return self.fail_activation(failed(fault.to_string()));
            }
        };
        let mut outbox = extra.map(|extra| extra.outbox).unwrap_or_default();
        if self.host.slots.is_empty() && !self.mute.load(Ordering::Acquire) {
            outbox.drain(..).for_each(|send| send.leave()); // before the first call's
        }
        let mut inner = self.inner.lock();
        if inner.lost.is_some() {
            drop(inner);
            return discard(grain); // `lose` has taken care of everything else
        }
        inner.phase = Phase::Active;
        inner.writer = 0;
        inner.held = Some(grain);
        let mut commits = Vec::new();
        if let Some(gate) = inner.gate.as_mut() {
            if !snapshots.records.is_empty() {
                gate.put(snapshots.records, true);
                commits = gate.sendable(&self.grain_id());
            }
            outbox.into_iter().for_each(|send| gate.hold(Box::new(HeldSend(send))));
        }
        let work = inner.has_work();
        drop(inner);
        self.host.metrics.activated.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(grain = %self.grain_id(), activation = %self.id, "activated");
        self.submit(commits);
        self.release_held();
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
        let gate = inner.gate.take();
        inner.lost = Some(fault.clone());
        let slow = inner.slow();
        slow.failures += 1;
        let kept = slow.kept;
        let back_off = FAILED_FIRST.saturating_mul(1 << (slow.failures - 1).min(16)).min(FAILED_LAST);
        let until = Instant::now() + back_off;
        slow.failed_until = Some(until);
        let queue = std::mem::take(&mut slow.queue);
        let timers = std::mem::take(&mut slow.timers);
        self.mute.store(true, Ordering::Release);
        drop(inner);
        drop((timers, gate));
        self.answer_claims(&Answer::Failed(fault.clone()));
        self.host.metrics.failed.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%fault, waiting = queue.len(), ?back_off, "activation failed");
        queue.into_iter().for_each(|job| job.fail(fault.clone()));
        let activation = self.clone();
        self.host.core.spawn_task(async move { activation.release_claim().await });
        if kept {
            self.try_again_at(until);
        }
    }

    /// A kept grain whose activation failed is activated again without being called.
    fn try_again_at(self: &Arc<Self>, until: Instant) {
        if !self.host.options.keep_running {
            return;
        }
        let (host, key) = (self.host.clone(), self.key.clone());
        self.host.core.spawn_task(async move {
            tokio::time::sleep_until(until).await;
            host.reactivate(&key);
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

    /// From now on it is tried again when it fails; also if it just has.
    pub(crate) fn keep(self: &Arc<Self>) {
        let mut inner = self.inner.lock();
        let kept = std::mem::replace(&mut inner.slow().kept, true);
        let until = inner.slow().failed_until.filter(|_| inner.phase == Phase::Failed && !kept);
        drop(inner);
        if let Some(until) = until {
            self.try_again_at(until);
        }
    }

    pub(crate) fn is_kept(&self) -> bool {
        self.inner.lock().slow_ref().is_some_and(|slow| slow.kept)
    }

    /// Takes over what a failed activation before it leaves.
    pub(crate) fn succeed(&self, failures: u32, kept: bool) {
        if failures > 0 || kept {
            let mut inner = self.inner.lock();
            inner.slow().failures = failures;
            inner.slow().kept = kept;
        }
    }
}
