//! Running a turn: polled once where it was started, then on a task of its own if it is not over.

use std::any::Any;
use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

#[cfg(feature = "sim")]
use gristmill_grains::chaos::{self, Bug};
use gristmill_grains::port::AnyActivation;
use gristmill_grains::turn::{self, ChainNode, Extra, Frame, Left, TurnId};
use gristmill_grains::{Access, Cause, Fault, Grain, RequestContext, TRACEPARENT};

use super::Activation;
use super::commit::Snapshots;
use super::gate::{Held, HeldSend};
use super::lifecycle::Loss;
use super::mailbox::{Admitted, Expire, Phase, Running, RunningTask};
use super::warm::Warm;

/// What a turn does with its grain.
pub(crate) trait Body<G: Grain>: Send + 'static {
    type Out: Send + 'static;
    const ACCESS: Access;
    /// Does the turn limit apply? Not to the runtime's own turns, which wait for a storage.
    const LIMITED: bool = true;
    /// Runs; gives the grain back.
    fn run(self, grain: Arc<G>) -> impl Future<Output = (Arc<G>, Self::Out)> + Send + 'static;
}

/// Where the result of a turn goes.
pub(crate) trait Sink<Out>: Send + 'static {
    fn deliver(self, result: Result<Out, Fault>);
    /// Does somebody still wait for the result?
    fn is_wanted(&self) -> bool {
        true
    }
    /// What ends when its deadline passes, though the result is held back.
    fn expiry(&self) -> Option<Weak<dyn Expire>> {
        None
    }
}

/// A new turn's id: unique in the process, and cheap, as every call takes one.
#[inline]
pub(crate) fn next_turn_id() -> TurnId {
    const BLOCK: u64 = 1 << 16;
    static BLOCKS: AtomicU64 = AtomicU64::new(1);
    NEXT_TURN.with(|next| {
        let mut id = next.get();
        // A simulation has one thread, and its numbers follow each other.
        if id % BLOCK == 0 && !(id > 0 && gristmill_grains::chaos::is_on()) {
            id = BLOCKS.fetch_add(1, Ordering::Relaxed) * BLOCK;
        }
        next.set(id + 1);
        id
    })
}

thread_local! { static NEXT_TURN: Cell<u64> = const { Cell::new(0) }; }

/// A simulation begins on this thread: its turns count from one.
#[cfg(feature = "sim")]
pub(crate) fn reset_turn_ids() {
    NEXT_TURN.set(1);
}

/// Runs one poll of user code; a panic becomes its message.
#[inline]
pub(crate) fn guarded<R>(f: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| message(&*payload))
}

/// Runs a future; a panic in it becomes its message.
pub(crate) async fn guarded_poll<F: Future>(future: F) -> Result<F::Output, String> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| match guarded(|| future.as_mut().poll(cx)) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

/// Drops a value of the user's; a panic of its `Drop` ends here.
pub(crate) fn discard<T>(value: T) {
    if let Err(panic) = guarded(|| drop(value)) {
        tracing::error!(panic, "a grain panicked while it was dropped");
    }
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

/// A turn under way.
pub(crate) struct TurnRun<F: Future> {
    frame: Option<Frame>,
    // In an option so that it can be dropped where its panic is caught.
    future: Option<Pin<Box<F>>>,
    span: tracing::Span,
}

/// A turn that is over: its value, or its panic.
pub(crate) struct Ended<T> {
    pub(super) result: Result<T, String>,
    pub(super) turn: TurnId,
    pub(super) method: &'static str,
    pub(super) activation: Arc<dyn AnyActivation>,
    pub(super) aborted: bool,
    pub(super) extra: Option<Box<Extra>>,
}

impl<F: Future> TurnRun<F> {
    pub(crate) fn new(frame: Frame, future: F) -> Self {
        let request = frame.extra.as_ref().map(|extra| &extra.request);
        let span = turn_span(&*frame.activation, frame.method, request);
        Self { frame: Some(frame), future: Some(Box::pin(future)), span }
    }

    /// Polls a turn where it is started; it is `Err` when it is not over. Inlined, so that the frame is made in its place
    /// on the thread's stack of frames.
    #[inline(always)]
    pub(super) fn start(frame: Frame, span: tracing::Span, future: F) -> Result<Ended<F::Output>, Self> {
        let Frame { activation, turn, method, access, nested, on_uncommitted, extra, .. } = frame;
        let mut future = Box::pin(future);
        let entered = span.enter();
        turn::begin(activation, turn, method, access, nested, on_uncommitted, extra);
        let result = match guarded(|| future.as_mut().poll(&mut Context::from_waker(Waker::noop()))) {
            Ok(Poll::Pending) => {
                drop(entered);
                return Err(Self { frame: Some(turn::leave()), future: Some(future), span });
            }
            Ok(Poll::Ready(output)) => Ok(output),
            Err(panic) => Err(panic),
        };
        let Left { activation, aborted, extra } = turn::end();
        drop(entered);
        Ok(Ended { result: dropped(future, result), turn, method, activation, aborted, extra })
    }

    /// The turn leaves its caller's stack; gives its node.
    pub(crate) fn detach(&mut self) -> Arc<ChainNode> {
        self.frame().detach()
    }

    fn frame(&mut self) -> &mut Frame {
        self.frame.as_mut().expect("a turn under way has its frame between polls")
    }
}

impl<F: Future> Future for TurnRun<F> {
    type Output = Ended<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let (Some(frame), Some(future)) = (this.frame.take(), this.future.as_mut()) else {
            unreachable!("a turn is not polled after its end");
        };
        let Frame { turn, method, .. } = frame;
        let _entered = this.span.enter();
        turn::enter(frame);
        let result = match guarded(|| future.as_mut().poll(cx)) {
            Ok(Poll::Pending) => {
                this.frame = Some(turn::leave());
                return Poll::Pending;
            }
            Ok(Poll::Ready(output)) => Ok(output),
            Err(panic) => Err(panic),
        };
        let Left { activation, aborted, extra } = turn::end();
        let result = dropped(this.future.take(), result);
        Poll::Ready(Ended { result, turn, method, activation, aborted, extra })
    }
}

