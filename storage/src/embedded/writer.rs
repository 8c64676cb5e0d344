//! The thread that owns the file.
//!
//! redb blocks, and has one writer at a time. So one thread with a bounded queue, rather than `spawn_blocking`: what
//! queues up while a transaction is being synced goes into the next one together, so that a thousand opens cost a few
//! fsyncs instead of a thousand, and no pool threads stand in line for a lock.

use std::fmt;
use std::thread::JoinHandle;
use std::time::Duration;

use gristmill_grains::storage::StorageError;
use redb::{Database, DatabaseError, Durability};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::error::Failure;
use super::format::{self, Tables};

/// The most jobs waiting, and the most in one transaction. A full queue makes callers wait.
const QUEUE: usize = 256;

/// How long the file is left alone after a failure: twice as long after each, from the first to the last.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// The handle of the thread. Dropping it ends the thread and closes the file.
#[derive(Debug)]
pub(super) struct Writer {
    path: String,
    jobs: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Opens the file by `open`, on its own thread. `path` is for messages.
    pub(super) async fn start<F>(path: String, open: F) -> Result<Self, StorageError>
    where
        F: Fn(Opening) -> Result<Database, DatabaseError> + Send + 'static,
    {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (opened, is_open) = oneshot::channel();
        let mut file = File { path: path.clone(), open, database: None, store: None, lost: false, rest: None };
        let body = move || {
            let answer = file.database().map(drop);
            let failed = answer.is_err();
            if opened.send(answer).is_ok() && !failed {
                file.serve(queue);
            }
        };
        let thread = std::thread::Builder::new().name("gristmill-redb".to_owned()).spawn(body);
        let thread = thread.map_err(|error| StorageError::unavailable(format_args!("no thread: {error}")))?;
        // A failed start leaves a thread that ends by itself; so does a cancelled one, after it has verified the file: to
        // join it would block the executor for as long.
        match is_open.await {
            Ok(opened) => opened.map(|()| Self { path, jobs: Some(jobs), thread: Some(thread) }),
            Err(_) => Err(gone(&path)),
        }
    }

    /// Does `work` in a transaction, with whatever else is waiting; answers once that is on disk. Work is done again in
    /// another transaction if other work has spoilt the first.
    pub(super) async fn run<T, W>(&self, work: W) -> Result<T, StorageError>
    where
        T: Send + 'static,
        W: Fn(&mut Tables<'_>) -> Result<T, Failure> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Task { work, answer: None, reply });
        let Some(jobs) = &self.jobs else { return Err(self.gone()) };
        jobs.send(job).await.map_err(|_| self.gone())?;
        answer.await.map_err(|_| self.gone())?
    }

    fn gone(&self) -> StorageError {
        gone(&self.path)
    }
}

/// The thread ends before its handle only by a panic of redb, which happens on a damaged file.
fn gone(path: &str) -> StorageError {
    let detail = format!("{path}: redb panicked (its message is on stderr): check or restore the file");
    StorageError::Unreadable { detail }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.jobs.take());
        // Joined, so that whoever dropped the last handle may open the file again.
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!(path = self.path, "the thread of an embedded storage had panicked");
        }
    }
}

