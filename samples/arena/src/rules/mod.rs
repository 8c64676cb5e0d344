//! The rules of the game, as pure functions of state and inputs.
//!
//! Two state machines share the work, one for each kind of grain:
//!
//! - [`MatchState`], owned by the match: positions, inputs, cooldowns, items, the kill log. Its [`MatchState::step`]
//!   answers what to send to the players: hits, grants and respawns.
//! - [`Combatant`], owned by the player: health, armour, the buffs that act on them, and deaths. It turns a hit into
//!   lost health and, when none is left, into a numbered death for the match to log.
//!
//! Messages between the two may be late, doubled or, but for deaths, lost:
//!
//! - every message to a player carries a [`Stamp`]: match, epoch, number and life. The number refuses a second
//!   delivery, the life refuses a blow meant for an earlier life, the epoch refuses a match that was replaced.
//! - deaths are numbered from 1, so the match logs each once ([`MatchState::on_player_death`]), and a player repeats
//!   its last death until a message of its next life shows that the match knows.
//!
//! [`local`] runs both without a silo; [`invariants`] says what must hold throughout, [`accounts`] what must at the end.

pub mod accounts;
pub mod buffs;
pub mod combatant;
pub mod config;
pub mod deaths;
pub mod events;
pub mod fighter;
pub mod geometry;
pub mod input;
pub mod invariants;
pub mod items;
pub mod local;
pub mod map;
pub mod match_state;
pub mod names;
pub mod rating;
pub mod results;
pub mod rng;
pub mod snapshot;
pub mod stamp;
pub mod step;
pub mod weapons;

pub use buffs::{Buff, BuffKind};
pub use combatant::{Combatant, DamageOutcome, Vitals};
pub use config::MatchConfig;
pub use deaths::DeathOutcome;
pub use events::{DamageKind, Event, Grant, Hit, Kill, Respawn, StepOutput};
pub use fighter::{Body, Fighter};
pub use geometry::{Heading, Point};
pub use input::{Action, Input, InputQueue};
pub use items::{Boon, Item, ItemKind};
pub use match_state::{JoinError, MatchState, Phase};
pub use names::{MatchId, PlayerId, Seat, Tick};
pub use results::Results;
pub use snapshot::{Snapshot, WorldView};
pub use stamp::{HitWindow, Refusal, Stamp};
