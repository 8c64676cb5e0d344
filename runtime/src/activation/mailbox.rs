//! Admission: `&self` turns beside each other, `&mut self` turns alone, first come first served.
//!
//! An idle grain is an `Arc<G>` at rest in `Inner::held`: it has no task and no channel. A write turn takes the only
//! `Arc`, a read turn clones it.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use gristmill_grains::port::RemoteCall;
use gristmill_grains::turn::{ChainNode, TurnId};
use gristmill_grains::{Access, Cause, DeactivationReason, Fault, Grain};
use tokio::time::Instant;

use super::Activation;
use super::claim::Claiming;
use super::gate::Gate;
use super::timers::Timers;
use super::warm::Warm;
use crate::graph::WaitId;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// State is being loaded, `on_activate` runs.
    Activating,
    /// Turns run.
    Active,
    /// No turn begins any more: it is lost, or `on_deactivate` runs, or its commits settle.
    Closing,
    /// Activation failed; calls fail until the back-off is over.
    Failed,
    /// Out of the catalog. Whoever still holds it looks the grain up again.
    Dead,
}

/// Something that waits for its turn.
pub(crate) trait Job<G: Grain>: Send {
    fn access(&self) -> Access;
    /// Does somebody still want it? A call that was given up never runs.
    fn is_live(&self) -> bool;
    /// What it runs, for messages.
    fn method(&self) -> &'static str;
    fn caller(&self) -> Option<&Arc<ChainNode>>;
    fn wait(&self) -> Option<WaitId>;
    /// Ends it when its deadline passes.
    fn expire(&self) -> Option<Weak<dyn Expire>>;
    fn run(self: Box<Self>, activation: &Arc<Activation<G>>, admitted: Admitted<G>);
    fn fail(self: Box<Self>, fault: Fault);
    /// Does a running turn, or the runtime, ask for it? A silo that stops still serves those.
    fn is_from_turn(&self) -> bool {
        true
    }
    /// May it be refused while its commit could not be sent? The runtime's own turns are how that ends.
    fn is_refusable(&self) -> bool {
        true
    }
    /// Was it routed here by another silo, or by the lane? Another call goes behind those that are still on their way.
    fn is_routed(&self) -> bool {
        true
    }
    /// The call that takes its place where the grain is next. A call that came from elsewhere is sent back instead.
    fn forward(self: Box<Self>, _: &Activation<G>) -> Option<RemoteCall> {
        self.fail(Fault::not_executed(Cause::Moved));
        None
    }
    /// Does it go on to the next activation when this one ends?
    fn transfers(&self) -> bool {
        true
    }
}

/// A call that ends when its deadline passes.
pub(crate) trait Expire: Send + Sync {
    /// Ends it if its deadline passed; says whether it is over. One without a deadline gets `now + default`.
    fn expire(&self, now: Instant, default: Duration, fault: &dyn Fn() -> Fault) -> bool;
    fn deadline(&self) -> Option<Instant>;
}

/// Why a job was not queued.
pub(crate) enum NotQueued {
    /// The activation has ended: look the grain up again.
    Gone,
    /// Calls made before it are still on their way here.
    Elsewhere,
    Refused(Fault),
}

/// The right to run one turn.
pub(crate) struct Admitted<G> {
    pub(crate) grain: Arc<G>,
    pub(crate) turn: TurnId,
    /// Earlier turns' changes are not durable yet.
    pub(crate) on_uncommitted: bool,
}

pub(crate) enum Admit<G> {
    Run(Admitted<G>),
    Wait,
    /// A write turn is being polled on another thread, and nobody else waits.
    Soon,
    Refuse(Fault),
    /// Look the grain up again.
    Gone,
}

/// A turn that others may wait for: it runs on its own task, or waits itself.
pub(crate) struct Running {
    pub(crate) turn: TurnId,
    pub(crate) access: Access,
    /// What only a turn on its own task has.
    pub(crate) task: Option<RunningTask>,
}

