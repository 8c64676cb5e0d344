//! Timers, and other work that ends with the activation.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use gristmill_grains::context::TickFn;
use gristmill_grains::port::{Schedule, TimerSpec};
use gristmill_grains::turn::ChainNode;
use gristmill_grains::{Access, Cause, Fault, Grain};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::Activation;
use super::bodies::only;
use super::commit::Nowhere;
use super::mailbox::{Admitted, Expire, Job, NotQueued, Phase};
use super::turn::Body;
use crate::core::Core;
use crate::graph::WaitId;

/// Until a one-shot timer that could not run tries again.
const RETRY: Duration = Duration::from_millis(100);

/// The timers and tasks of an activation; they end when it is dropped.
#[derive(Default)]
pub(crate) struct Timers {
    next: u64,
    timers: BTreeMap<u64, Timer>,
    tasks: JoinSet<()>,
    /// Timers that keep the activation from being idle.
    pub(crate) keeping: usize,
}

struct Timer {
    driver: AbortHandle,
    /// Set when it is stopped: a tick that is queued does not begin.
    stopped: Arc<AtomicBool>,
    keep_alive: bool,
}

impl Drop for Timers {
    fn drop(&mut self) {
        self.timers.values().for_each(|timer| timer.stopped.store(true, Ordering::Release));
    }
}

impl Timers {
    /// Runs work that ends with the activation.
    pub(crate) fn task(&mut self, core: &Core, work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        while self.tasks.try_join_next().is_some() {}
        self.tasks.spawn_on(work, &core.handle)
    }
}

impl<G: Grain> Activation<G> {
    pub(super) fn add_timer(self: &Arc<Self>, spec: TimerSpec, tick: Box<dyn Any + Send>) -> Result<u64, Fault> {
        let Ok(tick) = tick.downcast::<TickFn<G>>() else { unreachable!("a context starts timers of its own grain") };
        let wrong = match spec.schedule {
            Schedule::Rate { hz, .. } if !(1e-3..=10_000.0).contains(&hz) => {
                Some(format!("{hz} Hz; 0.001 to 10,000 can be"))
            }
            Schedule::AfterEnd { every, .. } if every.is_zero() => Some("a period of zero".to_owned()),
            _ => None,
        };
        if let Some(wrong) = wrong {
            let reason = format!("a timer of {wrong}");
            return Err(Fault::not_executed(Cause::Refused { reason }).of(&self.grain_id()));
        }
        let stopped = Arc::new(AtomicBool::new(false));
        let driver = Driver { activation: self.me.clone(), tick: *tick, spec, stopped: stopped.clone() };
        let mut inner = self.inner.lock();
        if !matches!(inner.phase, Phase::Activating | Phase::Active) {
            let reason = "it is ending".to_owned();
            return Err(Fault::not_executed(Cause::ActivationLost { reason }).of(&self.grain_id()));
        }
        let timers = &mut inner.slow().timers;
        timers.next += 1;
        let number = timers.next;
        if spec.keep_alive {
            timers.keeping += 1;
        }
        let driver = timers.task(&self.host.core, driver.run(number));
        timers.timers.insert(number, Timer { driver, stopped, keep_alive: spec.keep_alive });
        Ok(number)
    }

    pub(super) fn remove_timer(&self, number: u64) {
        let mut inner = self.inner.lock();
        let timers = &mut inner.slow().timers;
        if let Some(timer) = timers.timers.remove(&number) {
            timer.stopped.store(true, Ordering::Release);
            timer.driver.abort();
            timers.keeping -= usize::from(timer.keep_alive);
        }
    }
}

/// Drives one timer: waits, has the tick run as a turn, waits for its end.
struct Driver<G: Grain> {
    activation: Weak<Activation<G>>,
    tick: TickFn<G>,
    spec: TimerSpec,
    stopped: Arc<AtomicBool>,
}

/// What became of a tick.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ticked {
    Ran,
    /// The mailbox was full, or the storage is down: it did not begin.
    Skipped,
    /// The activation is gone.
    Over,
}

