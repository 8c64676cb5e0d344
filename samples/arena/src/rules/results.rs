//! Who won, and what each gets for it: pure functions of the kill log and the final state.

use serde::{Deserialize, Serialize};

use super::config::MAX_SEATS;
use super::events::Kill;
use super::fighter::Body;
use super::items::ItemKind;
use super::match_state::MatchState;
use super::names::{MatchId, PlayerId, Tick};

/// One seat's line of the kill log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Enemies killed.
    pub kills: u32,
    /// Deaths of any cause.
    pub deaths: u32,
    /// Deaths that were nobody's kill.
    pub unforced: u32,
}

impl Tally {
    /// A point for a kill, a point off for an unforced death.
    pub fn score(self) -> i32 {
        self.kills as i32 - self.unforced as i32
    }
}

/// What the kill log says of each seat.
pub fn tally(kills: &[Kill]) -> [Tally; MAX_SEATS] {
    let mut seats = [Tally::default(); MAX_SEATS];
    for kill in kills {
        if let Some(victim) = seats.get_mut(kill.victim.index()) {
            victim.deaths += 1;
            victim.unforced += u32::from(kill.killer.is_none());
        }
        if let Some(killer) = kill.killer.and_then(|k| seats.get_mut(k.index())) {
            killer.kills += 1;
        }
    }
    seats
}

/// What a player takes home; the player's grain adds it once per match id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reward {
    /// Experience points.
    pub xp: u32,
    /// Coins.
    pub coins: u32,
    /// What they carried at the end.
    pub items: Vec<ItemKind>,
}

/// One player's outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlayerResult {
    /// Who.
    pub player: PlayerId,
    /// 1 for the winner; equals share a place.
    pub place: u32,
    /// Their line of the kill log.
    pub tally: Tally,
    /// Whether they left before the end; they come last and get nothing.
    pub left: bool,
    /// What they take home.
    pub reward: Reward,
}

/// The outcome of a match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Results {
    /// Of which match.
    pub match_id: MatchId,
    /// How many ticks it ran.
    pub ticks: Tick,
    /// Every player, best first.
    pub players: Vec<PlayerResult>,
}

impl Results {
    /// One player's outcome.
    pub fn of(&self, player: &str) -> Option<&PlayerResult> {
        self.players.iter().find(|p| &*p.player == player)
    }
}

impl PlayerResult {
    /// Their score.
    pub fn score(&self) -> i32 {
        self.tally.score()
    }
}

impl MatchState {
    /// The standings now; final once the match has finished.
    pub fn results(&self) -> Results {
        let tallies = tally(&self.kills);
        let rank = |left: bool, t: Tally| (left, -t.score(), t.deaths);
        let ranks = || self.fighters.iter().zip(tallies).map(|(f, t)| rank(f.body == Body::Gone, t));
        let mut players: Vec<PlayerResult> = (self.fighters.iter().zip(tallies))
            .map(|(fighter, tally)| {
                let left = fighter.body == Body::Gone;
                let place = 1 + ranks().filter(|r| *r < rank(left, tally)).count() as u32;
                let items = fighter.bag.iter().map(|i| i.kind).collect();
                let reward = if left { Reward::default() } else { reward(place, tally, items) };
                PlayerResult { player: fighter.id.clone(), place, tally, left, reward }
            })
            .collect();
        players.sort_by(|a, b| (a.place, &a.player).cmp(&(b.place, &b.player)));
        Results { match_id: self.id.clone(), ticks: self.tick, players }
    }

    pub(crate) fn kill_limit_reached(&self) -> bool {
        // The log is shorter than the limit for much of a match.
        let limit = self.config.kill_limit;
        self.kills.len() >= limit as usize && tally(&self.kills).iter().any(|t| t.kills >= limit)
    }
}

fn reward(place: u32, tally: Tally, items: Vec<ItemKind>) -> Reward {
    let podium = [100, 50, 25].get(place as usize - 1).copied().unwrap_or(0);
    Reward { xp: 50 + 20 * tally.kills + podium, coins: 10 + 5 * tally.kills + podium / 4, items }
}
