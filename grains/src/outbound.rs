//! Calls that do not leave at once: past outgoing filters, or held in their caller's gate; and one-way calls.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, Waker};

use tokio::sync::oneshot;

use crate::call::{deadline_after, earlier_turns_are_durable, unknown};
use crate::cell::Waiting;
use crate::filter::{Target, TypedCall};
use crate::port::{Binding, BoxFuture, CallOptions, Outgoing, Runtime, Start};
use crate::reference::id_of;
use crate::{CallError, Cause, Fault, GrainId, KeyOf, Method, Outcome, turn};

/// Has a call left, or was it given up before? One of the two.
#[derive(Clone, Default)]
pub(crate) struct Departure(Arc<AtomicU8>);

const HELD: u8 = 0;
const LEFT: u8 = 1;
const GIVEN_UP: u8 = 2;

impl Departure {
    /// It leaves now (again, when a filter tries again); not if it was given up.
    fn leave(&self) -> bool {
        let was = self.0.compare_exchange(HELD, LEFT, Ordering::AcqRel, Ordering::Acquire);
        was != Err(GIVEN_UP)
    }

    /// It shall not leave any more; says whether it has, and so may have begun.
    pub(crate) fn give_up(&self) -> bool {
        self.0.compare_exchange(HELD, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire) == Err(LEFT)
    }
}

/// A call on its way past outgoing filters, or in its caller's gate.
pub(crate) struct Outbound<M: Method> {
    binding: Arc<Binding>,
    key: KeyOf<M>,
    arguments: M,
    options: CallOptions,
    departure: Departure,
}

impl<M: Method> Outbound<M> {
    pub(crate) fn new(binding: Arc<Binding>, key: KeyOf<M>, arguments: M, options: CallOptions) -> (Self, Departure) {
        let departure = Departure::default();
        (Self { binding, key, arguments, options, departure: departure.clone() }, departure)
    }

    /// Sends the call off and waits for its outcome.
    async fn send_off(self) -> Outcome<M> {
        if !earlier_turns_are_durable() {
            return self.hold_back().await;
        }
        match self.start() {
            Begun::Over(outcome) => outcome,
            Begun::Under(waiting) => waiting.await,
        }
    }

    fn start(self) -> Begun<M> {
        if !self.departure.leave() {
            return Begun::Over(Err(Fault::not_executed(Cause::Cancelled).in_method(M::NAME).into()));
        }
        match self.binding.start(&self.key, self.arguments, &self.options) {
            Start::Ready(outcome) => Begun::Over(outcome),
            Start::Wait(cell) => Begun::Under(Waiting(cell)),
            Start::Elsewhere(_) => Begun::Over(Err(unknown::<M>(&self.binding, &self.key).into())),
        }
    }

    /// Puts the call into the gate of the turn that makes it: calls of one turn leave in the order they were made in,
    /// whether their futures are polled or not.
    pub(crate) async fn hold_back(mut self) -> Outcome<M> {
        let options = &mut self.options;
        let default = || deadline_after(self.binding.runtime.default_timeout());
        let until = *options.deadline.get_or_insert_with(default);
        options.caller = turn::current_node();
        let (id, departure) = (id_of::<M>(&self.key), self.departure.clone());
        let (begun, held) = oneshot::channel();
        let call = Box::new(HeldCall { call: self, begun });
        match turn::with_current(|frame| frame.map(|frame| frame.activation.clone())) {
            Some(activation) => activation.hold_back(call),
            None => call.leave(),
        }
        let (cause, detail) = match tokio::time::timeout_at(until, held).await {
            Ok(Ok(Begun::Over(outcome))) => return outcome,
            Ok(Ok(Begun::Under(waiting))) => return waiting.await,
            Ok(Err(_)) => {
                let reason = "the caller's activation was lost".to_owned();
                (Cause::ActivationLost { reason }, "the caller's earlier turns did not become durable")
            }
            Err(_) => (Cause::Timeout, "the caller's earlier turns did not become durable in time"),
        };
        let fault = Fault::not_executed(cause).of(&id).in_method(M::NAME).detailed(detail);
        // It may be leaving at this moment.
        Err(if departure.give_up() { fault.after_start() } else { fault }.into())
    }

    pub(crate) async fn filtered(self) -> Outcome<M> {
        let Self { binding, key, arguments, options, departure } = self;
        let (grain, request) = (id_of::<M>(&key), options.request.clone());
        let direct = Direct { binding: &binding, key: &key, options: &options, departure: &departure };
        TypedCall::run(&binding.outgoing, &grain, &request, arguments, direct).await
    }
}

/// How a call that was sent off began.
enum Begun<M: Method> {
    Over(Outcome<M>),
    Under(Waiting<M>),
}

/// A call in its caller's gate.
struct HeldCall<M: Method> {
    call: Outbound<M>,
    begun: oneshot::Sender<Begun<M>>,
}

