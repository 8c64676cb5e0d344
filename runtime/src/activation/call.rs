//! Calls as turns.

use std::marker::PhantomData;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use gristmill_grains::call::deadline_after;
use gristmill_grains::cell::CallCell;
use gristmill_grains::port::{CallOptions, LocalCall, RemoteCall, Start, Unposted};
use gristmill_grains::turn::{self, ChainNode, Extra, Frame};
use gristmill_grains::{Access, CallError, Cause, ChainLink, Fault, Grain, KeyOf, Method, Outcome, codec};
use tokio::time::Instant;

use super::Activation;
use super::bodies::CallBody;
use super::mailbox::{Admit, Admitted, Expire, Job, NotQueued};
use super::turn::{Outcome as Ended, Sink, TurnRun, held, next_turn_id, turn_span};
use crate::graph::{Queued, WaitId};
use crate::host::TypeHost;
use crate::routes;

/// One method of a hosted grain type, as references reach it.
pub(crate) struct Endpoint<G: Grain, B> {
    host: Arc<TypeHost<G>>,
    body: PhantomData<fn(B)>,
}

impl<G: Grain, B> Endpoint<G, B> {
    pub(crate) fn new(host: &Arc<TypeHost<G>>) -> Self {
        Self { host: host.clone(), body: PhantomData }
    }
}

impl<G, M, B> LocalCall<M> for Endpoint<G, B>
where
    G: Grain,
    M: Method<Interface: gristmill_grains::Interface<Key = G::Key>>,
    B: CallBody<G, M>,
{
    fn start(&self, key: &KeyOf<M>, mut arguments: M, options: &CallOptions) -> Start<M> {
        let inline = options.inline && self.host.options.inline && self.host.core.is_current();
        let mut tried = Vec::new();
        // One that was inherited may be over; only a stated deadline costs a look at the clock.
        let expired = options.deadline.is_some_and(|deadline| deadline <= Instant::now());
        let fault = loop {
            if expired {
                break Fault::not_executed(Cause::Timeout).detailed("its deadline had passed before it was made");
            }
            let activation = match self.host.route(key, options, inline, &tried) {
                Ok(Some(activation)) => activation,
                Ok(None) => return Start::Elsewhere(arguments),
                Err(fault) => break fault,
            };
            let id = activation.id;
            match activation.start::<M, B>(arguments, options, inline) {
                Ok(start) => return start,
                Err(NotStarted::Gone(again)) => arguments = again,
                Err(NotStarted::Elsewhere(again)) => return Start::Elsewhere(again),
                Err(NotStarted::Deadlock(again, fault)) => {
                    // Any of several workers would do: it is one only if all of them lead back.
                    tried.push(id);
                    if !self.host.may_route_past(key, &tried) {
                        self.host.metrics.deadlocks.fetch_add(1, Ordering::Relaxed);
                        break fault;
                    }
                    arguments = again;
                }
                Err(NotStarted::Refused(fault)) => break fault,
            }
        };
        Start::Ready(Err(fault.of(&self.host.id_of(key)).in_method(M::NAME).into()))
    }

    fn post(&self, key: &KeyOf<M>, arguments: M, options: &CallOptions) -> Result<(), Unposted<M>> {
        let options = CallOptions { awaited: false, inline: false, ..options.clone() };
        match LocalCall::<M>::start(self, key, arguments, &options) {
            // Refused at once; a posted call cannot have ended otherwise.
            Start::Ready(Err(CallError::Fault(fault))) => Err(Unposted::Refused(fault)),
            Start::Ready(_) | Start::Wait(_) => Ok(()),
            Start::Elsewhere(arguments) => Err(Unposted::Elsewhere(arguments)),
        }
    }
}

/// A call that did not start.
enum NotStarted<M> {
    /// The activation has ended: look the grain up again.
    Gone(M),
    /// Calls made before it are still on their way here: it goes behind them.
    Elsewhere(M),
    /// Waiting here would never end.
    Deadlock(M, Fault),
    Refused(Fault),
}

