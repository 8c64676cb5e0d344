//! A multiplayer arena match on virtual actors.
//!
//! # Layout
//!
//! - [`rules`]: the game itself, as pure functions of state and inputs: no clock, no network, no floating point.
//! - [`grains`]: the game as grains: players, matches, the matchmaker, the lobby, the leaderboard, chat.
//! - [`host`]: the silo that hosts them, and its storage.
//! - [`bot`]: seeded players that see snapshots and answer with inputs; [`cast`]: bots as clients of the grains.
//! - [`play`]: a run, from the first player to the verdict; [`casting`]: who plays in it; [`failure`]: why it had no verdict.
//! - [`calls`]: through whom grains are called; [`cluster`]: a run on several silo processes.
//! - [`audit`] and [`checks`]: what the world says of itself, and what must hold of it; [`expected`]: what it should have.
//! - [`args`], [`progress`], [`report`], [`out`]: the command line, and what is printed.

pub mod args;
pub mod audit;
pub mod bot;
pub mod calls;
pub mod cast;
pub mod casting;
pub mod checks;
pub mod cluster;
pub mod expected;
pub mod failure;
pub mod grains;
pub mod host;
pub mod out;
pub mod play;
pub mod progress;
pub mod report;
pub mod rules;
