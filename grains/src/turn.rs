//! The turn being polled on this thread.
//!
//! A stack of [`Frame`]s per thread, because an idle grain's turn is polled on its caller's task: a turn may call into
//! another grain's turn within one poll. It tells a reference made inside a method which silo it belongs to, a call
//! which turn makes it (its request context, its place in the call chain), and a send that it must wait for the turn's
//! end. It holds only while a turn is polled, so it does not travel into spawned tasks.

use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use tokio::time::Instant;

use crate::port::{AnyActivation, Outgoing};
use crate::{Access, ChainLink, GrainId, GrainType, RequestContext};

/// Names a turn within one process; never reused.
pub type TurnId = u64;

/// A turn that waits for, or runs on behalf of, another one.
pub struct ChainNode {
    /// The turn.
    pub turn: TurnId,
    place: Place,
    /// How it holds its grain.
    pub access: Access,
    /// The turn that awaits it; `None` for a root.
    pub parent: Option<Arc<ChainNode>>,
    /// Set once nobody awaits the turn any more: its ancestors do not wait for it.
    abandoned: AtomicBool,
}

/// Where a turn runs.
enum Place {
    /// In this process: its activation, weak as what looks at nodes may outlive it; and its method, or the name of a
    /// hook or timer.
    Here(Weak<dyn AnyActivation>, &'static str),
    /// Known by a call that came from elsewhere.
    Told(Origin),
}

/// A turn that a call from another process was made for.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The process, by a number of the runtime's.
    pub process: u128,
    /// The turn's number there.
    pub turn: TurnId,
    /// Its grain and method.
    pub link: ChainLink,
}

impl fmt::Debug for ChainNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChainNode({}, turn {})", self.link(), self.turn)
    }
}

impl Drop for ChainNode {
    /// One after the other: a chain may be longer than the stack is deep.
    fn drop(&mut self) {
        let mut next = self.parent.take();
        while let Some(mut node) = next.and_then(Arc::into_inner) {
            next = node.parent.take();
        }
    }
}

impl ChainNode {
    /// Its grain and method.
    pub fn link(&self) -> ChainLink {
        match &self.place {
            Place::Told(origin) => origin.link.clone(),
            Place::Here(activation, method) => {
                let grain = activation.upgrade().map(|activation| activation.id());
                let grain = grain.unwrap_or_else(|| GrainId::new(GrainType::from_wire("gone"), ""));
                ChainLink { grain, method: (*method).into() }
            }
        }
    }

    /// A turn that a call from another process was made for. `turn`: its number here, which no other turn has, unless
    /// it runs here.
    pub fn told(turn: TurnId, access: Access, origin: Origin, parent: Option<Arc<ChainNode>>) -> Arc<Self> {
        Arc::new(Self { turn, place: Place::Told(origin), access, parent, abandoned: AtomicBool::new(false) })
    }

    /// Its method, or the name of a hook or timer; of a turn elsewhere, that is told by [`link`](Self::link) only.
    pub fn method(&self) -> &'static str {
        match &self.place {
            Place::Told(_) => "a turn elsewhere",
            Place::Here(_, method) => method,
        }
    }

    /// What a call from another process told, if it was one.
    pub fn origin(&self) -> Option<&Origin> {
        match &self.place {
            Place::Told(origin) => Some(origin),
            Place::Here(..) => None,
        }
    }

    /// The caller gave the call up (timed out, dropped it): the edge to it is gone.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }

    /// This turn and those that wait for it, nearest first.
    pub fn waiting(&self) -> impl Iterator<Item = &ChainNode> {
        std::iter::successors(Some(self), |node| {
            if node.abandoned.load(Ordering::Acquire) { None } else { node.parent.as_deref() }
        })
    }
}

/// The turn being polled.
pub struct Frame {
    /// Its activation.
    pub activation: Arc<dyn AnyActivation>,
    /// Its id.
    pub turn: TurnId,
    /// Its method, for messages.
    pub method: &'static str,
    /// How it holds the grain.
    pub access: Access,
    /// Was it started by the turn below it on the stack, which awaits it?
    pub nested: bool,
    /// Did it begin on memory that earlier turns changed and that is not durable yet?
    pub on_uncommitted: bool,
    /// Which state fields of `turn` policy it has changed and not committed, a bit each.
    pub dirty: u64,
    /// Turns polled in place below it, if it is the first on its stack.
    pub inlined: u32,
    /// Did it call `ctx.abort()`?
    pub aborted: bool,
    /// Its node, once somebody needed it.
    pub node: Option<Arc<ChainNode>>,
    /// What few turns have.
    pub extra: Option<Box<Extra>>,
}

/// What few turns have.
#[derive(Default)]
pub struct Extra {
    /// Values that came with the call.
    pub request: RequestContext,
    /// The deadline that the caller stated, which calls made here inherit.
    pub deadline: Option<Instant>,
    /// The turn that awaits this one, when it is not the one below on the stack.
    pub parent: Option<Arc<ChainNode>>,
    /// One-way sends, which leave when the turn is durable.
    pub outbox: Vec<Box<dyn Outgoing>>,
}