/// What a method's future still holds when it is over may panic when dropped, too; the first panic is the one that counts.
#[inline]
fn dropped<F, T>(future: F, result: Result<T, String>) -> Result<T, String> {
    match guarded(|| drop(future)) {
        Ok(()) => result,
        Err(panic) => result.and(Err(panic)),
    }
}

/// The span of a turn. It has no parent: whose poll it runs in is chance. A `traceparent` that came with the call says
/// which trace it belongs to.
#[inline]
pub(super) fn turn_span(
    activation: &dyn AnyActivation,
    method: &'static str,
    request: Option<&RequestContext>,
) -> tracing::Span {
    if !tracing::enabled!(target: "gristmill::turn", tracing::Level::DEBUG) {
        return tracing::Span::none();
    }
    enabled_span(activation, method, request)
}

#[cold]
fn enabled_span(
    activation: &dyn AnyActivation,
    method: &'static str,
    request: Option<&RequestContext>,
) -> tracing::Span {
    let grain = activation.id();
    let span = tracing::debug_span!(
        target: "gristmill::turn", parent: None, "turn", %grain, method, traceparent = tracing::field::Empty,
    );
    if let Some(request) = request
        && request.traceparent().is_some()
    {
        span.record(TRACEPARENT, request.get(TRACEPARENT));
    }
    span
}

/// What a sink holds back until the turn's commit.
struct HeldResult<S, Out> {
    sink: S,
    out: Out,
}

impl<Out: Send, S: Sink<Out>> Held for HeldResult<S, Out> {
    fn release(self: Box<Self>) {
        self.sink.deliver(Ok(self.out));
    }

    fn fail(self: Box<Self>, fault: &Fault) {
        self.sink.deliver(Err(fault.clone().after_start()));
    }

    fn is_wanted(&self) -> bool {
        self.sink.is_wanted()
    }

    fn expiry(&self) -> Option<Weak<dyn Expire>> {
        self.sink.expiry()
    }
}

pub(crate) fn held<Out: Send + 'static>(sink: impl Sink<Out>, out: Out) -> Box<dyn Held> {
    Box::new(HeldResult { sink, out })
}

/// A planted bug: a turn whose caller has given up goes no further. Polls the turn as long as it is wanted.
#[cfg(feature = "sim")]
async fn cut_on_cancel<F: Future, Out, S: Sink<Out>>(
    run: F,
    mut sink: S,
) -> Option<(impl Future<Output = F::Output>, S)> {
    if !chaos::planted(Bug::TurnCutOnCancel) {
        return Some((futures_util::future::Either::Left(run), sink));
    }
    let wanting = &mut sink;
    let mut run = Box::pin(run);
    let ended = std::future::poll_fn(move |cx| match wanting.is_wanted() {
        true => run.as_mut().poll(cx).map(Some),
        false => Poll::Ready(None),
    });
    let ended = ended.await?;
    Some((futures_util::future::Either::Right(std::future::ready(ended)), sink))
}

/// What is left of a turn's frame at its end.
struct Ending {
    turn: TurnId,
    aborted: bool,
    extra: Option<Box<Extra>>,
}

/// A turn that ended.
pub(crate) struct Finished<G: Grain, Out> {
    pub(crate) activation: Arc<Activation<G>>,
    pub(crate) outcome: Outcome<Out>,
    /// Is there work for [`pump`](Activation::pump)?
    pub(crate) work: bool,
}

