//! What a match owns, and who is in it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::combatant::Vitals;
use super::config::MatchConfig;
use super::events::{Event, Kill};
use super::fighter::{Body, Fighter};
use super::items::{FloorItem, Ledger};
use super::names::{MatchId, PlayerId, Seat, Tick};
use super::rng::Pcg32;
use super::stamp::Stamp;

/// How far a match is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Players join.
    Waiting,
    /// Players fight.
    Running,
    /// The outcome stands.
    Finished,
}

/// Why a player cannot join or a match cannot start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinError {
    /// The match has begun.
    AlreadyStarted,
    /// Every seat is taken.
    Full,
    /// The player has left this match for good.
    Left,
    /// Too few have joined to start.
    TooFew,
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AlreadyStarted => "the match has begun",
            Self::Full => "every seat of the match is taken",
            Self::Left => "the player has left the match for good",
            Self::TooFew => "too few players have joined",
        })
    }
}

impl std::error::Error for JoinError {}

/// The whole state of one match; stored as it is.
///
/// Its size is bounded: items by [`ItemKind::limit`](super::ItemKind::limit), inputs by the queue limit, and the kill
/// log by one entry per player and respawn time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchState {
    /// Its name.
    pub id: MatchId,
    /// Its activation epoch; see [`Stamp::epoch`].
    pub epoch: u64,
    /// Its settings.
    pub config: MatchConfig,
    /// How far it is.
    pub phase: Phase,
    /// How many steps it has run.
    pub tick: Tick,
    /// Its fighters by seat.
    pub fighters: Vec<Fighter>,
    /// The items that lie in the arena.
    pub floor: Vec<FloorItem>,
    /// When each of the map's pads refills; none while its item lies there.
    pub pads: Vec<Option<Tick>>,
    /// Every item made and used up.
    pub ledger: Ledger,
    /// Every death in the order the match learned of them.
    pub kills: Vec<Kill>,
    pub(crate) rng: Pcg32,
}

impl MatchState {
    /// A match that waits for players. The same seed, settings and inputs give the same match.
    pub fn new(id: impl Into<MatchId>, seed: u64, config: MatchConfig) -> Self {
        let config = config.clamped();
        let pads = vec![Some(0); config.map.map().pads.len()];
        Self {
            id: id.into(),
            epoch: 0,
            config,
            phase: Phase::Waiting,
            tick: 0,
            fighters: Vec::new(),
            floor: Vec::new(),
            pads,
            ledger: Ledger::default(),
            kills: Vec::new(),
            rng: Pcg32::new(seed, 1),
        }
    }

    /// Gives a player a seat; joining again answers the seat they have. Seats are final once the match starts.
    ///
    /// # Errors
    /// When the match has begun or is full, or the player left it.
    pub fn join(&mut self, player: PlayerId) -> Result<Seat, JoinError> {
        if let Some(seat) = self.seat(&player) {
            return if self.fighters[seat.index()].body == Body::Gone { Err(JoinError::Left) } else { Ok(seat) };
        }
        if self.phase != Phase::Waiting {
            return Err(JoinError::AlreadyStarted);
        }
        if self.fighters.len() >= usize::from(self.config.max_players) {
            return Err(JoinError::Full);
        }
        let at = self.choose_spawn();
        self.fighters.push(Fighter::new(player, at));
        Ok(Seat::at(self.fighters.len() - 1))
    }

    /// Starts the match; does nothing when it has begun.
    ///
    /// # Errors
    /// When too few have joined.
    pub fn start(&mut self) -> Result<Option<Event>, JoinError> {
        if self.phase != Phase::Waiting {
            return Ok(None);
        }
        if self.fighters.len() < usize::from(self.config.min_players) {
            return Err(JoinError::TooFew);
        }
        self.phase = Phase::Running;
        Ok(Some(Event::Started))
    }

    /// Takes a player out for good: what they carry falls, their log entries stay.
    ///
    /// A running match with fewer than two left ends at its next step. Before the start the seat is free again, and
    /// those after it move up.
    pub fn leave(&mut self, player: &str) -> Vec<Event> {
        let Some(seat) = self.seat(player).filter(|s| self.fighters[s.index()].body != Body::Gone) else {
            return Vec::new();
        };
        match self.phase {
            Phase::Running => {}
            Phase::Finished => return Vec::new(),
            Phase::Waiting => {
                self.fighters.remove(seat.index());
                return vec![Event::Left(seat)];
            }
        }
        let mut events = Vec::new();
        self.drop_bag(seat, &mut events);
        self.fighters[seat.index()].body = Body::Gone;
        events.push(Event::Left(seat));
        events
    }

    /// Takes over as a new activation with a higher `epoch`, after the state came back from storage.
    ///
    /// Answers whom to ask for deaths the stored state may have missed, and how many of each it knows: see
    /// [`Combatant::deaths_after`](super::Combatant::deaths_after).
    pub fn resume(&mut self, epoch: u64) -> Vec<(PlayerId, u32)> {
        self.epoch = epoch;
        for fighter in &mut self.fighters {
            fighter.sent = 0;
        }
        self.fighters.iter().map(|f| (f.id.clone(), f.deaths)).collect()
    }

    /// Notes what a player tells of their health; older news than the last is ignored.
    pub fn on_vitals(&mut self, player: &str, vitals: Vitals) {
        if let Some(seat) = self.seat(player) {
            let known = &mut self.fighters[seat.index()].vitals;
            if vitals.revision > known.revision {
                *known = vitals;
            }
        }
    }

    /// A player's seat.
    pub fn seat(&self, player: &str) -> Option<Seat> {
        self.fighters.iter().position(|f| &*f.id == player).map(Seat::at)
    }

    /// The fighter in a seat.
    pub fn fighter(&self, seat: Seat) -> Option<&Fighter> {
        self.fighters.get(seat.index())
    }

    /// The envelope for the next message to a seat.
    pub(crate) fn stamp(&mut self, seat: Seat) -> Stamp {
        let fighter = &mut self.fighters[seat.index()];
        fighter.sent += 1;
        let (seq, life) = (fighter.sent, fighter.life());
        Stamp { match_id: self.id.clone(), epoch: self.epoch, seq, life, tick: self.tick }
    }
}