pub(crate) struct RunningTask {
    pub(crate) node: Arc<ChainNode>,
    /// When the sweeper first saw it.
    pub(crate) since: Option<Instant>,
    pub(crate) caller: Option<Weak<dyn Expire>>,
    pub(crate) on: Option<Warm>,
    pub(crate) limited: bool,
    pub(crate) reported: bool,
}

pub(crate) struct Inner<G: Grain> {
    pub(crate) phase: Phase,
    /// The `&mut self` turn (or lifecycle hook) that runs; 0 = none.
    pub(crate) writer: TurnId,
    /// `&self` turns that run.
    pub(crate) readers: u32,
    /// Are calls made before on their way here, through the router?
    pub(crate) behind_lane: bool,
    /// While it claims the grain from the cluster.
    pub(crate) claiming: Option<Box<Claiming>>,
    /// Its epoch in the cluster's directory, once it owns the grain.
    pub(crate) epoch: u64,
    /// Does the sweeper look at it?
    pub(crate) watched: bool,
    /// Is a thread starting queued turns? Others do not pass it: a turn is started by its first poll.
    pumping: bool,
    /// What the write turn runs, for messages.
    pub(crate) doing: &'static str,
    /// Calls since the collector last looked.
    pub(crate) calls: u32,
    pub(crate) held: Option<Arc<G>>,
    pub(crate) lost: Option<Fault>,
    /// Only grains with durable state have one.
    pub(crate) gate: Option<Box<Gate>>,
    slow: Option<Box<Slow<G>>>,
}

/// What a grain has once it was contended, awaited, or given a timer.
pub(crate) struct Slow<G: Grain> {
    pub(crate) queue: VecDeque<Box<dyn Job<G>>>,
    pub(crate) running: Vec<Running>,
    pub(crate) close: Option<DeactivationReason>,
    /// It was told to end while it was activated: who waits is served first, or it would never serve anybody.
    pub(crate) serve_first: bool,
    pub(crate) retired: bool,
    /// It is brought back, not called: if it fails it is tried again.
    pub(crate) kept: bool,
    pub(crate) keep_until: Option<Instant>,
    pub(crate) timers: Timers,
    /// A task for the next turn that awaits.
    pub(crate) warm: Option<Warm>,
    /// The write turn that the sweeper saw being polled, and when first.
    pub(crate) polled: Option<(TurnId, Instant, bool)>,
    /// When dirty `every` state is written.
    pub(crate) flush_due: Option<Instant>,
    pub(crate) failed_until: Option<Instant>,
    pub(crate) failures: u32,
}

impl<G: Grain> Default for Slow<G> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            running: Vec::new(),
            close: None,
            serve_first: false,
            retired: false,
            kept: false,
            keep_until: None,
            timers: Timers::default(),
            warm: None,
            polled: None,
            flush_due: None,
            failed_until: None,
            failures: 0,
        }
    }
}

