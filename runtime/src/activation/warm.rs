//! Tasks of turns that await. One that has ended its turn stays with its activation for a moment and takes the next one:
//! starting a task costs several times what a short turn does. The sweeper ends it when it was idle for a round, so a
//! grain at rest has none.

use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};

use gristmill_grains::sync::Mutex;
use gristmill_grains::{BoxFuture, Grain};
use tokio::task::AbortHandle;

use super::Activation;
use super::mailbox::Phase;

/// A task that waits for a turn; dropped, it ends.
pub(crate) struct Warm {
    task: Option<Arc<Task>>,
    /// Has the sweeper seen it wait?
    pub(super) seen: bool,
}

#[derive(Default)]
struct Task {
    hand: Mutex<Hand>,
    abort: Mutex<Option<AbortHandle>>,
}

#[derive(Default)]
struct Hand {
    next: Option<BoxFuture<'static, ()>>,
    over: bool,
    waker: Option<Waker>,
}

impl Task {
    fn wake(&self, change: impl FnOnce(&mut Hand)) {
        let mut hand = self.hand.lock();
        change(&mut hand);
        let waker = hand.waker.take();
        drop(hand);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The next turn; `None` when there will be none.
    async fn next(&self) -> Option<BoxFuture<'static, ()>> {
        poll_fn(|cx| {
            let mut hand = self.hand.lock();
            if let Some(next) = hand.next.take() {
                return Poll::Ready(Some(next));
            }
            if hand.over {
                return Poll::Ready(None);
            }
            hand.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl Warm {
    /// Has it run this turn; gives what aborts it.
    fn hand_over(mut self, turn: BoxFuture<'static, ()>) -> Option<AbortHandle> {
        let task = self.task.take()?;
        task.wake(|hand| hand.next = Some(turn));
        task.abort.lock().clone()
    }
}

impl Drop for Warm {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.wake(|hand| hand.over = true);
        }
    }
}

impl<G: Grain> Activation<G> {
    /// Runs the rest of a turn on a task; gives what aborts it.
    pub(super) fn run_on_task(
        self: &Arc<Self>,
        warm: Option<Warm>,
        turn: BoxFuture<'static, ()>,
    ) -> Option<AbortHandle> {
        if let Some(warm) = warm {
            return warm.hand_over(turn);
        }
        let task = Arc::new(Task::default());
        let running = run(self.me.clone(), task.clone(), turn);
        let abort = self.host.core.spawn_task(running).abort_handle();
        *task.abort.lock() = Some(abort.clone());
        Some(abort)
    }

    /// Keeps a task for the next turn that awaits, if there is none yet.
    fn keep_warm(self: &Arc<Self>, task: &Arc<Task>) -> bool {
        let mut inner = self.inner.lock();
        if inner.phase != Phase::Active || inner.slow().warm.is_some() {
            return false;
        }
        inner.slow().warm = Some(Warm { task: Some(task.clone()), seen: false });
        let watch = !std::mem::replace(&mut inner.watched, true);
        drop(inner);
        if watch {
            self.watch();
        }
        true
    }
}

async fn run<G: Grain>(activation: Weak<Activation<G>>, task: Arc<Task>, first: BoxFuture<'static, ()>) {
    let mut turn = first;
    loop {
        turn.await;
        let Some(alive) = activation.upgrade() else { return };
        if !alive.keep_warm(&task) {
            return;
        }
        drop(alive);
        match task.next().await {
            Some(next) => turn = next,
            None => return,
        }
    }
}
