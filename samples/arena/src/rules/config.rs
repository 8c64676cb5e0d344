//! What a lobby chooses about a match.

use serde::{Deserialize, Serialize};

use super::map::MapName;
use super::names::Tick;

/// The most seats a match can have.
pub const MAX_SEATS: usize = 16;

/// The settings of one match, fixed when it is created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchConfig {
    /// Where it is played.
    pub map: MapName,
    /// How many must have joined before it can start; 2 to 16.
    pub min_players: u8,
    /// How many may join; `min_players` to 16.
    pub max_players: u8,
    /// Steps per second; 10 to 60.
    pub tick_hz: u32,
    /// The match ends after this many ticks.
    pub duration: Tick,
    /// The match ends when a player has this many kills.
    pub kill_limit: u32,
    /// How long a dead fighter waits, in ticks.
    pub respawn: Tick,
    /// How long a pad stays empty after its item was taken, in ticks.
    pub pad_refill: Tick,
    /// How many items a fighter can carry.
    pub bag_slots: u8,
}

impl Default for MatchConfig {
    /// Two to eight players, 30 Hz, five minutes or 20 kills, three seconds dead, ten seconds to refill a pad.
    fn default() -> Self {
        Self {
            map: MapName::default(),
            min_players: 2,
            max_players: 8,
            tick_hz: 30,
            duration: 30 * 300,
            kill_limit: 20,
            respawn: 30 * 3,
            pad_refill: 30 * 10,
            bag_slots: 4,
        }
    }
}

impl MatchConfig {
    /// The nearest settings the rules can play.
    #[must_use]
    pub fn clamped(mut self) -> Self {
        self.min_players = self.min_players.clamp(2, MAX_SEATS as u8);
        self.max_players = self.max_players.clamp(self.min_players, MAX_SEATS as u8);
        self.tick_hz = self.tick_hz.clamp(10, 60);
        self.duration = self.duration.max(1);
        self.kill_limit = self.kill_limit.max(1);
        self.respawn = self.respawn.max(1);
        self.pad_refill = self.pad_refill.max(1);
        self.bag_slots = self.bag_slots.clamp(1, 16);
        self
    }

    /// A time given in milliseconds as ticks of this match, at least one.
    pub fn ticks(&self, millis: u32) -> Tick {
        (millis * self.tick_hz / 1000).max(1)
    }
}
