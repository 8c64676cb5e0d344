//! The activation as the grain's own code sees it.

use std::any::{Any, TypeId};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gristmill_grains::call::deadline_after;
use gristmill_grains::port::{AnyActivation, Outgoing, RecordCommit, Runtime, TimerSpec};
use gristmill_grains::turn::TurnId;
use gristmill_grains::{Access, ActivationId, BoxFuture, Cause, DeactivationReason, DirtyCalls, Fault, Grain, GrainId};
use tokio::sync::oneshot;

use super::Activation;
use super::gate::{HeldSend, HeldSignal, Snapshot};
use super::lifecycle::Loss;
use super::mailbox::{Phase, Running};
use crate::graph::Held;

impl<G: Grain> AnyActivation for Activation<G> {
    fn id(&self) -> GrainId {
        self.grain_id()
    }

    fn activation_id(&self) -> ActivationId {
        self.id
    }

    fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.host.runtime
    }

    fn lost(&self) -> Option<Fault> {
        self.lost_fault()
    }

    fn note_turn(&self, turn: TurnId, access: Access) {
        // A write turn is in `writer` already.
        if access == Access::Shared {
            let mut inner = self.inner.lock();
            let running = &mut inner.slow().running;
            if !running.iter().any(|running| running.turn == turn) {
                running.push(Running { turn, access, task: None });
            }
        }
    }

    fn denies_dirty_calls(&self) -> bool {
        self.host.options.dirty_calls == DirtyCalls::Deny
    }

    fn count_dirty_call(&self) {
        self.host.metrics.dirty_calls.fetch_add(1, Ordering::Relaxed);
    }

    fn is_settled(&self) -> bool {
        self.inner.lock().gate.as_ref().is_none_or(|gate| gate.is_open())
    }

    fn hold_back(&self, outgoing: Box<dyn Outgoing>) {
        let mut inner = self.inner.lock();
        let lost = inner.lost.is_some();
        match inner.gate.as_mut().filter(|gate| !gate.is_open()) {
            Some(gate) if !lost => return gate.hold(Box::new(HeldSend(outgoing))),
            _ => drop(inner),
        }
        if !lost {
            outgoing.leave();
        }
    }

    fn commit(&self, record: RecordCommit, outbox: Vec<Box<dyn Outgoing>>) -> BoxFuture<'static, Result<(), Fault>> {
        let mut inner = self.inner.lock();
        if let Some(fault) = inner.lost.clone() {
            return Box::pin(std::future::ready(Err(fault)));
        }
        let (slot, record_name) = (self.host.slot_of[record.index], G::STATES[record.index].name);
        // In `on_activate` and `on_deactivate` the gate is there, too: storages are open by then.
        let Some(gate) = inner.gate.as_mut() else {
            let cause = Cause::ActivationLost { reason: "its storage is not open".to_owned() };
            return Box::pin(std::future::ready(Err(Fault::not_executed(cause))));
        };
        let (signal, wait) = oneshot::channel();
        gate.put(vec![Snapshot { slot, record: record_name, body: record.body }], true);
        outbox.into_iter().for_each(|send| gate.hold(Box::new(HeldSend(send))));
        gate.hold(Box::new(HeldSignal(signal)));
        let commits = gate.sendable(&self.grain_id());
        drop(inner);
        self.arc().submit(commits);
        self.signalled(wait)
    }

    fn start_timer(&self, spec: TimerSpec, tick: Box<dyn Any + Send>) -> Result<u64, Fault> {
        self.arc().add_timer(spec, tick)
    }

    fn stop_timer(&self, timer: u64) {
        self.remove_timer(timer);
    }

    fn spawn(&self, work: BoxFuture<'static, ()>) {
        let mut inner = self.inner.lock();
        if matches!(inner.phase, Phase::Activating | Phase::Active) {
            inner.slow().timers.task(&self.host.core, work);
        }
    }

    fn deactivate_on_idle(&self) {
        self.arc().request_close(DeactivationReason::Requested);
    }

    fn delay_deactivation(&self, time: Duration) {
        let until = Some(deadline_after(time)).filter(|_| !time.is_zero());
        self.inner.lock().slow().keep_until = until;
    }

    fn retire(&self) {
        self.inner.lock().slow().retired = true;
        self.host.core.forget(&self.host.options, self.grain_id());
        self.deactivate_on_idle();
    }

    fn abort(&self) {
        self.arc().lose(Fault::maybe_executed_with(Cause::Aborted), Loss::AfterSettling);
    }

    fn service(&self, ty: TypeId) -> Option<Arc<dyn Any + Send + Sync>> {
        self.host.core.services.read().get(&ty).cloned()
    }
}

impl<G: Grain> Activation<G> {
    fn signalled(&self, wait: oneshot::Receiver<Result<(), Fault>>) -> BoxFuture<'static, Result<(), Fault>> {
        let id = self.grain_id();
        Box::pin(async move {
            wait.await.unwrap_or_else(|_| {
                let reason = "it ended before the commit was settled".to_owned();
                Err(Fault::maybe_executed_with(Cause::ActivationLost { reason }).of(&id))
            })
        })
    }
}

impl<G: Grain> Held for Activation<G> {
    fn holders(&self) -> Vec<TurnId> {
        let inner = self.inner.lock();
        let readers = inner.slow_ref().into_iter().flat_map(|slow| &slow.running).map(|running| running.turn);
        let writer = Some(inner.writer).filter(|writer| *writer != 0);
        readers.chain(writer).collect()
    }
}
