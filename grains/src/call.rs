//! A call is a value: awaited for its answer, or sent one-way.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep};

use crate::cell::CallCell;
use crate::outbound::{Departure, OneWay, Outbound};
use crate::port::{Binding, BoxFuture, CallOptions, Start};
use crate::reference::{GrainRef, id_of};
use crate::turn;
use crate::{Access, Cause, Fault, KeyOf, Method, Outcome, RequestContext};

/// Turns polled one within the other on a caller's stack, at most; deeper ones get a task of their own.
const MAX_NESTING: usize = 8;

/// A call of a grain's method, not yet made: `.await` it for the answer, or [`send`](Call::send) it.
///
/// At most once: the runtime never runs a call twice. Dropping the future of an awaited call gives it up: if it has not
/// begun it never will; once begun, its turn runs to its end and the answer is dropped.
#[must_use = "a call does nothing until it is awaited or sent"]
pub struct Call<'a, M: Method> {
    target: CallTarget<'a, M>,
    arguments: M,
    more: Option<Box<More>>,
}

/// What few calls say.
#[derive(Default)]
struct More {
    timeout: Option<Duration>,
    request: RequestContext,
}

enum CallTarget<'a, M: Method> {
    Borrowed(&'a GrainRef<M::Interface>),
    Owned(GrainRef<M::Interface>),
}

impl<M: Method> CallTarget<'_, M> {
    fn get(&self) -> &GrainRef<M::Interface> {
        match self {
            Self::Borrowed(grain) => grain,
            Self::Owned(grain) => grain,
        }
    }
}

impl<'a, M: Method> Call<'a, M> {
    pub(crate) fn new(grain: &'a GrainRef<M::Interface>, arguments: M) -> Self {
        Self { target: CallTarget::Borrowed(grain), arguments, more: None }
    }

    /// Fails with [`Cause::Timeout`] if there is no answer within `timeout` of the first poll. Without it, the silo's
    /// default applies (30 s, checked every 100 ms), or what is left of the timeout of the turn that makes the call.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.more.get_or_insert_default().timeout = Some(timeout);
        self
    }

    /// A value that travels with the call and the calls made for it.
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        let more = self.more.get_or_insert_default();
        more.request = std::mem::take(&mut more.request).with(key, value);
        self
    }

    /// The same call, owning its reference, so that it can outlive it or be spawned.
    pub fn into_owned(self) -> Call<'static, M> {
        Call { target: CallTarget::Owned(self.target.get().clone()), ..self }
    }

    /// Sends the call one-way: it runs later, at most once, and nobody learns how it ended. Out of a turn it leaves only
    /// when that turn is durable, in the order of the turn's sends. A call that cannot be accepted (full mailbox, unknown
    /// grain) is logged and counted; use [`try_send`](Self::try_send) to see it.
    pub fn send(self) {
        if let Some(binding) = self.target.get().binding() {
            let runtime = binding.runtime.clone();
            self.try_send().unwrap_or_else(|fault| runtime.lost_send(fault));
        } else {
            tracing::error!(call = M::NAME, "a one-way call was lost: its reference is bound to no silo");
        }
    }

    /// [`send`](Self::send), telling whether the call was accepted. Out of a turn it is always accepted: what becomes of
    /// it shows only after the turn.
    pub fn try_send(self) -> Result<(), Fault> {
        let grain = self.target.get();
        let Some(binding) = grain.binding() else { return Err(unbound::<M>(grain.key())) };
        let More { timeout, request } = self.more.map(|more| *more).unwrap_or_default();
        let deadline = timeout.map(deadline_after);
        let mut options = CallOptions { deadline, request, ..CallOptions::default() };
        if let Some(fault) = inherit(&mut options, false) {
            return Err(fault.of(&id_of::<M>(grain.key())).in_method(M::NAME));
        }
        let send = Box::new(OneWay::new(binding, grain.key().clone(), self.arguments, options));
        let unsent = turn::with_current(|frame| match frame {
            Some(frame) => {
                frame.extra().outbox.push(send);
                None
            }
            None => Some(send),
        });
        unsent.map_or(Ok(()), |send| send.post())
    }
}

