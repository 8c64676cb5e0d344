//! Running a turn: polled once where it was started, then on a task of its own if it is not over.

use std::any::Any;
use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use gristmill_grains::turn::{self, ChainNode, Frame, TurnId};
use gristmill_grains::{Access, Cause, Fault, Grain, TRACEPARENT};
use tokio::time::Instant;

use super::Activation;
use super::commit::Snapshots;
use super::gate::{Held, HeldSend};
use super::lifecycle::Loss;
use super::mailbox::{Admitted, Expire, Phase, Running, RunningTask};

/// What a turn does with its grain.
pub(crate) trait Body<G: Grain>: Send + 'static {
    type Out: Send + 'static;
    const ACCESS: Access;
    /// Runs; gives the grain back.
    fn run(self, grain: Arc<G>) -> impl Future<Output = (Arc<G>, Self::Out)> + Send + 'static;
}

/// Where the result of a turn goes.
pub(crate) trait Sink<Out>: Send + 'static {
    fn deliver(self, result: Result<Out, Fault>);
    /// What ends when its deadline passes, though the result is held back.
    fn expiry(&self) -> Option<Weak<dyn Expire>> {
        None
    }
}

/// A new turn's id: unique in the process, and cheap, as every call takes one.
pub(crate) fn next_turn_id() -> TurnId {
    const BLOCK: u64 = 1 << 16;
    static BLOCKS: AtomicU64 = AtomicU64::new(1);
    thread_local! { static NEXT: Cell<u64> = const { Cell::new(0) }; }
    NEXT.with(|next| {
        let mut id = next.get();
        if id % BLOCK == 0 {
            id = BLOCKS.fetch_add(1, Ordering::Relaxed) * BLOCK;
        }
        next.set(id + 1);
        id
    })
}

/// Runs one poll of user code; a panic becomes its message.
pub(crate) fn guarded<R>(f: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| message(&*payload))
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

pub(crate) type Ended<T> = (Result<T, String>, Frame);

impl<F: Future> TurnRun<F> {
    pub(crate) fn new(frame: Frame, future: F) -> Self {
        let span = turn_span(&frame);
        Self { frame: Some(frame), future: Some(Box::pin(future)), span }
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
        let entered = this.span.enter();
        let (frame, polled) = turn::within(frame, || guarded(|| future.as_mut().poll(cx)));
        drop(entered);
        let result = match polled {
            Ok(Poll::Pending) => {
                this.frame = Some(frame);
                return Poll::Pending;
            }
            Ok(Poll::Ready(output)) => Ok(output),
            Err(panic) => Err(panic),
        };
        // What the method's future still holds may panic when dropped, too.
        let future = this.future.take();
        let result = match guarded(|| drop(future)) {
            Ok(()) => result,
            Err(panic) => result.and(Err(panic)),
        };
        Poll::Ready((result, frame))
    }
}

/// The span of a turn. It has no parent: whose poll it runs in is chance. A `traceparent` that came with the call says
/// which trace it belongs to.
fn turn_span(frame: &Frame) -> tracing::Span {
    if !tracing::enabled!(target: "gristmill::turn", tracing::Level::DEBUG) {
        return tracing::Span::none();
    }
    let (grain, method) = (frame.activation.id(), frame.method);
    let span = tracing::debug_span!(
        target: "gristmill::turn", parent: None, "turn", %grain, method, traceparent = tracing::field::Empty,
    );
    if let Some(request) = frame.extra.as_ref().map(|extra| &extra.request)
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

    fn expiry(&self) -> Option<Weak<dyn Expire>> {
        self.sink.expiry()
    }
}

