//! Calls of grains that are not active in this silo: sent where the grain is, in order, and answered.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use foldhash::fast::FixedState;
use gristmill_cluster::transport::wire::{Message, Request};
use gristmill_cluster::{Incarnation, Location, hash};
use gristmill_grains::chaos::{self, Bug};
use gristmill_grains::port::RemoteCall;
use gristmill_grains::sync::Mutex;
use gristmill_grains::turn::TurnId;
use gristmill_grains::{Cause, Fault, GrainId};
use hashbrown::{HashMap, HashSet};
use tokio::time::Instant;

use super::lane::{Lane, Step};
use super::site::Site;
use super::wires::{Correlation, SendError};

/// Locks, by the grain's hash. The number of a request ends with its grain's.
const SHARDS: u64 = 64;
/// Calls of one grain that wait to leave this silo, at most.
const MAX_WAITING: usize = 1_000;
/// Grains whose place is remembered while nothing is called.
const LOCATIONS: u64 = 100_000;

/// Routes calls to other silos.
pub(crate) struct Router {
    me: Incarnation,
    site: OnceLock<Weak<dyn Site>>,
    shards: Box<[Mutex<Shard>]>,
    /// Where grains were last found.
    locations: moka::sync::Cache<GrainId, Location, FixedState>,
    requests: AtomicU64,
}

#[derive(Default)]
struct Shard {
    /// Those that hold calls; and those that did a moment ago, as they know the way.
    lanes: HashMap<GrainId, Lane<RemoteCall>, FixedState>,
    /// By request: the call that is out.
    out: HashMap<Correlation, Out, FixedState>,
    /// Where grains were not, though they were thought to be.
    stale: HashMap<GrainId, Location, FixedState>,
    /// Grains whose activation in this silo lets nobody in before the calls of their lane.
    arriving: HashSet<GrainId, FixedState>,
    /// How many calls of a lane are on their way to this silo's own activation, and not in its mailbox yet.
    entering: HashMap<GrainId, usize, FixedState>,
}

struct Out {
    grain: GrainId,
    /// In its lane.
    number: u64,
    to: Incarnation,
}

/// All that is done then: mostly it is one.
#[derive(Default)]
struct Effects {
    first: Option<Effect>,
    more: Vec<Effect>,
}

impl Effects {
    fn push(&mut self, effect: Effect) {
        match self.first {
            None => self.first = Some(effect),
            Some(_) => self.more.push(effect),
        }
    }

    fn extend(&mut self, effects: impl IntoIterator<Item = Effect>) {
        effects.into_iter().for_each(|effect| self.push(effect));
    }
}

/// What is done once no lock is held.
enum Effect {
    Reply(RemoteCall, Result<Bytes, Fault>),
    Resolve(GrainId),
    /// By the activation in this silo.
    Serve(RemoteCall),
}

impl Router {
    /// The router of a silo or a client.
    pub(crate) fn new(me: Incarnation) -> Self {
        let locations = moka::sync::Cache::builder().max_capacity(LOCATIONS);
        Self {
            me,
            site: OnceLock::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            locations: locations.build_with_hasher(FixedState::default()),
            requests: AtomicU64::new(1),
        }
    }

    pub(crate) fn attach(&self, site: Weak<dyn Site>) {
        drop(self.site.set(site));
    }

    fn site(&self) -> Option<Arc<dyn Site>> {
        self.site.get()?.upgrade()
    }

    /// For a new lane: another one than the last lane to that grain had, mostly.
    fn generation(&self) -> u8 {
        self.requests.load(Ordering::Relaxed) as u8
    }

    fn shard_of(&self, grain: &GrainId) -> u64 {
        hash::of_grain(grain) % SHARDS
    }

    /// Changes a grain's lane, and does what follows from it.
    fn change(&self, grain: &GrainId, change: impl FnOnce(&mut Shard, &mut Effects) -> Step) {
        let number = self.shard_of(grain);
        let mut effects = Effects::default();
        {
            let mut shard = self.shards[number as usize].lock();
            let step = change(&mut shard, &mut effects);
            self.follow(&mut shard, number, grain, step, &mut effects);
        }
        self.perform(effects);
    }

