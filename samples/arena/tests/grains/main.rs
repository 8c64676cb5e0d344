//! The arena's grains as their users see them, and what crashes do to them.
//!
//! - `playing`: whole runs in virtual time.
//! - `matchmaking`: no ticket is assigned twice, whoever cancels and whatever restarts.
//! - `rewards`: every reward reaches its player once, whatever fails.
//! - `checking`: the checks see what they are for.
//! - `command_line`: what is wrong there is told before anything starts; signals, and readers that go away.
//! - `crashes`: the program, killed at random moments, on a file and on Redis.
//! - `clusters`: the program on silo processes that are killed and restarted.
//! - `world`: a world in memory; `program`: the program as a child.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod checking;
mod clusters;
mod command_line;
mod crashes;
mod matchmaking;
mod playing;
mod program;
mod rewards;
mod world;
