//! Deadlines and stuck turns of one activation, looked at every 100 ms while it has any.

use std::sync::{Arc, Weak};
use std::time::Duration;

use gristmill_grains::{Cause, ChainLink, Fault, Grain};
use tokio::time::Instant;

use super::Activation;
use super::lifecycle::Loss;
use super::mailbox::{Expire, Phase};
use crate::events::SiloEvent;
use crate::options::SiloOptions;
use crate::sweeper::Swept;

/// A turn of a lost activation is dropped at its next await this long after its caller's deadline.
const MUTE_GRACE: Duration = Duration::from_secs(5);

impl<G: Grain> Activation<G> {
    /// Has the sweeper look at this activation from now on.
    pub(super) fn watch(self: &Arc<Self>) {
        self.host.core.sweeper.add(self.me.clone());
    }
}

impl<G: Grain> Swept for Activation<G> {
    fn sweep(self: Arc<Self>, now: Instant) -> bool {
        let options = &self.host.options;
        let SiloOptions { stuck_after, call_timeout: default, .. } = self.host.core.options;
        let mut due: Vec<Weak<dyn Expire>> = Vec::new();
        let mut held_back: Vec<Weak<dyn Expire>> = Vec::new();
        let mut stuck = Vec::new();
        let mut over_limit = None;
        let mut busy = None;

        let mut inner = self.inner.lock();
        let lost = inner.lost.is_some();
        held_back.extend(inner.gate.iter().flat_map(|gate| gate.held()).filter_map(|held| held.expiry()));
        let mut keep = !held_back.is_empty();
        if let Some(slow) = inner.slow_ref() {
            keep |= !slow.queue.is_empty();
            due.extend(slow.queue.iter().filter_map(|job| job.expire()));
        }
        for running in &mut inner.slow().running {
            let Some(task) = &mut running.task else { continue };
            keep = true;
            let since = *task.since.get_or_insert(now);
            let (age, method) = (now - since, task.node.method());
            busy.get_or_insert_with(|| format!("{method} has been running for {age:.1?}"));
            if let Some(caller) = &task.caller {
                due.push(caller.clone());
            }
            if age >= stuck_after && task.limited && !std::mem::replace(&mut task.reported, true) {
                let chain: Vec<_> = task.node.waiting().map(|node| node.link()).collect();
                stuck.push(SiloEvent::StuckTurn { chain, running_for: age });
            }
            if age >= options.turn_limit && task.limited {
                over_limit.get_or_insert((method, age));
            }
            let caller = task.caller.as_ref().and_then(Weak::upgrade);
            let deadline = caller.and_then(|caller| caller.deadline()).unwrap_or(since);
            if lost && now >= deadline + MUTE_GRACE {
                task.on.take().inspect(|on| on.abort());
            }
        }
        // A write turn without a task is in its first poll: others may wait for one that blocks its thread.
        let (writer, method) = (inner.writer, inner.doing);
        let polled = writer != 0
            && inner.phase == Phase::Active
            && !inner.slow().running.iter().any(|running| running.turn == writer && running.task.is_some());
        if polled {
            keep = true;
            let seen = inner.slow().polled.filter(|(turn, ..)| *turn == writer).unwrap_or((writer, now, false));
            let (_, since, reported) = seen;
            let age = now - since;
            if age >= stuck_after && !reported {
                let link = ChainLink { grain: self.grain_id(), method: method.into() };
                stuck.push(SiloEvent::StuckTurn { chain: vec![link], running_for: age });
            }
            if age >= options.turn_limit {
                over_limit.get_or_insert((method, age));
            }
            busy.get_or_insert_with(|| format!("{method} has been running for {age:.1?}"));
            inner.slow().polled = Some((writer, since, reported || age >= stuck_after));
        } else {
            inner.slow().polled = None;
        }
        // A task that waited all the round is of no use now.
        let mut cold = None;
        if let Some(warm) = &mut inner.slow().warm {
            keep = true;
            if std::mem::replace(&mut warm.seen, true) {
                cold = inner.slow().warm.take();
            }
        }
        inner.watched = keep;
        drop(inner);
        drop(cold);

        let detail = busy.unwrap_or_else(|| "the call was queued".to_owned());
        let fault = |detail: &str| Fault::not_executed(Cause::Timeout).of(&self.grain_id()).detailed(detail);
        for waiting in due.iter().filter_map(Weak::upgrade) {
            waiting.expire(now, default, &|| fault(&detail));
        }
        for waiting in held_back.iter().filter_map(Weak::upgrade) {
            waiting.expire(now, default, &|| fault("it ran; its reply waits for the storage"));
        }
        let unwanted = self.inner.lock().gate.as_mut().map(|gate| gate.forget_unwanted());
        drop(unwanted); // outside the lock: results are the user's
        for event in stuck {
            tracing::warn!(%event, "a turn is stuck");
            self.host.core.event(event);
        }
        if let Some((method, age)) = over_limit.filter(|_| !lost) {
            let reason = format!("{method} ran for {age:.1?}, the limit is {:?}", options.turn_limit);
            let fault = Fault::maybe_executed_with(Cause::ActivationLost { reason });
            // The running turn keeps the old value; a successor may start beside it.
            self.lose(fault, Loss::AfterSettling);
        }
        keep
    }
}