    fn follow(&self, shard: &mut Shard, number: u64, grain: &GrainId, step: Step, effects: &mut Effects) {
        match step {
            Step::Wait => {}
            Step::Resolve => effects.push(Effect::Resolve(grain.clone())),
            Step::Over => {
                let elsewhere = shard.lanes.get(grain).and_then(Lane::place).is_some_and(|at| at != self.me);
                if !elsewhere || shard.arriving.contains(grain) {
                    shard.lanes.remove(grain);
                }
                self.open_arrived(shard, grain);
            }
            Step::Send(silo) => {
                let step = self.depart(shard, number, grain, silo, effects);
                self.follow(shard, number, grain, step, effects);
                self.open_arrived(shard, grain);
            }
        }
    }

    /// Sends what waits in a lane to the silo that the grain is at.
    fn depart(&self, shard: &mut Shard, number: u64, grain: &GrainId, to: Incarnation, effects: &mut Effects) -> Step {
        let (Some(lane), Some(site)) = (shard.lanes.get_mut(grain), self.site()) else { return Step::Wait };
        let mut last = Step::Wait;
        let generation = lane.generation();
        while let Some((place, call)) = lane.depart() {
            let now = Instant::now();
            if call.reply.as_ref().is_some_and(|reply| !reply.leave()) || call.deadline <= now {
                let (call, step) = lane.answered(place);
                effects.extend(call.map(|call| {
                    let fault = named(&call, Fault::not_executed(Cause::Timeout));
                    Effect::Reply(call, Err(fault))
                }));
                last = step;
                continue;
            }
            let correlation = self.requests.fetch_add(1, Ordering::Relaxed) * SHARDS + number;
            let request = Request {
                correlation,
                target: grain.clone(),
                interface: call.interface.clone(),
                method: call.method,
                remaining_ms: u32::try_from((call.deadline - now).as_millis().max(1)).unwrap_or(u32::MAX),
                one_way: call.one_way,
                flags: generation,
                chain: site.chain_of(call.caller.as_ref()),
                context: call.request.clone(),
                body: call.arguments.clone(),
            };
            let told = match chaos::point("the queue to a silo is full") {
                true => Err(SendError::Overloaded { limit: 0 }),
                false => site.tell(to, Message::Request(request)),
            };
            match told {
                Ok(()) => {
                    shard.out.insert(correlation, Out { grain: grain.clone(), number: place, to });
                    if to == self.me {
                        *shard.entering.entry(grain.clone()).or_default() += 1;
                    }
                }
                Err(error @ (SendError::Overloaded { .. } | SendError::TooLarge)) => {
                    let (call, step) = lane.answered(place);
                    effects.extend(call.map(|call| {
                        let fault = named(&call, Fault::not_executed(error.cause()));
                        Effect::Reply(call, Err(fault))
                    }));
                    last = step;
                }
                Err(SendError::Gone) => {
                    call.reply.iter().for_each(|reply| reply.come_back());
                    if let Some(known) = self.locations.get(grain).filter(|known| known.owner == to) {
                        self.locations.invalidate(grain);
                        shard.stale.insert(grain.clone(), known);
                    }
                    last = lane.came_back(place);
                }
            }
        }
        last
    }

    fn perform(&self, effects: Effects) {
        for effect in effects.first.into_iter().chain(effects.more) {
            match effect {
                Effect::Reply(call, answer) => self.finish(call, answer),
                Effect::Resolve(grain) => self.resolve(grain),
                Effect::Serve(call) => {
                    if let Some(site) = self.site() {
                        site.serve_own(call);
                    }
                }
            }
        }
    }

    pub(crate) fn finish(&self, call: RemoteCall, answer: Result<Bytes, Fault>) {
        match (call.reply, answer) {
            (Some(reply), answer) => reply.reply(answer),
            (None, Ok(_)) => {}
            (None, Err(fault)) => {
                if let Some(site) = self.site() {
                    site.lost_send(fault);
                }
            }
        }
    }

    fn resolve(&self, grain: GrainId) {
        let Some(site) = self.site() else { return };
        let stale = self.shards[self.shard_of(&grain) as usize].lock().stale.remove(&grain);
        site.resolve(grain, stale);
    }

