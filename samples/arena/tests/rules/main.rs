//! The rules as their users see them.
//!
//! - `combatant`: what a player's half makes of blows, buffs, and messages that are late or doubled.
//! - `playing`: what a match's half makes of inputs, items, and players who leave.
//! - `simulated`: whole matches over many seeds, settings and bad networks.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod combatant;
mod playing;
mod simulated;
