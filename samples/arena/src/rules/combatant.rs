//! What a player owns in a fight: health, armour, the buffs that act on them, and deaths.

use serde::{Deserialize, Serialize};

use super::buffs::{Buff, BuffKind, BuffSet};
use super::events::{DamageKind, Grant, Hit, Respawn};
use super::items::Boon;
use super::names::{MatchId, PlayerId, Tick};
use super::stamp::{HitWindow, Refusal, Stamp};

/// Full health, in points.
pub const MAX_HEALTH: u32 = 100;
/// The most armour, in points.
pub const MAX_ARMOUR: u32 = 100;
/// The most one blow can do, in points.
const MAX_DAMAGE: u32 = 100_000;
/// How often poison and regeneration work, in milliseconds.
const PULSE_MS: u32 = 500;

/// Health and armour, with a number by which newer news is told from older.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vitals {
    /// Rises with every change.
    pub revision: u32,
    /// 0 to [`MAX_HEALTH`]; 0 is dead.
    pub health: u32,
    /// 0 to [`MAX_ARMOUR`].
    pub armour: u32,
}

impl Default for Vitals {
    fn default() -> Self {
        Self { revision: 0, health: MAX_HEALTH, armour: 0 }
    }
}

/// One death, as the player remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// Which death in the match, from 1.
    pub no: u32,
    /// Who or, for a poison, whose poison did it; none for the arena.
    pub source: Option<PlayerId>,
    /// Of what.
    pub kind: DamageKind,
}

/// What a blow or a grant did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamageOutcome {
    /// Whether the player lives.
    pub alive: bool,
    /// Health lost, after wards and armour.
    pub lost: u32,
    /// The death this call brought, or time brought before it: report it.
    pub died: Option<u32>,
    /// Why it had no effect, if so. [`Refusal::OldLife`] asks for the deaths from the message's life on to be
    /// reported again.
    pub refused: Option<Refusal>,
}

/// The match a player fights in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Bout {
    match_id: MatchId,
    epoch: u64,
    window: HitWindow,
    pulse_every: Tick,
}

/// A player in a fight. Time is the match's tick, and passes with the messages of the match or by
/// [`advance`](Self::advance).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Combatant {
    vitals: Vitals,
    buffs: BuffSet,
    deaths: Vec<Death>,
    now: Tick,
    bout: Option<Bout>,
}

impl Combatant {
    /// Enters a match: full health, no buffs, no deaths. Entering the same match again changes nothing.
    pub fn enter(&mut self, match_id: MatchId, tick_hz: u32) {
        if self.bout.as_ref().is_some_and(|b| b.match_id == match_id) {
            return;
        }
        let pulse_every = (PULSE_MS * tick_hz / 1000).max(1);
        *self = Self::default();
        self.bout = Some(Bout { match_id, epoch: 0, window: HitWindow::default(), pulse_every });
    }

    /// Leaves the match: what it still sends is refused.
    pub fn leave(&mut self) {
        *self = Self::default();
    }

    /// Takes a blow of a match; each counts once.
    pub fn take_hit(&mut self, hit: &Hit) -> DamageOutcome {
        self.on_message(&hit.stamp, |me| me.take_damage(hit.amount, hit.kind, hit.attacker.as_ref()))
    }

    /// Takes a buff or armour of a match; each counts once.
    pub fn take_grant(&mut self, grant: &Grant) -> DamageOutcome {
        self.on_message(&grant.stamp, |me| {
            let refused = match grant.boon {
                Boon::Buff(buff) => me.apply_buff(buff, grant.from.clone()).err(),
                Boon::Armour(points) => {
                    me.set(me.vitals.health, me.vitals.armour.saturating_add(points).min(MAX_ARMOUR));
                    None
                }
            };
            DamageOutcome { alive: me.is_alive(), refused, ..DamageOutcome::default() }
        })
    }

    /// Begins the life the message names. Any other message of that life does the same.
    pub fn respawn(&mut self, respawn: &Respawn) -> DamageOutcome {
        self.on_message(&respawn.stamp, |me| DamageOutcome { alive: me.is_alive(), ..DamageOutcome::default() })
    }

