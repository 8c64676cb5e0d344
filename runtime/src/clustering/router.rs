//! Calls of grains that are not active in this silo: sent where the grain is, in order, and answered.
//!
//! What ends them otherwise is in [`ends`](super::ends).

use std::ops::Deref;

use bytes::Bytes;
use foldhash::fast::FixedState;
use gristmill_cluster::transport::wire::{Message, Request};
use gristmill_cluster::{Incarnation, Location, hash};
use gristmill_grains::chaos;
use gristmill_grains::port::RemoteCall;
use gristmill_grains::sync::Mutex;
use gristmill_grains::{Cause, Fault, GrainId};
use hashbrown::{HashMap, HashSet};
use tokio::time::Instant;

use super::effects::{Effect, Effects};
use super::lane::{Lane, Step};
use super::lanes::{Lanes, MAX_LANES, Place, SHARDS, correlation, shard_of};
use super::site::Site;
use super::wires::{Correlation, SendError};

/// Calls of one grain that wait to leave this silo, at most.
const MAX_WAITING: usize = 1_000;
/// Grains whose place is remembered while nothing is called.
const LOCATIONS: u64 = 100_000;

/// The calls that a silo or a client makes of others.
pub(crate) struct Router {
    me: Incarnation,
    /// By the grain's hash.
    pub(super) shards: Box<[Mutex<Shard>]>,
    /// Where grains were last found.
    pub(super) locations: moka::sync::Cache<GrainId, Location, FixedState>,
}

/// A router, and whose it is.
#[derive(Clone, Copy)]
pub(crate) struct Routing<'a> {
    router: &'a Router,
    pub(super) site: &'a dyn Site,
}

impl Deref for Routing<'_> {
    type Target = Router;

    fn deref(&self) -> &Router {
        self.router
    }
}

pub(super) struct Shard {
    /// Those that hold calls; and those that did a moment ago, as they know the way.
    pub(super) lanes: Lanes<Box<RemoteCall>>,
    /// Where grains were not, though they were thought to be.
    pub(super) stale: HashMap<GrainId, Location, FixedState>,
    /// Grains whose activation in this silo lets nobody in before the calls of their lane.
    arriving: HashSet<GrainId, FixedState>,
    /// How many calls of a lane are on their way to this silo's own activation, and not in its mailbox yet.
    entering: HashMap<GrainId, usize, FixedState>,
    /// Why no call is taken on any more: nothing would end it.
    pub(super) closed: Option<&'static str>,
}

impl Shard {
    fn new(number: u64) -> Self {
        Self {
            lanes: Lanes::new(number),
            stale: HashMap::default(),
            arriving: HashSet::default(),
            entering: HashMap::default(),
            closed: None,
        }
    }
}

impl Router {
    /// The router of a silo or a client.
    pub(crate) fn new(me: Incarnation) -> Self {
        let locations = moka::sync::Cache::builder().max_capacity(LOCATIONS);
        Self {
            me,
            shards: (0..SHARDS).map(|shard| Mutex::new(Shard::new(shard))).collect(),
            locations: locations.build_with_hasher(FixedState::default()),
        }
    }

    /// At work for its site.
    pub(crate) fn of<'a>(&'a self, site: &'a dyn Site) -> Routing<'a> {
        Routing { router: self, site }
    }

    pub(super) fn shard_of(&self, grain: &GrainId) -> &Mutex<Shard> {
        &self.shards[(hash::of_grain(grain) % SHARDS) as usize]
    }
}

