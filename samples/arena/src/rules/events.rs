//! What a match tells its players, and what it writes down.

use serde::{Deserialize, Serialize};

use super::geometry::Point;
use super::items::{Boon, Item};
use super::names::{PlayerId, Seat, Tick};
use super::results::Results;
use super::stamp::Stamp;

/// What kind of harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DamageKind {
    /// Blades and bullets: armour takes two thirds.
    Kinetic,
    /// Beams: armour takes one third.
    Energy,
    /// Works from inside: armour and wards do not help.
    Poison,
    /// The arena itself: armour does not help.
    Hazard,
}

/// A blow, sent to the player it fell on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    /// The envelope.
    pub stamp: Stamp,
    /// Whom it fell on.
    pub target: PlayerId,
    /// Who dealt it; none for the arena.
    pub attacker: Option<PlayerId>,
    /// Health to lose before armour and wards.
    pub amount: u32,
    /// What kind of harm.
    pub kind: DamageKind,
}

/// A buff or armour, sent to the player who gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The envelope.
    pub stamp: Stamp,
    /// Who gets it.
    pub target: PlayerId,
    /// Who gave it, for the credit of a poison.
    pub from: Option<PlayerId>,
    /// What.
    pub boon: Boon,
}

/// A new life, sent to the player who begins it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Respawn {
    /// The envelope; its life is the new one.
    pub stamp: Stamp,
    /// Who.
    pub target: PlayerId,
}

/// One death, as the match logged it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kill {
    /// When the match learned of it.
    pub tick: Tick,
    /// Who died.
    pub victim: Seat,
    /// Which death of the victim in this match, from 1.
    pub death_no: u32,
    /// Who gets the credit; none for the arena or the victim's own doing.
    pub killer: Option<Seat>,
    /// Of what.
    pub kind: DamageKind,
}

/// Something a client shows; reliable and in order, unlike snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The match began.
    Started,
    /// A fighter struck; `on` whom, if anyone.
    Struck {
        /// Who struck.
        by: Seat,
        /// Who was struck.
        on: Option<Seat>,
    },
    /// A fighter shot; `on` whom, if anyone.
    Shot {
        /// Who shot.
        by: Seat,
        /// Who was shot.
        on: Option<Seat>,
    },
    /// An item appeared.
    Appeared {
        /// The item.
        item: Item,
        /// Where.
        at: Point,
    },
    /// A fighter picked up an item.
    Took {
        /// Who.
        by: Seat,
        /// What.
        item: Item,
    },
    /// An item fell or was put down.
    Dropped {
        /// By whom.
        by: Seat,
        /// What.
        item: Item,
    },
    /// A fighter used up an item.
    Used {
        /// Who.
        by: Seat,
        /// What.
        item: Item,
    },
    /// A fighter died.
    Died(Kill),
    /// A fighter came back.
    Respawned {
        /// Who.
        seat: Seat,
        /// Where.
        at: Point,
    },
    /// A fighter left for good.
    Left(Seat),
    /// The match ended.
    Finished,
}

/// What one step asks the match's grain to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepOutput {
    /// New lives, to send before the rest.
    pub respawns: Vec<Respawn>,
    /// Blows, to send in this order.
    pub hits: Vec<Hit>,
    /// Buffs and armour, to send in this order.
    pub grants: Vec<Grant>,
    /// What to tell the clients.
    pub events: Vec<Event>,
    /// The outcome, in the step that ends the match.
    pub finished: Option<Results>,
}
