//! Which tickets were used last.

use std::collections::{BTreeMap, VecDeque};

use crate::rules::PlayerId;

use super::waiting::Ticket;

/// How many players are remembered: more than those of all matches a queue makes between two of its turns.
const MOST: usize = 1024;

/// The tickets that were used last. A player repeats a ticket until a match is there, so it may come once more when it has
/// been used already; it is to be known then, though not for ever: see [`Player::holds`](super::player::Player::holds).
#[derive(Debug, Default)]
pub struct Used {
    numbers: BTreeMap<PlayerId, u64>,
    /// The players in the order in which they are forgotten.
    order: VecDeque<PlayerId>,
}

impl Used {
    /// Notes that a ticket, and every earlier one of its player, is used up.
    pub fn note(&mut self, ticket: &Ticket) {
        match self.numbers.get_mut(&ticket.player) {
            Some(number) => *number = ticket.number.max(*number),
            None => {
                self.numbers.insert(ticket.player.clone(), ticket.number);
                self.order.push_back(ticket.player.clone());
            }
        }
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.numbers.remove(&oldest);
        }
    }

    /// Whether this ticket is known to be used up.
    pub fn contains(&self, ticket: &Ticket) -> bool {
        self.numbers.get(&ticket.player).is_some_and(|used| ticket.number <= *used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(player: usize, number: u64) -> Ticket {
        Ticket { player: format!("p{player}").into(), number, rating: 0 }
    }

    #[test]
    fn a_used_ticket_and_those_before_it_are_known() {
        let mut used = Used::default();
        used.note(&ticket(1, 5));
        used.note(&ticket(1, 4));
        let known = [(1, 4), (1, 5), (1, 6), (2, 1)].map(|(player, number)| used.contains(&ticket(player, number)));
        assert_eq!(known, [true, true, false, false]);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut used = Used::default();
        (0..=MOST).for_each(|player| used.note(&ticket(player, 1)));
        assert_eq!((used.contains(&ticket(0, 1)), used.contains(&ticket(1, 1))), (false, true));
        assert_eq!((used.numbers.len(), used.order.len()), (MOST, MOST));
    }
}
