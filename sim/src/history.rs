//! What calls came to.

use std::fmt::Debug;
use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use gristmill::grains::CallError;
use parking_lot::Mutex;

/// What a call came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome<R> {
    /// It ran, and this is its answer.
    Done(R),
    /// It failed, and did not run.
    Refused,
    /// It failed, and may have run, or may still.
    Unknown,
}

impl<R> Outcome<R> {
    fn of<E>(result: Result<R, CallError<E>>) -> Self {
        match result {
            Ok(answer) => Self::Done(answer),
            Err(error) if error.maybe_executed() => Self::Unknown,
            Err(_) => Self::Refused,
        }
    }
}

/// A call.
#[derive(Clone, Debug)]
pub struct Record<C, R> {
    /// Who made it. One calls one thing after the other, unless the workload says otherwise.
    pub who: usize,
    /// The grain.
    pub key: usize,
    /// What was asked.
    pub call: C,
    /// When it was made.
    pub begin: Duration,
    /// When it ended.
    pub end: Duration,
    /// What it came to.
    pub outcome: Outcome<R>,
}

/// Tells the time of a run.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// The calls of a workload, in the order in which they ended. Cheap to clone.
#[derive(Debug)]
pub struct History<C, R>(Arc<Mutex<Vec<Record<C, R>>>>);

impl<C, R> Clone for History<C, R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C, R> Default for History<C, R> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<C: Clone, R: Clone> History<C, R> {
    /// Waits for a call, and notes it.
    pub async fn note<E>(
        &self,
        clock: &Clock,
        (who, key, call): (usize, usize, C),
        calling: impl IntoFuture<Output = Result<R, CallError<E>>>,
    ) -> Outcome<R> {
        let begin = clock();
        let outcome = Outcome::of(calling.await);
        let record = Record { who, key, call, begin, end: clock(), outcome: outcome.clone() };
        self.0.lock().push(record);
        outcome
    }

    /// Waits for a call that makes several, and notes those.
    pub async fn note_all<E>(
        &self,
        clock: &Clock,
        (who, key, calls): (usize, usize, impl Iterator<Item = C>),
        calling: impl IntoFuture<Output = Result<Vec<R>, CallError<E>>>,
    ) {
        let begin = clock();
        let outcome = Outcome::of(calling.await);
        let end = clock();
        let records = calls.enumerate().map(|(place, call)| {
            let outcome = match &outcome {
                Outcome::Done(answers) => answers.get(place).cloned().map_or(Outcome::Unknown, Outcome::Done),
                Outcome::Refused => Outcome::Refused,
                Outcome::Unknown => Outcome::Unknown,
            };
            Record { who, key, call, begin, end, outcome }
        });
        self.0.lock().extend(records);
    }

    /// All calls so far.
    pub fn all(&self) -> Vec<Record<C, R>> {
        self.0.lock().clone()
    }

    /// The calls of a grain.
    pub fn of(&self, key: usize) -> Vec<Record<C, R>> {
        self.0.lock().iter().filter(|record| record.key == key).cloned().collect()
    }

    /// The calls that failed, as lines.
    pub fn failed(&self) -> String
    where
        C: Debug,
        R: Debug,
    {
        let records = self.0.lock();
        let failed = records.iter().filter(|record| !matches!(record.outcome, Outcome::Done(_)));
        told(&failed.cloned().collect::<Vec<_>>())
    }

    /// A call that took longer than this.
    pub fn slow(&self, limit: Duration) -> Option<String>
    where
        C: Debug,
        R: Debug,
    {
        let slow = self.0.lock().iter().find(|record| record.end - record.begin > limit).cloned()?;
        Some(format!("I5: a call ended too late:\n{}", told(&[slow])))
    }

    /// How many calls: in all, and those that are done.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for record in self.0.lock().iter() {
            match record.outcome {
                Outcome::Done(_) => counts.done += 1,
                Outcome::Refused => counts.refused += 1,
                Outcome::Unknown => counts.unknown += 1,
            }
        }
        counts
    }
}

/// How many calls came to what.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Answered.
    pub done: u64,
    /// Failed without having run.
    pub refused: u64,
    /// Failed, and may have run.
    pub unknown: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.done += other.done;
        self.refused += other.refused;
        self.unknown += other.unknown;
    }
}

/// The calls as lines, in the order in which they began; for people.
pub fn told<C: Debug, R: Debug>(records: &[Record<C, R>]) -> String {
    let mut sorted: Vec<_> = records.iter().collect();
    sorted.sort_by_key(|record| (record.begin, record.end));
    let line = |record: &&Record<C, R>| {
        let (begin, end) = (record.begin.as_secs_f64(), record.end.as_secs_f64());
        format!("{begin:>9.3} - {end:>9.3} s  client {} {:?}: {:?}", record.who, record.call, record.outcome)
    };
    sorted.iter().map(line).collect::<Vec<_>>().join("\n")
}
