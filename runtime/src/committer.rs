//! Group commit: the commits of many grains share batches to one storage.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use gristmill_grains::chaos;
use gristmill_grains::storage::{Commit, Durability, Fence, GrainStorage, MAX_BATCH, Opened};
use gristmill_grains::sync::Mutex;
use gristmill_grains::{GrainId, StorageError};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::Instrument;

use crate::activation::turn::{guarded, guarded_poll};

/// Batches of one storage that may be under way at once.
pub(crate) const LANES: usize = 2;

const FIRST_RETRY: Duration = Duration::from_millis(20);
const LAST_RETRY: Duration = Duration::from_secs(1);
/// A storage that has not answered for this long is down: turns that would write are refused before they run.
const DOWN_AFTER: Duration = Duration::from_secs(1);
/// Trouble that was not seen again for this long is over.
const TROUBLE_LASTS: Duration = Duration::from_secs(3);
/// How often one write is let through to a storage that is down.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// A storage that has not answered for this long is asked again; an adapter's own limit should be shorter.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Who gets the answer of a commit.
pub(crate) trait CommitOwner: Send + Sync {
    /// A definite answer. `slot` is the owner's own number for the storage.
    fn committed(self: Arc<Self>, slot: usize, commit: Commit, answer: Result<(), StorageError>);
}

/// A commit on its way, and who gets its answer.
struct Entry {
    commit: Commit,
    owner: Arc<dyn CommitOwner>,
    slot: usize,
    /// Until it is sent again, after no definite answer.
    back_off: Duration,
    /// The adapter panicked on a batch with it: it is sent by itself.
    alone: bool,
}

/// Since when a storage has not answered.
#[derive(Default)]
struct Trouble {
    since: Option<Instant>,
    last: Option<Instant>,
    /// When a write may be tried again.
    next_try: Option<Instant>,
}

/// What waits to be sent. Bounded: a live activation has at most one commit here per storage.
#[derive(Default)]
struct Queue {
    fresh: VecDeque<Entry>,
    /// To be sent again, not before this time.
    again: Vec<(Instant, Entry)>,
    /// The silo is over: nothing is kept any more.
    closed: bool,
}

/// One storage of a silo, and the commits on their way to it.
pub(crate) struct Committer {
    pub(crate) name: String,
    storage: Mutex<Arc<dyn GrainStorage>>,
    in_parts: bool,
    queue: Mutex<Queue>,
    wake: Notify,
    down: AtomicBool,
    trouble: Mutex<Trouble>,
    pub(crate) commits: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) retries: AtomicU64,
}

impl Committer {
    pub(crate) fn new(name: String, storage: Arc<dyn GrainStorage>) -> Self {
        Self {
            name,
            in_parts: storage.is_in_parts(),
            storage: Mutex::new(storage),
            queue: Mutex::default(),
            wake: Notify::new(),
            down: AtomicBool::new(false),
            trouble: Mutex::default(),
            commits: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            retries: AtomicU64::new(0),
        }
    }

    /// The adapter.
    pub(crate) fn storage(&self) -> Arc<dyn GrainStorage> {
        self.storage.lock().clone()
    }

    /// Hands a commit over. Its answer comes to `owner`, after as many re-sends as it takes.
    pub(crate) fn submit(&self, owner: Arc<dyn CommitOwner>, slot: usize, commit: Commit) {
        let entry = Entry { commit, owner, slot, back_off: FIRST_RETRY, alone: false };
        let mut queue = self.queue.lock();
        if queue.closed {
            drop(queue);
            return drop(entry); // outside the lock: it holds an activation
        }
        queue.fresh.push_back(entry);
        drop(queue);
        self.wake.notify_one();
    }

    /// Has the storage not answered for a while?
    pub(crate) fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    /// Is a turn that would write refused? While the storage is down, they all are; where only a part of it may be away,
    /// all but one every now and then, by whose commit the rest shows itself.
    pub(crate) fn refuses_writes(&self) -> bool {
        if !self.is_down() || !self.in_parts {
            return self.is_down();
        }
        let now = Instant::now();
        let mut trouble = self.trouble.lock();
        if trouble.next_try.is_some_and(|next| now < next) {
            return true;
        }
        trouble.next_try = Some(now + TRY_EVERY);
        false
    }

