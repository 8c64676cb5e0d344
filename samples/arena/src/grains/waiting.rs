//! Who waits in a queue, and how a match is formed from them: plain data, which the matchmaker stores as it is.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::rules::{MatchId, PlayerId};

/// A player's wish for a match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// Whose.
    pub player: PlayerId,
    /// The player's own count: a ticket is a player and a number.
    pub number: u64,
    /// How the player is rated.
    pub rating: i32,
}

impl Ticket {
    /// Whether it is the same one, whatever it says of the rating.
    pub fn same(&self, other: &Self) -> bool {
        self.player == other.player && self.number == other.number
    }
}

/// The match that is being formed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forming {
    /// Tickets chosen for it, which may or may not have been assigned yet.
    pub chosen: Vec<Ticket>,
}

/// A ticket that may have been used for a match that its player is not in, as they did not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsure {
    /// The ticket.
    pub ticket: Ticket,
    /// The match that went on without them.
    pub match_id: MatchId,
}

/// The whole state of a matchmaker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Who waits, in order of arrival.
    pub line: VecDeque<Ticket>,
    /// How many matches were made: the number of the last one.
    pub made: u64,
    /// The match that is being formed: number `made + 1`. Stored before any of its players hears of it, so that after a
    /// crash it is the same match again.
    pub forming: Option<Forming>,
    /// Who is to be asked to give a ticket back, in the order in which they are asked.
    #[serde(default)]
    pub unsure: VecDeque<Unsure>,
}

impl Waiting {
    /// The tickets that are not known to be in a match.
    pub fn tickets(&self) -> impl Iterator<Item = &Ticket> {
        self.line.iter().chain(self.forming.iter().flat_map(|forming| &forming.chosen))
    }

    /// Whether nobody waits, or may wait.
    pub fn is_still(&self) -> bool {
        self.tickets().next().is_none() && self.forming.is_none() && self.unsure.is_empty()
    }

    /// The next one to be asked to give a ticket back, unless the ticket is in use again.
    pub fn owed(&self) -> Option<Unsure> {
        self.unsure.iter().find(|unsure| !self.contains(&unsure.ticket)).cloned()
    }

    /// Notes that it is known what became of a ticket.
    pub fn settle(&mut self, ticket: &Ticket) {
        self.unsure.retain(|unsure| !unsure.ticket.same(ticket));
    }

    /// Whether this ticket waits, or is in the match that is being formed.
    pub fn contains(&self, ticket: &Ticket) -> bool {
        self.tickets().any(|t| t.same(ticket))
    }

    /// Puts a ticket at the end of the line. A newer ticket replaces an older one of the same player.
    pub fn enqueue(&mut self, ticket: Ticket) {
        self.line.retain(|t| t.player != ticket.player || t.number > ticket.number);
        if !self.line.iter().any(|t| t.player == ticket.player) {
            self.line.push_back(ticket);
        }
    }

    /// Takes up to `seats` tickets out of the line: who came first, and those rated nearest to them.
    pub fn choose(&mut self, seats: usize) -> Vec<Ticket> {
        let Some(first) = self.line.pop_front() else { return Vec::new() };
        // Stable: of two equally near, who came first.
        self.line.make_contiguous().sort_by_key(|t| t.rating.abs_diff(first.rating));
        let rest = self.line.len().min(seats.saturating_sub(1));
        std::iter::once(first).chain(self.line.drain(..rest)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(player: &str, number: u64, rating: i32) -> Ticket {
        Ticket { player: player.into(), number, rating }
    }

    #[test]
    fn who_came_first_plays_with_the_nearest_rated() {
        let mut waiting = Waiting::default();
        for (player, rating) in [("a", 1000), ("b", 2000), ("c", 1100), ("d", 950)] {
            waiting.enqueue(ticket(player, 1, rating));
        }
        let names: Vec<_> = waiting.choose(3).into_iter().map(|t| t.player.to_string()).collect();
        assert_eq!(names, ["a", "d", "c"]);
        assert_eq!(waiting.line.len(), 1);
    }

    #[test]
    fn a_player_waits_once_with_the_newest_ticket() {
        let mut waiting = Waiting::default();
        for number in [1, 2, 1, 2] {
            waiting.enqueue(ticket("a", number, 0));
        }
        assert_eq!(waiting.line, [ticket("a", 2, 0)]);
    }
}