impl<G: Grain> Activation<G> {
    #[inline]
    fn start<M, B>(
        self: Arc<Self>,
        arguments: M,
        options: &CallOptions,
        inline: bool,
    ) -> Result<Start<M>, NotStarted<M>>
    where
        M: Method,
        B: CallBody<G, M>,
    {
        if inline {
            let turn = next_turn_id();
            let admit = if options.awaited {
                self.try_admit(B::ACCESS, turn, M::NAME)
            } else {
                self.admit_soon(B::ACCESS, turn, M::NAME)
            };
            match admit {
                Admit::Run(admitted) => return Ok(self.run_here::<M, B>(admitted, arguments, options)),
                Admit::Refuse(fault) => return Err(NotStarted::Refused(fault)),
                Admit::Gone => return Err(NotStarted::Gone(arguments)),
                Admit::Wait | Admit::Soon => {}
            }
        }
        let started = self.queue::<M, B>(arguments, options);
        if started.is_ok() {
            routes::put(self);
        }
        started
    }

    /// Polls the turn on the caller's task; most are over then.
    #[inline]
    fn run_here<M, B>(self: Arc<Self>, admitted: Admitted<G>, arguments: M, options: &CallOptions) -> Start<M>
    where
        M: Method,
        B: CallBody<G, M>,
    {
        let Admitted { grain, turn, on_uncommitted } = admitted;
        let body = B::new(arguments, &self.host, &self.key, &options.request);
        let span = turn_span(&*self, M::NAME, Some(&options.request));
        let mut frame = self.frame(M::NAME, B::ACCESS, options);
        frame.turn = turn;
        frame.on_uncommitted = on_uncommitted;
        frame.nested = options.awaited && options.caller.is_none();
        match TurnRun::start(frame, span, body.run(grain)) {
            Ok(ended) => {
                let mut cell = None;
                let finished = Self::finish(ended, B::ACCESS, |out| {
                    let waiting = Arc::new(CallCell::running(None, options.deadline));
                    cell = Some(waiting.clone());
                    held(Reply::new(waiting), out)
                });
                let me = finished.activation;
                match finished.work {
                    // Others' turns only from the bottom of the stack, so that they do not pile up on it.
                    true if turn::depth() == 0 => me.pump(),
                    true => me.pump_later(),
                    false => {}
                }
                let start = match (finished.outcome, cell) {
                    (Ended::Now(Ok(outcome)), _) => Start::Ready(outcome),
                    (Ended::Now(Err(fault)), _) => Start::Ready(Err(me.name::<M>(fault).into())),
                    (Ended::Held, Some(cell)) => Start::Wait(cell),
                    (Ended::Held, None) => unreachable!("a held result has its cell"),
                };
                routes::put(me);
                start
            }
            Err(mut run) => {
                let cell = Arc::new(CallCell::running(Some(run.detach()), options.deadline));
                let caller = cell_expiry(&cell);
                routes::put(Self::continue_turn::<B, _>(run, Reply::new(cell.clone()), Some(caller)));
                Start::Wait(cell)
            }
        }
    }

    fn queue<M, B>(self: &Arc<Self>, arguments: M, options: &CallOptions) -> Result<Start<M>, NotStarted<M>>
    where
        M: Method,
        B: CallBody<G, M>,
    {
        let cell = Arc::new(CallCell::queued(arguments, options.deadline));
        let here = || if options.awaited { turn::current_node() } else { None };
        let caller = options.caller.clone().or_else(here);
        let job = |wait| {
            let (cell, caller, options) = (cell.clone(), caller.clone(), options.clone());
            Box::new(CallJob::<M, B> { cell, caller, wait, options, body: PhantomData })
        };
        let refused = |(_, why): (_, NotQueued)| match (why, cell.begin()) {
            (NotQueued::Gone, Some(arguments)) => NotStarted::Gone(arguments),
            (NotQueued::Elsewhere, Some(arguments)) => NotStarted::Elsewhere(arguments),
            (NotQueued::Refused(fault), _) => NotStarted::Refused(fault),
            (_, None) => NotStarted::Refused(gone()),
        };
        let Some(caller) = &caller else {
            self.enqueue(job(None)).map_err(refused)?;
            return Ok(Start::Wait(cell));
        };
        let mut graph = self.host.core.graph.lock();
        let wait = graph.reserve();
        if let Err(back) = self.enqueue(job(Some(wait))) {
            drop(graph); // before the arguments, which are the user's
            return Err(refused(back));
        }
        let call = ChainLink { grain: self.grain_id(), method: M::NAME.into() };
        let queued: Weak<dyn Queued> = Arc::downgrade(&(cell.clone() as Arc<dyn Queued>));
        graph.insert(wait, caller.clone(), call, self.me.clone(), queued);
        // A read that a running read of this activation waits for is let in beside it: it waits for nobody.
        if !self.passes(B::ACCESS, caller)
            && let Some(chain) = graph.cycle(wait)
            && let Some(arguments) = cell.begin()
        {
            graph.remove(wait);
            return Err(NotStarted::Deadlock(arguments, Fault::not_executed(Cause::Deadlock { chain })));
        }
        Ok(Start::Wait(cell))
    }

