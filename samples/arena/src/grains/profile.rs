//! What a player has and does: plain data, and the few ways it may change.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::rules::rating::INITIAL_RATING;
use crate::rules::results::{Reward, Tally};
use crate::rules::{ItemKind, MatchId};

use super::names::Queue;

/// What a player does now. One field in one grain, so that searching, cancelling and being assigned cannot cross.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activity {
    /// Nothing.
    #[default]
    Idle,
    /// Waits for a match.
    Searching {
        /// Where.
        queue: Queue,
    },
    /// Is in a match, until its reward comes.
    Fighting {
        /// From where it was assigned.
        queue: Queue,
        /// Which.
        match_id: MatchId,
        /// Its steps per second.
        tick_hz: u32,
        /// Whether the player asked to be let out.
        leaving: bool,
    },
}

/// What a player takes home from one match; nothing but a rating for one who left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prize {
    /// From which match.
    pub match_id: MatchId,
    /// 1 for the winner; `None` for one who left.
    pub place: Option<u32>,
    /// Kills and deaths.
    pub tally: Tally,
    /// Experience, coins, items.
    pub reward: Reward,
    /// How much better, or worse, they are rated.
    pub rating_change: i32,
}

/// What a player keeps from match to match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// What they do now.
    pub activity: Activity,
    /// How many tickets they have drawn: the number of the current one.
    pub ticket: u64,
    /// Their skill rating.
    pub rating: i32,
    /// Experience points.
    pub xp: u64,
    /// Coins.
    pub coins: u64,
    /// Items brought home.
    pub inventory: BTreeMap<ItemKind, u64>,
    /// Matches played to the end.
    pub finished: u64,
    /// Matches left early.
    pub left: u64,
    /// Matches won.
    pub won: u64,
    /// Kills in them.
    pub kills: u64,
    /// Deaths in them.
    pub deaths: u64,
    /// The match they were in last.
    pub last_match: Option<MatchId>,
    /// What they took home last.
    #[serde(default)]
    pub last_prize: Option<Prize>,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            activity: Activity::Idle,
            ticket: 0,
            rating: INITIAL_RATING,
            xp: 0,
            coins: 0,
            inventory: BTreeMap::new(),
            finished: 0,
            left: 0,
            won: 0,
            kills: 0,
            deaths: 0,
            last_match: None,
            last_prize: None,
        }
    }
}

/// Why something is not possible now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Busy {
    /// The player waits in another queue.
    SearchingElsewhere,
    /// The player is in a match.
    InMatch,
    /// The ticket was cancelled, or used for another match.
    StaleTicket,
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SearchingElsewhere => "the player waits in another queue",
            Self::InMatch => "the player is in a match",
            Self::StaleTicket => "the ticket was cancelled, or used for another match",
        })
    }
}

impl std::error::Error for Busy {}

impl Profile {
    /// The match the player is in.
    pub fn current_match(&self) -> Option<&MatchId> {
        match &self.activity {
            Activity::Fighting { match_id, .. } => Some(match_id),
            Activity::Idle | Activity::Searching { .. } => None,
        }
    }

    /// Draws a ticket for a queue; asking again answers the same ticket.
    ///
    /// # Errors
    /// When the player waits elsewhere or is in a match.
    pub fn search(&mut self, wanted: Queue) -> Result<u64, Busy> {
        match &self.activity {
            Activity::Idle => {
                self.ticket += 1;
                self.activity = Activity::Searching { queue: wanted };
                Ok(self.ticket)
            }
            Activity::Searching { queue } if *queue == wanted => Ok(self.ticket),
            Activity::Searching { .. } => Err(Busy::SearchingElsewhere),
            Activity::Fighting { .. } => Err(Busy::InMatch),
        }
    }

    /// Uses the ticket for a match: the compare-and-set that makes a ticket count once. Answers whether it was used now
    /// rather than before.
    ///
    /// # Errors
    /// When the ticket is not the current one, or was used for another match.
    pub fn assign(&mut self, ticket: u64, to: &MatchId, tick_hz: u32) -> Result<bool, Busy> {
        match &self.activity {
            Activity::Searching { queue } if ticket == self.ticket => {
                let queue = queue.clone();
                self.last_match = Some(to.clone());
                self.activity = Activity::Fighting { queue, match_id: to.clone(), tick_hz, leaving: false };
                Ok(true)
            }
            Activity::Fighting { match_id, .. } if ticket == self.ticket && match_id == to => Ok(false),
            _ => Err(Busy::StaleTicket),
        }
    }

    /// Whether the player waits for a match with this ticket.
    pub fn holds(&self, ticket: u64) -> bool {
        ticket == self.ticket && matches!(self.activity, Activity::Searching { .. })
    }

