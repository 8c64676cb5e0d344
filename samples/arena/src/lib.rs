//! A multiplayer arena match on virtual actors.
//!
//! # Layout
//!
//! - [`rules`]: the game itself, as pure functions of state and inputs: no clock, no network, no floating point.

pub mod rules;
