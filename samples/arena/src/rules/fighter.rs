//! A player's part in the match: where they stand, what they carry, what they may do next.

use serde::{Deserialize, Serialize};

use super::buffs::{BuffKind, BuffSet};
use super::combatant::Vitals;
use super::config::MatchConfig;
use super::geometry::{Heading, Point};
use super::input::InputQueue;
use super::items::{Item, ItemKind};
use super::names::{PlayerId, Tick};

/// Walking speed in milli-units per second.
const SPEED: u32 = 5_000;

/// Whether a fighter takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// Fights.
    Alive,
    /// Waits for a new life.
    Dead {
        /// When it comes.
        respawn_at: Tick,
    },
    /// Left for good.
    Gone,
}

/// What the match knows of one player.
///
/// Health is not here: the player owns it, and `vitals` is only what the player last told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fighter {
    /// Whose fighter it is.
    pub id: PlayerId,
    /// Where it stands.
    pub at: Point,
    /// Where it looks; never none.
    pub aim: Heading,
    /// Whether it takes part.
    pub body: Body,
    /// How many deaths the match has logged: its life is one more.
    pub deaths: u32,
    /// The player's inputs that wait for their tick.
    pub inputs: InputQueue,
    /// The first tick it may strike again.
    pub strike_ready: Tick,
    /// The first tick it may shoot again.
    pub shot_ready: Tick,
    /// The buffs that change what it does.
    pub buffs: BuffSet,
    /// What it carries.
    pub bag: Vec<Item>,
    /// Health and armour as last told, to show to others.
    pub vitals: Vitals,
    /// How many stamped messages it was sent in this epoch.
    pub(crate) sent: u32,
}

impl Fighter {
    /// A fighter of `id` that comes in at `at`.
    pub(crate) fn new(id: PlayerId, at: Point) -> Self {
        Self {
            id,
            at,
            aim: Heading { x: 1, y: 0 },
            body: Body::Alive,
            deaths: 0,
            inputs: InputQueue::default(),
            strike_ready: 0,
            shot_ready: 0,
            buffs: BuffSet::default(),
            bag: Vec::new(),
            vitals: Vitals::default(),
            sent: 0,
        }
    }

    /// Whether it fights.
    pub fn is_alive(&self) -> bool {
        self.body == Body::Alive
    }

    /// Which life it is in or, when dead, waits for.
    pub fn life(&self) -> u32 {
        self.deaths + 1
    }

    /// Whether it carries an item of this kind.
    pub fn carries(&self, kind: ItemKind) -> bool {
        self.bag.iter().any(|i| i.kind == kind)
    }

    /// Whether it can pick up an item of this kind: room in the bag, and no weapon twice.
    pub fn can_take(&self, kind: ItemKind, config: &MatchConfig) -> bool {
        self.bag.len() < usize::from(config.bag_slots) && !(kind.is_weapon() && self.carries(kind))
    }

    /// How far it walks in one tick, in milli-units.
    pub(crate) fn stride(&self, now: Tick, config: &MatchConfig) -> i32 {
        let permille = 1000 + self.buffs.strength(BuffKind::Haste, now);
        (SPEED * permille / 1000 / config.tick_hz) as i32
    }

    /// An amount of damage, raised by rage.
    pub(crate) fn enraged(&self, amount: u32, now: Tick) -> u32 {
        amount * (1000 + self.buffs.strength(BuffKind::Rage, now)) / 1000
    }
}
