//! Tasks of turns that await. One that has ended its turn stays with its activation for a moment and takes the next one:
//! starting a task costs several times what a short turn does. The sweeper ends it when it was idle for a round, so a
//! grain at rest has none.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use gristmill_grains::sync::Mutex;
use gristmill_grains::{BoxFuture, Grain};
use tokio::task::AbortHandle;

use super::Activation;
use super::mailbox::Phase;

/// The rest of a turn; gives its activation back.
type Rest<G> = BoxFuture<'static, Arc<Activation<G>>>;

/// A task that waits for a turn; dropped, it ends.
pub(crate) struct Warm<G: Grain> {
    task: Option<Arc<Task<G>>>,
    /// Has the sweeper seen it wait?
    pub(super) seen: bool,
}

impl<G: Grain> Warm<G> {
    /// Has it run this turn.
    fn hand_over(mut self, turn: Rest<G>) -> Option<Arc<Task<G>>> {
        let task = self.task.take()?;
        task.wake(|hand| hand.next = Some(turn));
        Some(task)
    }
}

impl<G: Grain> Drop for Warm<G> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.wake(|hand| hand.over = true);
        }
    }
}

/// A task that runs turns, one after the other.
pub(crate) struct Task<G: Grain>(Mutex<Hand<G>>);

struct Hand<G: Grain> {
    next: Option<Rest<G>>,
    over: bool,
    waker: Option<Waker>,
    abort: Option<AbortHandle>,
}

impl<G: Grain> Task<G> {
    fn wake(&self, change: impl FnOnce(&mut Hand<G>)) {
        let mut hand = self.0.lock();
        change(&mut hand);
        if let Some(waker) = &hand.waker {
            waker.wake_by_ref(); // the task's own, kept for the next time
        }
    }

    /// Drops the turn that it runs, at its next await.
    pub(super) fn abort(&self) {
        let abort = self.0.lock().abort.take();
        abort.inspect(AbortHandle::abort);
    }

    /// The next turn; `None` when there will be none.
    async fn next(&self) -> Option<Rest<G>> {
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

    async fn run(self: Arc<Self>, first: Rest<G>) {
        let mut turn = first;
        while turn.await.keep_warm(&self) {
            match self.next().await {
                Some(next) => turn = next,
                None => return,
            }
        }
    }
}

impl<G: Grain> Activation<G> {
    /// Runs the rest of a turn on a task.
    pub(super) fn run_on_task(&self, warm: Option<Warm<G>>, turn: Rest<G>) -> Option<Arc<Task<G>>> {
        if let Some(warm) = warm {
            return warm.hand_over(turn);
        }
        let task = Arc::new(Task(Mutex::new(Hand { next: None, over: false, waker: None, abort: None })));
        let abort = self.host.core.spawn_task(task.clone().run(turn)).abort_handle();
        task.0.lock().abort = Some(abort);
        Some(task)
    }

    /// Keeps a task for the next turn that awaits, if there is none yet.
    fn keep_warm(self: Arc<Self>, task: &Arc<Task<G>>) -> bool {
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