    /// The frame of a turn for this call; its turn id is filled in when it is admitted.
    #[inline(always)]
    pub(super) fn frame(self: Arc<Self>, method: &'static str, access: Access, options: &CallOptions) -> Frame {
        let extra = match options.request.is_empty() && options.deadline.is_none() && options.caller.is_none() {
            true => None,
            false => Some(Box::new(Extra {
                request: options.request.clone(),
                deadline: options.deadline,
                parent: options.caller.clone(),
                ..Extra::default()
            })),
        };
        Frame { extra, ..self.bare_frame(method, access) }
    }

    #[inline(always)]
    pub(super) fn bare_frame(self: Arc<Self>, method: &'static str, access: Access) -> Frame {
        Frame {
            activation: self,
            turn: 0,
            method,
            access,
            nested: false,
            on_uncommitted: false,
            dirty: 0,
            inlined: 0,
            aborted: false,
            node: None,
            extra: None,
        }
    }

    fn name<M: Method>(&self, fault: Fault) -> Fault {
        fault.of(&self.grain_id()).in_method(M::NAME)
    }
}

fn gone() -> Fault {
    Fault::not_executed(Cause::ActivationLost { reason: "it ended".to_owned() })
}

fn cell_expiry<M: Method>(cell: &Arc<CallCell<M>>) -> Weak<dyn Expire> {
    Arc::downgrade(&(cell.clone() as Arc<dyn Expire>))
}

impl<M: Method> Queued for CallCell<M> {
    fn is_queued(&self) -> bool {
        CallCell::is_queued(self)
    }

    fn refuse(&self, fault: Fault) -> bool {
        CallCell::refuse(self, fault)
    }
}

impl<M: Method> Expire for CallCell<M> {
    fn expire(&self, now: Instant, default: Duration, fault: &dyn Fn() -> Fault) -> bool {
        CallCell::expire(self, now, default, || fault().in_method(M::NAME))
    }

    fn deadline(&self) -> Option<Instant> {
        CallCell::deadline(self)
    }
}

/// Delivers a call's outcome to its cell. Dropped undelivered (its turn was cut off), it says so: every call ends.
pub(super) struct Reply<M: Method>(Option<Arc<CallCell<M>>>);

impl<M: Method> Reply<M> {
    fn new(cell: Arc<CallCell<M>>) -> Self {
        Self(Some(cell))
    }
}

impl<M: Method> Sink<Outcome<M>> for Reply<M> {
    fn deliver(mut self, result: Result<Outcome<M>, Fault>) {
        if let Some(cell) = self.0.take() {
            cell.finish(result.unwrap_or_else(|fault| Err(fault.in_method(M::NAME).into())));
        }
    }

    fn is_wanted(&self) -> bool {
        self.0.as_ref().is_some_and(|cell| !cell.is_over())
    }

    fn expiry(&self) -> Option<Weak<dyn Expire>> {
        self.0.as_ref().map(cell_expiry)
    }
}

impl<M: Method> Drop for Reply<M> {
    fn drop(&mut self) {
        if let Some(cell) = self.0.take() {
            cell.finish(Err(cell.name(gone().after_start()).in_method(M::NAME).into()));
        }
    }
}

