//! The workloads.
//!
//! | workload | what it shows |
//! |---|---|
//! | [`append`] | nothing lost, doubled, made up or out of order; reads never go back |
//! | [`register`] | one register per grain is linearizable, compare-and-set included |
//! | [`bank`] | money that goes from grain to grain is conserved |
//! | [`lock`] | never two holders; and calls that go round in circles end |
//! | [`ledger`] | timers fire once and never early; one-way calls run at most once |
//! | [`mistakes`] | calls that cannot succeed fail for the right reason, and what a failed turn did is gone |
//! | [`arena`] | a match of the sample: it is played to its end, and every reward is given once |

pub mod append;
pub mod arena;
pub mod bank;
pub mod ledger;
pub mod lock;
pub mod mistakes;
pub mod register;

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use gristmill::grains::CallError;
use gristmill::{Client, SiloBuilder};
use tokio::time::sleep;

use crate::history::{Clock, Counts};

/// A program with a checker.
pub trait Workload: Send + Sync {
    /// Its name.
    fn name(&self) -> &'static str;

    /// The silos that host its grains.
    fn describe(&self, silo: SiloBuilder) -> SiloBuilder;

    /// A caller's part, until its time is over. Ends soon after.
    fn play(&self, caller: Caller) -> BoxFuture<'static, ()>;

    /// Reads what there is in the end, when nothing goes wrong any more. Ends when everything has answered.
    fn audit(&self, client: Client) -> BoxFuture<'static, ()>;

    /// What cannot be, with the calls that show it.
    fn check(&self, stale: &Stale) -> Vec<String>;

    /// How many grains' histories could not be judged: the last check gave up.
    fn unsure(&self) -> u64 {
        0
    }

    /// How many calls it made.
    fn counts(&self) -> Counts;

    /// The calls that failed, for people.
    fn failed(&self) -> String;
}

/// When a silo that is dead to the others may still have answered: what it held was committed, but may be old. Grains are
/// read like that unless they are strict.
#[derive(Clone, Debug, Default)]
pub struct Stale(pub Vec<(Duration, Duration)>);

impl Stale {
    /// May the answer of this call be old?
    pub fn may_be(&self, begin: Duration, end: Duration) -> bool {
        self.0.iter().any(|(from, until)| begin <= *until && *from <= end)
    }
}

/// All workloads, new. A cluster on which they play several times has grains of its own for each round. `strict`: the
/// registers are, so no read of one may be old.
pub fn all(round: usize, strict: bool) -> Vec<Arc<dyn Workload>> {
    let first = round * APART;
    vec![
        Arc::new(append::Append::of(first)),
        Arc::new(register::Registers::of(first, strict)),
        Arc::new(bank::Bank::of(first)),
        Arc::new(lock::Locks::of(first)),
        Arc::new(ledger::Ledgers::of(first)),
        Arc::new(mistakes::Mistakes::of(first)),
        Arc::new(arena::Arena::of(round)),
    ]
}

/// More grains of a kind than any workload has; a multiple of a ring's length.
const APART: usize = 60;

/// Somebody who makes calls.
#[derive(Clone)]
pub struct Caller {
    /// By which it calls.
    pub client: Client,
    /// Its number.
    pub number: usize,
    /// What its choices follow from.
    pub seed: u64,
    /// What time it is.
    pub clock: Clock,
    /// When its time is over.
    pub until: Duration,
    /// The longest pause between two calls.
    pub pause: Duration,
    /// Does it give every call time enough?
    pub patient: bool,
    /// Does the store keep what it has acknowledged?
    pub keeps: bool,
}

impl Caller {
    /// Is its time over?
    pub fn is_over(&self) -> bool {
        (self.clock)() >= self.until
    }

    /// Its choices in a workload.
    pub fn rng(&self, workload: u64) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed ^ workload.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// How long a call is given: short enough to be over sometimes.
    fn patience(&self, rng: &mut fastrand::Rng) -> Duration {
        if rng.u8(..10) == 0 && !self.patient { Duration::from_millis(rng.u64(20..1_000)) } else { PATIENCE }
    }

    /// Pauses for some time.
    pub async fn rest(&self, rng: &mut fastrand::Rng) {
        sleep(Duration::from_millis(rng.u64(0..=self.pause.as_millis() as u64))).await;
    }
}

/// How long a call is given at most.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much later than that it may end.
const SLACK: Duration = Duration::from_secs(2);

/// Calls until it answers.
async fn surely<T, E, F>(mut call: impl FnMut() -> F) -> T
where
    F: IntoFuture<Output = Result<T, CallError<E>>>,
{
    loop {
        if let Ok(answer) = call().await {
            return answer;
        }
        sleep(Duration::from_millis(100)).await;
    }
}
