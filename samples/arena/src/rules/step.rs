//! One tick of a match.

use super::events::{DamageKind, Event, Grant, Hit, Respawn, StepOutput};
use super::fighter::Body;
use super::geometry::Point;
use super::input::{Action, Input};
use super::items::{Boon, FloorItem, ItemKind};
use super::match_state::{MatchState, Phase};
use super::names::{PlayerId, Seat, Tick};

/// How close a fighter must come to an item to take it, in milli-units.
const TAKE_REACH: i32 = 700;
/// How long a fighter cannot take back what it put down, in milliseconds.
const DROP_HOLD_MS: u32 = 2_000;
/// How often a hazard burns, in milliseconds, and how much.
const HAZARD_MS: u32 = 500;
const HAZARD_DAMAGE: u32 = 8;
/// How many of the spawns farthest from living enemies the match chooses among.
const SPAWN_CHOICE: usize = 2;

impl MatchState {
    /// Plays one tick: a pure function of this state and `inputs`, which are in order of arrival.
    ///
    /// Each fighter plays at most one waiting input. Who acts first rotates from tick to tick, so no seat has an edge.
    /// A match that has not begun or is over ignores its inputs.
    pub fn step(&mut self, inputs: &[(PlayerId, Input)]) -> StepOutput {
        let mut out = StepOutput::default();
        if self.phase != Phase::Running {
            return out;
        }
        for (player, input) in inputs {
            if let Some(seat) = self.seat(player) {
                self.fighters[seat.index()].inputs.offer(*input);
            }
        }
        self.tick += 1;
        self.respawn_due(&mut out);
        self.refill_pads(&mut out);
        for seat in self.turn_order() {
            self.act(seat, &mut out);
        }
        for seat in self.turn_order() {
            self.take_items(seat, &mut out);
        }
        self.burn(&mut out);
        if self.is_decided() {
            self.phase = Phase::Finished;
            out.events.push(Event::Finished);
            out.finished = Some(self.results());
        }
        out
    }

    fn turn_order(&self) -> impl Iterator<Item = Seat> + use<> {
        let (n, first) = (self.fighters.len(), self.tick as usize);
        (0..n).map(move |i| Seat::at((first + i) % n))
    }

    fn act(&mut self, seat: Seat, out: &mut StepOutput) {
        let now = self.tick;
        let fighter = &mut self.fighters[seat.index()];
        let Some(input) = fighter.inputs.next() else { return };
        if !fighter.is_alive() {
            return;
        }
        if !input.aim.is_none() {
            fighter.aim = input.aim;
        }
        if !input.walk.is_none() {
            let stride = fighter.stride(now, &self.config);
            fighter.at = self.config.map.map().walk(fighter.at, input.walk, stride);
        }
        match input.action {
            Action::None => {}
            Action::Strike => self.strike(seat, out),
            Action::Shoot => self.shoot(seat, out),
            Action::Use(slot) => self.use_item(seat, slot, out),
            Action::Drop(slot) => self.put_down(seat, slot, out),
        }
    }

    fn use_item(&mut self, seat: Seat, slot: u8, out: &mut StepOutput) {
        let now = self.tick;
        let fighter = &mut self.fighters[seat.index()];
        let Some(&item) = fighter.bag.get(usize::from(slot)) else { return };
        let Some(boon) = item.kind.boon(&self.config) else { return };
        fighter.bag.remove(usize::from(slot));
        self.ledger.use_up(item);
        out.events.push(Event::Used { by: seat, item });
        match boon {
            Boon::Buff(buff) if buff.kind.acts_in_match() => fighter.buffs.add(buff, None, now, Tick::MAX),
            boon => self.grant(seat, None, boon, out),
        }
    }

    /// Sends a boon to the player in a seat.
    pub(crate) fn grant(&mut self, to: Seat, from: Option<Seat>, boon: Boon, out: &mut StepOutput) {
        let from = from.map(|s| self.fighters[s.index()].id.clone());
        let stamp = self.stamp(to);
        out.grants.push(Grant { stamp, target: self.fighters[to.index()].id.clone(), from, boon });
    }

    /// Sends a blow to the player in a seat.
    pub(crate) fn hit(&mut self, on: Seat, by: Option<Seat>, amount: u32, kind: DamageKind, out: &mut StepOutput) {
        let attacker = by.map(|s| self.fighters[s.index()].id.clone());
        let stamp = self.stamp(on);
        out.hits.push(Hit { stamp, target: self.fighters[on.index()].id.clone(), attacker, amount, kind });
    }

