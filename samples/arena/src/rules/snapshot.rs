//! What a client sees.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::fighter::{Body, Fighter};
use super::geometry::{Heading, Point};
use super::items::Item;
use super::map::MapName;
use super::match_state::{MatchState, Phase};
use super::names::{MatchId, PlayerId, Seat, Tick};
use super::results::tally;

/// One fighter, as everyone sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FighterView {
    /// Whose.
    pub player: PlayerId,
    /// Where it stands.
    pub at: Point,
    /// Where it looks.
    pub aim: Heading,
    /// Whether it takes part.
    pub body: Body,
    /// Health as last told.
    pub health: u32,
    /// Armour as last told.
    pub armour: u32,
    /// Its score so far.
    pub score: i32,
}

/// An item that lies in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemView {
    /// The item.
    pub item: Item,
    /// Where.
    pub at: Point,
}

/// The match, as everyone sees it: made once a tick, shared by all who watch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorldView {
    /// Which match.
    pub match_id: MatchId,
    /// At which tick.
    pub tick: Tick,
    /// How far it is.
    pub phase: Phase,
    /// Where it is played.
    pub map: MapName,
    /// The fighters by seat.
    pub fighters: Vec<FighterView>,
    /// The items that lie about.
    pub items: Vec<ItemView>,
}

/// What only the player sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnView {
    /// Their seat.
    pub seat: Seat,
    /// The number of their last played input.
    pub acked: u32,
    /// The first tick they may strike again.
    pub strike_ready: Tick,
    /// The first tick they may shoot again.
    pub shot_ready: Tick,
    /// What they carry.
    pub bag: Vec<Item>,
}

/// What one client sees; a spectator has no `own`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The match.
    pub world: Arc<WorldView>,
    /// The player's own part.
    pub own: Option<OwnView>,
}

impl Snapshot {
    /// The player's own fighter.
    pub fn me(&self) -> Option<(&OwnView, &FighterView)> {
        let own = self.own.as_ref()?;
        Some((own, self.world.fighters.get(own.seat.index())?))
    }
}

impl MatchState {
    /// The match as everyone sees it.
    pub fn world(&self) -> WorldView {
        let tallies = tally(&self.kills);
        let view = |(f, t): (&Fighter, super::results::Tally)| FighterView {
            player: f.id.clone(),
            at: f.at,
            aim: f.aim,
            body: f.body,
            health: f.vitals.health,
            armour: f.vitals.armour,
            score: t.score(),
        };
        WorldView {
            match_id: self.id.clone(),
            tick: self.tick,
            phase: self.phase,
            map: self.config.map,
            fighters: self.fighters.iter().zip(tallies).map(view).collect(),
            items: self.floor.iter().map(|f| ItemView { item: f.item, at: f.at }).collect(),
        }
    }

    /// What only `player` sees; none for one without a seat.
    pub fn own_view(&self, player: &str) -> Option<OwnView> {
        let seat = self.seat(player)?;
        let f = self.fighter(seat)?;
        Some(OwnView {
            seat,
            acked: f.inputs.acked(),
            strike_ready: f.strike_ready,
            shot_ready: f.shot_ready,
            bag: f.bag.clone(),
        })
    }
}
