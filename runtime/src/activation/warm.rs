//! Tasks of turns that await. One that has ended its turn stays with its activation for a moment and takes the next one:
//! starting a task costs several times what a short turn does. The sweeper ends it when it was idle for a round, so a
//! grain at rest has none.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use gristmill_grains::BoxFuture;
use gristmill_grains::sync::Mutex;
use tokio::task::AbortHandle;

use crate::core::Core;

/// The rest of a turn.
type Rest = BoxFuture<'static, ()>;

/// A task that runs a turn, or waits for the next one. Dropped, it ends after the turn it has.
pub(crate) struct Warm {
    task: Arc<Task>,
    /// Has the sweeper seen it wait?
    pub(super) seen: bool,
}

impl Warm {
    /// A task that starts with its first turn.
    pub(super) fn new() -> Self {
        Self { task: Arc::new(Task(Mutex::default())), seen: false }
    }

    pub(super) fn task(&self) -> Arc<Task> {
        self.task.clone()
    }

    /// Drops the turn that it runs, at its next await.
    pub(super) fn abort(&self) {
        let mut hand = self.task.0.lock();
        hand.cut = true;
        let abort = hand.abort.take();
        drop(hand);
        abort.inspect(AbortHandle::abort);
    }
}

impl Drop for Warm {
    fn drop(&mut self) {
        self.task.wake(|hand| hand.over = true);
    }
}

/// A task that runs turns, one after the other.
pub(super) struct Task(Mutex<Hand>);

#[derive(Default)]
struct Hand {
    next: Option<Rest>,
    started: bool,
    over: bool,
    waker: Option<Waker>,
    abort: Option<AbortHandle>,
    /// Is the turn to be dropped? Perhaps before it began.
    cut: bool,
}

impl Task {
    fn wake<R>(&self, change: impl FnOnce(&mut Hand) -> R) -> R {
        let mut hand = self.0.lock();
        let result = change(&mut hand);
        if let Some(waker) = &hand.waker {
            waker.wake_by_ref(); // the task's own, kept for the next time
        }
        result
    }

    /// Runs the rest of a turn: at once, or when the one before has ended.
    pub(super) fn take(self: Arc<Self>, core: &Core, turn: Rest) {
        let started = self.wake(|hand| {
            hand.next = Some(turn);
            std::mem::replace(&mut hand.started, true)
        });
        if started {
            return;
        }
        let abort = core.spawn_task(self.clone().run()).abort_handle();
        let mut hand = self.0.lock();
        match hand.cut {
            true => abort.abort(),
            false => hand.abort = Some(abort),
        }
    }

    /// The next turn; `None` when there will be none.
    async fn next(&self) -> Option<Rest> {
        poll_fn(|cx| {
            let mut hand = self.0.lock();
            if let Some(next) = hand.next.take() {
                return Poll::Ready(Some(next));
            }
            if hand.over {
                return Poll::Ready(None);
            }
            match &mut hand.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
            Poll::Pending
        })
        .await
    }

    async fn run(self: Arc<Self>) {
        while let Some(turn) = self.next().await {
            turn.await;
        }
    }
}