impl<M: Method> Outgoing for HeldCall<M> {
    fn leave(self: Box<Self>) {
        let Self { call, begun } = *self;
        if !begun.is_closed() {
            drop(begun.send(call.start())); // given up since: what is dropped gives it up
        }
    }

    fn is_wanted(&self) -> bool {
        !self.begun.is_closed()
    }
}

/// Where the outgoing filters lead.
struct Direct<'a, M: Method> {
    binding: &'a Arc<Binding>,
    key: &'a KeyOf<M>,
    options: &'a CallOptions,
    departure: &'a Departure,
}

impl<M: Method> Target<M> for Direct<'_, M> {
    const IS_TURN: bool = false;

    fn call(&mut self, arguments: M) -> BoxFuture<'_, Outcome<M>> {
        let (binding, key) = (self.binding.clone(), self.key.clone());
        let (options, departure) = (self.options.clone(), self.departure.clone());
        Box::pin(Outbound { binding, key, arguments, options, departure }.send_off())
    }
}

/// A one-way call.
pub(crate) struct OneWay<M: Method> {
    binding: Arc<Binding>,
    key: KeyOf<M>,
    arguments: M,
    options: CallOptions,
}

impl<M: Method> OneWay<M> {
    pub(crate) fn new(binding: Arc<Binding>, key: KeyOf<M>, arguments: M, options: CallOptions) -> Self {
        Self { binding, key, arguments, options }
    }

    /// Posts it. Its filters are polled here, so that sends keep their order; only what a filter awaits for is waited for
    /// elsewhere.
    pub(crate) fn post(self) -> Result<(), Fault> {
        if self.binding.outgoing.is_empty() {
            return self.binding.post(&self.key, self.arguments, &self.options);
        }
        let (runtime, id) = (self.binding.runtime.clone(), id_of::<M>(&self.key));
        let panicked = |id: &GrainId| {
            let cause = Cause::Panicked { message: "in an outgoing call filter".to_owned() };
            Fault::maybe_executed_with(cause).of(id).in_method(M::NAME)
        };
        let mut posting: BoxFuture<'static, _> = Box::pin(self.post_filtered());
        let polled = catch_unwind(AssertUnwindSafe(|| posting.as_mut().poll(&mut Context::from_waker(Waker::noop()))));
        match polled {
            Ok(Poll::Ready(posted)) => posted,
            Ok(Poll::Pending) => {
                let lost = LostUnlessOver(Some((runtime.clone(), panicked(&id))));
                let spawner = runtime.clone();
                spawner.spawn(Box::pin(async move {
                    let mut lost = lost;
                    let posted = posting.await;
                    lost.0 = None;
                    posted.unwrap_or_else(|fault| runtime.lost_send(fault));
                }));
                Ok(())
            }
            Err(_) => Err(panicked(&id)),
        }
    }

    async fn post_filtered(self) -> Result<(), Fault> {
        let Self { binding, key, arguments, options } = self;
        let (grain, request) = (id_of::<M>(&key), options.request.clone());
        let accepted = AtomicBool::new(false);
        let posting = Posting { binding: &binding, key: &key, options: &options, accepted: &accepted };
        match TypedCall::run(&binding.outgoing, &grain, &request, arguments, posting).await {
            Err(CallError::Fault(fault)) if !accepted.load(Ordering::Relaxed) => Err(fault),
            _ => Ok(()),
        }
    }
}

/// Reports a one-way call as lost when it is dropped: a filter panicked.
struct LostUnlessOver(Option<(Arc<dyn Runtime>, Fault)>);

impl Drop for LostUnlessOver {
    fn drop(&mut self) {
        if let Some((runtime, fault)) = self.0.take() {
            runtime.lost_send(fault);
        }
    }
}

impl<M: Method> Outgoing for OneWay<M> {
    fn leave(self: Box<Self>) {
        let runtime = self.binding.runtime.clone();
        self.post().unwrap_or_else(|fault| runtime.lost_send(fault));
    }
}

/// Where the outgoing filters of a one-way call lead. It has no outcome; filters see `Cancelled` for one.
struct Posting<'a, M: Method> {
    binding: &'a Binding,
    key: &'a KeyOf<M>,
    options: &'a CallOptions,
    accepted: &'a AtomicBool,
}

impl<M: Method> Target<M> for Posting<'_, M> {
    const IS_TURN: bool = false;

    fn call(&mut self, arguments: M) -> BoxFuture<'_, Outcome<M>> {
        let posted = self.binding.post(self.key, arguments, self.options);
        self.accepted.store(posted.is_ok(), Ordering::Relaxed);
        let outcome = posted.and(Err(Fault::maybe_executed_with(Cause::Cancelled)));
        Box::pin(std::future::ready(outcome.map_err(Into::into)))
    }
}