    fn put_down(&mut self, seat: Seat, slot: u8, out: &mut StepOutput) {
        let hold = self.tick.saturating_add(self.config.ticks(DROP_HOLD_MS));
        let fighter = &mut self.fighters[seat.index()];
        if usize::from(slot) >= fighter.bag.len() {
            return;
        }
        let item = fighter.bag.remove(usize::from(slot));
        self.floor.push(FloorItem { item, at: fighter.at, pad: None, not_for: Some((seat, hold)) });
        out.events.push(Event::Dropped { by: seat, item });
    }

    /// Lets all a fighter carries fall where it stands.
    pub(crate) fn drop_bag(&mut self, seat: Seat, events: &mut Vec<Event>) {
        let fighter = &mut self.fighters[seat.index()];
        for item in fighter.bag.drain(..) {
            self.floor.push(FloorItem { item, at: fighter.at, pad: None, not_for: None });
            events.push(Event::Dropped { by: seat, item });
        }
    }

    fn take_items(&mut self, seat: Seat, out: &mut StepOutput) {
        let (now, config) = (self.tick, &self.config);
        let fighter = &mut self.fighters[seat.index()];
        if !fighter.is_alive() {
            return;
        }
        let (pads, events) = (&mut self.pads, &mut out.events);
        self.floor.retain(|lying| {
            let held = lying.not_for.is_some_and(|(who, until)| who == seat && now < until);
            let near = fighter.at.within(lying.at, TAKE_REACH);
            if held || !near || !fighter.can_take(lying.item.kind, config) {
                return true;
            }
            fighter.bag.push(lying.item);
            events.push(Event::Took { by: seat, item: lying.item });
            if let Some(pad) = lying.pad.and_then(|p| pads.get_mut(usize::from(p))) {
                *pad = Some(now.saturating_add(config.pad_refill));
            }
            false
        });
    }

    fn refill_pads(&mut self, out: &mut StepOutput) {
        for (index, &(at, kind)) in self.config.map.map().pads.iter().enumerate() {
            let due = self.pads[index].is_some_and(|at| at <= self.tick);
            if due && self.ledger.live(kind) < ItemKind::limit(kind, self.fighters.len()) {
                let item = self.ledger.make(kind);
                self.floor.push(FloorItem { item, at, pad: Some(index as u8), not_for: None });
                self.pads[index] = None;
                out.events.push(Event::Appeared { item, at });
            }
        }
    }

    fn burn(&mut self, out: &mut StepOutput) {
        let map = self.config.map.map();
        if map.hazards.is_empty() || !self.tick.is_multiple_of(self.config.ticks(HAZARD_MS)) {
            return;
        }
        for index in 0..self.fighters.len() {
            if self.fighters[index].is_alive() && map.burns(self.fighters[index].at) {
                self.hit(Seat::at(index), None, HAZARD_DAMAGE, DamageKind::Hazard, out);
            }
        }
    }

    fn respawn_due(&mut self, out: &mut StepOutput) {
        for index in 0..self.fighters.len() {
            let Body::Dead { respawn_at } = self.fighters[index].body else { continue };
            if respawn_at > self.tick {
                continue;
            }
            let (seat, at) = (Seat::at(index), self.choose_spawn());
            let fighter = &mut self.fighters[index];
            (fighter.body, fighter.at) = (Body::Alive, at);
            fighter.buffs.clear();
            out.respawns.extend(self.respawn_message(seat));
            out.events.push(Event::Respawned { seat, at });
        }
    }

    /// The message that begins, or confirms, a living fighter's life; none for the dead.
    pub(crate) fn respawn_message(&mut self, seat: Seat) -> Option<Respawn> {
        if !self.fighters[seat.index()].is_alive() {
            return None;
        }
        let stamp = self.stamp(seat);
        Some(Respawn { stamp, target: self.fighters[seat.index()].id.clone() })
    }

    /// One of the spawns farthest from the nearest living fighter, by chance.
    pub(crate) fn choose_spawn(&mut self) -> Point {
        let spawns = self.config.map.map().spawns;
        let nearest = |p: &Point| {
            let living = self.fighters.iter().filter(|f| f.is_alive());
            living.map(|f| f.at.distance2(*p)).min().unwrap_or(i64::MAX)
        };
        // Farthest first: keep the best few in a small array, as this runs inside a tick.
        let mut best = [(-1, Point::default()); SPAWN_CHOICE];
        for spawn in spawns {
            let mut candidate = (nearest(spawn), *spawn);
            for slot in &mut best {
                if candidate.0 > slot.0 {
                    std::mem::swap(slot, &mut candidate);
                }
            }
        }
        best[self.rng.below(SPAWN_CHOICE as u32) as usize].1
    }

    /// Whether the match is over: time, the kill limit, or nobody to fight.
    fn is_decided(&self) -> bool {
        let present = self.fighters.iter().filter(|f| f.body != Body::Gone).count();
        self.tick >= self.config.duration || present < 2 || self.kill_limit_reached()
    }
}