impl Frame {
    /// The rarely used part, made when first needed.
    pub fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// The turn leaves its caller's stack for a task of its own: from here on its node says who awaits it.
    pub fn detach(&mut self) -> Arc<ChainNode> {
        if self.nested {
            self.extra().parent = current_node();
            self.nested = false;
        }
        self.node(None)
    }

    fn node(&mut self, below: Option<&Arc<ChainNode>>) -> Arc<ChainNode> {
        if let Some(node) = &self.node {
            return node.clone();
        }
        let parent = match below {
            Some(below) if self.nested => Some(below.clone()),
            _ => self.extra.as_ref().and_then(|extra| extra.parent.clone()),
        };
        self.activation.note_turn(self.turn, self.access);
        let node = Arc::new(ChainNode {
            turn: self.turn,
            place: Place::Here(Arc::downgrade(&self.activation), self.method),
            access: self.access,
            parent,
            abandoned: AtomicBool::new(false),
        });
        self.node = Some(node.clone());
        node
    }
}

#[cfg(not(shuttle))]
thread_local! {
    static STACK: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

#[cfg(shuttle)]
crate::sync::thread_local! {
    static STACK: RefCell<Vec<Frame>> = RefCell::new(Vec::new());
}

#[inline]
fn stack<R>(f: impl FnOnce(&mut Vec<Frame>) -> R) -> R {
    STACK.with(|stack| f(&mut stack.borrow_mut()))
}

/// Enters a turn, to poll it. What follows must not unwind (the runtime catches panics inside) and must end with
/// [`leave`] or [`end`]: a frame left behind would claim later calls.
pub fn enter(mut frame: Frame) {
    frame.inlined = 0;
    stack(|stack| stack.push(frame));
}

/// [`enter`] for a turn that begins. Its parts come one by one: a frame that was just put together cannot be copied before
/// its parts have reached the cache, which takes as long as a lock.
#[inline(never)]
pub fn begin(
    activation: Arc<dyn AnyActivation>,
    turn: TurnId,
    method: &'static str,
    access: Access,
    nested: bool,
    on_uncommitted: bool,
    extra: Option<Box<Extra>>,
) {
    STACK.with(|stack| {
        stack.borrow_mut().push(Frame {
            activation,
            turn,
            method,
            access,
            nested,
            on_uncommitted,
            dirty: 0,
            inlined: 0,
            aborted: false,
            node: None,
            extra,
        });
    });
}

/// Leaves a turn that is not over: its frame, with what the turn has left in it so far.
#[inline]
pub fn leave() -> Frame {
    match stack(Vec::pop) {
        Some(frame) => frame,
        None => unreachable!("every turn that is left was entered"),
    }
}

/// What counts of a turn's frame at its end.
pub struct Left {
    /// Its activation.
    pub activation: Arc<dyn AnyActivation>,
    /// Did it call `ctx.abort()`?
    pub aborted: bool,
    /// What few turns have.
    pub extra: Option<Box<Extra>>,
}

/// Leaves a turn that is over.
#[inline]
pub fn end() -> Left {
    // Taken apart in its place: a copy of a whole frame costs as much as a lock.
    let left = stack(|stack| {
        let Frame { activation, aborted, extra, .. } = stack.pop()?;
        Some(Left { activation, aborted, extra })
    });
    match left {
        Some(left) => left,
        None => unreachable!("every turn that ends was entered"),
    }
}

/// Looks at the turn being polled.
#[inline]
pub fn with_current<R>(f: impl FnOnce(Option<&mut Frame>) -> R) -> R {
    stack(|stack| f(stack.last_mut()))
}

/// How many turns are being polled on this thread, one within the other.
#[inline]
pub fn depth() -> usize {
    stack(|stack| stack.len())
}

/// The node of the turn being polled; makes it, and those of the turns that wait for it on this stack.
pub fn current_node() -> Option<Arc<ChainNode>> {
    stack(|stack| {
        // From the newest turn down to the root of its chain; nodes are made on the way back up.
        let root = stack.iter().rposition(|frame| !frame.nested).unwrap_or(0);
        let mut below = None;
        for frame in &mut stack[root..] {
            below = Some(frame.node(below.as_ref()));
        }
        below
    })
}

/// The bit of a state field in [`Frame::dirty`]; fields beyond the 63rd share one.
pub(crate) fn dirty_bit(index: usize) -> u64 {
    1 << index.min(63)
}

/// A state field of `turn` policy was changed.
pub(crate) fn mark_dirty(index: usize) {
    with_current(|frame| {
        if let Some(frame) = frame {
            frame.dirty |= dirty_bit(index);
        }
    });
}

/// Turns polled in place within one poll of the first turn on the stack, at most: the rest get tasks, so that a
/// `join_all` inside a turn uses every core.
const MAX_INLINED: u32 = 32;

/// May one more turn be polled in place within the turns now on the stack?
pub(crate) fn may_nest() -> bool {
    stack(|stack| match stack.first_mut() {
        Some(first) => {
            first.inlined += 1;
            first.inlined <= MAX_INLINED
        }
        None => true,
    })
}