    /// The answer to where a grain is.
    pub(crate) fn found(&self, grain: &GrainId, found: Result<Location, Fault>) {
        let location = match found {
            Ok(location) => location,
            Err(fault) => {
                return self.change(grain, |shard, effects| {
                    // Only of a lane that still looks for it; another search may have been quicker.
                    let calls = shard.lanes.get_mut(grain).and_then(Lane::give_up);
                    let Some(calls) = calls else { return Step::Wait };
                    effects.extend(calls.into_iter().map(|call| {
                        let fault = named(&call, fault.clone());
                        Effect::Reply(call, Err(fault))
                    }));
                    Step::Over
                });
            }
        };
        self.locations.insert(grain.clone(), location);
        self.change(grain, |shard, _| match shard.lanes.get_mut(grain) {
            None => Step::Wait,
            Some(lane) => lane.located(location.owner),
        });
    }

    /// The grain's activation in this silo owns it now, and lets in nobody but the calls of its lane, until
    /// [`Node::open`] says that those are in.
    pub(crate) fn arrived(&self, grain: &GrainId, location: Location) {
        self.change(grain, |shard, _| {
            shard.arriving.insert(grain.clone());
            match shard.lanes.get_mut(grain) {
                Some(lane) if !lane.is_idle() => {
                    self.locations.insert(grain.clone(), location);
                    lane.located(location.owner)
                }
                _ => {
                    shard.lanes.remove(grain);
                    if self.locations.contains_key(grain) {
                        self.locations.insert(grain.clone(), location);
                    }
                    self.open_arrived(shard, grain);
                    Step::Wait
                }
            }
        });
    }

    /// A call of the grain's lane is in the mailbox of the activation in this silo.
    pub(super) fn entered(&self, grain: &GrainId) {
        self.change(grain, |shard, _| {
            if let Some(entering) = shard.entering.get_mut(grain) {
                *entering -= 1;
                if *entering == 0 {
                    shard.entering.remove(grain);
                    self.open_arrived(shard, grain);
                }
            }
            Step::Wait
        });
    }

    /// The activation in this silo may let everybody in, if no call of the lane is on its way to it. Under the lock, so
    /// that none comes after it.
    fn open_arrived(&self, shard: &mut Shard, grain: &GrainId) {
        if !shard.arriving.contains(grain) || shard.entering.contains_key(grain) {
            return;
        }
        if shard.lanes.get(grain).is_none_or(|lane| lane.is_empty_at(self.me)) {
            shard.arriving.remove(grain);
            if let Some(site) = self.site() {
                site.open(grain);
            }
        }
    }

    /// Is a call out at this silo?
    pub(crate) fn is_out_at(&self, silo: Incarnation) -> bool {
        self.shards.iter().any(|shard| shard.lock().out.values().any(|out| out.to == silo))
    }

    /// Where calls are out to that this turn waits for, by itself or through turns that it awaits.
    pub(super) fn silos_below(&self, turn: TurnId) -> BTreeSet<Incarnation> {
        let mut silos = BTreeSet::new();
        for shard in &self.shards {
            let shard = shard.lock();
            for out in shard.out.values() {
                let call = shard.lanes.get(&out.grain).and_then(|lane| lane.get(out.number));
                let caller = call.and_then(|call| call.caller.as_ref());
                if caller.is_some_and(|caller| caller.waiting().any(|node| node.turn == turn)) {
                    silos.insert(out.to);
                }
            }
        }
        silos
    }

    /// Forgets where grains are that are not being called.
    pub(crate) fn forget_places(&self) {
        self.locations.invalidate_all();
        self.shards.iter().for_each(|shard| shard.lock().lanes.retain(|_, lane| !lane.is_idle()));
    }

    /// Is nothing called?
    pub(super) fn is_idle(&self) -> bool {
        self.shards.iter().all(|shard| shard.lock().lanes.values().all(Lane::is_idle))
    }

    /// The grain's activation in this silo has ended and leaves calls. What is called from now on goes behind them.
    pub(crate) fn hold(&self, grain: &GrainId) {
        let mut shard = self.shards[self.shard_of(grain) as usize].lock();
        shard.lanes.entry(grain.clone()).or_insert_with(|| Lane::new(None, self.generation())).hold();
        shard.arriving.remove(grain);
    }

