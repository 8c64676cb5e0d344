//! Is a history linearizable: could each call have taken effect at one moment between its begin and its end, one after the
//! other?
//!
//! The search of J. Wing and C. Gong ("Testing and Verifying Concurrent Objects", 1993), remembering what was tried as
//! G. Lowe does it ("Testing for linearizability", 2017).

use std::collections::BTreeSet;
use std::time::Duration;

/// A sequential object.
pub trait Model {
    /// What it holds.
    type State: Clone + Ord;
    /// A call and what it came to.
    type Call;

    /// What it holds at first.
    fn initial(&self) -> Self::State;

    /// What it holds after a call that had this effect and this answer; nothing if that cannot be.
    fn apply(&self, state: &Self::State, call: &Self::Call) -> Option<Self::State>;
}

/// A call with its times. One without an end may take effect at any later time, or never.
#[derive(Clone, Debug)]
pub struct Event<C> {
    /// The call.
    pub call: C,
    /// When it was made.
    pub begin: Duration,
    /// When it ended.
    pub end: Option<Duration>,
}

/// What a search came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// There is an order.
    Linearizable,
    /// There is none.
    Broken,
    /// The search was given up.
    TooLong,
}

/// How many states are looked at.
const LIMIT: usize = 200_000;

/// Searches for an order.
pub fn check<M: Model>(model: &M, events: &[Event<M::Call>]) -> Verdict {
    let mut search = Search { model, events, seen: BTreeSet::new(), steps: 0 };
    let done = vec![0_u64; events.len().div_ceil(64)];
    search.from(done, model.initial())
}

struct Search<'a, M: Model> {
    model: &'a M,
    events: &'a [Event<M::Call>],
    seen: BTreeSet<(Vec<u64>, M::State)>,
    steps: usize,
}

impl<M: Model> Search<'_, M> {
    fn from(&mut self, done: Vec<u64>, state: M::State) -> Verdict {
        // Depth first, without recursion: histories are long.
        let mut stack = vec![(done, state)];
        while let Some((done, state)) = stack.pop() {
            let is_done = |index: usize| done[index / 64] >> (index % 64) & 1 == 1;
            let open = || (0..self.events.len()).filter(|index| !is_done(*index));
            // What ends first of what is left: nothing that begins later comes before it.
            let Some(first_end) = open().filter_map(|index| self.events[index].end).min() else {
                return Verdict::Linearizable;
            };
            for index in open().filter(|index| self.events[*index].begin <= first_end) {
                let Some(next) = self.model.apply(&state, &self.events[index].call) else { continue };
                let mut marked = done.clone();
                marked[index / 64] |= 1 << (index % 64);
                self.steps += 1;
                if self.steps > LIMIT {
                    return Verdict::TooLong;
                }
                if self.seen.insert((marked.clone(), next.clone())) {
                    stack.push((marked, next));
                }
            }
        }
        Verdict::Broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Register;

    #[derive(Clone, Debug)]
    enum Call {
        Write(u8),
        Read(u8),
    }

    impl Model for Register {
        type State = u8;
        type Call = Call;

        fn initial(&self) -> u8 {
            0
        }

        fn apply(&self, state: &u8, call: &Call) -> Option<u8> {
            match call {
                Call::Write(value) => Some(*value),
                Call::Read(value) => (value == state).then_some(*state),
            }
        }
    }

    fn event(call: Call, begin: u64, end: impl Into<Option<u64>>) -> Event<Call> {
        let seconds = Duration::from_secs;
        Event { call, begin: seconds(begin), end: end.into().map(seconds) }
    }

    #[test]
    fn a_read_sees_a_write_that_it_overlaps_or_not() {
        for value in [0, 1] {
            let events = [event(Call::Write(1), 0, 10), event(Call::Read(value), 5, 6)];
            assert_eq!(check(&Register, &events), Verdict::Linearizable);
        }
    }

    #[test]
    fn a_read_after_a_write_sees_it() {
        let events = [event(Call::Write(1), 0, 1), event(Call::Read(0), 2, 3)];
        assert_eq!(check(&Register, &events), Verdict::Broken);
    }

    #[test]
    fn what_was_seen_is_not_unseen() {
        let events = [event(Call::Write(1), 0, 9), event(Call::Read(1), 1, 2), event(Call::Read(0), 3, 4)];
        assert_eq!(check(&Register, &events), Verdict::Broken);
    }

    #[test]
    fn a_write_without_an_end_may_come_late_or_never() {
        let late = [event(Call::Write(1), 0, None), event(Call::Read(0), 1, 2), event(Call::Read(1), 3, 4)];
        assert_eq!(check(&Register, &late), Verdict::Linearizable);
        let never = [event(Call::Write(1), 0, None), event(Call::Read(0), 1, 2)];
        assert_eq!(check(&Register, &never), Verdict::Linearizable);
        let before = [event(Call::Read(1), 0, 1), event(Call::Write(1), 2, None)];
        assert_eq!(check(&Register, &before), Verdict::Broken);
    }
}