/// A call in the queue. Dropped unrun, it says so: every call ends.
struct CallJob<M: Method, B> {
    cell: Arc<CallCell<M>>,
    caller: Option<Arc<ChainNode>>,
    wait: Option<WaitId>,
    options: CallOptions,
    body: PhantomData<fn(B)>,
}

impl<G, M, B> Job<G> for CallJob<M, B>
where
    G: Grain,
    M: Method,
    B: CallBody<G, M>,
{
    fn access(&self) -> Access {
        B::ACCESS
    }

    fn is_live(&self) -> bool {
        self.cell.is_queued()
    }

    fn method(&self) -> &'static str {
        M::NAME
    }

    fn caller(&self) -> Option<&Arc<ChainNode>> {
        self.caller.as_ref()
    }

    fn wait(&self) -> Option<WaitId> {
        self.wait
    }

    fn expire(&self) -> Option<Weak<dyn Expire>> {
        Some(cell_expiry(&self.cell))
    }

    fn is_from_turn(&self) -> bool {
        self.options.from_turn
    }

    fn is_routed(&self) -> bool {
        self.options.routed
    }

    fn forward(self: Box<Self>, activation: &Activation<G>) -> Option<RemoteCall> {
        if let Some(wait) = self.wait {
            activation.host.core.graph.remove(wait);
        }
        let arguments = self.cell.begin()?;
        // Who made a routed call hears that it moved; of a one-way call nobody hears any more, so it goes on from here.
        let encoded = match self.options.routed && self.options.awaited {
            true => Err(Fault::not_executed(Cause::Moved)),
            false => codec::encode_wire(&arguments),
        };
        let arguments = match encoded {
            Ok(arguments) => arguments.into(),
            Err(fault) => {
                self.cell.finish(Err(fault.of(&activation.grain_id()).in_method(M::NAME).into()));
                return None;
            }
        };
        self.cell.depart(activation.host.runtime.clone());
        let timeout = activation.host.core.options.call_timeout;
        Some(RemoteCall {
            grain: activation.grain_id(),
            interface: <M::Interface as gristmill_grains::Interface>::NAME.into(),
            method: M::WIRE_ID,
            name: M::NAME.into(),
            arguments,
            deadline: self.cell.deadline().unwrap_or_else(|| deadline_after(timeout)),
            request: self.options.request.clone(),
            caller: self.caller.clone(),
            one_way: !self.options.awaited,
            reply: self.options.awaited.then(|| self.cell.clone() as _),
        })
    }

    fn run(mut self: Box<Self>, activation: &Arc<Activation<G>>, admitted: Admitted<G>) {
        if let Some(wait) = self.wait {
            activation.host.core.graph.remove(wait);
        }
        let late = self.cell.deadline().is_some_and(|deadline| deadline <= Instant::now());
        let begun = if late { None } else { self.cell.begin() };
        let Some(arguments) = begun else {
            // Given up, or expired: it does not run.
            let late = || Fault::not_executed(Cause::Timeout).of(&activation.grain_id()).in_method(M::NAME);
            self.cell.expire(Instant::now(), activation.host.core.options.call_timeout, late);
            return activation.not_run(B::ACCESS, admitted);
        };
        let body = B::new(arguments, &activation.host, &activation.key, &self.options.request);
        let mut frame = activation.clone().frame(M::NAME, B::ACCESS, &self.options);
        if self.caller.is_some() {
            frame.extra().parent = self.caller.take();
        }
        let caller = cell_expiry(&self.cell);
        let reply = Reply::new(self.cell.clone());
        Activation::run_turn(admitted, frame, body, reply, Some(caller), |reply, frame| {
            if let Some(cell) = &reply.0 {
                cell.set_node(frame.detach());
            }
        });
    }

    fn fail(self: Box<Self>, fault: Fault) {
        if self.cell.begin().is_some() {
            self.cell.finish(Err(fault.in_method(M::NAME).into()));
        }
    }
}

impl<M: Method, B> Drop for CallJob<M, B> {
    fn drop(&mut self) {
        if self.cell.begin().is_some() {
            self.cell.finish(Err(gone().in_method(M::NAME).into()));
        }
    }
}