impl<'a, M: Method> IntoFuture for Call<'a, M> {
    type Output = Outcome<M>;
    type IntoFuture = CallFuture<'a, M>;

    fn into_future(self) -> CallFuture<'a, M> {
        CallFuture { target: self.target, state: State::Start(Some(self.arguments)), more: self.more, sleep: None }
    }
}

/// The future of an awaited call. See [`Call`] for what dropping it does.
pub struct CallFuture<'a, M: Method> {
    target: CallTarget<'a, M>,
    state: State<M>,
    more: Option<Box<More>>,
    sleep: Option<Pin<Box<Sleep>>>,
}

enum State<M: Method> {
    /// Its arguments, until the first poll.
    Start(Option<M>),
    Waiting(Arc<CallCell<M>>),
    /// Through filters, or in the caller's gate.
    Detour(BoxFuture<'static, Outcome<M>>, Departure),
    Over,
}

// Nothing in it is pinned in place: the futures are boxed.
impl<M: Method> Unpin for CallFuture<'_, M> {}

impl<M: Method> CallFuture<'_, M> {
    fn begin(&mut self, arguments: M, cx: &mut Context<'_>) -> Poll<Outcome<M>> {
        let grain = self.target.get();
        let looked_up;
        let binding = match grain.bound_to() {
            Some(binding) => binding,
            None => match grain.binding() {
                Some(binding) => {
                    looked_up = binding;
                    &looked_up
                }
                None => return Poll::Ready(Err(unbound::<M>(grain.key()).into())),
            },
        };
        let More { timeout, request } = self.more.take().map(|more| *more).unwrap_or_default();
        let deadline = timeout.map(deadline_after);
        // On a thread without a runtime there is no timer; the silo's sweeper ends the call, to 100 ms.
        if let Some(at) = deadline.filter(|_| Handle::try_current().is_ok()) {
            self.sleep = Some(Box::pin(tokio::time::sleep_until(at)));
        }
        let depth = turn::depth();
        let mut options = CallOptions { deadline, request, ..CallOptions::default() };
        if depth > 0
            && let Some(fault) = inherit(&mut options, true)
        {
            return Poll::Ready(Err(fault.of(&id_of::<M>(grain.key())).in_method(M::NAME).into()));
        }
        let held = depth > 0 && !earlier_turns_are_durable();
        if held || !binding.outgoing.is_empty() {
            if self.sleep.is_none() && Handle::try_current().is_ok() {
                // A filter may await anything; the silo's sweeper does not see the call yet.
                let at = options.deadline.unwrap_or_else(|| deadline_after(binding.runtime.default_timeout()));
                self.sleep = Some(Box::pin(tokio::time::sleep_until(at)));
            }
            let (call, departure) = Outbound::<M>::new(binding.clone(), grain.key().clone(), arguments, options);
            let future: BoxFuture<'static, _> = match binding.outgoing.is_empty() {
                true => Box::pin(call.hold_back()),
                false => Box::pin(call.filtered()),
            };
            self.state = State::Detour(future, departure);
            return self.proceed(cx);
        }
        options.inline = may_inline(cx, depth);
        match binding.start(grain.key(), arguments, &options) {
            Start::Ready(outcome) => Poll::Ready(outcome),
            Start::Wait(cell) => {
                self.state = State::Waiting(cell);
                self.proceed(cx)
            }
            Start::Elsewhere(_) => Poll::Ready(Err(unknown::<M>(binding, grain.key()).into())),
        }
    }

    fn proceed(&mut self, cx: &mut Context<'_>) -> Poll<Outcome<M>> {
        let polled = match &mut self.state {
            State::Waiting(cell) => cell.poll(cx),
            State::Detour(future, _) => future.as_mut().poll(cx),
            State::Start(_) | State::Over => {
                Poll::Ready(Err(Fault::maybe_executed_with(Cause::Cancelled).in_method(M::NAME).into()))
            }
        };
        if let Poll::Ready(outcome) = polled {
            self.state = State::Over;
            return Poll::Ready(outcome);
        }
        if self.sleep.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready()) {
            let fault = Fault::not_executed(Cause::Timeout).of(&id_of::<M>(self.target.get().key())).in_method(M::NAME);
            return Poll::Ready(Err(if self.give_up() {
                fault.after_start().detailed("the method was running").into()
            } else {
                fault.detailed("the call was queued").into()
            }));
        }
        Poll::Pending
    }

    /// Gives the call up; says whether it may have begun.
    fn give_up(&mut self) -> bool {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Start(_) | State::Over => false,
            State::Waiting(cell) => cell.abandon(),
            State::Detour(_, departure) => departure.give_up(),
        }
    }
}