/// Work, and who waits for it.
trait Job: Send {
    /// Does the work, and keeps its answer.
    fn perform(&mut self, tables: &mut Tables<'_>) -> Result<(), Failure>;
    /// Gives the answer, or the failure of the transaction.
    fn settle(self: Box<Self>, outcome: Result<(), StorageError>);
}

struct Task<W, T> {
    work: W,
    answer: Option<T>,
    reply: oneshot::Sender<Result<T, StorageError>>,
}

impl<T, W> Job for Task<W, T>
where
    T: Send,
    W: Fn(&mut Tables<'_>) -> Result<T, Failure> + Send,
{
    fn perform(&mut self, tables: &mut Tables<'_>) -> Result<(), Failure> {
        self.answer = Some((self.work)(tables)?);
        Ok(())
    }

    fn settle(self: Box<Self>, outcome: Result<(), StorageError>) {
        let Self { answer, reply, .. } = *self;
        let answer = outcome.and_then(|()| answer.ok_or_else(|| StorageError::unavailable("not performed")));
        // An error here: nobody waits any more.
        let _ = reply.send(answer);
    }
}

/// The file, as its thread sees it.
struct File<F> {
    path: String,
    open: F,
    /// `None` after a failure: redb refuses a database that met an I/O error until it is opened again.
    database: Option<Database>,
    /// The file's id, once it was open.
    store: Option<u64>,
    /// Was it logged that the file is gone?
    lost: bool,
    /// After a failure: how long the file is left alone.
    rest: Option<Rest>,
}

/// A time in which what failed is not tried again.
#[derive(Debug)]
struct Rest {
    until: Instant,
    length: Duration,
    failure: StorageError,
}

/// Why a transaction ended without effect.
enum Stop {
    /// This job can never be done; the others can.
    Job(usize, StorageError),
    /// Nothing can be done now.
    All(StorageError),
    /// Nothing was tried, as this was met a moment ago.
    Rest(StorageError),
}

/// Whether the file may be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Opening {
    /// At the start: a missing file is made.
    First,
    /// After a failure: it must be the same file.
    Again,
}

impl<F: Fn(Opening) -> Result<Database, DatabaseError>> File<F> {
    fn serve(&mut self, mut queue: mpsc::Receiver<Box<dyn Job>>) {
        let mut jobs = Vec::with_capacity(QUEUE);
        while queue.blocking_recv_many(&mut jobs, QUEUE) > 0 {
            while !jobs.is_empty() {
                let outcome = match self.transact(&mut jobs) {
                    Ok(()) => {
                        self.rest = None;
                        Ok(())
                    }
                    Err(Stop::Rest(error)) => Err(error),
                    Err(Stop::Job(index, error)) => {
                        tracing::warn!(%error, "an operation of the embedded storage failed");
                        jobs.remove(index).settle(Err(error));
                        continue; // the others go again
                    }
                    Err(Stop::All(error)) => {
                        tracing::warn!(%error, jobs = jobs.len(), "a transaction of the embedded storage failed");
                        self.database = None;
                        let length = self.rest.as_ref().map_or(BACK_OFF.0, |rest| BACK_OFF.1.min(rest.length * 2));
                        self.rest = Some(Rest { until: Instant::now() + length, length, failure: error.clone() });
                        Err(error)
                    }
                };
                for job in jobs.drain(..) {
                    job.settle(outcome.clone());
                }
            }
        }
    }

    /// All jobs in one transaction: all of it is on disk when this returns, or nothing.
    fn transact(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), Stop> {
        if let Some(rest) = self.rest.as_ref().filter(|rest| Instant::now() < rest.until) {
            return Err(Stop::Rest(rest.failure.clone()));
        }
        let path = self.path.clone();
        let all = |failure: Failure| Stop::All(failure.in_operation(&path));
        let database = self.database().map_err(Stop::All)?;
        let begin = || -> Result<_, Failure> {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            Ok(transaction)
        };
        let transaction = begin().map_err(all)?;
        let mut tables = Tables::of(&transaction).map_err(all)?;
        for (index, job) in jobs.iter_mut().enumerate() {
            if let Err(failure) = job.perform(&mut tables) {
                let error = failure.in_operation(&path);
                return Err(if error.is_definite() { Stop::Job(index, error) } else { Stop::All(error) });
            }
        }
        let changed = tables.changed;
        drop(tables);
        let end =
            || -> Result<(), Failure> { if changed { Ok(transaction.commit()?) } else { Ok(transaction.abort()?) } };
        end().map_err(all)
    }

    fn database(&mut self) -> Result<&Database, StorageError> {
        if let Some(ref database) = self.database {
            return Ok(database);
        }
        match self.opened() {
            Ok((database, store)) => {
                (self.store, self.lost) = (Some(store), false);
                Ok(self.database.insert(database))
            }
            Err(failure) => {
                if self.store.is_some() && failure.is_lost_file() && !self.lost {
                    self.lost = true;
                    tracing::error!(path = self.path, "the file of the embedded storage is gone: put it back");
                }
                Err(match self.store {
                    Some(_) => failure.in_operation(&self.path),
                    None => failure.at_start(&self.path),
                })
            }
        }
    }

    /// The open file, and its id.
    fn opened(&self) -> Result<(Database, u64), Failure> {
        let database = (self.open)(if self.store.is_some() { Opening::Again } else { Opening::First })?;
        if let Some(store) = self.store {
            format::check_store(&database, store)?;
        }
        let transaction = database.begin_write()?;
        let store = format::check(&transaction)?;
        // Made here, so that a file of the right format always has all its tables.
        drop(Tables::of(&transaction)?);
        transaction.commit()?;
        Ok((database, store))
    }
}

impl<F> fmt::Debug for File<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use redb::StorageBackend;
    use redb::backends::InMemoryBackend;
    use tokio::time;

