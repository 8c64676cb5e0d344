//! Queues, and the names of the matches they make.

use std::fmt;
use std::sync::Arc;

use gristmill::grains::{GrainKey, InvalidKey};
use gristmill::prelude::*;
use serde::{Deserialize, Serialize};

use crate::rules::MatchId;
use crate::rules::map::MapName;

/// What is played: each mode is a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Mode {
    /// A brawl in a small square.
    Pit,
    /// Four pillars around a pool of acid.
    Pillars,
}

/// Where it is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Region {
    /// Europe.
    Eu,
    /// North America.
    Us,
}

/// A queue of players: a mode in a region. As a key it reads `pit+eu`.
pub type Queue = Compound<Mode, Region>;

/// Every queue there is.
pub const QUEUES: [Queue; 4] = [
    Compound(Mode::Pillars, Region::Eu),
    Compound(Mode::Pit, Region::Eu),
    Compound(Mode::Pillars, Region::Us),
    Compound(Mode::Pit, Region::Us),
];

/// The name of a queue's match: `pit.eu.12`. Names are never used twice, as numbers are not.
pub fn match_id(queue: &Queue, number: u64) -> MatchId {
    format!("{}.{}.{number}", queue.0, queue.1).into()
}

impl Mode {
    /// Where this mode is played.
    pub fn map(self) -> MapName {
        match self {
            Self::Pit => MapName::Pit,
            Self::Pillars => MapName::Pillars,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Pit => "pit",
            Self::Pillars => "pillars",
        }
    }
}

impl Region {
    /// Every region.
    pub const ALL: [Self; 2] = [Self::Eu, Self::Us];

    fn text(self) -> &'static str {
        match self {
            Self::Eu => "eu",
            Self::Us => "us",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

// Keys of our own types: a queue that does not exist cannot even be named.

impl GrainKey for Mode {
    fn to_text(&self) -> Arc<str> {
        self.text().into()
    }

    fn from_text(text: &str) -> Result<Self, InvalidKey> {
        let found = [Self::Pit, Self::Pillars].into_iter().find(|mode| mode.text() == text);
        found.ok_or_else(|| InvalidKey(format!("{text:?} is no mode")))
    }
}

impl GrainKey for Region {
    fn to_text(&self) -> Arc<str> {
        self.text().into()
    }

    fn from_text(text: &str) -> Result<Self, InvalidKey> {
        let found = Self::ALL.into_iter().find(|region| region.text() == text);
        found.ok_or_else(|| InvalidKey(format!("{text:?} is no region")))
    }
}