impl<G: Grain> Inner<G> {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Activating,
            writer: 0,
            readers: 0,
            behind_lane: false,
            claiming: None,
            epoch: 0,
            watched: false,
            pumping: false,
            doing: "",
            calls: 0,
            held: None,
            lost: None,
            gate: None,
            slow: None,
        }
    }

    pub(crate) fn slow(&mut self) -> &mut Slow<G> {
        self.slow.get_or_insert_default()
    }

    pub(crate) fn slow_ref(&self) -> Option<&Slow<G>> {
        self.slow.as_deref()
    }

    pub(crate) fn has_queue(&self) -> bool {
        self.slow.as_ref().is_some_and(|slow| !slow.queue.is_empty())
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.writer == 0 && self.readers == 0 && !self.has_queue()
    }

    fn is_closing(&self) -> bool {
        self.slow.as_ref().is_some_and(|slow| slow.close.is_some())
    }

    /// Is there something for [`Activation::pump`] to do?
    pub(crate) fn has_work(&self) -> bool {
        (self.has_queue() || self.is_closing()) && self.phase == Phase::Active && self.writer == 0 && !self.pumping
    }

    /// Takes the grain for a turn that the rules let in.
    #[inline]
    fn admit(&mut self, access: Access, turn: TurnId, method: &'static str) -> Option<Admitted<G>> {
        if self.phase != Phase::Active || self.writer != 0 || (access == Access::Exclusive && self.readers != 0) {
            return None;
        }
        let grain = match access {
            Access::Exclusive => {
                self.writer = turn;
                self.doing = method;
                self.held.take()
            }
            Access::Shared => {
                self.readers += 1;
                self.held.clone()
            }
        };
        self.calls = self.calls.wrapping_add(1);
        let on_uncommitted = self.gate.as_ref().is_some_and(|gate| !gate.is_open());
        Some(Admitted { grain: grain.expect("an admitting activation holds its grain"), turn, on_uncommitted })
    }

    /// How many queued reads at the front pass the writes that wait.
    fn passing(&self) -> usize {
        let queue = self.slow.iter().flat_map(|slow| &slow.queue);
        queue.take_while(|job| job.access() == Access::Shared && self.read_awaits(job.caller())).count()
    }

    /// Does a running read of this activation wait for the caller? Then its read passes waiting writes: they wait for
    /// that read, which waits for this one.
    fn read_awaits(&self, caller: Option<&Arc<ChainNode>>) -> bool {
        let (Some(slow), Some(caller)) = (&self.slow, caller) else { return false };
        caller.waiting().any(|node| {
            slow.running.iter().any(|running| running.turn == node.turn && running.access == Access::Shared)
        })
    }
}

enum Next<G: Grain> {
    Run(Box<dyn Job<G>>, Admitted<G>),
    Refuse(Box<dyn Job<G>>, Fault),
    Close(DeactivationReason),
    Nothing,
}

/// For how many turns of a loop a call waits for a turn that is being polled: first, and last, as each pause doubles.
pub(super) const FIRST_PAUSE: u32 = 32;
pub(super) const LAST_PAUSE: u32 = 256;

/// How many queued turns one finished turn runs on its caller's task, before it leaves them to a task of their own.
const PUMP_BUDGET: u32 = 32;

impl<G: Grain> Activation<G> {
    /// Lets a turn in if nobody is before it.
    #[inline(always)]
    pub(crate) fn try_admit(&self, access: Access, turn: TurnId, method: &'static str) -> Admit<G> {
        let mut inner = self.lock_often();
        match inner.phase {
            Phase::Active => {}
            Phase::Dead => return Admit::Gone,
            Phase::Failed => return self.failed(&mut inner),
            Phase::Activating | Phase::Closing => return Admit::Wait,
        }
        if inner.pumping || inner.behind_lane || inner.has_queue() || inner.is_closing() {
            return Admit::Wait;
        }
        if inner.gate.is_some()
            && let Some(fault) = self.refuses(&inner, access)
        {
            return Admit::Refuse(fault);
        }
        match inner.admit(access, turn, method) {
            Some(admitted) => {
                self.last_used.store(self.host.core.coarse_now(), Ordering::Relaxed);
                self.polling.store(true, Ordering::Relaxed);
                Admit::Run(admitted)
            }
            None if self.polling.load(Ordering::Relaxed) => Admit::Soon,
            None => Admit::Wait,
        }
    }

    /// [`try_admit`](Self::try_admit), at the bottom of the stack. Most turns are over in less time than it takes to
    /// queue and be woken, so one that another thread is polling now is waited for, some microseconds.
    #[inline(always)]
    pub(crate) fn admit_soon(&self, access: Access, turn: TurnId, method: &'static str) -> Admit<G> {
        let mut pause = FIRST_PAUSE;
        loop {
            // A read may run beside another one, but on caches that are its own a moment later.
            if !self.polling.load(Ordering::Relaxed) || (access == Access::Shared && pause > FIRST_PAUSE) {
                match self.try_admit(access, turn, method) {
                    Admit::Soon => {}
                    other => return other,
                }
            }
            if pause > LAST_PAUSE {
                return Admit::Wait;
            }
            for _ in 0..pause {
                std::hint::spin_loop();
            }
            pause *= 2;
        }
    }

