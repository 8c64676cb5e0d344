//! What players and leaderboards should have: the prizes of all finished matches, added up.

use std::collections::BTreeMap;

use crate::grains::leaderboard::Standing;
use crate::grains::match_record::MatchSetup;
use crate::grains::names::Region;
use crate::grains::profile::{Prize, Profile};
use crate::rules::{PlayerId, Results};

/// The sums.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// What every player should have earned, without what they do now.
    pub players: BTreeMap<PlayerId, Profile>,
    /// Every player's line of each leaderboard.
    pub boards: BTreeMap<Region, BTreeMap<PlayerId, Standing>>,
}

impl Expected {
    /// Adds a finished match.
    pub fn add(&mut self, setup: &MatchSetup, results: &Results) {
        for ticket in &setup.players {
            let prize = setup.prize(results, &ticket.player);
            earn(self.players.entry(ticket.player.clone()).or_default(), &prize);
            if prize.place.is_some() {
                let board = self.boards.entry(setup.queue.1).or_default();
                let standing = board.entry(ticket.player.clone()).or_default();
                standing.points += u64::from(prize.reward.xp);
                standing.won += u64::from(prize.place == Some(1));
                standing.kills += u64::from(prize.tally.kills);
            }
        }
    }
}

/// As [`Profile::take_home`] should do, written anew.
fn earn(earned: &mut Profile, prize: &Prize) {
    earned.rating += prize.rating_change;
    if prize.place.is_none() {
        earned.left += 1;
        return;
    }
    earned.finished += 1;
    earned.won += u64::from(prize.place == Some(1));
    earned.kills += u64::from(prize.tally.kills);
    earned.deaths += u64::from(prize.tally.deaths);
    earned.xp += u64::from(prize.reward.xp);
    earned.coins += u64::from(prize.reward.coins);
    for item in &prize.reward.items {
        *earned.inventory.entry(*item).or_default() += 1;
    }
}