/// How a turn ended.
pub(crate) enum Outcome<Out> {
    /// Its result may go out now.
    Now(Result<Out, Fault>),
    /// Its result waits for a commit.
    Held,
}

impl<G: Grain> Activation<G> {
    /// Runs a turn whose result goes to `sink`. Does not pump: the caller does.
    pub(crate) fn run_turn<B: Body<G>, S: Sink<B::Out>>(
        admitted: Admitted<G>,
        mut frame: Frame,
        body: B,
        sink: S,
        caller: Option<Weak<dyn Expire>>,
        noted: impl FnOnce(&S, &mut Frame),
    ) {
        frame.turn = admitted.turn;
        frame.on_uncommitted = admitted.on_uncommitted;
        let request = frame.extra.as_ref().map(|extra| &extra.request);
        let span = turn_span(&*frame.activation, frame.method, request);
        match TurnRun::start(frame, span, body.run(admitted.grain)) {
            Ok(ended) => drop(Self::end_turn::<B, S>(ended, sink)),
            Err(mut run) => {
                noted(&sink, run.frame());
                Self::continue_turn::<B, S>(run, sink, caller);
            }
        }
    }

    fn end_turn<B: Body<G>, S: Sink<B::Out>>(ended: Ended<(Arc<G>, B::Out)>, sink: S) -> (Arc<Self>, bool) {
        let mut sink = Some(sink);
        let finished = Self::finish(ended, B::ACCESS, |out| match sink.take() {
            Some(sink) => held(sink, out),
            None => unreachable!("a result is held at most once"),
        });
        // A result that nobody waits for is dropped there, and may panic; so may a waker that is not tokio's.
        if let (Outcome::Now(result), Some(sink)) = (finished.outcome, sink)
            && let Err(panic) =
                guarded(|| sink.deliver(result.map_err(|fault| fault.of(&finished.activation.grain_id()))))
        {
            tracing::error!(grain = %finished.activation.grain_id(), panic, "delivering a reply panicked");
        }
        (finished.activation, finished.work)
    }

    /// Moves a turn that is not over to a task of its own; gives its activation.
    pub(crate) fn continue_turn<B: Body<G>, S: Sink<B::Out>>(
        mut run: TurnRun<impl Future<Output = (Arc<G>, B::Out)> + Send + 'static>,
        sink: S,
        caller: Option<Weak<dyn Expire>>,
    ) -> Arc<Self> {
        let frame = run.frame();
        let node = frame.detach();
        let turn = frame.turn;
        let activation = Self::of(frame.activation.clone());
        activation.polling.store(false, Ordering::Relaxed);
        let mut inner = activation.inner.lock();
        let slow = inner.slow();
        let mut on = slow.warm.take().unwrap_or_else(Warm::new);
        on.seen = false;
        let on_task = on.task();
        let task = RunningTask { node, since: None, caller, on: Some(on), limited: B::LIMITED, reported: false };
        // Its node may have been noted before.
        slow.running.retain(|running| running.turn != turn);
        slow.running.push(Running { turn, access: B::ACCESS, task: Some(task) });
        let watch = !std::mem::replace(&mut inner.watched, true);
        drop(inner);
        if watch {
            activation.watch();
        }
        let rest = Box::pin(async move {
            #[cfg(feature = "sim")]
            let (run, sink) = match cut_on_cancel::<_, B::Out, S>(run, sink).await {
                Some(over) => over,
                None => return,
            };
            let (activation, work) = Self::end_turn::<B, S>(run.await, sink);
            if work {
                activation.pump();
            }
        });
        on_task.take(&activation.host.core, rest);
        activation
    }

    /// The activation of a frame.
    #[inline]
    pub(super) fn of(activation: Arc<dyn AnyActivation>) -> Arc<Self> {
        let activation: Arc<dyn Any + Send + Sync> = activation;
        match activation.downcast() {
            Ok(activation) => activation,
            Err(_) => unreachable!("a frame comes back with the activation it was made for"),
        }
    }

    /// Ends a turn: takes its snapshot, sends or holds what leaves, gives the grain back.
    #[inline(always)]
    pub(crate) fn finish<Out: Send>(
        ended: Ended<(Arc<G>, Out)>,
        access: Access,
        hold: impl FnOnce(Out) -> Box<dyn Held>,
    ) -> Finished<G, Out> {
        let Ended { result, turn, method, activation, aborted, extra } = ended;
        // Moved, not cloned: the call path touches no count of it.
        let activation = Self::of(activation);
        let (grain, out) = match result {
            Ok((grain, out))
                if !aborted
                    && extra.is_none()
                    && !grain.is_dirty()
                    && (access == Access::Exclusive || !activation.host.has_cells()) =>
            {
                // The common case: there is nothing to write, send or hold.
                let mut inner = activation.lock_often();
                if inner.lost.is_none() && inner.gate.as_ref().is_none_or(|gate| gate.lets_pass()) {
                    let work = activation.release(&mut inner, access, turn, Some(grain));
                    drop(inner);
                    return Finished { activation, outcome: Outcome::Now(Ok(out)), work };
                }
                (grain, out)
            }
            Ok(done) => done,
            Err(panic) => {
                let outcome = Outcome::Now(Err(activation.turn_panicked(access, turn, method, panic)));
                return Finished { activation, outcome, work: false };
            }
        };
        let (outcome, work) = activation.settle_turn(grain, out, Ending { turn, aborted, extra }, access, hold);
        Finished { activation, outcome, work }
    }

