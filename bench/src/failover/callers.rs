//! Callers that call a grain each, without end, and note when it answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use gristmill::prelude::BoxError;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::grain::PlaceRef;

/// Between an answer and the next call of a caller.
pub(super) const PAUSE: Duration = Duration::from_millis(20);
/// How long the grains may take to answer again.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the callers of a round share.
#[derive(Default)]
pub(super) struct Round {
    /// The process that is hit, and when.
    pub(super) hit: OnceLock<(u32, Instant)>,
    over: AtomicBool,
}

/// What the caller of one grain saw.
#[derive(Default)]
pub(super) struct Seen {
    /// From the signal to the first answer out of another process, if the grain was in the one that was hit.
    pub(super) back: Option<Duration>,
    /// The longest time between two answers, until the signal, and from the last one before it on.
    pub(super) gap_before: Duration,
    pub(super) gap: Duration,
    /// Calls that failed: those that did not run, and those that may have.
    pub(super) not_run: u64,
    pub(super) maybe_run: u64,
    /// Why the first of them failed, and how long after the signal.
    pub(super) failure: Option<(Duration, String)>,
    /// An answer that was wrong.
    wrong: Option<String>,
}

/// The callers of all grains.
pub(super) struct Callers {
    round: Arc<Round>,
    tasks: Vec<JoinHandle<Seen>>,
    /// Tells when a caller's grain has answered from another process than the one that was hit.
    back: mpsc::UnboundedReceiver<()>,
}

impl Callers {
    /// Begins to call. Grain n keeps n, and is in that process.
    pub(super) fn start(grains: &[(PlaceRef, u32)], round: &Arc<Round>) -> Self {
        let (tell, back) = mpsc::unbounded_channel();
        let call = |(number, (grain, place)): (u64, &(PlaceRef, u32))| {
            let (grain, place, round, tell) = (grain.clone(), *place, round.clone(), tell.clone());
            tokio::task::spawn(async move {
                call(&grain, place, number, &round, || {
                    let _ = tell.send(()); // nobody may wait for it any more
                })
                .await
            })
        };
        Self { round: round.clone(), tasks: (0..).zip(grains).map(call).collect(), back }
    }

    /// Waits until so many grains have answered again, and for a while more; what each caller saw.
    pub(super) async fn finish(mut self, lost: usize, more: Duration) -> Result<Vec<Seen>, BoxError> {
        let all = async {
            for _ in 0..lost {
                self.back.recv().await;
            }
        };
        let answered = timeout(PATIENCE, all).await;
        sleep(more).await;
        self.round.over.store(true, Ordering::Relaxed);
        let mut seen = Vec::new();
        for task in &mut self.tasks {
            let caller = timeout(PATIENCE, task).await.map_err(|_| "a call has not ended")??;
            if let Some(wrong) = caller.wrong {
                return Err(wrong.into());
            }
            seen.push(caller);
        }
        answered.map_err(|_| format!("not all of {lost} grains answered within {PATIENCE:?}"))?;
        Ok(seen)
    }
}

impl Drop for Callers {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn call(grain: &PlaceRef, place: u32, number: u64, round: &Round, tell: impl Fn()) -> Seen {
    let mut seen = Seen::default();
    let mut last = None::<Instant>;
    sleep(PAUSE.mul_f64(fastrand::f64())).await; // not all at once
    while !round.over.load(Ordering::Relaxed) {
        match grain.place().await {
            Ok((_, kept)) if kept != number => {
                seen.wrong = Some(format!("grain {number} keeps {kept}"));
                return seen;
            }
            Ok((now_in, _)) => {
                let now = Instant::now();
                let gap = last.map_or(Duration::ZERO, |last| now - last);
                match round.hit.get() {
                    Some((process, at)) if now >= *at => {
                        seen.gap = seen.gap.max(gap);
                        if seen.back.is_none() && place == *process && now_in != *process {
                            seen.back = Some(now - *at);
                            tell();
                        }
                    }
                    _ => seen.gap_before = seen.gap_before.max(gap),
                }
                last = Some(now);
                sleep(PAUSE).await;
            }
            Err(error) => {
                match error.maybe_executed() {
                    true => seen.maybe_run += 1,
                    false => seen.not_run += 1,
                }
                let since = round.hit.get().map_or(Duration::ZERO, |(_, at)| at.elapsed());
                seen.failure.get_or_insert_with(|| (since, error.to_string()));
                tokio::task::yield_now().await;
            }
        }
    }
    seen
}
