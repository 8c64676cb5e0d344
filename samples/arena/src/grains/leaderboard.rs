//! The leaderboard: one grain for each season and region. A new season is a new key; a world table is a merge of a few.

use std::collections::BTreeMap;

use gristmill::prelude::*;
use serde::{Deserialize, Serialize};

use crate::rules::{PlayerId, Results};

use super::names::{Mode, Region};
use super::seen::Seen;

/// The season that is played.
pub const SEASON: &str = "season-1";

/// A player's line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The experience points earned this season.
    pub points: u64,
    /// Matches won.
    pub won: u64,
    /// Enemies killed.
    pub kills: u64,
}

/// A player's line, and its place in the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranked {
    /// 1 for the first; equals share a rank.
    pub rank: u64,
    /// Who.
    pub player: PlayerId,
    /// With what.
    pub standing: Standing,
}

/// Everything a leaderboard holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    standings: BTreeMap<PlayerId, Standing>,
    /// Which matches were counted, by mode.
    counted: BTreeMap<Mode, Seen>,
}

impl Table {
    /// Counts a match, once.
    pub fn record(&mut self, mode: Mode, number: u64, results: &Results) {
        if !self.counted.entry(mode).or_default().admit(number) {
            return;
        }
        for result in results.players.iter().filter(|result| !result.left) {
            let standing = self.standings.entry(result.player.clone()).or_default();
            standing.points += u64::from(result.reward.xp);
            standing.won += u64::from(result.place == 1);
            standing.kills += u64::from(result.tally.kills);
        }
    }

    /// The whole table, best first.
    pub fn ranked(&self) -> Vec<Ranked> {
        rank(self.standings.iter().map(|(player, standing)| (player.clone(), standing.clone())).collect())
    }
}

/// Ranks players by points; of equals, who comes first by name.
pub fn rank(mut standings: Vec<(PlayerId, Standing)>) -> Vec<Ranked> {
    standings.sort_by(|(a, x), (b, y)| y.points.cmp(&x.points).then_with(|| a.cmp(b)));
    let mut ranked: Vec<Ranked> = Vec::with_capacity(standings.len());
    for (player, standing) in standings {
        let equal = ranked.last().filter(|above| above.standing.points == standing.points).map(|above| above.rank);
        let rank = equal.unwrap_or(ranked.len() as u64 + 1);
        ranked.push(Ranked { rank, player, standing });
    }
    ranked
}

/// A table of points. Its key is the season and the region.
#[grain_interface(key = Compound<StrKey, Region>)]
pub trait Leaderboard {
    /// For a match: its results. Safe to repeat.
    async fn record(&mut self, mode: Mode, number: u64, results: Results);

    /// The best `most` players.
    async fn top(&self, most: u32) -> Vec<Ranked>;

    /// A player, and up to `near` players on either side.
    async fn around(&self, player: PlayerId, near: u32) -> Vec<Ranked>;
}

/// See [`Leaderboard`]. It sorts when it is asked: read side by side, that is cheap up to some ten thousand players; a
/// table for millions would keep its order, and its players in pages.
#[derive(Grain)]
#[grain(implements(Leaderboard), key = Compound<StrKey, Region>)]
pub struct LeaderboardGrain {
    #[state]
    table: Persistent<Table>,
}

impl Leaderboard for LeaderboardGrain {
    async fn record(&mut self, mode: Mode, number: u64, results: Results) {
        self.table.record(mode, number, &results);
    }

    async fn top(&self, most: u32) -> Vec<Ranked> {
        let mut ranked = self.table.ranked();
        ranked.truncate(most as usize);
        ranked
    }

    async fn around(&self, player: PlayerId, near: u32) -> Vec<Ranked> {
        let ranked = self.table.ranked();
        let Some(at) = ranked.iter().position(|line| line.player == player) else { return Vec::new() };
        let from = at.saturating_sub(near as usize);
        ranked.into_iter().skip(from).take(at - from + 1 + near as usize).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_share_a_rank() {
        let line = |player: &str, points| (player.into(), Standing { points, ..Standing::default() });
        let ranks: Vec<_> = rank(vec![line("c", 5), line("b", 9), line("a", 9)]);
        let shown: Vec<_> = ranks.iter().map(|r| (r.rank, &*r.player)).collect();
        assert_eq!(shown, [(1, "a"), (1, "b"), (3, "c")]);
    }
}
