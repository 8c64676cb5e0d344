//! What a player asks for, and the queue that turns a bad network into one input per tick.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::geometry::Heading;

/// How many inputs wait for their tick before the oldest is dropped.
pub const QUEUE_LIMIT: usize = 16;

/// What a player does besides walking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Nothing.
    #[default]
    None,
    /// Strike whoever stands close ahead.
    Strike,
    /// Shoot the first fighter along the aim.
    Shoot,
    /// Use up the item in this slot of the bag.
    Use(u8),
    /// Put down the item in this slot of the bag.
    Drop(u8),
}

/// One tick's wish of one player.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// The client's own count, from 1, rising.
    pub seq: u32,
    /// Which way to walk.
    pub walk: Heading,
    /// Which way to look; none keeps the last.
    pub aim: Heading,
    /// What else to do.
    pub action: Action,
}

/// What became of an offered input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It waits for its tick.
    Queued,
    /// It waits, and the oldest waiting input was dropped for it.
    QueuedDroppingOldest,
    /// Its number was seen or passed already.
    Stale,
}

/// A player's inputs that wait for their tick, in rising order of number.
///
/// Duplicates and late arrivals are refused by number, so a client may send every input several times and a network
/// may deliver them in any order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputQueue {
    waiting: VecDeque<Input>,
    newest: u32,
    acked: u32,
    dropped: u32,
}

impl InputQueue {
    /// Takes in an input, unless it is not newer than all before it.
    pub fn offer(&mut self, input: Input) -> Offer {
        if input.seq <= self.newest {
            return Offer::Stale;
        }
        self.newest = input.seq;
        self.waiting.push_back(input);
        if self.waiting.len() <= QUEUE_LIMIT {
            return Offer::Queued;
        }
        self.waiting.pop_front();
        self.dropped = self.dropped.saturating_add(1);
        Offer::QueuedDroppingOldest
    }

    /// The input for this tick, which is thereby acknowledged.
    pub(crate) fn next(&mut self) -> Option<Input> {
        let input = self.waiting.pop_front()?;
        self.acked = input.seq;
        Some(input)
    }

    /// The number of the last input that was played; what a client reconciles its prediction with.
    pub fn acked(&self) -> u32 {
        self.acked
    }

    /// The highest number accepted so far.
    pub fn newest(&self) -> u32 {
        self.newest
    }

    /// How many inputs were dropped because too many waited.
    pub fn dropped(&self) -> u32 {
        self.dropped
    }

    /// How many inputs wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(seq: u32) -> Input {
        Input { seq, ..Input::default() }
    }

    #[test]
    fn duplicates_and_late_arrivals_are_refused() {
        let mut queue = InputQueue::default();
        let offers: Vec<Offer> = [1, 1, 3, 2, 3, 4].map(|seq| queue.offer(input(seq))).to_vec();
        use Offer::{Queued, Stale};
        assert_eq!(offers, [Queued, Stale, Queued, Stale, Stale, Queued]);
        let played: Vec<u32> = std::iter::from_fn(|| queue.next()).map(|i| i.seq).collect();
        assert_eq!(played, [1, 3, 4]);
        assert_eq!(queue.acked(), 4);
    }

    #[test]
    fn a_full_queue_drops_the_oldest_and_counts_it() {
        let mut queue = InputQueue::default();
        let last = (1..=20).map(|seq| queue.offer(input(seq))).last();
        assert_eq!(last, Some(Offer::QueuedDroppingOldest));
        assert_eq!((queue.len(), queue.dropped()), (QUEUE_LIMIT, 4));
        assert_eq!(queue.next().map(|i| i.seq), Some(5));
    }
}
