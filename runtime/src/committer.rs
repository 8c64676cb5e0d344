//! Group commit: the commits of many grains share batches to one storage.
//!
//! Bounded: an activation has at most one commit here per storage.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use gristmill_grains::StorageError;
use gristmill_grains::storage::{Commit, GrainStorage, MAX_BATCH};
use gristmill_grains::sync::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::Instrument;

/// Batches of one storage that may be under way at once.
pub(crate) const LANES: usize = 2;

const FIRST_RETRY: Duration = Duration::from_millis(20);
const LAST_RETRY: Duration = Duration::from_secs(1);
/// A storage that has not answered for this long is down: turns that would write are refused before they run.
const DOWN_AFTER: Duration = Duration::from_secs(1);

/// Who gets the answer of a commit.
pub(crate) trait CommitOwner: Send + Sync {
    /// A definite answer. `slot` is the owner's own number for the storage.
    fn committed(self: Arc<Self>, slot: usize, commit: Commit, answer: Result<(), StorageError>);
}

/// A commit, and who gets its answer.
type Entry = (Commit, Answer);

struct Answer {
    owner: Arc<dyn CommitOwner>,
    slot: usize,
}

/// One storage of a silo, and the commits on their way to it.
pub(crate) struct Committer {
    pub(crate) name: String,
    pub(crate) storage: Arc<dyn GrainStorage>,
    queue: Mutex<VecDeque<Entry>>,
    wake: Notify,
    down: AtomicBool,
    down_since: Mutex<Option<Instant>>,
    pub(crate) commits: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) retries: AtomicU64,
}

impl Committer {
    pub(crate) fn new(name: String, storage: Arc<dyn GrainStorage>) -> Self {
        Self {
            name,
            storage,
            queue: Mutex::default(),
            wake: Notify::new(),
            down: AtomicBool::new(false),
            down_since: Mutex::new(None),
            commits: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            retries: AtomicU64::new(0),
        }
    }

    /// Hands a commit over. Its answer comes to `owner`, after as many re-sends as it takes.
    pub(crate) fn submit(&self, owner: Arc<dyn CommitOwner>, slot: usize, commit: Commit) {
        self.queue.lock().push_back((commit, Answer { owner, slot }));
        self.wake.notify_one();
    }

    /// Has the storage not answered for a while?
    pub(crate) fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    /// Sends batches, one at a time, until `self` is dropped by everybody else or the task is.
    pub(crate) async fn run_lane(self: Arc<Self>) {
        loop {
            let batch = self.next_batch();
            if batch.0.is_empty() {
                if self.is_down() { self.probe().await } else { self.wake.notified().await }
                continue;
            }
            // More may wait for the other lane.
            self.wake.notify_one();
            self.send(batch).await;
        }
    }

    /// While writes are refused and nothing is on its way, this is how it shows that the storage is back.
    async fn probe(&self) {
        if tokio::time::timeout(LAST_RETRY, self.wake.notified()).await.is_ok() {
            return;
        }
        let sent = Instant::now();
        let answer = self.storage.run().await;
        self.observe(answer.err().filter(|error| !error.is_definite()).as_ref(), sent);
    }

    fn next_batch(&self) -> (Vec<Commit>, Vec<Answer>) {
        let mut queue = self.queue.lock();
        let take = queue.len().min(MAX_BATCH);
        queue.drain(..take).unzip()
    }

    async fn send(&self, (commits, answers): (Vec<Commit>, Vec<Answer>)) {
        // Puts back what is unsettled when this future is dropped or the adapter panics.
        let mut unsettled = Unsettled { committer: self, commits, answers };
        let mut retry = FIRST_RETRY;
        while !unsettled.commits.is_empty() {
            let sent = Instant::now();
            let span = tracing::debug_span!("commit", storage = self.name, grains = unsettled.commits.len());
            let mut results = self.storage.commit(&unsettled.commits).instrument(span).await.into_iter();
            self.batches.fetch_add(1, Ordering::Relaxed);
            let mut detail = None;
            let batch = std::mem::take(&mut unsettled.commits).into_iter().zip(std::mem::take(&mut unsettled.answers));
            for (commit, answer) in batch {
                match results.next() {
                    Some(Ok(())) => {
                        self.commits.fetch_add(1, Ordering::Relaxed);
                        answer.owner.committed(answer.slot, commit, Ok(()));
                    }
                    Some(Err(error)) if error.is_definite() => {
                        answer.owner.committed(answer.slot, commit, Err(error));
                    }
                    transient => {
                        let missing = || StorageError::unavailable("the adapter gave fewer answers than commits");
                        detail = Some(transient.and_then(Result::err).unwrap_or_else(missing));
                        unsettled.commits.push(commit);
                        unsettled.answers.push(answer);
                    }
                }
            }
            self.observe(detail.as_ref(), sent);
            if !unsettled.commits.is_empty() {
                self.retries.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(retry).await;
                retry = (retry * 2).min(LAST_RETRY);
            }
        }
    }

    /// Keeps track of whether the storage answers.
    pub(crate) fn observe(&self, trouble: Option<&StorageError>, sent: Instant) {
        let mut since = self.down_since.lock();
        match trouble {
            None => {
                if self.down.swap(false, Ordering::Relaxed) {
                    tracing::info!(storage = self.name, "the storage answers again");
                }
                *since = None;
            }
            Some(error) => {
                let since = *since.get_or_insert(sent);
                if since.elapsed() >= DOWN_AFTER && !self.down.swap(true, Ordering::Relaxed) {
                    tracing::error!(storage = self.name, %error, "the storage is down; writes wait, new ones are refused");
                    self.wake.notify_one(); // an idle lane, to probe
                }
            }
        }
    }
}

struct Unsettled<'a> {
    committer: &'a Committer,
    commits: Vec<Commit>,
    answers: Vec<Answer>,
}

impl Drop for Unsettled<'_> {
    fn drop(&mut self) {
        if !self.commits.is_empty() {
            let mut queue = self.committer.queue.lock();
            for entry in self.commits.drain(..).zip(self.answers.drain(..)).rev() {
                queue.push_front(entry);
            }
            self.committer.wake.notify_one();
        }
    }
}