    use super::super::opener;
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(15);

    /// A disk that can be full, and outlives the database on it.
    #[derive(Clone, Debug, Default)]
    struct Disk {
        bytes: Arc<InMemoryBackend>,
        full: Arc<AtomicBool>,
    }

    impl Disk {
        fn room(&self) -> io::Result<()> {
            if self.full.load(Ordering::Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }
    }

    impl StorageBackend for Disk {
        fn len(&self) -> io::Result<u64> {
            self.bytes.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.bytes.read(offset, out)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.room()?;
            self.bytes.set_len(len)
        }

        fn sync_data(&self) -> io::Result<()> {
            self.room()?;
            self.bytes.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.room()?;
            self.bytes.write(offset, data)
        }
    }

    async fn writer(disk: &Disk) -> Writer {
        let disk = disk.clone();
        let open = move |_| redb::Database::builder().create_with_backend(disk.clone());
        Writer::start("disk".to_owned(), open).await.unwrap()
    }

    #[tokio::test]
    async fn full_disk_is_transient_and_the_file_is_opened_again() {
        let disk = Disk::default();
        let writer = writer(&disk).await;
        assert_eq!(writer.run(|tables| tables.begin_run(0)).await, Ok(1));
        disk.full.store(true, Ordering::Relaxed);
        for _ in 0..3 {
            let answer = writer.run(|tables| tables.begin_run(0)).await;
            assert!(matches!(answer, Err(StorageError::Unavailable { .. })), "{answer:?}");
        }
        disk.full.store(false, Ordering::Relaxed);
        assert_eq!(begun_again(&writer).await, Ok(2), "nothing of what failed is stored");
    }

    #[tokio::test]
    async fn failing_file_is_not_opened_again_with_every_operation() {
        let dir = tempfile::tempdir().unwrap();
        let [path, away] = ["game.redb", "away"].map(|name| dir.path().join(name));
        let (writer, opened) = writer_of(&path).await;
        std::fs::rename(&path, &away).unwrap();
        fail(&writer).await;
        for _ in 0..1_000 {
            assert_unavailable(writer.run(|tables| tables.run()).await);
        }
        let opened = opened.load(Ordering::Relaxed);
        assert!(opened < 50, "opened {opened} times");
        std::fs::rename(&away, &path).unwrap();
        assert_eq!(begun_again(&writer).await, Ok(1));
    }

    /// A start that is cancelled while the file is being verified neither waits for that nor keeps the file.
    #[tokio::test]
    async fn cancelled_start_does_not_wait_for_the_file() {
        let (free, wait) = std::sync::mpsc::channel::<()>();
        let (tell, told) = oneshot::channel();
        let (wait, tell) = (std::sync::Mutex::new(wait), std::sync::Mutex::new(Some(tell)));
        let verified = Arc::<AtomicBool>::default();
        let done = verified.clone();
        let open = move |_| {
            let _ = tell.lock().unwrap().take().unwrap().send(());
            let _ = wait.lock().unwrap().recv_timeout(PATIENCE);
            done.store(true, Ordering::Relaxed);
            redb::Database::builder().create_with_backend(InMemoryBackend::new())
        };
        let mut start = Box::pin(Writer::start("disk".to_owned(), open));
        tokio::select! {
            started = &mut start => panic!("it cannot be open: {started:?}"),
            told = told => told.unwrap(),
        }
        drop(start);
        assert!(!verified.load(Ordering::Relaxed), "cancelling waited for the file");
        drop(free);
    }

    /// Begins a run once the storage is back.
    async fn begun_again(writer: &Writer) -> Result<u64, StorageError> {
        let attempts = async {
            loop {
                match writer.run(|tables| tables.begin_run(0)).await {
                    Err(error) if !error.is_definite() => time::sleep(Duration::from_millis(5)).await,
                    definite => return definite,
                }
            }
        };
        time::timeout(PATIENCE, attempts).await.expect("a definite answer in time")
    }

    /// Asserts that the file is opened again, to no effect.
    async fn assert_fails_again(writer: &Writer, opened: &AtomicUsize) {
        let before = opened.load(Ordering::Relaxed);
        let attempts = async {
            while opened.load(Ordering::Relaxed) == before {
                assert_unavailable(writer.run(|tables| tables.begin_run(0)).await);
                time::sleep(Duration::from_millis(5)).await;
            }
        };
        time::timeout(PATIENCE, attempts).await.expect("another attempt in time");
    }

