//! Temporary effects: how long they last, what they add, and what happens when the same one comes twice.

use serde::{Deserialize, Serialize};

use super::names::{PlayerId, Tick};

/// What a buff does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum BuffKind {
    /// Walks faster by `strength` thousandths. Acts in the match.
    Haste,
    /// Deals more damage by `strength` thousandths per stack. Acts in the match.
    Rage,
    /// Takes less damage by `strength` thousandths. Acts on the player.
    Ward,
    /// Loses `strength` health per stack and pulse. Acts on the player.
    Poison,
    /// Gains `strength` health per pulse. Acts on the player.
    Regen,
}

/// What happens when a buff is given to one who has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stacking {
    /// The later end counts; the strength stays.
    Refresh,
    /// Another stack up to this many; all last until the later end.
    StackUpTo(u8),
    /// The stronger one counts; one of equal strength refreshes, a weaker one is ignored.
    ReplaceWeaker,
}

impl BuffKind {
    /// The stacking rule of this kind.
    pub fn stacking(self) -> Stacking {
        match self {
            Self::Haste | Self::Regen => Stacking::Refresh,
            Self::Rage => Stacking::StackUpTo(3),
            Self::Poison => Stacking::StackUpTo(5),
            Self::Ward => Stacking::ReplaceWeaker,
        }
    }

    /// Whether the buff changes what a fighter does, which the match decides, rather than what a player suffers.
    pub fn acts_in_match(self) -> bool {
        matches!(self, Self::Haste | Self::Rage)
    }

    /// Whether the buff works by pulses rather than all the time.
    pub fn pulses(self) -> bool {
        matches!(self, Self::Poison | Self::Regen)
    }
}

/// A buff to be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Buff {
    /// What it does.
    pub kind: BuffKind,
    /// How much; see [`BuffKind`] for the unit.
    pub strength: u32,
    /// How long, in ticks.
    pub lasts: Tick,
}

/// A buff at work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Active {
    /// What it does.
    pub kind: BuffKind,
    /// How much per stack.
    pub strength: u32,
    /// How many times over.
    pub stacks: u8,
    /// The first tick it no longer works.
    pub until: Tick,
    /// When a pulsing kind works next.
    pub next_pulse: Tick,
    /// Who gave it last: a poison's kill is theirs.
    pub source: Option<PlayerId>,
}

/// A pulse that came due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// When.
    pub tick: Tick,
    /// Of which buff.
    pub kind: BuffKind,
    /// Health to lose or gain.
    pub amount: u32,
    /// Who gave the buff.
    pub source: Option<PlayerId>,
}

/// The buffs on one fighter or player, at most one entry per kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuffSet {
    active: Vec<Active>,
}

impl BuffSet {
    /// Adds a buff at tick `now` by its kind's stacking rule. A pulsing kind first works `pulse_every` ticks later.
    pub fn add(&mut self, buff: Buff, source: Option<PlayerId>, now: Tick, pulse_every: Tick) {
        let until = now.saturating_add(buff.lasts);
        self.active.retain(|a| a.until > now);
        let Some(old) = self.active.iter_mut().find(|a| a.kind == buff.kind) else {
            let next_pulse = now.saturating_add(pulse_every);
            self.active.push(Active { kind: buff.kind, strength: buff.strength, stacks: 1, until, next_pulse, source });
            return;
        };
        match buff.kind.stacking() {
            Stacking::Refresh => {}
            Stacking::StackUpTo(most) => {
                old.stacks = (old.stacks + 1).min(most);
                old.strength = old.strength.max(buff.strength);
            }
            Stacking::ReplaceWeaker if buff.strength < old.strength => return,
            Stacking::ReplaceWeaker if buff.strength > old.strength => {
                (old.strength, old.until) = (buff.strength, until);
            }
            Stacking::ReplaceWeaker => {}
        }
        old.until = old.until.max(until);
        old.source = source;
    }