impl<G: Grain> Driver<G> {
    async fn run(self, number: u64) {
        match self.spec.schedule {
            Schedule::AfterEnd { first, every } => {
                tokio::time::sleep(first).await;
                while self.tick(None).await != Ticked::Over {
                    tokio::time::sleep(every).await;
                }
            }
            Schedule::Once { after } => {
                tokio::time::sleep(after).await;
                while self.tick(None).await == Ticked::Skipped {
                    tokio::time::sleep(RETRY).await;
                }
                if let Some(activation) = self.activation.upgrade() {
                    activation.remove_timer(number);
                }
            }
            Schedule::Rate { hz, catch_up } => self.at_rate(hz, catch_up).await,
        }
    }

    /// Tick n is due at start + n / hz, so lateness does not add up.
    async fn at_rate(&self, hz: f64, catch_up: u32) {
        let start = Instant::now();
        let due = |tick: u64| start + Duration::from_secs_f64(tick as f64 / hz);
        let mut next: u64 = 1;
        loop {
            tokio::time::sleep_until(due(next)).await;
            if self.tick(Some(due(next))).await == Ticked::Over {
                return;
            }
            let Some(activation) = self.activation.upgrade() else { return };
            next += 1;
            let elapsed = (start.elapsed().as_secs_f64() * hz) as u64;
            let missed = (elapsed + 1).saturating_sub(next);
            let skipped = missed.saturating_sub(catch_up.into());
            activation.host.metrics.skip_ticks(skipped);
            next += skipped;
        }
    }

    /// Runs one tick.
    async fn tick(&self, due: Option<Instant>) -> Ticked {
        let Some(activation) = self.activation.upgrade() else { return Ticked::Over };
        let (done, wait) = oneshot::channel();
        let (tick, name, stopped) = (self.tick.clone(), self.spec.name, self.stopped.clone());
        let ticked = match activation.enqueue(Box::new(TickJob { tick, name, due, stopped, done })) {
            Ok(()) => {
                drop(activation);
                // A tick that is dropped unrun leaves an error here, and its activation is ending.
                wait.await.unwrap_or(Ticked::Over)
            }
            Err((_, NotQueued::Refused(fault))) if matches!(fault.cause(), Cause::Overloaded { .. }) => Ticked::Skipped,
            Err(_) => Ticked::Over,
        };
        if ticked == Ticked::Skipped
            && let Some(activation) = self.activation.upgrade()
        {
            activation.host.metrics.skip_ticks(1);
        }
        ticked
    }
}

struct TickJob<G> {
    tick: TickFn<G>,
    name: &'static str,
    due: Option<Instant>,
    stopped: Arc<AtomicBool>,
    done: oneshot::Sender<Ticked>,
}

struct TickBody<G>(TickFn<G>, oneshot::Sender<Ticked>);

impl<G: Grain> Body<G> for TickBody<G> {
    type Out = ();
    const ACCESS: Access = Access::Exclusive;

    async fn run(self, mut grain: Arc<G>) -> (Arc<G>, ()) {
        self.0.tick(only(&mut grain)).await;
        // Not held back for the tick's commit, or the rate would be the storage's. The driver may have been stopped.
        let _ = self.1.send(Ticked::Ran);
        (grain, ())
    }
}

impl<G: Grain> Job<G> for TickJob<G> {
    fn access(&self) -> Access {
        Access::Exclusive
    }

    fn is_live(&self) -> bool {
        !self.stopped.load(Ordering::Acquire)
    }

    fn method(&self) -> &'static str {
        self.name
    }

    fn caller(&self) -> Option<&Arc<ChainNode>> {
        None
    }

    fn wait(&self) -> Option<WaitId> {
        None
    }

    fn expire(&self) -> Option<Weak<dyn Expire>> {
        None
    }

    fn run(self: Box<Self>, activation: &Arc<Activation<G>>, admitted: Admitted<G>) {
        if let Some(due) = self.due {
            activation.host.metrics.tick(due.elapsed());
        }
        let frame = activation.clone().bare_frame(self.name, Access::Exclusive);
        Activation::run_turn(admitted, frame, TickBody(self.tick, self.done), Nowhere, None, |_, _| {});
    }

    fn fail(self: Box<Self>, _: Fault) {
        let _ = self.done.send(Ticked::Skipped); // the timer goes on
    }

    fn transfers(&self) -> bool {
        false
    }
}
