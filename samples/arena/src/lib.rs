//! A multiplayer arena match on virtual actors.
//!
//! # Layout
//!
//! - [`rules`]: the game itself, as pure functions of state and inputs: no clock, no network, no floating point.
//! - [`bot`]: seeded players that see snapshots and answer with inputs.
//! - [`grains`]: the game as grains: players, matches, the matchmaker, the lobby, the leaderboard, chat.

pub mod bot;
pub mod grains;
pub mod rules;