    /// Forgets what is unsettled and lets the adapter go: the silo is over.
    pub(crate) fn clear(&self) {
        let storage = std::mem::replace(&mut *self.storage.lock(), Arc::new(Closed));
        drop(storage); // outside the lock
        let cleared = std::mem::replace(&mut *self.queue.lock(), Queue { closed: true, ..Queue::default() });
        drop(cleared); // outside the lock: it holds activations
    }

    /// Sends batches, one at a time, for as long as it is polled.
    pub(crate) async fn run_lane(self: Arc<Self>) {
        loop {
            match self.next_batch() {
                Ok(batch) => {
                    // More may wait for the other lane.
                    self.wake.notify_one();
                    self.send(batch).await;
                }
                Err(next) => self.wait(next).await,
            }
        }
    }

    /// What can be sent now; else when something can.
    fn next_batch(&self) -> Result<Vec<Entry>, Option<Instant>> {
        let mut queue = self.queue.lock();
        let mut batch = Vec::new();
        if !queue.again.is_empty() {
            let now = Instant::now();
            let alone = queue.again.iter().position(|(due, entry)| entry.alone && *due <= now);
            if let Some(alone) = alone {
                return Ok(vec![queue.again.swap_remove(alone).1]);
            }
            let due = queue.again.extract_if(.., |(due, _)| *due <= now).take(MAX_BATCH);
            batch.extend(due.map(|(_, entry)| entry));
        }
        let fresh = queue.fresh.len().min(MAX_BATCH - batch.len());
        batch.extend(queue.fresh.drain(..fresh));
        if batch.is_empty() { Err(queue.again.iter().map(|(due, _)| *due).min()) } else { Ok(batch) }
    }

    /// Waits for work. While the storage is down and nothing is on its way, asks it whether it is back: writes are
    /// refused meanwhile, so no commit would show it.
    async fn wait(&self, next: Option<Instant>) {
        let woken = self.wake.notified();
        match next {
            Some(next) => drop(tokio::time::timeout_at(next, woken).await),
            None if self.is_down() => {
                if tokio::time::timeout(LAST_RETRY, woken).await.is_err() {
                    self.probe().await;
                }
            }
            None => woken.await,
        }
    }

    /// Would one more failure make it count as down?
    fn is_in_long_trouble(&self) -> bool {
        self.trouble.lock().since.is_some_and(|since| since.elapsed() >= DOWN_AFTER)
    }

    /// Asks the storage for something that is no commit.
    async fn probe(&self) {
        let sent = Instant::now();
        let answer = self.answered(self.storage().run()).await;
        self.observe(answer.err().filter(|error| !error.is_definite()).as_ref(), sent);
    }

    async fn send(&self, batch: Vec<Entry>) {
        // Puts back what is unsettled when this future is dropped, or the adapter panics.
        let mut unsettled = Unsettled { committer: self, batch };
        let sent = Instant::now();
        let commits: Vec<_> = unsettled.batch.iter().map(|entry| entry.commit.clone()).collect();
        let span = tracing::debug_span!("commit", storage = self.name, grains = commits.len());
        let committed = guarded_poll(self.commit(&commits, sent).instrument(span)).await;
        let panicked = committed.is_err();
        let (answers, missing) = match committed {
            Ok(Ok(answers)) => (answers, StorageError::unavailable("the adapter gave fewer answers than commits")),
            Ok(Err(silent)) => (Vec::new(), silent),
            Err(panic) => {
                tracing::error!(storage = self.name, panic, "the storage adapter panicked; trying again, one by one");
                (Vec::new(), StorageError::unavailable(format_args!("the adapter panicked: {panic}")))
            }
        };
        drop(commits);
        let answers = if chaos::point("a commit's answers are lost") { Vec::new() } else { answers };
        let mut answers = answers.into_iter();
        self.batches.fetch_add(1, Ordering::Relaxed);
        let (mut settled, mut trouble, mut again) = (0u64, None, Vec::new());
        for entry in std::mem::take(&mut unsettled.batch) {
            let answer = match answers.next() {
                Some(Err(error)) if !error.is_definite() => Err(error),
                Some(answer) => Ok(answer),
                None => Err(missing.clone()),
            };
            match answer {
                Ok(answer) => {
                    settled += 1;
                    self.commits.fetch_add(u64::from(answer.is_ok()), Ordering::Relaxed);
                    let Entry { commit, owner, slot, .. } = entry;
                    // User values may be dropped in there; a panic must not cost the other grains their answers.
                    if let Err(panic) = guarded(|| owner.committed(slot, commit, answer)) {
                        tracing::error!(storage = self.name, panic, "handing over a commit's answer panicked");
                    }
                }
                Err(error) => {
                    trouble = Some(error);
                    let due = Instant::now() + entry.back_off;
                    let back_off = (entry.back_off * 2).min(LAST_RETRY);
                    again.push((due, Entry { back_off, alone: entry.alone || panicked, ..entry }));
                }
            }
        }
        let mut several = false;
        if !again.is_empty() {
            self.retries.fetch_add(1, Ordering::Relaxed);
            let mut queue = self.queue.lock();
            if !queue.closed {
                queue.again.append(&mut again);
                several = queue.again.iter().filter(|(_, entry)| !entry.alone).count() > 1;
            }
        }
        drop(again); // what is left holds activations
        // One grain may be in trouble while the others are not: that is not the storage's being down, unless it does not
        // answer anything else either. Several, and nobody else: it may be full, and answer what is no commit.
        match trouble {
            Some(_) if settled == 0 && !several && self.is_in_long_trouble() => self.probe().await,
            Some(error) if settled == 0 => self.observe(Some(&error), sent),
            _ => self.observe(None, sent),
        }
    }

