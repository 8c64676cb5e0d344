//! Timers, and other work that ends with the activation.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
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
use super::call::only;
use super::commit::Nowhere;
use super::mailbox::{Admitted, Expire, Job, Phase};
use super::turn::Body;
use crate::core::Core;
use crate::graph::WaitId;

/// The timers and tasks of an activation; they end when it is dropped.
#[derive(Default)]
pub(crate) struct Timers {
    next: u64,
    /// By number: how to end it, and whether it keeps the activation from being idle.
    timers: BTreeMap<u64, (AbortHandle, bool)>,
    tasks: JoinSet<()>,
    /// Timers that keep the activation from being idle.
    pub(crate) keeping: usize,
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
        if let Schedule::Rate { hz, .. } = spec.schedule
            && !(hz.is_finite() && (1e-3..=10_000.0).contains(&hz))
        {
            let reason = format!("a timer of {hz} Hz; it must be between 0.001 and 10,000");
            return Err(Fault::not_executed(Cause::Refused { reason }).of(&self.grain_id()));
        }
        let driver = Driver { activation: self.me.clone(), tick: *tick, spec };
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
        let abort = timers.task(&self.host.core, driver.run(number));
        timers.timers.insert(number, (abort, spec.keep_alive));
        Ok(number)
    }

    pub(super) fn remove_timer(&self, number: u64) {
        let mut inner = self.inner.lock();
        let timers = &mut inner.slow().timers;
        if let Some((abort, keeping)) = timers.timers.remove(&number) {
            abort.abort();
            timers.keeping -= usize::from(keeping);
        }
    }
}

/// Drives one timer: waits, has the tick run as a turn, waits for its end.
struct Driver<G: Grain> {
    activation: Weak<Activation<G>>,
    tick: TickFn<G>,
    spec: TimerSpec,
}

impl<G: Grain> Driver<G> {
    async fn run(self, number: u64) {
        match self.spec.schedule {
            Schedule::AfterEnd { first, every } => {
                tokio::time::sleep(first).await;
                while self.tick(None).await.is_some() {
                    tokio::time::sleep(every).await;
                }
            }
            Schedule::Once { after } => {
                tokio::time::sleep(after).await;
                self.tick(None).await;
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
            if self.tick(Some(due(next))).await.is_none() {
                return;
            }
            let Some(activation) = self.activation.upgrade() else { return };
            next += 1;
            let behind = (start.elapsed().as_secs_f64() * hz) as u64;
            if behind > next + u64::from(catch_up) {
                let skipped = behind - u64::from(catch_up) - next;
                activation.host.metrics.skip_ticks(skipped);
                next += skipped;
            }
        }
    }

    /// Runs one tick; `None` once the activation is gone.
    async fn tick(&self, due: Option<Instant>) -> Option<()> {
        let activation = self.activation.upgrade()?;
        let (done, wait) = oneshot::channel();
        let job = TickJob { tick: self.tick.clone(), name: self.spec.name, due, done };
        match activation.enqueue(Box::new(job)) {
            Ok(()) => {}
            Err((_, Some(fault))) if matches!(fault.cause(), Cause::Overloaded { .. }) => {
                activation.host.metrics.skip_ticks(1);
                return Some(());
            }
            Err(_) => return None,
        }
        drop(activation);
        // A tick that is dropped unrun leaves an error here, and its activation is ending.
        wait.await.ok()
    }
}

struct TickJob<G> {
    tick: TickFn<G>,
    name: &'static str,
    due: Option<Instant>,
    done: oneshot::Sender<()>,
}

struct TickBody<G>(TickFn<G>, oneshot::Sender<()>);

impl<G: Grain> Body<G> for TickBody<G> {
    type Out = ();
    const ACCESS: Access = Access::Exclusive;

    async fn run(self, mut grain: Arc<G>) -> (Arc<G>, ()) {
        self.0.tick(only(&mut grain)).await;
        // Not held back for the tick's commit, or the rate would be the storage's. The driver may have been stopped.
        let _ = self.1.send(());
        (grain, ())
    }
}

impl<G: Grain> Job<G> for TickJob<G> {
    fn access(&self) -> Access {
        Access::Exclusive
    }

    fn is_live(&self) -> bool {
        !self.done.is_closed()
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
        let frame = activation.bare_frame(self.name, Access::Exclusive);
        activation.run_turn(admitted, frame, TickBody(self.tick, self.done), Nowhere, None, |_, _| {});
    }

    fn fail(self: Box<Self>, _: Fault) {
        let _ = self.done.send(()); // this tick is skipped, the timer goes on
    }

    fn transfers(&self) -> bool {
        false
    }
}