impl<M: Method> Future for CallFuture<'_, M> {
    type Output = Outcome<M>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<M>> {
        if let State::Start(arguments) = &mut self.state
            && let Some(arguments) = arguments.take()
        {
            return self.begin(arguments, cx);
        }
        self.proceed(cx)
    }
}

impl<M: Method> Drop for CallFuture<'_, M> {
    #[inline]
    fn drop(&mut self) {
        if let State::Waiting(_) | State::Detour(..) = self.state {
            self.give_up();
        }
    }
}

/// This time from now. A time that no clock reaches is taken for thirty years.
pub fn deadline_after(time: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
    Instant::now() + time.min(FAR)
}

/// What the call inherits from the turn that makes it; and why it may not be made, if that turn's activation is lost.
#[inline(never)]
fn inherit(options: &mut CallOptions, awaited: bool) -> Option<Fault> {
    turn::with_current(|frame| {
        let frame = frame?;
        if let Some(extra) = &frame.extra {
            options.request = extra.request.clone().merged(&options.request);
            if awaited {
                options.deadline = [options.deadline, extra.deadline].into_iter().flatten().min();
            }
        }
        (options.awaited, options.from_turn) = (awaited, true);
        if awaited && frame.dirty != 0 {
            frame.activation.count_dirty_call();
        }
        let denied = || {
            let denied = awaited && frame.dirty != 0 && frame.activation.denies_dirty_calls();
            denied.then(|| Fault::not_executed(Cause::Uncommitted))
        };
        frame.activation.lost().or_else(denied)
    })
}

/// An awaited call leaves once the turns before its own are durable.
pub(crate) fn earlier_turns_are_durable() -> bool {
    turn::with_current(|frame| {
        let Some(frame) = frame else { return true };
        // Beside a read turn others may have ended since it began.
        if frame.on_uncommitted || frame.access == Access::Shared {
            frame.on_uncommitted = !frame.activation.is_settled();
        }
        !frame.on_uncommitted
    })
}

/// Polls the turn here only while the stack is shallow and this task has not done its share: once its cooperative budget
/// is spent, turns get tasks of their own, so that a `join_all` over many grains uses every core.
fn may_inline(cx: &mut Context<'_>, depth: usize) -> bool {
    match depth {
        0 => match tokio::task::coop::has_budget_remaining() {
            true => match tokio::task::coop::poll_proceed(cx) {
                Poll::Ready(unit) => {
                    unit.made_progress();
                    true
                }
                Poll::Pending => false,
            },
            false => false,
        },
        depth => depth < MAX_NESTING && turn::may_nest(),
    }
}

pub(crate) fn unbound<M: Method>(key: &KeyOf<M>) -> Fault {
    Fault::not_executed(Cause::Unbound).of(&id_of::<M>(key)).in_method(M::NAME)
}

pub(crate) fn unknown<M: Method>(binding: &Binding, key: &KeyOf<M>) -> Fault {
    Fault::not_executed(binding.runtime.why_missing()).of(&id_of::<M>(key)).in_method(M::NAME)
}