    /// A turn that might write is refused before it runs while its commit could not be sent, and any turn while too many
    /// replies are held back.
    fn refuses(&self, inner: &Inner<G>, access: Access) -> Option<Fault> {
        let gate = inner.gate.as_ref().filter(|_| self.host.gates)?;
        if gate.holds_too_much() {
            let cause = Cause::Overloaded { limit: super::gate::MAX_HELD };
            return Some(Fault::not_executed(cause).detailed("its replies wait for the storage"));
        }
        if access == Access::Shared && !self.host.has_cells() {
            return None;
        }
        let storage = |detail: &str, slot: &super::gate::Slot| Cause::Storage {
            storage: self.host.core.storages[slot.storage].name.clone(),
            detail: detail.to_owned(),
        };
        for slot in &gate.slots {
            if self.host.core.storages[slot.storage].refuses_writes() {
                return Some(Fault::not_executed(storage("it is down; the call was not run", slot)));
            }
            if gate.is_full() {
                return Some(Fault::not_executed(storage("too many of the grain's turns wait to be committed", slot)));
            }
        }
        None
    }

    fn failed(&self, inner: &mut Inner<G>) -> Admit<G> {
        let until = inner.slow_ref().and_then(|slow| slow.failed_until);
        match (until, &inner.lost) {
            (Some(until), Some(fault)) if Instant::now() < until => Admit::Refuse(fault.clone()),
            _ => Admit::Gone,
        }
    }

    /// Puts a job into the queue. `Err` gives it back.
    pub(crate) fn enqueue(self: &Arc<Self>, job: Box<dyn Job<G>>) -> Result<(), (Box<dyn Job<G>>, NotQueued)> {
        let mut inner = self.inner.lock();
        match inner.phase {
            Phase::Activating | Phase::Active | Phase::Closing => {}
            Phase::Dead => return Err((job, NotQueued::Gone)),
            Phase::Failed => {
                return Err(match self.failed(&mut inner) {
                    Admit::Refuse(fault) => (job, NotQueued::Refused(fault)),
                    _ => (job, NotQueued::Gone),
                });
            }
        }
        if inner.behind_lane && !job.is_routed() {
            return Err((job, NotQueued::Elsewhere));
        }
        let limit = self.host.options.mailbox;
        let passes = job.access() == Access::Shared && inner.read_awaits(job.caller());
        // Behind those that pass already.
        let place = if passes { inner.passing() } else { usize::MAX };
        let slow = inner.slow();
        if slow.queue.len() >= limit {
            let (live, dead) = std::mem::take(&mut slow.queue).into_iter().partition(|job| job.is_live());
            slow.queue = live;
            let dead: VecDeque<_> = dead;
            // They hold the user's values, and locks are held here.
            self.host.core.spawn_task(async move { drop(dead) });
            if slow.queue.len() >= limit {
                return Err((job, NotQueued::Refused(Fault::not_executed(Cause::Overloaded { limit }))));
            }
        }
        slow.queue.insert(place.min(slow.queue.len()), job);
        let watch = !std::mem::replace(&mut inner.watched, true);
        let work = inner.has_work();
        drop(inner);
        if watch {
            self.watch();
        }
        if work {
            self.pump_later();
        }
        Ok(())
    }

    /// Does a turn of this caller's pass what waits here, because a running read waits for it?
    pub(super) fn passes(&self, access: Access, caller: &Arc<ChainNode>) -> bool {
        let inner = self.inner.lock();
        access == Access::Shared && inner.phase == Phase::Active && inner.read_awaits(Some(caller))
    }

    /// Runs what may run now, on this task; one task at a time.
    pub(crate) fn pump(self: &Arc<Self>) {
        if std::mem::replace(&mut self.inner.lock().pumping, true) {
            return; // whoever is at it looks once more before it ends
        }
        let pumping = Pumping(self);
        for _ in 0..PUMP_BUDGET {
            match self.next() {
                Next::Run(job, admitted) => job.run(self, admitted),
                Next::Refuse(job, fault) => job.fail(fault),
                Next::Close(reason) => {
                    drop(pumping);
                    return self.begin_close(reason);
                }
                Next::Nothing => return std::mem::forget(pumping), // it has stopped already
            }
        }
        drop(pumping);
        self.pump_later();
    }

