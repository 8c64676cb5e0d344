//! What the programming model needs of a runtime, as traits: the silo implements them, and tests may.

use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::call::{deadline_after, unknown};
use crate::cell::CallCell;
use crate::filter::CallFilter;
use crate::reference::id_of;
use crate::turn::{self, ChainNode};
use crate::{ActivationId, Cause, Fault, GrainId, GrainKey, Interface, KeyOf, Method, Outcome, RequestContext, codec};

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
    /// Did another silo route it here? It goes no further: whoever sent it hears that the grain has moved.
    pub routed: bool,
}

/// How a call began.
pub enum Start<M: Method> {
    /// It is over.
    Ready(Outcome<M>),
    /// Its outcome arrives in the cell.
    Wait(Arc<CallCell<M>>),
    /// The grain is not active in this process.
    Elsewhere(M),
}

/// A one-way call that was not accepted.
pub enum Unposted<M> {
    /// And why.
    Refused(Fault),
    /// The grain is not active in this process.
    Elsewhere(M),
}

/// One method of a grain type hosted here.
pub trait LocalCall<M: Method>: Send + Sync + 'static {
    /// Starts an awaited call.
    fn start(&self, key: &KeyOf<M>, args: M, options: &CallOptions) -> Start<M>;
    /// Accepts a one-way call; its body runs later.
    fn post(&self, key: &KeyOf<M>, args: M, options: &CallOptions) -> Result<(), Unposted<M>>;
}

/// A call of a grain that is not active in this process, encoded.
pub struct RemoteCall {
    /// The grain.
    pub grain: GrainId,
    /// The interface's wire name.
    pub interface: Cow<'static, str>,
    /// The method's wire id.
    pub method: u32,
    /// Its name, for messages; empty when it is not known.
    pub name: Cow<'static, str>,
    /// Its argument struct, encoded.
    pub arguments: Bytes,
    /// When it ends unanswered.
    pub deadline: Instant,
    /// Values that travel with it.
    pub request: RequestContext,
    /// The turn that awaits it.
    pub caller: Option<Arc<ChainNode>>,
    /// Is it accepted only, and not awaited?
    pub one_way: bool,
    /// Where its outcome goes, if anybody wants it. Of a one-way call it says whether it was accepted.
    pub reply: Option<Arc<dyn Reply>>,
}

/// Dropped unanswered, it says so: every call ends.
impl Drop for RemoteCall {
    fn drop(&mut self) {
        if let Some(reply) = self.reply.take() {
            let cause = Cause::SiloUnavailable { reason: "the silo that had the call has stopped".to_owned() };
            reply.reply(Err(Fault::maybe_executed_with(cause).of(&self.grain)));
        }
    }
}

/// Where the outcome of a call goes that was made elsewhere.
pub trait Reply: Send + Sync {
    /// It leaves now, and may run; `false` when nobody waits for it any more, and it must not.
    fn leave(&self) -> bool;
    /// It has come back without having run, and waits to leave again.
    fn come_back(&self);
    /// The encoded `Result` of the method, or why there is none. The first one counts.
    fn reply(&self, answer: Result<Bytes, Fault>);
    /// Does somebody still wait?
    fn is_wanted(&self) -> bool;
    /// It is being served in this process: aborting this gives it up, unless it has begun.
    fn served_by(&self, task: AbortHandle) {
        let _ = task;
    }
}

/// Reaches the grains that are not active in this process.
pub trait Remote: Send + Sync + 'static {
    /// Takes the call on; calls of one grain leave in the order they are taken on. Its outcome goes to its
    /// [`reply`](RemoteCall::reply), also when it cannot leave.
    fn send(&self, call: Box<RemoteCall>);
}

/// How the methods of one interface are reached: made once per silo and interface, shared by every reference.
pub struct Binding {
    /// The silo (or client).
    pub runtime: Arc<dyn Runtime>,
    /// By [`Method::INDEX`]: a `Box<dyn LocalCall<M>>` each. `None`: no grain type hosted here implements it.
    pub methods: Option<Vec<Box<dyn Any + Send + Sync>>>,
    /// Filters that every outgoing call passes.
    pub outgoing: Vec<Arc<dyn CallFilter>>,
    /// The way to other processes. `None`: there are none.
    pub remote: Option<Arc<dyn Remote>>,
}

impl Binding {
    pub(crate) fn method<M: Method>(&self) -> Option<&dyn LocalCall<M>> {
        let entry = self.methods.as_ref()?.get(M::INDEX)?;
        entry.downcast_ref::<Arc<dyn LocalCall<M>>>().map(|call| &**call)
    }

    /// Begins an awaited call, wherever the grain is.
    pub(crate) fn start<M: Method>(&self, key: &KeyOf<M>, args: M, options: &CallOptions) -> Start<M> {
        let Some(method) = self.method::<M>() else { return self.start_elsewhere(key, args, options) };
        match method.start(key, args, options) {
            Start::Elsewhere(args) => self.start_elsewhere(key, args, options),
            started => started,
        }
    }

    #[cold]
    fn start_elsewhere<M: Method>(&self, key: &KeyOf<M>, args: M, options: &CallOptions) -> Start<M> {
        let caller = options.caller.clone().or_else(|| if options.awaited { turn::current_node() } else { None });
        let deadline = options.deadline.unwrap_or_else(|| deadline_after(self.runtime.default_timeout()));
        let cell = Arc::new(CallCell::<M>::departing(deadline, self.runtime.clone()));
        match self.encoded(key, &args, options, deadline, caller, Some(cell.clone())) {
            Ok((remote, call)) => {
                remote.send(call);
                Start::Wait(cell)
            }
            Err(fault) => Start::Ready(Err(fault.into())),
        }
    }

    /// Sends a one-way call, wherever the grain is.
    pub(crate) fn post<M: Method>(&self, key: &KeyOf<M>, args: M, options: &CallOptions) -> Result<(), Fault> {
        let args = match self.method::<M>() {
            None => args,
            Some(method) => match method.post(key, args, options) {
                Ok(()) => return Ok(()),
                Err(Unposted::Refused(fault)) => return Err(fault),
                Err(Unposted::Elsewhere(args)) => args,
            },
        };
        let deadline = options.deadline.unwrap_or_else(|| deadline_after(self.runtime.default_timeout()));
        let (remote, call) = self.encoded(key, &args, options, deadline, None, None)?;
        remote.send(call);
        Ok(())
    }

    fn encoded<M: Method>(
        &self,
        key: &KeyOf<M>,
        args: &M,
        options: &CallOptions,
        deadline: Instant,
        caller: Option<Arc<ChainNode>>,
        reply: Option<Arc<CallCell<M>>>,
    ) -> Result<(&Arc<dyn Remote>, Box<RemoteCall>), Fault> {
        let remote = self.remote.as_ref().ok_or_else(|| unknown::<M>(self, key))?;
        let named = |fault: Fault| fault.of(&id_of::<M>(key)).in_method(M::NAME);
        key.validate().map_err(|error| named(error.into()))?;
        let call = Box::new(RemoteCall {
            grain: id_of::<M>(key),
            interface: M::Interface::NAME.into(),
            method: M::WIRE_ID,
            name: M::NAME.into(),
            arguments: codec::encode_wire(args).map_err(named)?.into(),
            deadline,
            request: options.request.clone(),
            caller,
            one_way: reply.is_none(),
            reply: reply.map(|cell| cell as _),
        });
        Ok((remote, call))
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
