//! How an activation begins and ends.
//!
//! ```text
//! Activating ──▶ Active ──▶ Closing ──▶ Dead
//!     │                        ▲
//!     └──▶ Failed              └ lost (panic, abort, fenced, over its turn limit), or told to deactivate
//! ```
//! Whoever waits in its mailbox when it leaves the catalog goes to the next activation, in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use gristmill_grains::port::Outgoing;
use gristmill_grains::{Access, Cause, DeactivationReason, Fault, Grain, chaos};

use super::Activation;
use super::gate::HeldSend;
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

fn stopping_fault() -> Fault {
    Fault::not_executed(Cause::SiloUnavailable { reason: "the silo is stopping".to_owned() })
}

impl<G: Grain> Activation<G> {
    /// Asks for an orderly end: after the running turns, before the queued ones.
    pub(crate) fn request_close(self: &Arc<Self>, reason: DeactivationReason) {
        // In a cluster, what waits goes to the others.
        let stopping = reason == DeactivationReason::SiloStopping && !self.host.core.is_clustered();
        let mut inner = self.inner.lock();
        if inner.phase == Phase::Failed && reason == DeactivationReason::SiloStopping {
            drop(inner);
            return self.leave_catalog();
        }
        if !matches!(inner.phase, Phase::Active | Phase::Activating) {
            return;
        }
        let activating = inner.phase == Phase::Activating;
        let slow = inner.slow();
        slow.close.get_or_insert(reason);
        slow.serve_first |= activating;
        // A silo that stops still serves what its running turns wait for; the rest has nowhere to go.
        let mut refused = VecDeque::new();
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
        let mut frame = self.clone().bare_frame("on_deactivate", Access::Exclusive);
        frame.turn = turn;
        frame.on_uncommitted = true; // perhaps: the gate is asked when it calls out
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
        // What earlier turns left to be written later is written whatever becomes of the hook.
        match self.snapshot_all(&grain) {
            Ok(snapshots) => self.put(snapshots.records, true),
            Err(fault) => tracing::error!(grain = %self.grain_id(), %fault, "the state cannot be written"),
        }
        let mut hook = TurnRun::new(frame, async move {
            let result = super::bodies::only(&mut grain).on_deactivate(reason).await;
            (grain, result)
        });
        let id = self.grain_id();
        let mut outbox = Vec::new();
        let snapshots = match tokio::time::timeout(limit, &mut hook).await {
            Ok(Ended { result: Ok((grain, result)), aborted, extra, .. }) => {
                if let Err(error) = result {
                    tracing::error!(grain = %id, %error, "on_deactivate failed; the state is written as it is");
                }
                let snapshots = if aborted { Ok(Default::default()) } else { self.snapshot_all(&grain) };
                discard(grain);
                if !aborted
                    && snapshots.is_ok()
                    && let Some(extra) = extra
                {
                    outbox = extra.outbox;
                }
                snapshots
            }
            Ok(Ended { result: Err(panic), .. }) => Err(Fault::maybe_executed_with(Cause::Panicked { message: panic })),
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
        if inner.lost.is_some() {
            drop(inner);
            return drop(outbox);
        }
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

    pub(super) async fn release_claim(&self) {
        let released = match &self.host.core.node {
            Some(_) if chaos::point("a release is lost") => return,
            Some(node) if self.inner.lock().epoch != 0 => node.release(&self.grain_id(), self.id).await,
            None if !self.host.slots.is_empty() => self.host.core.directory.release(&self.grain_id(), self.id).await,
            _ => Ok(()),
        };
        if let Err(error) = released {
            tracing::warn!(grain = %self.grain_id(), %error, "the directory row was not released; its next owner replaces it");
        }
    }

    /// Out of the catalog; what waits goes on at a successor.
    pub(super) fn leave_catalog(self: &Arc<Self>) {
        let host = &self.host;
        if host.core.is_clustered() && host.core.is_stopping() && host.has_routes() {
            return self.give_way();
        }
        let (mut waits, mut ended, mut watch, mut warm) = (Vec::new(), VecDeque::new(), false, None);
        let lost = self.mute.load(Ordering::Acquire);
        // Before the other locks, and until the calls that wait are known to wait at the successor.
        let mut graph = host.core.graph.lock();
        let mut died = false;
        let successor = host.replace(self, |current| {
            let mut inner = self.inner.lock();
            if inner.phase == Phase::Dead {
                return None;
            }
            let failed = inner.phase == Phase::Failed;
            inner.phase = Phase::Dead;
            died = true;
            // Work that outlives the activation learns it, whoever else still knows it.
            let reason = "it has ended".to_owned();
            let over = || Fault::not_executed(Cause::ActivationLost { reason }).of(&self.grain_id());
            inner.lost.get_or_insert_with(over);
            self.mute.store(true, Ordering::Release);
            if !current {
                return None; // a failed one, replaced already: nobody waits in it
            }
            let slow = inner.slow();
            warm = slow.warm.take();
            let retired = slow.retired;
            let jobs = std::mem::take(&mut slow.queue).into_iter();
            let (queue, rest): (VecDeque<_>, VecDeque<_>) = jobs.partition(|job| job.is_live() && job.transfers());
            ended = rest;
            // One that failed is tried again by its own timer, if it is kept.
            let again = host.options.keep_running && !retired && !failed && !host.core.is_stopping();
            if queue.is_empty() && !again {
                return None;
            }
            let successor = Activation::new(host, self.key.clone(), self.hash);
            waits.extend(queue.iter().filter_map(|job| job.wait()));
            watch = !queue.is_empty();
            let mut fresh = successor.inner.lock();
            fresh.slow().queue = queue;
            fresh.slow().kept = again;
            fresh.watched = watch;
            drop(fresh);
            Some(successor)
        });
        if let Some(successor) = &successor {
            for wait in waits {
                graph.retarget(wait, successor.me.clone());
            }
        }
        drop(graph);
        drop((ended, warm)); // outside the locks: jobs hold the user's values
        host.metrics.deactivated.fetch_add(u64::from(died), Ordering::Relaxed);
        host.core.deactivated.notify_waiters();
        if let Some(successor) = successor {
            if watch {
                successor.watch();
            }
            let host = host.clone();
            host.core.clone().spawn_task(async move {
                // A grain that is lost in its first turn each time must not spin.
                if lost && host.options.keep_running {
                    tokio::time::sleep(super::activate::FAILED_FIRST).await;
                }
                successor.activate(true);
            });
        }
    }
}