    /// Takes a blow, whoever it is from: a ward takes its share, then armour, then health.
    pub fn take_damage(&mut self, amount: u32, kind: DamageKind, source: Option<&PlayerId>) -> DamageOutcome {
        if !self.is_alive() {
            return DamageOutcome { refused: Some(Refusal::Dead), ..DamageOutcome::default() };
        }
        let ward = if kind == DamageKind::Poison { 0 } else { self.buffs.strength(BuffKind::Ward, self.now).min(900) };
        // More than anyone can have, and little enough to multiply.
        let amount = amount.min(MAX_DAMAGE);
        let amount = amount - amount * ward / 1000;
        let by_armour = match kind {
            DamageKind::Kinetic => amount * 2 / 3,
            DamageKind::Energy => amount / 3,
            DamageKind::Poison | DamageKind::Hazard => 0,
        };
        let by_armour = by_armour.min(self.vitals.armour);
        let lost = (amount - by_armour).min(self.vitals.health);
        self.set(self.vitals.health - lost, self.vitals.armour - by_armour);
        let mut died = None;
        if !self.is_alive() {
            let no = self.deaths() + 1;
            self.deaths.push(Death { no, source: source.cloned(), kind });
            self.buffs.clear();
            self.set(0, 0);
            died = Some(no);
        }
        DamageOutcome { alive: self.is_alive(), lost, died, refused: None }
    }

    /// Puts a buff on the player.
    ///
    /// # Errors
    /// When the player is dead, or the match keeps buffs of this kind.
    pub fn apply_buff(&mut self, buff: Buff, source: Option<PlayerId>) -> Result<(), Refusal> {
        if buff.kind.acts_in_match() {
            return Err(Refusal::ActsInMatch);
        }
        if !self.is_alive() {
            return Err(Refusal::Dead);
        }
        self.buffs.add(buff, source, self.now, self.pulse_every());
        Ok(())
    }

    /// Lets time pass until `now`: poison and regeneration work. Answers the number of a death that brought.
    pub fn advance(&mut self, now: Tick) -> Option<u32> {
        let (now, every) = (now.max(self.now), self.pulse_every());
        while let Some(pulse) = self.buffs.next_pulse(now, every) {
            self.now = self.now.max(pulse.tick);
            match pulse.kind {
                BuffKind::Poison => {
                    let outcome = self.take_damage(pulse.amount, DamageKind::Poison, pulse.source.as_ref());
                    if outcome.died.is_some() {
                        self.now = now;
                        return outcome.died;
                    }
                }
                _ => self.set(self.vitals.health.saturating_add(pulse.amount).min(MAX_HEALTH), self.vitals.armour),
            }
        }
        self.now = now;
        None
    }

    /// Health and armour.
    pub fn vitals(&self) -> Vitals {
        self.vitals
    }

    /// Whether the player lives.
    pub fn is_alive(&self) -> bool {
        self.vitals.health > 0
    }

    /// How often the player died in this match.
    pub fn deaths(&self) -> u32 {
        self.deaths.len() as u32
    }

    /// The deaths after the first `known`, to report to the match.
    pub fn deaths_after(&self, known: u32) -> &[Death] {
        self.deaths.get(known as usize..).unwrap_or_default()
    }

    /// The death the match may not know of: report it again from time to time until there is none.
    pub fn unconfirmed_death(&self) -> Option<&Death> {
        self.deaths.last().filter(|_| !self.is_alive())
    }

    /// When a pulse is due, to set a timer by.
    pub fn pulse_due(&self) -> Option<Tick> {
        self.buffs.pulse_due()
    }

    /// Checks the envelope, begins a new life if it names one, lets time pass, then runs `effect`.
    fn on_message(&mut self, stamp: &Stamp, effect: impl FnOnce(&mut Self) -> DamageOutcome) -> DamageOutcome {
        if let Err(refusal) = self.admit(stamp) {
            return DamageOutcome { alive: self.is_alive(), refused: Some(refusal), ..DamageOutcome::default() };
        }
        let died = self.advance(stamp.tick);
        let outcome = effect(self);
        DamageOutcome { died: died.or(outcome.died), ..outcome }
    }

    fn admit(&mut self, stamp: &Stamp) -> Result<(), Refusal> {
        let (deaths, alive) = (self.deaths(), self.is_alive());
        let bout = self.bout.as_mut().filter(|b| b.match_id == stamp.match_id).ok_or(Refusal::NotHere)?;
        if stamp.epoch < bout.epoch {
            return Err(Refusal::OldEpoch);
        }
        if stamp.epoch > bout.epoch {
            (bout.epoch, bout.window) = (stamp.epoch, HitWindow::default());
        }
        if stamp.life <= deaths {
            return Err(Refusal::OldLife);
        }
        if stamp.life > deaths + 1 {
            return Err(Refusal::FutureLife);
        }
        if !bout.window.admit(stamp.seq) {
            return Err(Refusal::Duplicate);
        }
        if !alive {
            self.set(MAX_HEALTH, 0);
        }
        Ok(())
    }

    fn pulse_every(&self) -> Tick {
        self.bout.as_ref().map_or(1, |b| b.pulse_every)
    }

    fn set(&mut self, health: u32, armour: u32) {
        if (health, armour) != (self.vitals.health, self.vitals.armour) {
            self.vitals = Vitals { revision: self.vitals.revision + 1, health, armour };
        }
    }
}
