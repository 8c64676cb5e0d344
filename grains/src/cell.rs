//! Where a call that did not end at once meets its outcome.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::call::deadline_after;
use crate::port::{Reply, Runtime};
use crate::sync::Mutex;
use crate::turn::ChainNode;
use crate::{CallError, Cause, Fault, Method, Outcome, codec, reference};

/// A call that was queued, or runs on its own task: its arguments until it starts, then its outcome.
pub struct CallCell<M: Method>(Mutex<Inner<M>>);

struct Inner<M: Method> {
    args: Option<M>,
    state: State<M>,
    waker: Option<Waker>,
    node: Option<Arc<ChainNode>>,
    /// When it ends unanswered; without one, the runtime states it when it first looks.
    deadline: Option<Instant>,
    /// Whom the references in its outcome are bound to, when that comes encoded.
    runtime: Option<Arc<dyn Runtime>>,
}

enum State<M: Method> {
    Queued,
    Running,
    Done(Outcome<M>),
    /// As it came over the network.
    Encoded(Bytes),
    /// The outcome was taken, or nobody waits for it.
    Over,
}

impl<M: Method> CallCell<M> {
    /// A call that waits to be run.
    pub fn queued(args: M, deadline: Option<Instant>) -> Self {
        let state = State::Queued;
        Self(Mutex::new(Inner { args: Some(args), state, waker: None, node: None, deadline, runtime: None }))
    }

    /// A call that leaves the process; its outcome comes encoded.
    pub fn departing(deadline: Instant, runtime: Arc<dyn Runtime>) -> Self {
        let (state, deadline, runtime) = (State::Queued, Some(deadline), Some(runtime));
        Self(Mutex::new(Inner { args: None, state, waker: None, node: None, deadline, runtime }))
    }

    /// A call that has begun.
    pub fn running(node: Option<Arc<ChainNode>>, deadline: Option<Instant>) -> Self {
        let state = State::Running;
        Self(Mutex::new(Inner { args: None, state, waker: None, node, deadline, runtime: None }))
    }

    /// The call, whose arguments were taken, leaves the process instead of being run; its outcome comes encoded.
    pub fn depart(&self, runtime: Arc<dyn Runtime>) {
        let mut inner = self.0.lock();
        inner.runtime = Some(runtime);
        if matches!(inner.state, State::Running) {
            inner.state = State::Queued;
        }
    }

    /// Takes the arguments to run the call; `None` once it was given up.
    pub fn begin(&self) -> Option<M> {
        let mut inner = self.0.lock();
        let args = inner.args.take()?;
        inner.state = State::Running;
        Some(args)
    }

    /// The turn that runs the call, so that giving it up cuts the edge to it.
    pub fn set_node(&self, node: Arc<ChainNode>) {
        let mut inner = self.0.lock();
        if matches!(inner.state, State::Done(_) | State::Encoded(_) | State::Over) {
            node.abandon(); // expired, or given up, meanwhile
        }
        inner.node = Some(node);
    }

    /// The same failure, naming the grain, if its turn has a node.
    pub fn name(&self, fault: Fault) -> Fault {
        let node = self.0.lock().node.clone();
        node.map_or(fault.clone(), |node| fault.of(&node.link().grain))
    }

    /// Is it still waiting to be run?
    pub fn is_queued(&self) -> bool {
        self.0.lock().args.is_some()
    }

    /// Ends the call with this failure if it still waits to be run; says whether it did.
    pub fn refuse(&self, fault: Fault) -> bool {
        let mut inner = self.0.lock();
        let Some(args) = inner.args.take() else { return false };
        inner.state = State::Done(Err(fault.in_method(M::NAME).into()));
        let waker = inner.waker.take();
        drop(inner);
        drop(args); // the user's
        waker.into_iter().for_each(Waker::wake);
        true
    }

    /// Is there an outcome, or nobody who waits for one?
    pub fn is_over(&self) -> bool {
        matches!(self.0.lock().state, State::Done(_) | State::Encoded(_) | State::Over)
    }

