//! Many lanes, found by their grain or by the number of a request.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use foldhash::fast::FixedState;
use gristmill_cluster::Incarnation;
use gristmill_grains::GrainId;
use hashbrown::HashMap;

use super::lane::Lane;
use super::wires::Correlation;

/// Parts of a request's number: which lanes, which of them, and the low bits of the call's number there.
const SHARD_BITS: u32 = 6;
const PLACE_BITS: u32 = 26;
/// How many lanes others than those of grains that just moved may be in one of [`SHARDS`], at most.
pub(super) const MAX_LANES: usize = 1 << 24;
/// How many [`Lanes`] a router has.
pub(super) const SHARDS: u64 = 1 << SHARD_BITS;

/// Where a lane is among others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place(u32);

/// Lanes of calls `C`. No call has the number of an earlier one, also when one lane takes another's place.
#[derive(Debug)]
pub(super) struct Lanes<C> {
    shard: u64,
    by_grain: HashMap<GrainId, Place, FixedState>,
    all: Vec<Slot<C>>,
    /// The first ones are taken first, so that those at the end can be given back.
    free: BinaryHeap<Reverse<Place>>,
    /// The number that a lane in a new place begins with.
    first: u64,
    /// For the next lane: another one than the last lane to that grain had, mostly.
    generation: u8,
}

#[derive(Debug)]
struct Slot<C> {
    lane: Option<(GrainId, Lane<C>)>,
    /// The number that the next lane here begins with.
    next: u64,
}

impl<C> Lanes<C> {
    pub(super) fn new(shard: u64) -> Self {
        let (all, free) = (Vec::new(), BinaryHeap::new());
        Self { shard, by_grain: HashMap::default(), all, free, first: 0, generation: 0 }
    }

    /// Which ones these are.
    pub(super) fn number(&self) -> u64 {
        self.shard
    }

    /// Must no more be added?
    pub(super) fn is_full(&self) -> bool {
        self.by_grain.len() >= MAX_LANES
    }

    pub(super) fn find(&self, grain: &GrainId) -> Option<Place> {
        self.by_grain.get(grain).copied()
    }

    pub(super) fn get(&self, place: Place) -> Option<(&GrainId, &Lane<C>)> {
        self.all.get(place.0 as usize)?.lane.as_ref().map(|(grain, lane)| (grain, lane))
    }

    pub(super) fn get_mut(&mut self, place: Place) -> Option<(&GrainId, &mut Lane<C>)> {
        self.all.get_mut(place.0 as usize)?.lane.as_mut().map(|(grain, lane)| (&*grain, lane))
    }

    pub(super) fn of(&self, grain: &GrainId) -> Option<&Lane<C>> {
        self.get(self.find(grain)?).map(|(_, lane)| lane)
    }

    pub(super) fn of_mut(&mut self, grain: &GrainId) -> Option<&mut Lane<C>> {
        self.get_mut(self.find(grain)?).map(|(_, lane)| lane)
    }

    /// Adds a lane to a grain that has none.
    pub(super) fn add(&mut self, grain: &GrainId, at: Option<Incarnation>) -> Place {
        let place = self.free.pop().map_or_else(
            || {
                self.all.push(Slot { lane: None, next: self.first });
                Place(self.all.len() as u32 - 1)
            },
            |Reverse(place)| place,
        );
        self.generation = self.generation.wrapping_add(1);
        self.by_grain.insert(grain.clone(), place);
        if let Some(slot) = self.all.get_mut(place.0 as usize) {
            slot.lane = Some((grain.clone(), Lane::new(at, self.generation, slot.next)));
        }
        place
    }

    pub(super) fn remove(&mut self, place: Place) -> Option<(GrainId, Lane<C>)> {
        let slot = self.all.get_mut(place.0 as usize)?;
        let (grain, lane) = slot.lane.take()?;
        slot.next = lane.next();
        self.by_grain.remove(&grain);
        self.free.push(Reverse(place));
        Some((grain, lane))
    }

    /// Keeps those for which `keep` says so.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&mut Lane<C>) -> bool) {
        for place in self.places() {
            if self.get_mut(place).is_some_and(|(_, lane)| !keep(lane)) {
                self.remove(place);
            }
        }
        self.shrink();
    }

    /// Gives back the places behind the last lane: after a rush nobody pays for it any more.
    fn shrink(&mut self) {
        let needed = self.all.iter().rposition(|slot| slot.lane.is_some()).map_or(0, |last| last + 1);
        if needed < self.all.len() {
            let unused = self.all.drain(needed..);
            self.first = unused.map(|slot| slot.next).fold(self.first, u64::max);
            self.all.shrink_to(needed * 2);
            self.free.retain(|Reverse(place)| (place.0 as usize) < needed);
            self.free.shrink_to(needed * 2);
        }
    }

    /// All places, also where there is no lane.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> + use<C> {
        (0..self.all.len() as u32).map(Place)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&GrainId, &Lane<C>)> {
        self.all.iter().filter_map(|slot| slot.lane.as_ref()).map(|(grain, lane)| (grain, lane))
    }

    /// Takes out every lane.
    pub(super) fn drain(&mut self) -> Vec<(GrainId, Lane<C>)> {
        self.places().filter_map(|place| self.remove(place)).collect()
    }

    /// The lane of the call that is out and has this name, and the call's number.
    pub(super) fn out(&self, correlation: Correlation) -> Option<(Place, u64)> {
        let place = Place((correlation >> SHARD_BITS) as u32 & ((1 << PLACE_BITS) - 1));
        let (_, lane) = self.get(place)?;
        // The last number that ends with those bits.
        let (low, next) = ((correlation >> (SHARD_BITS + PLACE_BITS)) as u32, lane.next());
        let number = next.checked_sub((next as u32).wrapping_sub(low).into())?;
        lane.get(number).map(|_| (place, number))
    }
}