    /// Fails as an unmounted volume does, so that the file is opened again.
    async fn fail(writer: &Writer) {
        let failure = || Failure::Redb(redb::Error::Io(io::Error::other("no such device")));
        let answer = writer.run(move |_| -> Result<(), Failure> { Err(failure()) }).await;
        assert_unavailable(answer);
    }

    #[track_caller]
    fn assert_unavailable<T: fmt::Debug>(answer: Result<T, StorageError>) {
        assert!(matches!(answer, Err(StorageError::Unavailable { .. })), "must be unavailable, was {answer:?}");
    }

    /// A writer of a file, and how often it was opened.
    async fn writer_of(path: &Path) -> (Writer, Arc<AtomicUsize>) {
        let opened = Arc::<AtomicUsize>::default();
        let (opens, opener) = (opened.clone(), opener(path.to_owned(), 1 << 20));
        let open = move |opening| {
            opens.fetch_add(1, Ordering::Relaxed);
            opener(opening)
        };
        (Writer::start(path.display().to_string(), open).await.unwrap(), opened)
    }

    #[tokio::test]
    async fn vanished_file_is_not_made_again_nor_replaced_by_another() {
        let dir = tempfile::tempdir().unwrap();
        let [path, away, other] = ["game.redb", "away", "other"].map(|name| dir.path().join(name));
        let (writer, opened) = writer_of(&path).await;
        assert_eq!(writer.run(|tables| tables.begin_run(0)).await, Ok(1));
        std::fs::rename(&path, &away).unwrap();
        fail(&writer).await;
        assert_fails_again(&writer, &opened).await;
        assert!(!path.exists(), "an empty file would acknowledge writes");
        drop(writer_of(&other).await);
        std::fs::rename(&other, &path).unwrap();
        assert_fails_again(&writer, &opened).await;
        drop(Database::create(&other).unwrap());
        std::fs::rename(&other, &path).unwrap();
        assert_fails_again(&writer, &opened).await;
        std::fs::rename(&away, &path).unwrap();
        assert_eq!(begun_again(&writer).await, Ok(2));
    }

    #[tokio::test]
    async fn file_that_cannot_be_opened_again_is_transient() {
        let dir = tempfile::tempdir().unwrap();
        let [path, away] = ["game.redb", "away"].map(|name| dir.path().join(name));
        let (writer, opened) = writer_of(&path).await;
        assert_eq!(writer.run(|tables| tables.begin_run(0)).await, Ok(1));
        fail(&writer).await;
        let elsewhere = Database::open(&path).unwrap();
        assert_fails_again(&writer, &opened).await;
        drop(elsewhere);
        std::fs::rename(&path, &away).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_fails_again(&writer, &opened).await;
        std::fs::remove_dir(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert_fails_again(&writer, &opened).await;
        std::fs::rename(&away, &path).unwrap();
        assert_eq!(begun_again(&writer).await, Ok(2));
    }

    #[tokio::test]
    async fn job_that_cannot_be_done_fails_alone() {
        let writer = writer(&Disk::default()).await;
        let (free, wait) = std::sync::mpsc::channel::<()>();
        let wait = std::sync::Mutex::new(wait);
        // Holds the thread until the other three wait, so that they share a transaction. (If it shares it, it is done again,
        // and does not wait then: the sender is gone.)
        let hold = writer.run(move |_| Ok(wait.lock().unwrap().recv().is_err()));
        let first = writer.run(|tables| tables.begin_run(0));
        let bad = writer.run(|tables| {
            tables.begin_run(100)?;
            Err::<(), _>(Failure::Redb(redb::Error::Corrupted("a page".to_owned())))
        });
        let last = writer.run(|tables| tables.begin_run(0));
        let free = async move {
            // Polled last: all jobs are in the queue.
            drop(free);
        };
        let (hold, first, bad, last, ()) = tokio::join!(biased; hold, first, bad, last, free);
        assert_eq!((hold, first, last), (Ok(true), Ok(1), Ok(2)), "without what the bad one wrote");
        assert!(matches!(bad, Err(StorageError::Unreadable { .. })), "{bad:?}");
    }

    #[tokio::test]
    async fn panic_of_the_thread_is_an_error_not_a_hang() {
        let writer = writer(&Disk::default()).await;
        for _ in 0..2 {
            let answer = writer.run(|_| -> Result<(), Failure> { panic!("as redb does on a damaged file") }).await;
            assert!(matches!(answer, Err(StorageError::Unreadable { .. })), "{answer:?}");
        }
    }
}