    /// The storage's answers. While it is silent it counts as down, and after a while it is given up.
    async fn commit(&self, commits: &[Commit], sent: Instant) -> Result<Vec<Result<(), StorageError>>, StorageError> {
        let storage = self.storage();
        let mut commit = storage.commit(commits);
        match tokio::time::timeout(DOWN_AFTER, &mut commit).await {
            Ok(answers) => Ok(answers),
            Err(_) => {
                self.observe(Some(&silent(DOWN_AFTER)), sent);
                self.answered(async { Ok(commit.await) }).await
            }
        }
    }

    /// The storage's answer; a transient error if there is none in time. What was asked may happen all the same.
    pub(crate) async fn answered<T>(
        &self,
        answer: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, StorageError> {
        tokio::time::timeout(ANSWER_WITHIN, answer).await.unwrap_or_else(|_| Err(silent(ANSWER_WITHIN)))
    }

    /// Keeps track of whether the storage answers.
    pub(crate) fn observe(&self, trouble: Option<&StorageError>, sent: Instant) {
        let mut known = self.trouble.lock();
        match trouble {
            None => {
                if self.down.swap(false, Ordering::Relaxed) {
                    tracing::info!(storage = self.name, "the storage answers again");
                }
                *known = Trouble::default();
            }
            Some(error) => {
                if known.last.is_some_and(|last| last.elapsed() >= TROUBLE_LASTS) && !self.is_down() {
                    *known = Trouble::default();
                }
                known.last = Some(Instant::now());
                let since = *known.since.get_or_insert(sent);
                if since.elapsed() >= DOWN_AFTER && !self.down.swap(true, Ordering::Relaxed) {
                    known.next_try = Some(Instant::now() + TRY_EVERY);
                    tracing::error!(storage = self.name, %error, "the storage is down; writes wait, new ones are refused");
                    self.wake.notify_one(); // an idle lane, to probe
                }
            }
        }
    }
}

fn silent(time: Duration) -> StorageError {
    StorageError::unavailable(format_args!("no answer for {time:?}"))
}

/// What is left of an adapter when its silo is over.
struct Closed;

fn closed<T>() -> Result<T, StorageError> {
    Err(StorageError::unavailable("the silo has stopped"))
}

#[async_trait]
impl GrainStorage for Closed {
    fn durability(&self) -> Durability {
        Durability::Memory
    }

    async fn open(&self, _: &GrainId, _: Fence) -> Result<Opened, StorageError> {
        closed()
    }

    async fn commit(&self, batch: &[Commit]) -> Vec<Result<(), StorageError>> {
        batch.iter().map(|_| closed()).collect()
    }

    async fn begin_run(&self, _: u64) -> Result<u64, StorageError> {
        closed()
    }

    async fn run(&self) -> Result<u64, StorageError> {
        closed()
    }

    fn restarts(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }
}

struct Unsettled<'a> {
    committer: &'a Committer,
    batch: Vec<Entry>,
}

impl Drop for Unsettled<'_> {
    fn drop(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        let mut queue = self.committer.queue.lock();
        if !batch.is_empty() && !queue.closed {
            for entry in batch.into_iter().rev() {
                queue.fresh.push_front(entry);
            }
            self.committer.wake.notify_one();
            return;
        }
        drop(queue);
        drop(batch); // outside the lock: it holds activations
    }
}
