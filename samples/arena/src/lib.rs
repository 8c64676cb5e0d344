//! A multiplayer arena match on virtual actors.
//!
//! # Layout
//!
//! - [`rules`]: the game itself, as pure functions of state and inputs: no clock, no network, no floating point.
//! - [`bot`]: seeded players that see snapshots and answer with inputs.

pub mod bot;
pub mod rules;