    /// All that it leaves.
    pub(crate) fn leave(&self, grain: &GrainId, calls: Vec<RemoteCall>) {
        self.change(grain, |shard, _| {
            let Some(lane) = shard.lanes.get_mut(grain) else { return Step::Wait };
            calls.into_iter().for_each(|call| lane.leave(call));
            lane.unhold()
        });
    }

    /// A request was answered.
    pub(crate) fn answered(&self, from: Incarnation, correlation: Correlation, answer: Result<Bytes, Fault>) {
        self.ended(from, correlation, |shard, out, effects| {
            let Some(lane) = shard.lanes.get_mut(&out.grain) else { return Step::Wait };
            let (call, step) = lane.answered(out.number);
            effects.extend(call.map(|call| Effect::Reply(call, answer)));
            match step {
                // It stays, as it knows the way.
                Step::Over if lane.is_idle() && out.to != self.me && !shard.arriving.contains(&out.grain) => Step::Wait,
                step => step,
            }
        });
    }

    /// A request was refused, as the grain is not there; it did not run.
    pub(crate) fn not_here(&self, from: Incarnation, correlation: Correlation) {
        self.ended(from, correlation, |shard, out, _| self.come_back(shard, &out));
    }

    fn come_back(&self, shard: &mut Shard, out: &Out) -> Step {
        if let Some(known) = self.locations.get(&out.grain).filter(|known| known.owner == out.to) {
            self.locations.invalidate(&out.grain);
            shard.stale.insert(out.grain.clone(), known);
        }
        let Some(lane) = shard.lanes.get_mut(&out.grain) else { return Step::Wait };
        if let Some(call) = lane.get(out.number) {
            call.reply.iter().for_each(|reply| reply.come_back());
        }
        lane.came_back(out.number)
    }

    fn ended(
        &self,
        from: Incarnation,
        correlation: Correlation,
        end: impl FnOnce(&mut Shard, Out, &mut Effects) -> Step,
    ) {
        let number = correlation % SHARDS;
        let mut effects = Effects::default();
        {
            let mut shard = self.shards[number as usize].lock();
            // Whoever was not asked cannot answer; nor can anybody twice.
            if shard.out.get(&correlation).is_none_or(|out| out.to != from) {
                return;
            }
            let Some(out) = shard.out.remove(&correlation) else { return };
            let grain = out.grain.clone();
            let step = end(&mut shard, out, &mut effects);
            self.follow(&mut shard, number, &grain, step, &mut effects);
        }
        self.perform(effects);
    }

    /// The connection to a silo is over. What never left goes elsewhere; what may have left is lost.
    pub(crate) fn closed(&self, silo: Incarnation, unsent: &[Correlation], why: &str) {
        for number in 0..SHARDS {
            let mut out: Vec<_> = {
                let shard = self.shards[number as usize].lock();
                shard.out.iter().filter(|(_, out)| out.to == silo).map(|(correlation, _)| *correlation).collect()
            };
            out.sort_unstable();
            for correlation in out {
                if unsent.contains(&correlation) || chaos::planted(Bug::SentTwice) {
                    self.not_here(silo, correlation);
                } else if !chaos::planted(Bug::EndsForgotten) {
                    let reason = format!("silo {silo}: {why}");
                    let cause = Cause::SiloUnavailable { reason };
                    let fault = match chaos::planted(Bug::LeftCalledUnsent) {
                        true => Fault::not_executed(cause),
                        false => Fault::maybe_executed_with(cause),
                    };
                    self.ended(silo, correlation, |shard, out, effects| {
                        self.locations.invalidate(&out.grain);
                        let Some(lane) = shard.lanes.get_mut(&out.grain) else { return Step::Wait };
                        let (call, step) = lane.answered(out.number);
                        lane.forget_place();
                        effects.extend(call.map(|call| {
                            let fault = named(&call, fault);
                            Effect::Reply(call, Err(fault))
                        }));
                        step
                    });
                }
            }
        }
    }

