//! Striking and shooting: reach, damage, cooldowns, and whom a blow finds.

use super::buffs::{Buff, BuffKind};
use super::events::{DamageKind, Event, StepOutput};
use super::geometry::{Heading, Point};
use super::items::{Boon, ItemKind};
use super::map::FIGHTER_RADIUS;
use super::match_state::MatchState;
use super::names::Seat;

/// How far a strike reaches, centre to centre, in milli-units.
pub const STRIKE_REACH: i32 = 1_600;
/// How long between two strikes, in milliseconds.
pub const STRIKE_COOLDOWN_MS: u32 = 500;
/// How long between two shots, in milliseconds.
pub const SHOT_COOLDOWN_MS: u32 = 700;

const STRIKE_DAMAGE: u32 = 22;
const VENOM_DAMAGE: u32 = 14;
const VENOM_STRENGTH: u32 = 3;
const VENOM_MS: u32 = 4_100;

/// What a shot does.
struct Gun {
    reach: i32,
    damage: u32,
    kind: DamageKind,
}

const PISTOL: Gun = Gun { reach: 9_000, damage: 9, kind: DamageKind::Kinetic };
const RIFLE: Gun = Gun { reach: 16_000, damage: 20, kind: DamageKind::Energy };

/// How far a fighter's shots reach, in milli-units.
pub fn shot_reach(has_rifle: bool) -> i32 {
    if has_rifle { RIFLE.reach } else { PISTOL.reach }
}

impl MatchState {
    pub(crate) fn strike(&mut self, by: Seat, out: &mut StepOutput) {
        let (now, cooldown) = (self.tick, self.config.ticks(STRIKE_COOLDOWN_MS));
        let fighter = &mut self.fighters[by.index()];
        if now < fighter.strike_ready {
            return;
        }
        fighter.strike_ready = now.saturating_add(cooldown);
        let venom = fighter.carries(ItemKind::VenomBlade);
        let amount = fighter.enraged(if venom { VENOM_DAMAGE } else { STRIKE_DAMAGE }, now);
        // A quarter circle ahead: as far off the aim as along it.
        let on = self.nearest(by, STRIKE_REACH, |along, off| along >= off);
        out.events.push(Event::Struck { by, on });
        let Some(on) = on else { return };
        self.hit(on, Some(by), amount, DamageKind::Kinetic, out);
        if venom {
            let lasts = self.config.ticks(VENOM_MS);
            let poison = Buff { kind: BuffKind::Poison, strength: VENOM_STRENGTH, lasts };
            self.grant(on, Some(by), Boon::Buff(poison), out);
        }
    }

    pub(crate) fn shoot(&mut self, by: Seat, out: &mut StepOutput) {
        let (now, cooldown) = (self.tick, self.config.ticks(SHOT_COOLDOWN_MS));
        let fighter = &mut self.fighters[by.index()];
        if now < fighter.shot_ready {
            return;
        }
        fighter.shot_ready = now.saturating_add(cooldown);
        let gun = if fighter.carries(ItemKind::Rifle) { RIFLE } else { PISTOL };
        let amount = fighter.enraged(gun.damage, now);
        // A ray: it must pass through the target's disc.
        let on = self.nearest(by, gun.reach, |along, off| along > 0 && off <= i64::from(FIGHTER_RADIUS));
        out.events.push(Event::Shot { by, on });
        if let Some(on) = on {
            self.hit(on, Some(by), amount, gun.kind, out);
        }
    }

    /// The nearest living enemy in reach and sight whose place along and off the aim suits.
    fn nearest(&self, by: Seat, reach: i32, suits: impl Fn(i64, i64) -> bool) -> Option<Seat> {
        let (from, aim): (Point, Heading) = (self.fighters[by.index()].at, self.fighters[by.index()].aim);
        let map = self.config.map.map();
        let enemies = self.fighters.iter().enumerate().filter(|(i, f)| *i != by.index() && f.is_alive());
        let found = enemies.filter(|(_, f)| {
            let (along, off) = aim.along_and_off(from, f.at);
            from.within(f.at, reach) && suits(along, off) && map.sees(from, f.at)
        });
        found.min_by_key(|(i, f)| (from.distance2(f.at), *i)).map(|(i, _)| Seat::at(i))
    }
}