    /// Gives a ticket back: the match it was used for will not be. Who asked to be let out of it is free; who did not
    /// searches on.
    pub fn unassign(&mut self, ticket: u64, from: &MatchId) {
        match &self.activity {
            Activity::Fighting { queue, match_id, leaving, .. } if ticket == self.ticket && match_id == from => {
                let searching = Activity::Searching { queue: queue.clone() };
                self.activity = if *leaving { Activity::Idle } else { searching };
            }
            _ => {}
        }
    }

    /// Cancels the search at once; asks to be let out of a match.
    pub fn leave(&mut self) {
        match &mut self.activity {
            Activity::Idle => {}
            Activity::Searching { .. } => self.activity = Activity::Idle,
            Activity::Fighting { leaving, .. } => *leaving = true,
        }
    }

    /// Takes a prize home, once; whether it was new.
    ///
    /// A player is in one match at a time and stays in it until its prize comes. So "am I in that match" is all that must
    /// be remembered to take every prize exactly once, however often it is offered.
    pub fn take_home(&mut self, prize: &Prize) -> bool {
        if self.current_match() != Some(&prize.match_id) {
            return false;
        }
        self.activity = Activity::Idle;
        self.rating += prize.rating_change;
        self.last_prize = Some(prize.clone());
        let Some(place) = prize.place else {
            self.left += 1;
            return true;
        };
        self.finished += 1;
        self.won += u64::from(place == 1);
        self.kills += u64::from(prize.tally.kills);
        self.deaths += u64::from(prize.tally.deaths);
        self.xp += u64::from(prize.reward.xp);
        self.coins += u64::from(prize.reward.coins);
        for item in &prize.reward.items {
            *self.inventory.entry(*item).or_default() += 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::QUEUES;
    use super::*;

    fn prize(of: &MatchId) -> Prize {
        let reward = Reward { xp: 5, coins: 1, items: vec![ItemKind::Potion] };
        Prize { match_id: of.clone(), place: Some(1), tally: Tally::default(), reward, rating_change: 3 }
    }

    #[test]
    fn a_ticket_is_used_once() {
        let (mut profile, one, two) = (Profile::default(), MatchId::from("one"), MatchId::from("two"));
        let ticket = profile.search(QUEUES[0].clone()).unwrap();
        assert_eq!(profile.search(QUEUES[0].clone()), Ok(ticket));
        assert_eq!(profile.assign(ticket + 1, &one, 30), Err(Busy::StaleTicket));
        assert_eq!(profile.assign(ticket, &one, 30), Ok(true));
        assert_eq!(profile.assign(ticket, &one, 30), Ok(false));
        assert_eq!(profile.assign(ticket, &two, 30), Err(Busy::StaleTicket));
        profile.unassign(ticket, &one);
        assert!(profile.holds(ticket));
        assert_eq!(profile.assign(ticket, &two, 30), Ok(true));
    }

    #[test]
    fn who_asked_to_be_let_out_of_a_match_that_is_not_made_is_free() {
        let (mut profile, one, two) = (Profile::default(), MatchId::from("one"), MatchId::from("two"));
        let ticket = profile.search(QUEUES[0].clone()).unwrap();
        profile.assign(ticket, &one, 30).unwrap();
        profile.leave();
        profile.unassign(ticket, &two);
        assert_eq!(profile.current_match(), Some(&one), "not that match");
        profile.unassign(ticket, &one);
        assert_eq!((profile.activity.clone(), profile.holds(ticket)), (Activity::Idle, false));
        assert_eq!(profile.assign(ticket, &two, 30), Err(Busy::StaleTicket));
    }

    #[test]
    fn a_cancelled_ticket_is_not_assigned() {
        let mut profile = Profile::default();
        let ticket = profile.search(QUEUES[0].clone()).unwrap();
        profile.leave();
        assert_eq!(profile.assign(ticket, &"m".into(), 30), Err(Busy::StaleTicket));
        let next = profile.search(QUEUES[0].clone()).unwrap();
        assert_eq!(profile.assign(ticket, &"m".into(), 30), Err(Busy::StaleTicket), "not the old ticket either");
        assert_eq!(profile.assign(next, &"m".into(), 30), Ok(true));
    }

    #[test]
    fn a_prize_is_taken_home_once() {
        let (mut profile, id) = (Profile::default(), MatchId::from("m"));
        let ticket = profile.search(QUEUES[0].clone()).unwrap();
        assert!(!profile.take_home(&prize(&id)), "not in that match yet");
        profile.assign(ticket, &id, 30).unwrap();
        assert!(profile.take_home(&prize(&id)));
        assert!(!profile.take_home(&prize(&id)));
        assert_eq!((profile.xp, profile.finished, profile.inventory[&ItemKind::Potion]), (5, 1, 1));
    }
}
