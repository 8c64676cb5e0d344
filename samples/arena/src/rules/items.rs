//! Things to pick up, and the ledger that proves none is lost or copied.

use serde::{Deserialize, Serialize};

use super::buffs::{Buff, BuffKind};
use super::config::MatchConfig;
use super::geometry::Point;
use super::names::{Seat, Tick};

/// A kind of item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ItemKind {
    /// Used up for regeneration.
    Potion,
    /// Used up for armour.
    Plate,
    /// Used up for haste.
    HasteCharm,
    /// Used up for rage.
    RageCharm,
    /// Used up for a ward.
    WardCharm,
    /// Carried: shots reach further and burn.
    Rifle,
    /// Carried: strikes poison.
    VenomBlade,
}

/// What using up an item gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Boon {
    /// A buff.
    Buff(Buff),
    /// This many points of armour.
    Armour(u32),
}

impl ItemKind {
    /// Every kind, in the order of the ledger.
    pub const ALL: [Self; 7] =
        [Self::Potion, Self::Plate, Self::HasteCharm, Self::RageCharm, Self::WardCharm, Self::Rifle, Self::VenomBlade];

    /// Whether the item works by being carried, and is never used up.
    pub fn is_weapon(self) -> bool {
        matches!(self, Self::Rifle | Self::VenomBlade)
    }

    /// What using it up gives; nothing for a weapon.
    pub fn boon(self, config: &MatchConfig) -> Option<Boon> {
        let buff = |kind, strength, millis| Some(Boon::Buff(Buff { kind, strength, lasts: config.ticks(millis) }));
        match self {
            Self::Potion => buff(BuffKind::Regen, 8, 3_100),
            Self::Plate => Some(Boon::Armour(50)),
            Self::HasteCharm => buff(BuffKind::Haste, 400, 6_000),
            Self::RageCharm => buff(BuffKind::Rage, 250, 8_000),
            Self::WardCharm => buff(BuffKind::Ward, 400, 6_000),
            Self::Rifle | Self::VenomBlade => None,
        }
    }

    /// How many may exist at once among `players`: pads wait at the limit, which bounds the match's state.
    pub fn limit(self, players: usize) -> u32 {
        let each = if self.is_weapon() { 1 } else { 2 };
        each * players as u32
    }

    fn slot(self) -> usize {
        self as usize
    }
}

/// One item; its number is unique in the match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its number, from 0.
    pub id: u32,
    /// What it is.
    pub kind: ItemKind,
}

/// An item that lies in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloorItem {
    /// The item.
    pub item: Item,
    /// Where it lies.
    pub at: Point,
    /// The pad it appeared on, which refills once it is taken.
    pub pad: Option<u8>,
    /// Who put it down and cannot take it again before this tick.
    pub not_for: Option<(Seat, Tick)>,
}

/// A count of every item made and used up, by kind.
///
/// It holds that made = lying + carried + used up, for each kind and at every tick.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    made: [u32; ItemKind::ALL.len()],
    used: [u32; ItemKind::ALL.len()],
}

impl Ledger {
    /// Makes an item.
    pub(crate) fn make(&mut self, kind: ItemKind) -> Item {
        let id = self.made.iter().sum();
        self.made[kind.slot()] += 1;
        Item { id, kind }
    }

    /// Uses up an item.
    pub(crate) fn use_up(&mut self, item: Item) {
        self.used[item.kind.slot()] += 1;
    }

    /// How many of a kind were made.
    pub fn made(&self, kind: ItemKind) -> u32 {
        self.made[kind.slot()]
    }

    /// How many of a kind were used up.
    pub fn used(&self, kind: ItemKind) -> u32 {
        self.used[kind.slot()]
    }

    /// How many of a kind there should be, lying or carried.
    pub fn live(&self, kind: ItemKind) -> u32 {
        self.made(kind).saturating_sub(self.used(kind))
    }
}
