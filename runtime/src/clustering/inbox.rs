//! Requests that wait to be served, in several queues: those of one grain are in one, in order.

use std::sync::atomic::{AtomicUsize, Ordering};

use gristmill_cluster::hash;
use gristmill_grains::GrainId;
use gristmill_grains::sync::Mutex;
use tokio::sync::mpsc;

use super::serve::Item;

/// Requests that wait, at most, in each queue.
pub(super) const MAX_INBOX: usize = 4_096;

pub(super) struct Inbox {
    queues: Box<[Queue]>,
    /// The queues' ends, until somebody serves them.
    ends: Mutex<Vec<mpsc::Receiver<Item>>>,
}

struct Queue {
    items: mpsc::Sender<Item>,
    /// How many are in it, or just being served out of it.
    waiting: AtomicUsize,
}

impl Inbox {
    pub(super) fn new(queues: usize) -> Self {
        let (queues, ends): (Vec<_>, Vec<_>) = (0..queues)
            .map(|_| mpsc::channel(MAX_INBOX))
            .map(|(items, end)| (Queue { items, waiting: AtomicUsize::new(0) }, end))
            .unzip();
        Self { queues: queues.into(), ends: Mutex::new(ends) }
    }

    /// The end of each queue, to be served.
    pub(super) fn ends(&self) -> Vec<mpsc::Receiver<Item>> {
        std::mem::take(&mut *self.ends.lock())
    }

    fn place(&self, grain: &GrainId) -> usize {
        hash::of_grain(grain) as usize % self.queues.len()
    }

    /// Does nothing wait that has to be served before a request of this grain?
    pub(super) fn is_clear_for(&self, grain: &GrainId) -> bool {
        self.queues[self.place(grain)].waiting.load(Ordering::Acquire) == 0
    }

    #[expect(clippy::result_large_err, reason = "the item goes back to be refused")]
    pub(super) fn push(&self, item: Item) -> Result<(), Item> {
        let queue = &self.queues[self.place(&item.request.target)];
        queue.waiting.fetch_add(1, Ordering::Relaxed);
        queue.items.try_send(item).map_err(|full| {
            queue.waiting.fetch_sub(1, Ordering::Release);
            full.into_inner()
        })
    }

    /// One that came out of this queue is served.
    pub(super) fn served(&self, queue: usize) {
        self.queues[queue].waiting.fetch_sub(1, Ordering::Release);
    }

    /// Does nothing wait?
    pub(super) fn is_empty(&self) -> bool {
        self.queues.iter().all(|queue| queue.waiting.load(Ordering::Acquire) == 0)
    }
}
