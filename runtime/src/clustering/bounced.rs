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
/// How much is remembered at a time, at most. Beyond, nothing is: calls may overtake others then.
const MAX: usize = 100_000;
/// How often it is looked for what is over, when there is so much.
const LOOKS: Duration = Duration::from_secs(1);

/// A silo that calls a grain.
type Caller = (Incarnation, GrainId);

#[derive(Default)]
pub(super) struct Bounced {
    known: Mutex<Known>,
    /// How many: mostly none.
    count: AtomicUsize,
}

#[derive(Default)]
struct Known {
    /// By caller: the generation of its lane that was sent back, and when.
    all: HashMap<Caller, (u8, Instant), FixedState>,
    looked: Option<Instant>,
}

impl Known {
    /// Makes room, if there is something that is over.
    fn clean(&mut self, now: Instant) {
        if self.all.len() >= MAX && self.looked.is_none_or(|looked| looked + LOOKS <= now) {
            self.looked = Some(now);
            self.all.retain(|_, (_, at)| *at + LASTS > now);
        }
    }
}

impl Bounced {
    /// A request of this generation is sent back.
    pub(super) fn note(&self, from: Incarnation, grain: &GrainId, generation: u8) {
        let now = Instant::now();
        let mut known = self.known.lock();
        known.clean(now);
        if known.all.len() < MAX {
            known.all.insert((from, grain.clone()), (generation, now));
        }
        self.count.store(known.all.len(), Ordering::Release);
    }

    /// Is this request behind one that was sent back?
    pub(super) fn is_behind(&self, from: Incarnation, grain: &GrainId, generation: u8) -> bool {
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let key = (from, grain.clone());
        let mut known = self.known.lock();
        let Some((bounced, at)) = known.all.get(&key).copied() else { return false };
        let behind = bounced == generation && at + LASTS > Instant::now();
        if !behind {
            known.all.remove(&key);
            self.count.store(known.all.len(), Ordering::Release);
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

    #[tokio::test(start_paused = true)]
    async fn when_there_is_too_much_what_is_over_makes_room() {
        let grain = |number: usize| GrainId::new(GrainType::new("x"), number.to_string());
        let (bounced, one) = (Bounced::default(), Incarnation::from_u128(1));
        (0..=MAX).for_each(|number| bounced.note(one, &grain(number), 1));
        assert!(bounced.is_behind(one, &grain(0), 1) && !bounced.is_behind(one, &grain(MAX), 1));
        tokio::time::sleep(LASTS).await;
        bounced.note(one, &grain(MAX), 1);
        assert_eq!(bounced.count.load(Ordering::Acquire), 1);
        assert!(bounced.is_behind(one, &grain(MAX), 1));
    }
}
