//! What the programming model needs of a runtime, as traits: the silo implements them, and tests may.

use std::any::{Any, TypeId};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::cell::CallCell;
use crate::filter::CallFilter;
use crate::turn::ChainNode;
use crate::{ActivationId, Cause, Fault, GrainId, KeyOf, Method, Outcome, RequestContext};

/// A boxed future that can move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a call carries besides its arguments.
#[derive(Clone, Debug, Default)]
pub struct CallOptions {
    /// The deadline, when the caller (or a turn above it) stated one. Otherwise the silo's default applies.
    pub deadline: Option<Instant>,
    /// Values that travel with it.
    pub request: RequestContext,
    /// Is it awaited by the turn now being polled?
    pub awaited: bool,
    /// Is it made by a turn (awaited or sent)? A silo that stops still serves those.
    pub from_turn: bool,
    /// May the turn be polled right here, on the caller's task?
    pub inline: bool,
    /// The turn that awaits it, when that is not the one now being polled.
    pub caller: Option<Arc<ChainNode>>,
}

/// How a call began.
pub enum Start<M: Method> {
    /// It is over.
    Ready(Outcome<M>),
    /// Its outcome arrives in the cell.
    Wait(Arc<CallCell<M>>),
}

/// One method of a grain type hosted here.
pub trait LocalCall<M: Method>: Send + Sync + 'static {
    /// Starts an awaited call.
    fn start(&self, key: &KeyOf<M>, args: M, options: &CallOptions) -> Start<M>;
    /// Accepts a one-way call; its body runs later.
    fn post(&self, key: &KeyOf<M>, args: M, options: &CallOptions) -> Result<(), Fault>;
}

/// How the methods of one interface are reached: made once per silo and interface, shared by every reference.
pub struct Binding {
    /// The silo (or client).
    pub runtime: Arc<dyn Runtime>,
    /// By [`Method::INDEX`]: a `Box<dyn LocalCall<M>>` each. `None`: no grain type hosted here implements it.
    pub methods: Option<Vec<Box<dyn Any + Send + Sync>>>,
    /// Filters that every outgoing call passes.
    pub outgoing: Vec<Arc<dyn CallFilter>>,
}

impl Binding {
    pub(crate) fn method<M: Method>(&self) -> Option<&dyn LocalCall<M>> {
        let entry = self.methods.as_ref()?.get(M::INDEX)?;
        entry.downcast_ref::<Box<dyn LocalCall<M>>>().map(|call| &**call)
    }
}

/// A silo or client, as references see it.
pub trait Runtime: Send + Sync + 'static {
    /// How the methods of the interface of this wire name are reached.
    fn binding(&self, interface: &str) -> Arc<Binding>;
    /// Counts a one-way call that could not be accepted, and logs why.
    fn lost_send(&self, fault: Fault);
    /// Why a binding has no methods.
    fn why_missing(&self) -> Cause {
        Cause::UnknownGrain
    }
    /// Runs work on the silo's threads.
    fn spawn(&self, work: BoxFuture<'static, ()>);
    /// The deadline of calls that state none.
    fn default_timeout(&self) -> Duration;
}

/// Something that leaves a turn when it is durable.
pub trait Outgoing: Send {
    /// Lets it go.
    fn leave(self: Box<Self>);
    /// Does somebody still want it to?
    fn is_wanted(&self) -> bool {
        true
    }
}

/// A timer to start.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TimerSpec {
    /// Its name, for messages and metrics.
    pub name: &'static str,
    /// When it ticks.
    pub schedule: Schedule,
    /// Do its ticks keep the activation from being idle?
    pub keep_alive: bool,
}

/// When a timer ticks.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Schedule {
    /// First after `first`, then `every` after the end of the last tick.
    AfterEnd {
        /// Until the first tick.
        first: Duration,
        /// From the end of one tick to the next.
        every: Duration,
    },
    /// Once.
    Once {
        /// Until the tick.
        after: Duration,
    },
    /// At multiples of a fixed period, without drift. A tick that starts late is caught up by at most `catch_up` ticks in
    /// a row; what is more is skipped.
    Rate {
        /// Ticks per second.
        hz: f64,
        /// How many ticks are made up for after a stall.
        catch_up: u32,
    },
}

/// A state record that a turn commits before its end.
pub struct RecordCommit {
    /// Its place in [`Grain::STATES`](crate::Grain::STATES).
    pub index: usize,
    /// The enveloped state; `None` clears the record.
    pub body: Option<bytes::Bytes>,
}

/// An activation, as the grain's own code sees it.
pub trait AnyActivation: Any + Send + Sync {
    /// The grain.
    fn id(&self) -> GrainId;
    /// This life of it.
    fn activation_id(&self) -> ActivationId;
    /// The silo.
    fn runtime(&self) -> &Arc<dyn Runtime>;
    /// Why the activation is lost, if it is: then it may neither call nor commit.
    fn lost(&self) -> Option<Fault>;
    /// A turn of this activation now has a node, so others may find that they wait for it.
    fn note_turn(&self, turn: crate::turn::TurnId, access: crate::Access);
    /// Does the type refuse awaited calls from a dirty turn?
    fn denies_dirty_calls(&self) -> bool;
    /// Counts an awaited call out of a dirty turn.
    fn count_dirty_call(&self);
    /// Is everything durable that earlier turns changed?
    fn is_settled(&self) -> bool;
    /// Lets it go once everything is durable that earlier turns changed, after what was held back before; drops it if
    /// that can no longer be.
    fn hold_back(&self, outgoing: Box<dyn Outgoing>);
    /// Commits a record now, with the sends that wait in `outbox` behind it.
    fn commit(&self, record: RecordCommit, outbox: Vec<Box<dyn Outgoing>>) -> BoxFuture<'static, Result<(), Fault>>;
    /// Starts a timer; `tick` is a [`TickFn`](crate::context::TickFn) of the grain's type. Gives its number.
    fn start_timer(&self, spec: TimerSpec, tick: Box<dyn Any + Send>) -> Result<u64, Fault>;
    /// Stops a timer: no further tick begins.
    fn stop_timer(&self, timer: u64);
    /// Runs work beside the turns, until it ends or the activation does.
    fn spawn(&self, work: BoxFuture<'static, ()>);
    /// Ends the activation after the running turns; queued calls go to the next one.
    fn deactivate_on_idle(&self);
    /// Not collected as idle before this time from now.
    fn delay_deactivation(&self, time: Duration);
    /// No longer brought back when lost (for `keep_running` grains).
    fn retire(&self);
    /// Drops the activation, with what is not committed.
    fn abort(&self);
    /// A service registered with the silo.
    fn service(&self, ty: TypeId) -> Option<Arc<dyn Any + Send + Sync>>;
}
