//! The arena as grains.
//!
//! | grain | key | owns | written |
//! |---|---|---|---|
//! | [`player`] | the player's name | profile, ticket, health, deaths | with every turn |
//! | [`match_grain`] | the match's name | the fight; who was paid | once a second, at the start and the end; with every turn |
//! | [`matchmaker`] | mode and region | who waits; the match being formed | with every turn |
//! | [`lobby`] | `main` | which matches are open | with every turn |
//! | [`leaderboard`] | season and region | points | with every turn |
//! | [`chat`] | the room's name | the last lines | with every turn |
//!
//! # Who may wait for whom
//!
//! `matchmaker -> match -> player`, `matchmaker -> player`, and `match -> lobby, leaderboard`. Against these arrows there are only one-way sends,
//! so no call can ever wait for itself.
//!
//! # What a crash takes back
//!
//! The fight, by up to a second: places, cooldowns, items picked up. Not a death, a used item, a ticket or a reward: those
//! are durable before anybody hears of them. A match that comes back asks its players which of their deaths it does not
//! know before it plays on.

pub mod chat;
pub mod forming;
pub mod leaderboard;
pub mod lobby;
pub mod match_grain;
pub mod match_record;
pub mod matchmaker;
pub mod names;
pub mod player;
pub mod profile;
pub mod seen;
pub mod settings;
pub mod used;
pub mod waiting;