impl Routing<'_> {
    /// Takes a call on.
    pub(crate) fn send(self, call: Box<RemoteCall>) {
        let mut effects = Effects::default();
        {
            let mut shard = self.shard_of(&call.grain).lock();
            self.put(&mut shard, call, &mut effects);
        }
        self.perform(effects);
    }

    fn put(self, shard: &mut Shard, call: Box<RemoteCall>, effects: &mut Effects) {
        let refused = |call, cause| Effect::fail(call, Fault::not_executed(cause));
        if let Some(why) = shard.closed {
            return effects.push(refused(call, stopped(why)));
        }
        let place = match shard.lanes.find(&call.grain) {
            Some(place) => place,
            None => {
                // It may have arrived since the caller looked. Then the call must not go the long way, as the caller's
                // next one will not.
                if self.site.is_open(&call.grain) {
                    return effects.push(Effect::Serve(call));
                }
                let at = self.locations.get(&call.grain).map(|location| location.owner);
                if shard.lanes.is_full() {
                    return effects.push(refused(call, Cause::Overloaded { limit: MAX_LANES }));
                }
                if at.is_none() {
                    effects.push(Effect::Resolve(call.grain.clone()));
                }
                shard.lanes.add(&call.grain, at)
            }
        };
        let Some((_, lane)) = shard.lanes.get_mut(place) else { return };
        if lane.waiting() >= MAX_WAITING {
            return effects.push(refused(call, Cause::Overloaded { limit: MAX_WAITING }));
        }
        let step = lane.push(call);
        self.follow(shard, place, step, effects);
    }

    /// Changes the shard of a grain, and does what follows from it for the grain's lane.
    fn change(self, grain: &GrainId, change: impl FnOnce(&mut Shard, &mut Effects) -> Step) {
        let mut effects = Effects::default();
        {
            let mut shard = self.shard_of(grain).lock();
            let step = change(&mut shard, &mut effects);
            if let Some(place) = shard.lanes.find(grain) {
                self.follow(&mut shard, place, step, &mut effects);
            }
        }
        self.perform(effects);
    }

    pub(super) fn follow(self, shard: &mut Shard, place: Place, step: Step, effects: &mut Effects) {
        match step {
            Step::Wait => {}
            Step::Resolve => effects.extend(shard.lanes.get(place).map(|(grain, _)| Effect::Resolve(grain.clone()))),
            Step::Over => {
                let Some((grain, lane)) = shard.lanes.get(place) else { return };
                let elsewhere = lane.place().is_some_and(|at| at != self.me);
                if elsewhere && !shard.arriving.contains(grain) {
                    return; // it stays, as it knows the way
                }
                let grain = grain.clone();
                shard.lanes.remove(place);
                shard.stale.remove(&grain); // where it was not: nobody looks for it any more
                self.open_arrived(shard, &grain);
            }
            Step::Send(silo) => {
                let step = self.depart(shard, place, silo, effects);
                self.follow(shard, place, step, effects);
                if !shard.arriving.is_empty()
                    && let Some((grain, _)) = shard.lanes.get(place)
                {
                    let grain = grain.clone();
                    self.open_arrived(shard, &grain);
                }
            }
        }
    }

    /// Sends what waits in a lane to the silo that the grain is at.
    fn depart(self, shard: &mut Shard, place: Place, to: Incarnation, effects: &mut Effects) -> Step {
        let mut last = Step::Wait;
        let lanes = shard.lanes.number();
        loop {
            let Some((grain, lane)) = shard.lanes.get_mut(place) else { return last };
            let generation = lane.generation();
            let Some((number, call)) = lane.depart() else { return last };
            let now = Instant::now();
            if call.reply.as_ref().is_some_and(|reply| !reply.leave()) || call.deadline <= now {
                let (call, step) = lane.answered(number);
                effects.extend(call.map(|call| Effect::fail(call, Fault::not_executed(Cause::Timeout))));
                last = step;
                continue;
            }
            let request = Request {
                correlation: correlation(lanes, place, number),
                target: grain.clone(),
                interface: call.interface.clone(),
                method: call.method,
                remaining_ms: u32::try_from((call.deadline - now).as_millis().max(1)).unwrap_or(u32::MAX),
                one_way: call.one_way,
                flags: generation,
                chain: self.site.chain_of(call.caller.as_ref()),
                context: call.request.clone(),
                body: call.arguments.clone(),
            };
            let told = match chaos::point("the queue to a silo is full") {
                true => Err(SendError::Overloaded { limit: 0 }),
                false => self.site.tell(to, Message::Request(request)),
            };
            match told {
                Ok(()) => {
                    if to == self.me {
                        *shard.entering.entry(grain.clone()).or_default() += 1;
                    }
                }
                Err(error @ (SendError::Overloaded { .. } | SendError::TooLarge)) => {
                    let (call, step) = lane.answered(number);
                    effects.extend(call.map(|call| Effect::fail(call, Fault::not_executed(error.cause()))));
                    last = step;
                }
                Err(SendError::Gone) => last = self.come_back(shard, place, number, to),
            }
        }
    }

    /// A call of a lane did not run where the grain was thought to be.
    fn come_back(self, shard: &mut Shard, place: Place, number: u64, from: Incarnation) -> Step {
        let Some((grain, lane)) = shard.lanes.get_mut(place) else { return Step::Wait };
        if let Some(known) = self.locations.get(grain).filter(|known| known.owner == from) {
            self.locations.invalidate(grain);
            shard.stale.insert(grain.clone(), known);
        }
        if let Some(call) = lane.get(number) {
            call.reply.iter().for_each(|reply| reply.come_back());
        }
        lane.came_back(number)
    }

    pub(super) fn perform(self, effects: Effects) {
        for effect in effects {
            match effect {
                Effect::Reply(call, answer) => self.finish(*call, answer),
                Effect::Resolve(grain) => {
                    let stale = self.shard_of(&grain).lock().stale.remove(&grain);
                    self.site.resolve(grain, stale);
                }
                Effect::Serve(call) => self.site.serve_own(call),
            }
        }
    }

    pub(crate) fn finish(self, mut call: RemoteCall, answer: Result<Bytes, Fault>) {
        match (call.reply.take(), answer) {
            (Some(reply), answer) => reply.reply(answer),
            (None, Ok(_)) => {}
            (None, Err(fault)) => self.site.lost_send(fault),
        }
    }

    /// The answer to where a grain is.
    pub(crate) fn found(self, grain: &GrainId, found: Result<Location, Fault>) {
        let location = match found {
            Ok(location) => location,
            Err(fault) => {
                return self.change(grain, |shard, effects| {
                    // Only of a lane that still looks for it; another search may have been quicker.
                    let calls = shard.lanes.of_mut(grain).and_then(Lane::give_up);
                    let Some(calls) = calls else { return Step::Wait };
                    effects.extend(calls.into_iter().map(|call| Effect::fail(call, fault.clone())));
                    Step::Over
                });
            }
        };
        self.change(grain, |shard, _| {
            // The grain may have arrived here since, and then all is settled.
            let looks = shard.lanes.of_mut(grain).filter(|lane| lane.is_resolving());
            let Some(lane) = looks else { return Step::Wait };
            self.locations.insert(grain.clone(), location);
            lane.located(location.owner)
        });
    }

    /// The grain's activation in this silo owns it now, and lets in nobody but the calls of its lane, until
    /// [`Site::open`] says that those are in.
    pub(crate) fn arrived(self, grain: &GrainId, location: Location) {
        self.change(grain, |shard, _| {
            shard.arriving.insert(grain.clone());
            if let Some(lane) = shard.lanes.of_mut(grain).filter(|lane| !lane.is_idle()) {
                self.locations.insert(grain.clone(), location);
                return lane.located(location.owner);
            }
            if let Some(place) = shard.lanes.find(grain) {
                shard.lanes.remove(place);
            }
            if self.locations.contains_key(grain) {
                self.locations.insert(grain.clone(), location);
            }
            self.open_arrived(shard, grain);
            Step::Wait
        });
    }

    /// A call of the grain's lane is in the mailbox of the activation in this silo.
    pub(super) fn entered(self, grain: &GrainId) {
        let mut shard = self.shard_of(grain).lock();
        let Some(entering) = shard.entering.get_mut(grain) else { return };
        *entering -= 1;
        if *entering == 0 {
            shard.entering.remove(grain);
            self.open_arrived(&mut shard, grain);
        }
    }

    /// The activation in this silo may let everybody in, if no call of the lane is on its way to it. Under the lock, so
    /// that none comes after it.
    fn open_arrived(self, shard: &mut Shard, grain: &GrainId) {
        if !shard.arriving.contains(grain) || shard.entering.contains_key(grain) {
            return;
        }
        if shard.lanes.of(grain).is_none_or(|lane| lane.is_empty_at(self.me)) {
            shard.arriving.remove(grain);
            self.site.open(grain);
        }
    }

    /// The grain's activation in this silo has ended and leaves calls. What is called from now on goes behind them.
    pub(crate) fn hold(self, grain: &GrainId) {
        let mut shard = self.shard_of(grain).lock();
        if shard.closed.is_some() {
            return;
        }
        let place = shard.lanes.find(grain).unwrap_or_else(|| shard.lanes.add(grain, None));
        if let Some((_, lane)) = shard.lanes.get_mut(place) {
            lane.hold();
        }
        shard.arriving.remove(grain);
    }

    /// All that it leaves.
    pub(crate) fn leave(self, grain: &GrainId, calls: Vec<RemoteCall>) {
        self.change(grain, |shard, effects| {
            let calls = calls.into_iter().map(Box::new);
            if let Some(why) = shard.closed {
                effects.extend(calls.map(|call| Effect::fail(call, Fault::not_executed(stopped(why)))));
                return Step::Wait;
            }
            let Some(lane) = shard.lanes.of_mut(grain) else { return Step::Wait };
            calls.for_each(|call| lane.leave(call));
            lane.unhold()
        });
    }

    /// A request was answered.
    pub(crate) fn answered(self, from: Incarnation, correlation: Correlation, answer: Result<Bytes, Fault>) {
        self.ended(from, correlation, |shard, place, number, effects| {
            let Some((_, lane)) = shard.lanes.get_mut(place) else { return Step::Wait };
            let (call, step) = lane.answered(number);
            effects.extend(call.map(|call| Effect::Reply(call, answer)));
            step
        });
    }

    /// A request was refused, as the grain is not there; it did not run.
    pub(crate) fn not_here(self, from: Incarnation, correlation: Correlation) {
        self.ended(from, correlation, |shard, place, number, _| self.come_back(shard, place, number, from));
    }

    pub(super) fn ended(
        self,
        from: Incarnation,
        correlation: Correlation,
        end: impl FnOnce(&mut Shard, Place, u64, &mut Effects) -> Step,
    ) {
        let mut effects = Effects::default();
        {
            let mut shard = self.shards[shard_of(correlation) as usize].lock();
            let Some((place, number)) = shard.lanes.out(correlation) else { return };
            // Whoever was not asked cannot answer; nor can anybody twice.
            if shard.lanes.get(place).and_then(|(_, lane)| lane.out_at()) != Some(from) {
                return;
            }
            let step = end(&mut shard, place, number, &mut effects);
            self.follow(&mut shard, place, step, &mut effects);
        }
        self.perform(effects);
    }
}

/// Why a call does not leave any more.
pub(super) fn stopped(why: &str) -> Cause {
    Cause::SiloUnavailable { reason: why.to_owned() }
}