    #[cold]
    fn turn_panicked(self: &Arc<Self>, access: Access, turn: TurnId, method: &'static str, panic: String) -> Fault {
        let fault = Fault::maybe_executed_with(Cause::Panicked { message: panic });
        tracing::error!(grain = %self.grain_id(), method, %fault, "a turn panicked");
        self.host.metrics.panics.fetch_add(1, Ordering::Relaxed);
        self.drop_after(access, turn, fault.clone());
        fault
    }

    fn settle_turn<Out: Send>(
        self: &Arc<Self>,
        grain: Arc<G>,
        out: Out,
        ending: Ending,
        access: Access,
        hold: impl FnOnce(Out) -> Box<dyn Held>,
    ) -> (Outcome<Out>, bool) {
        let Ending { turn, aborted, extra } = ending;
        let lost = |fault: Fault| (Outcome::Now(Err(fault.after_start())), false);
        if aborted {
            let fault = Fault::maybe_executed_with(Cause::Aborted);
            discard(grain);
            self.drop_after(access, turn, fault.clone());
            return lost(fault);
        }
        let mut outbox = extra.map(|extra| extra.outbox).unwrap_or_default();
        if self.host.slots.is_empty() && !self.mute.load(Ordering::Acquire) {
            // Before the next turn is let in, so that its sends come after these.
            outbox.drain(..).for_each(|send| send.leave());
        }
        // A write turn's grain is ours alone. Reads of a grain with interior mutability may end side by side.
        let encoding = (access == Access::Shared && self.host.has_cells()).then(|| self.encoding.lock());
        let snapshots = match self.snapshot(&grain) {
            Ok(snapshots) => snapshots,
            Err(fault) => {
                drop(encoding);
                discard(grain);
                self.drop_after(access, turn, fault.clone());
                return lost(fault);
            }
        };
        let mut inner = self.inner.lock();
        if let Some(fault) = inner.lost.clone() {
            self.release(&mut inner, access, turn, None);
            drop((inner, encoding));
            discard(grain);
            return lost(fault);
        }
        let Snapshots { records, flush } = snapshots;
        let (mut commits, mut now) = (Vec::new(), Some(out));
        let (mut watch, mut sends) = (false, false);
        if let Some(gate) = inner.gate.as_mut() {
            if !records.is_empty() {
                gate.put(records, true);
                commits = gate.sendable(&self.grain_id());
            }
            let open = gate.is_open();
            // Through the gate in any case: sends of several turns leave in the turns' order.
            sends = !outbox.is_empty();
            outbox.into_iter().for_each(|send| gate.hold(Box::new(HeldSend(send))));
            if !open && let Some(out) = now.take() {
                gate.hold(hold(out));
                watch = !std::mem::replace(&mut inner.watched, true);
            }
        }
        let work = self.release(&mut inner, access, turn, Some(grain));
        drop((inner, encoding));
        if watch {
            self.watch();
        }
        self.submit(commits);
        if let Some(after) = flush {
            self.flush_after(after);
        }
        if sends {
            self.release_held();
        }
        let answer = now.map(|out| match self.host.options.strict && !self.host.core.may_speak() {
            true => Err(over_lease().of(&self.grain_id())),
            false => Ok(out),
        });
        (answer.map_or(Outcome::Held, Outcome::Now), work)
    }

    /// The turn's activation ends with it; what earlier turns have put behind the gate still settles.
    fn drop_after(self: &Arc<Self>, access: Access, turn: TurnId, fault: Fault) {
        let mut inner = self.inner.lock();
        // In one step: nobody may be let in to a grain that is gone.
        if inner.phase == Phase::Active {
            inner.phase = Phase::Closing;
        }
        self.release(&mut inner, access, turn, None);
        drop(inner);
        self.lose(fault, Loss::AfterSettling);
    }
}

/// What a strict grain answers that may have a successor by now.
fn over_lease() -> Fault {
    let reason = "the silo's lease is over, so the others may have taken it for dead and have its grains".to_owned();
    Fault::maybe_executed_with(Cause::SiloUnavailable { reason })
}