/// What names a call to the one who is asked to run it.
pub(super) fn correlation(shard: u64, place: Place, number: u64) -> Correlation {
    (number << (SHARD_BITS + PLACE_BITS)) | (u64::from(place.0) << SHARD_BITS) | shard
}

/// Which lanes a request belongs to.
pub(super) fn shard_of(correlation: Correlation) -> u64 {
    correlation % SHARDS
}

#[cfg(test)]
mod tests {
    use gristmill_grains::GrainType;

    use super::*;

    const SILO: Incarnation = Incarnation::from_u128(1);

    fn grain(name: &str) -> GrainId {
        GrainId::new(GrainType::from_wire("things"), name)
    }

    fn sent(lanes: &mut Lanes<&'static str>, place: Place, call: &'static str) -> Correlation {
        let (_, lane) = lanes.get_mut(place).expect("there is a lane");
        lane.push(call);
        let (number, _) = lane.depart().expect("it departs");
        correlation(lanes.number(), place, number)
    }

    #[test]
    fn a_call_is_found_by_its_request_while_it_is_out() {
        let mut lanes = Lanes::new(5);
        let (one, other) = (lanes.add(&grain("one"), Some(SILO)), lanes.add(&grain("other"), Some(SILO)));
        let (first, second) = (sent(&mut lanes, one, "first"), sent(&mut lanes, other, "second"));
        assert_eq!((shard_of(first), shard_of(second)), (5, 5));
        let (place, number) = lanes.out(second).expect("it is out");
        let (at, lane) = lanes.get_mut(place).expect("there is a lane");
        assert_eq!((at, lane.answered(number).0), (&grain("other"), Some("second")));
        assert_eq!(lanes.out(second), None);
        assert_eq!(lanes.out(first).map(|(place, _)| place), Some(one));
    }

    #[test]
    fn a_lane_in_the_place_of_another_does_not_take_its_answers() {
        let mut lanes = Lanes::new(0);
        let place = lanes.add(&grain("one"), Some(SILO));
        let late = sent(&mut lanes, place, "one's");
        lanes.remove(place);
        assert_eq!(lanes.out(late), None);
        assert_eq!(lanes.add(&grain("other"), Some(SILO)), place);
        let early = sent(&mut lanes, place, "other's");
        assert_ne!(early, late);
        assert_eq!(lanes.out(late), None);
        assert!(lanes.out(early).is_some());
        assert!(lanes.of(&grain("one")).is_none() && lanes.of(&grain("other")).is_some());
    }

    #[test]
    fn places_are_given_back_and_their_late_answers_still_go_nowhere() {
        let mut lanes = Lanes::new(0);
        let places: Vec<_> = (0..1_000).map(|number| lanes.add(&grain(&number.to_string()), Some(SILO))).collect();
        let late: Vec<_> = places.iter().map(|place| sent(&mut lanes, *place, "late")).collect();
        places.iter().filter(|place| place.0 != 3).for_each(|place| drop(lanes.remove(*place)));
        lanes.retain(|_| true);
        assert_eq!((lanes.all.len(), lanes.free.len()), (4, 3));
        for number in 0..1_000 {
            let place = lanes.add(&grain(&format!("later {number}")), Some(SILO));
            sent(&mut lanes, place, "early");
        }
        let found: Vec<_> = late.iter().filter(|late| lanes.out(**late).is_some()).collect();
        assert_eq!(found, [&late[3]], "the one that still waits");
        assert_eq!(lanes.all.len(), 1_001);
    }

    #[test]
    fn numbers_of_requests_begin_anew_after_four_billion() {
        let mut lanes = Lanes::new(1);
        let place = lanes.add(&grain("one"), Some(SILO));
        lanes.all[0].lane = Some((grain("one"), Lane::new(Some(SILO), 0, u64::from(u32::MAX))));
        let (last, first) = (sent(&mut lanes, place, "last"), sent(&mut lanes, place, "first"));
        assert_eq!(lanes.out(last), Some((place, u64::from(u32::MAX))));
        assert_eq!(lanes.out(first), Some((place, u64::from(u32::MAX) + 1)));
    }
}