    /// The strength of a kind at tick `now`, all stacks together; 0 without it.
    pub fn strength(&self, kind: BuffKind, now: Tick) -> u32 {
        let at_work = self.active.iter().find(|a| a.kind == kind && a.until > now);
        at_work.map_or(0, |a| a.strength.saturating_mul(a.stacks.into()))
    }

    /// Takes the earliest pulse due by `now`, and forgets what has ended.
    ///
    /// Call until it answers `None`: a caller that was away for a while gets every pulse, in order.
    pub fn next_pulse(&mut self, now: Tick, pulse_every: Tick) -> Option<Pulse> {
        let due = |a: &&mut Active| a.kind.pulses() && a.next_pulse <= now && a.next_pulse < a.until;
        let Some(next) = self.active.iter_mut().filter(due).min_by_key(|a| (a.next_pulse, a.kind)) else {
            self.active.retain(|a| a.until > now);
            return None;
        };
        let amount = next.strength.saturating_mul(next.stacks.into());
        let pulse = Pulse { tick: next.next_pulse, kind: next.kind, amount, source: next.source.clone() };
        next.next_pulse = next.next_pulse.saturating_add(pulse_every.max(1));
        Some(pulse)
    }

    /// When the next pulse is due, to set a timer by.
    pub fn pulse_due(&self) -> Option<Tick> {
        let pulsing = self.active.iter().filter(|a| a.kind.pulses() && a.next_pulse < a.until);
        pulsing.map(|a| a.next_pulse).min()
    }

    /// Takes all buffs away.
    pub fn clear(&mut self) {
        self.active.clear();
    }

    /// The buffs, including any that ended but were not swept yet.
    pub fn iter(&self) -> impl Iterator<Item = &Active> {
        self.active.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buff(kind: BuffKind, strength: u32, lasts: Tick) -> Buff {
        Buff { kind, strength, lasts }
    }

    fn set(buffs: &[(Buff, Tick)]) -> BuffSet {
        let mut set = BuffSet::default();
        for (b, at) in buffs {
            set.add(*b, None, *at, 10);
        }
        set
    }

    #[test]
    fn haste_refreshes_and_never_adds() {
        let set = set(&[(buff(BuffKind::Haste, 400, 50), 0), (buff(BuffKind::Haste, 900, 50), 20)]);
        assert_eq!((set.strength(BuffKind::Haste, 69), set.strength(BuffKind::Haste, 70)), (400, 0));
    }

    #[test]
    fn rage_stacks_up_to_three() {
        let set = set(&[(buff(BuffKind::Rage, 200, 50), 0); 5]);
        assert_eq!(set.strength(BuffKind::Rage, 1), 600);
    }

    #[test]
    fn a_stronger_ward_replaces_and_a_weaker_is_ignored() {
        let stronger = set(&[(buff(BuffKind::Ward, 300, 90), 0), (buff(BuffKind::Ward, 500, 90), 10)]);
        assert_eq!(stronger.strength(BuffKind::Ward, 99), 500);
        let weaker = set(&[(buff(BuffKind::Ward, 500, 20), 0), (buff(BuffKind::Ward, 300, 90), 10)]);
        assert_eq!((weaker.strength(BuffKind::Ward, 19), weaker.strength(BuffKind::Ward, 20)), (500, 0));
    }

    #[test]
    fn missed_pulses_come_in_order_and_stop_at_the_end() {
        let mut set = set(&[(buff(BuffKind::Poison, 3, 25), 0), (buff(BuffKind::Regen, 5, 35), 4)]);
        let pulses: Vec<_> = std::iter::from_fn(|| set.next_pulse(1000, 10)).map(|p| (p.tick, p.kind)).collect();
        use BuffKind::{Poison, Regen};
        assert_eq!(pulses, [(10, Poison), (14, Regen), (20, Poison), (24, Regen), (34, Regen)]);
        assert_eq!(set.iter().count(), 0);
    }
}
