//! Skill ratings: Elo's, in whole numbers.

use std::collections::BTreeMap;

use super::names::PlayerId;
use super::results::Results;

/// The rating of a new player.
pub const INITIAL_RATING: i32 = 1_200;

/// The most a two-player match moves a rating.
const K: i32 = 32;

/// Elo's expected score in thousandths for a rating lead of 0, 50, 100 ... 800.
const EXPECTED: [i32; 17] = [500, 571, 640, 703, 760, 808, 849, 882, 909, 930, 947, 960, 969, 977, 983, 987, 990];

/// The chance, in thousandths, that a player rated `a` beats one rated `b`.
///
/// A. Elo's logistic curve, `1 / (1 + 10^((b - a) / 400))`, from a table with straight lines between its points. The
/// two sides of a pair always add up to 1000.
pub fn expected_permille(a: i32, b: i32) -> i32 {
    let lead = a.saturating_sub(b);
    let size = lead.saturating_abs().min(800);
    let (index, part) = ((size / 50) as usize, size % 50);
    let low = EXPECTED[index];
    let high = EXPECTED.get(index + 1).copied().unwrap_or(low);
    let favourite = low + (high - low) * part / 50;
    if lead >= 0 { favourite } else { 1000 - favourite }
}

/// How the results of a match change the ratings of its players.
///
/// Each pair of players counts as a game won by the better place, shared out over the opponents. What one wins
/// another loses, so the changes add up to zero. A player without a rating has [`INITIAL_RATING`].
pub fn rating_changes(results: &Results, ratings: &BTreeMap<PlayerId, i32>) -> BTreeMap<PlayerId, i32> {
    let rating = |p: &PlayerId| ratings.get(p).copied().unwrap_or(INITIAL_RATING);
    let mut changes: BTreeMap<PlayerId, i32> = results.players.iter().map(|p| (p.player.clone(), 0)).collect();
    let opponents = (results.players.len() as i32 - 1).max(1);
    for (i, a) in results.players.iter().enumerate() {
        for b in &results.players[i + 1..] {
            let scored = match a.place.cmp(&b.place) {
                std::cmp::Ordering::Less => 1000,
                std::cmp::Ordering::Equal => 500,
                std::cmp::Ordering::Greater => 0,
            };
            let surprise = scored - expected_permille(rating(&a.player), rating(&b.player));
            let moved = K * surprise / (1000 * opponents);
            for (player, change) in [(&a.player, moved), (&b.player, -moved)] {
                *changes.entry(player.clone()).or_default() += change;
            }
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upset_moves_more_than_an_expected_win() {
        assert_eq!(expected_permille(1500, 1500), 500);
        assert_eq!(expected_permille(1625, 1500), 671);
        assert_eq!(expected_permille(i32::MAX, i32::MIN), 990);
        for lead in -900..900 {
            assert_eq!(expected_permille(lead, 0) + expected_permille(0, lead), 1000);
            assert!(expected_permille(lead, 0) <= expected_permille(lead + 1, 0));
        }
    }
}