    pub(crate) fn pump_later(self: &Arc<Self>) {
        let activation = self.clone();
        self.host.core.spawn_task(async move { activation.pump() });
    }

    fn next(&self) -> Next<G> {
        let mut dead = Vec::new(); // dropped after the lock: they hold user values
        let mut inner = self.inner.lock();
        loop {
            if inner.phase != Phase::Active {
                inner.pumping = false;
                return Next::Nothing;
            }
            if let Some(reason) = inner.slow_ref().and_then(|slow| slow.close) {
                let serve_first = inner.slow_ref().is_some_and(|slow| slow.serve_first);
                let drains = reason == DeactivationReason::SiloStopping && !self.host.core.is_clustered();
                let serves = (drains || serve_first) && inner.has_queue();
                if inner.writer == 0 && inner.readers == 0 && !serves {
                    return Next::Close(reason);
                }
                // Only a read that a running one waits for: the others go to the next activation.
                let first = inner.slow_ref().and_then(|slow| slow.queue.front());
                if !serves
                    && !first.is_some_and(|job| job.access() == Access::Shared && inner.read_awaits(job.caller()))
                {
                    inner.pumping = false;
                    return Next::Nothing;
                }
            }
            let Some(job) = inner.slow().queue.pop_front() else {
                inner.pumping = false;
                return Next::Nothing;
            };
            if !job.is_live() {
                dead.push(job);
                continue;
            }
            let access = job.access();
            if job.is_refusable()
                && inner.writer == 0
                && (access == Access::Shared || inner.readers == 0)
                && let Some(fault) = self.refuses(&inner, access)
            {
                return Next::Refuse(job, fault);
            }
            return match inner.admit(job.access(), super::turn::next_turn_id(), job.method()) {
                Some(admitted) => {
                    self.last_used.store(self.host.core.coarse_now(), Ordering::Relaxed);
                    Next::Run(job, admitted)
                }
                None => {
                    inner.slow().queue.push_front(job);
                    inner.pumping = false;
                    Next::Nothing
                }
            };
        }
    }

    /// Ends a turn's hold on the grain. `grain`: to put back, unless the turn lost it. Says whether there is work.
    #[inline(always)]
    pub(super) fn release(&self, inner: &mut Inner<G>, access: Access, turn: TurnId, grain: Option<Arc<G>>) -> bool {
        match access {
            Access::Exclusive => {
                inner.writer = 0;
                self.polling.store(false, Ordering::Relaxed);
                if inner.phase == Phase::Active {
                    inner.held = grain;
                }
            }
            Access::Shared => {
                self.polling.store(false, Ordering::Relaxed);
                // Before the count: the next write must find itself the only owner.
                drop(grain);
                inner.readers -= 1;
            }
        }
        if let Some(slow) = &mut inner.slow
            && let Some(place) = slow.running.iter().position(|running| running.turn == turn)
            && let Some(task) = slow.running.remove(place).task
            && inner.phase == Phase::Active
            && slow.warm.is_none()
        {
            slow.warm = task.on; // for the next turn that awaits
        }
        inner.has_work()
    }
}

/// A thread that starts queued turns; it stops also when one of them panics where it must not.
struct Pumping<'a, G: Grain>(&'a Activation<G>);

impl<G: Grain> Drop for Pumping<'_, G> {
    fn drop(&mut self) {
        self.0.inner.lock().pumping = false;
    }
}

impl<G: Grain> Activation<G> {
    /// A turn that was let in and then had nothing to run.
    pub(super) fn not_run(self: &Arc<Self>, access: Access, admitted: Admitted<G>) {
        let mut inner = self.inner.lock();
        if inner.phase == Phase::Active {
            self.release(&mut inner, access, admitted.turn, Some(admitted.grain));
        } else {
            self.release(&mut inner, access, admitted.turn, None);
            drop(inner);
            super::turn::discard(admitted.grain);
        }
    }
}
