//! How matches are played: given to the silo as a service, the same for all grains.

use std::time::Duration;

use crate::rules::MatchConfig;

use super::names::Mode;

/// What a run chooses about its matches.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Players of a full match; 2 to 16.
    pub seats: u8,
    /// Steps per second; 10 to 60.
    pub tick_hz: u32,
    /// How long a match lasts, in seconds.
    pub seconds: u32,
    /// What chance begins with.
    pub seed: u64,
    /// How long a queue waits for one more player before it starts a smaller match.
    pub patience: Duration,
}

impl Default for Settings {
    /// Eight players, 30 Hz, 20 seconds.
    fn default() -> Self {
        Self { seats: 8, tick_hz: 30, seconds: 20, seed: 1, patience: Duration::from_secs(3) }
    }
}

impl Settings {
    /// The rules of a match of this mode.
    pub fn config(&self, mode: Mode) -> MatchConfig {
        let hz = self.tick_hz;
        MatchConfig {
            map: mode.map(),
            max_players: self.seats,
            tick_hz: hz,
            duration: hz.saturating_mul(self.seconds),
            respawn: hz * 3,
            pad_refill: hz * 10,
            ..MatchConfig::default()
        }
        .clamped()
    }
}
