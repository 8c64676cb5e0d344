//! Names and units every rule shares.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A player's name: the key of the player's grain.
pub type PlayerId = Arc<str>;

/// A match's name: the key of the match's grain.
pub type MatchId = Arc<str>;

/// A point or a span of time, counted in simulation steps since the match started.
pub type Tick = u32;

/// A player's place in one match, in joining order.
///
/// The rules work with seats, so that a step compares and copies single bytes rather than names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seat(pub u8);

impl Seat {
    /// The seat as an index into the match's fighters.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The seat at an index; matches hold far fewer than 256 seats.
    pub(crate) fn at(index: usize) -> Self {
        Self(index as u8)
    }
}

impl fmt::Display for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seat {}", self.0)
    }
}