    /// Ends what is overdue, and forgets what nobody waits for.
    pub(crate) fn sweep(&self, now: Instant) {
        if chaos::planted(Bug::EndsForgotten) {
            return;
        }
        let ended =
            |call: &RemoteCall| call.deadline <= now || call.reply.as_ref().is_some_and(|reply| !reply.is_wanted());
        for number in 0..SHARDS {
            let mut effects = Effects::default();
            let mut shard = self.shards[number as usize].lock();
            shard.lanes.retain(|_, lane| !lane.is_forgotten());
            let waiting = shard.lanes.iter().filter(|(_, lane)| lane.waiting() > 0);
            let mut grains: Vec<_> = waiting.map(|(grain, _)| grain.clone()).collect();
            grains.sort();
            for grain in grains {
                let Some(lane) = shard.lanes.get_mut(&grain) else { continue };
                effects.extend(lane.remove_waiting(ended).into_iter().map(|call| {
                    let fault = Fault::not_executed(Cause::Timeout).detailed("the grain was being looked for");
                    let fault = named(&call, fault);
                    Effect::Reply(call, Err(fault))
                }));
            }
            let over = |out: &Out| shard.lanes.get(&out.grain).and_then(|lane| lane.get(out.number)).is_none_or(ended);
            let mut over: Vec<_> = shard.out.iter().filter(|(_, out)| over(out)).map(|(c, out)| (*c, out.to)).collect();
            over.sort_unstable();
            for (correlation, to) in over {
                let Some(out) = shard.out.remove(&correlation) else { continue };
                if let Some(site) = self.site() {
                    let _ = site.tell(to, Message::Cancel { correlation }); // it is only a courtesy
                }
                let Some(lane) = shard.lanes.get_mut(&out.grain) else { continue };
                let (call, step) = lane.answered(out.number);
                effects.extend(call.map(|call| {
                    let fault = named(&call, Fault::maybe_executed_with(Cause::Timeout).detailed("it was under way"));
                    Effect::Reply(call, Err(fault))
                }));
                self.follow(&mut shard, number, &out.grain, step, &mut effects);
            }
            drop(shard);
            self.perform(effects);
        }
    }

    /// Ends every call: the silo is over.
    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            let lanes = std::mem::take(&mut *shard.lock()).lanes;
            let mut lanes: Vec<_> = lanes.into_iter().collect();
            lanes.sort_by(|(one, _), (other, _)| one.cmp(other));
            for (_, lane) in lanes {
                for (call, left) in lane.into_calls() {
                    let cause = Cause::SiloUnavailable { reason: "this silo has stopped".to_owned() };
                    let fault = if left { Fault::maybe_executed_with(cause) } else { Fault::not_executed(cause) };
                    let fault = named(&call, fault);
                    self.finish(call, Err(fault));
                }
            }
        }
    }
}

impl Router {
    /// Takes a call on.
    pub(crate) fn send(&self, call: RemoteCall) {
        let Some(site) = self.site() else { return };
        let grain = call.grain.clone();
        self.change(&grain, |shard, effects| {
            let Some(lane) = shard.lanes.get_mut(&grain) else {
                let at = self.locations.get(&grain).map(|location| location.owner);
                // It may have arrived since the caller looked. Then the call must not go the long way, as the caller's
                // next one will not.
                if at.is_none_or(|at| at == self.me) && site.is_open(&grain) {
                    effects.push(Effect::Serve(call));
                    return Step::Wait;
                }
                if at.is_none() {
                    effects.push(Effect::Resolve(grain.clone()));
                }
                let lane = shard.lanes.entry(grain.clone()).or_insert_with(|| Lane::new(at, self.generation()));
                return lane.push(call);
            };
            if lane.waiting() >= MAX_WAITING {
                let fault = named(&call, Fault::not_executed(Cause::Overloaded { limit: MAX_WAITING }));
                effects.push(Effect::Reply(call, Err(fault)));
                return Step::Wait;
            }
            lane.push(call)
        });
    }
}

/// The same failure, naming the call.
fn named(call: &RemoteCall, fault: Fault) -> Fault {
    let fault = fault.of(&call.grain);
    if call.name.is_empty() { fault } else { fault.in_method(call.name.clone()) }
}
