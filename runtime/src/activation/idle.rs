//! What the collector and the stateless workers ask of an activation.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use gristmill_grains::{DeactivationReason, Grain};
use tokio::time::Instant;

use super::Activation;
use super::lifecycle::Loss;
use super::mailbox::Phase;

/// What an idle activation takes besides its grain: measured, and rounded up.
const OVERHEAD: usize = 256;

impl<G: Grain> Activation<G> {
    pub(crate) fn last_used(&self) -> u32 {
        self.last_used.load(Ordering::Relaxed)
    }

    /// Adds the calls since the last time to the type's counter.
    pub(crate) fn fold_calls(&self) {
        let calls = std::mem::take(&mut self.inner.lock().calls);
        if calls > 0 {
            self.host.metrics.calls.fetch_add(calls.into(), Ordering::Relaxed);
        }
    }

    /// Bytes it takes, by estimate: a grain's value in memory is taken for twice its encoded state.
    pub(crate) fn estimated_bytes(&self) -> usize {
        let state = self.inner.lock().gate.as_ref().map_or(0, |gate| gate.state_bytes);
        OVERHEAD + size_of::<G>() + 2 * state
    }

    /// Could it not be activated?
    pub(crate) fn has_failed(&self) -> bool {
        self.inner.lock().phase == Phase::Failed
    }

    /// Nothing runs, waits, ticks or is on its way; or it is a failed one whose back-off is over.
    pub(crate) fn may_be_collected(&self) -> bool {
        let inner = self.inner.lock();
        if inner.phase == Phase::Failed && !self.host.options.keep_running {
            return inner.slow_ref().and_then(|slow| slow.failed_until).is_none_or(|until| until <= Instant::now());
        }
        // While its storage is away it could not end, nor take calls.
        if self.host.slots.iter().any(|storage| self.host.core.storages[*storage].is_down()) {
            return false;
        }
        let at_rest = inner.phase == Phase::Active && inner.is_idle();
        let kept = inner
            .slow_ref()
            .is_some_and(|slow| slow.timers.keeping > 0 || slow.keep_until.is_some_and(|until| until > Instant::now()));
        at_rest && !kept && !self.host.options.keep_running && inner.gate.as_ref().is_none_or(|gate| gate.is_settled())
    }

    /// Ends it: in order, or at once if it is only the memory of a failure.
    pub(crate) fn collect(self: &Arc<Self>, reason: DeactivationReason) {
        if self.inner.lock().phase == Phase::Failed { self.leave_catalog() } else { self.request_close(reason) }
    }

    /// Drops it: the silo is over.
    pub(crate) fn drop_now(self: &Arc<Self>) {
        let reason = "the silo has stopped".to_owned();
        let fault = gristmill_grains::Fault::not_executed(gristmill_grains::Cause::SiloUnavailable { reason });
        let queue = std::mem::take(&mut self.inner.lock().slow().queue);
        queue.into_iter().for_each(|job| job.fail(fault.clone()));
        self.lose(fault, Loss::Now);
        // Nobody sweeps any more: turns that are not over are cut off at their next await, and their callers learn it.
        for running in &mut self.inner.lock().slow().running {
            let on = running.task.as_mut().and_then(|task| task.on.take());
            on.inspect(|on| on.abort());
        }
    }

    pub(crate) fn is_at_rest(&self) -> bool {
        let inner = self.inner.lock();
        inner.phase == Phase::Active && inner.is_idle()
    }

    /// Calls before a new one.
    pub(crate) fn waiting(&self) -> usize {
        self.inner.lock().slow_ref().map_or(0, |slow| slow.queue.len())
    }
}
