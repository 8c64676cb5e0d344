//! Requests that were sent back because their grain had left, so that none which their caller sent behind them overtakes them
//! when the grain comes back before it: those are sent back as well, until the caller begins anew.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use foldhash::fast::FixedState;
use gristmill_cluster::Incarnation;
use gristmill_grains::GrainId;
use gristmill_grains::sync::Mutex;
use hashbrown::HashMap;
use tokio::time::Instant;

/// How long it is remembered: for longer than anything is on its way.
const LASTS: Duration = Duration::from_secs(60);
/// How much is remembered. Beyond, the oldest is forgotten first, as it were over.
const MAX: usize = 10_000;

/// A silo that calls a grain.
type Caller = (Incarnation, GrainId);

/// By caller: the generation of its lane that was sent back, and when.
#[derive(Default)]
pub(super) struct Bounced {
    known: Mutex<HashMap<Caller, (u8, Instant), FixedState>>,
    /// How many: mostly none.
    count: AtomicUsize,
}

impl Bounced {
    /// A request of this generation is sent back.
    pub(super) fn note(&self, from: Incarnation, grain: &GrainId, generation: u8) {
        let now = Instant::now();
        let mut known = self.known.lock();
        if known.len() >= MAX {
            known.retain(|_, (_, at)| *at + LASTS > now);
        }
        if known.len() < MAX {
            known.insert((from, grain.clone()), (generation, now));
        }
        self.count.store(known.len(), Ordering::Release);
    }

    /// Is this request behind one that was sent back?
    pub(super) fn is_behind(&self, from: Incarnation, grain: &GrainId, generation: u8) -> bool {
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let key = (from, grain.clone());
        let mut known = self.known.lock();
        let Some((bounced, at)) = known.get(&key).copied() else { return false };
        let behind = bounced == generation && at + LASTS > Instant::now();
        if !behind {
            known.remove(&key);
            self.count.store(known.len(), Ordering::Release);
        }
        behind
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use gristmill_grains::GrainType;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_behind_goes_back_until_the_caller_begins_anew() {
        let (bounced, grain) = (Bounced::default(), GrainId::new(GrainType::new("x"), "1"));
        let (one, other) = (Incarnation::from_u128(1), Incarnation::from_u128(2));
        assert!(!bounced.is_behind(one, &grain, 7));
        bounced.note(one, &grain, 7);
        assert!(bounced.is_behind(one, &grain, 7) && !bounced.is_behind(other, &grain, 7));
        assert!(!bounced.is_behind(one, &grain, 8), "it has begun anew");
        assert!(!bounced.is_behind(one, &grain, 7), "so that is long ago");
        bounced.note(one, &grain, 9);
        tokio::time::sleep(LASTS).await;
        assert!(!bounced.is_behind(one, &grain, 9));
    }
}