    /// Delivers the outcome, unless the call is over.
    pub fn finish(&self, outcome: Outcome<M>) {
        self.end(State::Done(outcome));
    }

    fn end(&self, state: State<M>) {
        let mut inner = self.0.lock();
        inner.args = None;
        if matches!(inner.state, State::Queued | State::Running) {
            inner.state = state;
            let waker = inner.waker.take();
            drop(inner);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Ends the call with `Timeout` if its deadline has passed; one without a deadline gets `now + default`. Says whether
    /// it is over.
    pub fn expire(&self, now: Instant, default: Duration, detail: impl FnOnce() -> Fault) -> bool {
        let mut inner = self.0.lock();
        let begun = match inner.state {
            State::Queued => false,
            State::Running => true,
            State::Done(_) | State::Encoded(_) | State::Over => return true,
        };
        if *inner.deadline.get_or_insert_with(|| deadline_after(default)) > now {
            return false;
        }
        let fault = if begun { detail().after_start() } else { detail() };
        let args = inner.args.take();
        inner.state = State::Done(Err(fault.into()));
        if let Some(node) = inner.node.take() {
            node.abandon();
        }
        let waker = inner.waker.take();
        drop(inner);
        drop(args);
        if let Some(waker) = waker {
            waker.wake();
        }
        true
    }

    /// The deadline.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.lock().deadline
    }

    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Outcome<M>> {
        let mut inner = self.0.lock();
        match std::mem::replace(&mut inner.state, State::Over) {
            State::Done(outcome) => Poll::Ready(outcome),
            State::Encoded(bytes) => {
                let runtime = inner.runtime.take();
                drop(inner); // what is decoded is the user's
                Poll::Ready(Self::decode(&bytes, runtime))
            }
            State::Over => Poll::Ready(Err(Fault::maybe_executed_with(Cause::Cancelled).into())),
            waiting => {
                inner.state = waiting;
                match &mut inner.waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
        }
    }

    /// The caller gives the call up: if it has not begun it never will. Says whether it had begun.
    pub fn abandon(&self) -> bool {
        let mut inner = self.0.lock();
        let args = inner.args.take();
        let begun = !matches!(inner.state, State::Queued);
        let state = std::mem::replace(&mut inner.state, State::Over);
        inner.waker = None;
        let node = inner.node.take();
        drop(inner);
        if let Some(node) = node {
            node.abandon();
        }
        // Arguments and outcomes are the user's: they are dropped outside the lock.
        drop((args, state));
        begun
    }

    fn decode(bytes: &[u8], runtime: Option<Arc<dyn Runtime>>) -> Outcome<M> {
        let decode = || codec::decode_wire::<Result<M::Ok, M::Err>>(bytes);
        let decoded = match &runtime {
            Some(runtime) => reference::decoding(runtime, decode),
            None => decode(),
        };
        match decoded {
            Ok(reply) => reply.map_err(CallError::App),
            Err(fault) => Err(fault.after_start().in_method(M::NAME).into()),
        }
    }
}

impl<M: Method> Reply for CallCell<M> {
    fn leave(&self) -> bool {
        let mut inner = self.0.lock();
        if matches!(inner.state, State::Queued) {
            inner.state = State::Running;
        }
        matches!(inner.state, State::Running)
    }

    fn come_back(&self) {
        let mut inner = self.0.lock();
        if matches!(inner.state, State::Running) {
            inner.state = State::Queued;
        }
    }

    fn reply(&self, answer: Result<Bytes, Fault>) {
        self.end(match answer {
            Ok(bytes) => State::Encoded(bytes),
            Err(fault) => State::Done(Err(fault.in_method(M::NAME).into())),
        });
    }

    fn is_wanted(&self) -> bool {
        !self.is_over()
    }
}

/// A call under way; dropping it gives it up.
pub struct Waiting<M: Method>(pub Arc<CallCell<M>>);

impl<M: Method> Future for Waiting<M> {
    type Output = Outcome<M>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome<M>> {
        self.0.poll(cx)
    }
}

impl<M: Method> Drop for Waiting<M> {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