pub(crate) fn held<Out: Send + 'static>(sink: impl Sink<Out>, out: Out) -> Box<dyn Held> {
    Box::new(HeldResult { sink, out })
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
        self: &Arc<Self>,
        admitted: Admitted<G>,
        mut frame: Frame,
        body: B,
        sink: S,
        caller: Option<Weak<dyn Expire>>,
        noted: impl FnOnce(&S, &mut Frame),
    ) {
        frame.turn = admitted.turn;
        frame.on_uncommitted = admitted.on_uncommitted;
        let mut run = TurnRun::new(frame, body.run(admitted.grain));
        match Pin::new(&mut run).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(ended) => self.end_turn::<B, S>(ended, sink),
            Poll::Pending => {
                noted(&sink, run.frame());
                self.continue_turn::<B, S>(run, sink, caller);
            }
        }
    }

    fn end_turn<B: Body<G>, S: Sink<B::Out>>(self: &Arc<Self>, ended: Ended<(Arc<G>, B::Out)>, sink: S) {
        let mut sink = Some(sink);
        let outcome = self.finish(ended, B::ACCESS, |out| match sink.take() {
            Some(sink) => held(sink, out),
            None => unreachable!("a result is held at most once"),
        });
        if let (Outcome::Now(result), Some(sink)) = (outcome.0, sink) {
            sink.deliver(result);
        }
    }

    /// Moves a turn that is not over to a task of its own.
    pub(crate) fn continue_turn<B: Body<G>, S: Sink<B::Out>>(
        self: &Arc<Self>,
        mut run: TurnRun<impl Future<Output = (Arc<G>, B::Out)> + Send + 'static>,
        sink: S,
        caller: Option<Weak<dyn Expire>>,
    ) {
        let frame = run.frame();
        let node = frame.detach();
        let turn = frame.turn;
        let mut inner = self.inner.lock();
        let slow = inner.slow();
        let task = RunningTask { node, since: Instant::now(), caller, abort: None, reported: false };
        // Its node may have been noted before.
        slow.running.retain(|running| running.turn != turn);
        slow.running.push(Running { turn, access: B::ACCESS, task: Some(task) });
        let watch = !std::mem::replace(&mut inner.watched, true);
        drop(inner);
        if watch {
            self.watch();
        }
        let activation = self.clone();
        let handle = self.host.core.spawn_task(async move {
            let ended = run.await;
            activation.end_turn::<B, S>(ended, sink);
            activation.pump();
        });
        let mut inner = self.inner.lock();
        let running = inner.slow().running.iter_mut().find(|running| running.turn == turn);
        if let Some(task) = running.and_then(|running| running.task.as_mut()) {
            task.abort = Some(handle.abort_handle());
        }
    }

    /// Ends a turn: takes its snapshot, sends or holds what leaves, gives the grain back. Also says whether there is
    /// work for [`pump`](Activation::pump).
    pub(crate) fn finish<Out: Send>(
        self: &Arc<Self>,
        (result, mut frame): Ended<(Arc<G>, Out)>,
        access: Access,
        hold: impl FnOnce(Out) -> Box<dyn Held>,
    ) -> (Outcome<Out>, bool) {
        let turn = frame.turn;
        let lost = |fault: Fault| (Outcome::Now(Err(fault.after_start())), false);
        let (grain, out) = match result {
            Ok(done) => done,
            Err(panic) => {
                let fault = Fault::maybe_executed_with(Cause::Panicked { message: panic });
                tracing::error!(grain = %self.grain_id(), method = frame.method, %fault, "a turn panicked");
                self.host.metrics.panics.fetch_add(1, Ordering::Relaxed);
                self.drop_after(access, turn, fault.clone());
                return lost(fault);
            }
        };
        if frame.aborted {
            let fault = Fault::maybe_executed_with(Cause::Aborted);
            discard(grain);
            self.drop_after(access, turn, fault.clone());
            return lost(fault);
        }
        let outbox = frame.extra.as_mut().map(|extra| std::mem::take(&mut extra.outbox)).unwrap_or_default();
        // A write turn's grain is ours alone, so it is encoded outside the lock. Reads (of a grain with interior
        // mutability) may end side by side: there the lock keeps an older snapshot from replacing a newer one.
        let early = match access {
            Access::Exclusive => Some(self.snapshot(&grain)),
            Access::Shared => None,
        };
        let mut inner = self.inner.lock();
        if let Some(fault) = inner.lost.clone() {
            self.release(&mut inner, access, turn, None);
            drop(inner);
            discard(grain);
            return lost(fault);
        }
        let snapshots = match early.unwrap_or_else(|| self.snapshot(&grain)) {
            Ok(snapshots) => snapshots,
            Err(fault) => {
                drop(inner);
                discard(grain);
                self.drop_after(access, turn, fault.clone());
                return lost(fault);
            }
        };
        let Snapshots { records, flush } = snapshots;
        let mut commits = Vec::new();
        let mut now = Some((out, outbox));
        let mut outcome = Outcome::Held;
        let mut watch = false;
        if let Some(gate) = inner.gate.as_mut() {
            if !records.is_empty() {
                gate.put(records, true);
                commits = gate.sendable(&self.grain_id());
            }
            if !gate.is_open()
                && let Some((out, outbox)) = now.take()
            {
                outbox.into_iter().for_each(|send| gate.hold(Box::new(HeldSend(send))));
                gate.hold(hold(out));
                watch = !std::mem::replace(&mut inner.watched, true);
            }
        }
        let work = self.release(&mut inner, access, turn, Some(grain));
        drop(inner);
        if watch {
            self.watch();
        }
        self.submit(commits);
        if let Some(after) = flush {
            self.flush_after(after);
        }
        if let Some((out, outbox)) = now {
            outbox.into_iter().for_each(|send| send.leave());
            outcome = Outcome::Now(Ok(out));
        }
        (outcome, work)
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
