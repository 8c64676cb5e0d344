//! The calls of one grain that is not active in this silo: in order, across moves of the grain. No I/O: the router feeds
//! it and does what it says.
//!
//! ```text
//! Resolving ──▶ At(silo) ──▶ Returning ──▶ Resolving
//! ```
//! A call that comes back (the grain has left that silo) stops the lane: what is called meanwhile waits until every call
//! that was out has been answered or has come back, and goes behind those. So calls keep their order when the grain moves.

use std::collections::VecDeque;

use gristmill_cluster::Incarnation;
use gristmill_grains::chaos::{self, Bug};

use super::numbered::Numbered;

/// Where the grain is, as far as this silo knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// It is being asked for.
    Resolving,
    At(Incarnation),
    /// Some calls came back; the others that are out are waited for.
    Returning,
}

/// A lane of calls `C`.
#[derive(Debug)]
pub(crate) struct Lane<C> {
    state: State,
    /// Waits to leave.
    queue: VecDeque<(u64, C)>,
    /// Is out, by number.
    out: Numbered<C>,
    /// At which silo.
    out_at: Option<Incarnation>,
    /// Came back.
    back: Numbered<C>,
    /// Calls that an activation in this silo had not begun when it ended: before all others.
    left: Vec<C>,
    /// Are there more of those to come?
    held: bool,
    next: u64,
    /// Another one after every return, so that a silo knows what was sent before it sent something back.
    generation: u8,
    /// Was nothing called since it was last looked at?
    quiet: bool,
}

/// What the router is to do.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Nothing; something will happen.
    Wait,
    /// Send what [`Lane::depart`] gives to this silo.
    Send(Incarnation),
    /// Find out where the grain is, then tell by [`Lane::located`].
    Resolve,
    /// Remove the lane: it holds nothing.
    Over,
}

impl<C> Lane<C> {
    /// A lane to a grain whose place is known, or not. Its calls are numbered from `next` on.
    pub(crate) fn new(at: Option<Incarnation>, generation: u8, next: u64) -> Self {
        let state = at.map_or(State::Resolving, State::At);
        let (queue, out, back) = (VecDeque::new(), Numbered::default(), Numbered::default());
        let (out_at, left, held, quiet) = (None, Vec::new(), false, false);
        Self { state, queue, out, out_at, back, left, held, next, generation, quiet }
    }

    /// An activation in this silo has ended and leaves calls, which come by [`leave`](Self::leave): nothing departs until
    /// [`unhold`](Self::unhold).
    pub(crate) fn hold(&mut self) {
        self.held = true;
        self.state = State::Returning;
    }

    /// Takes on a call that the ended activation had.
    pub(crate) fn leave(&mut self, call: C) {
        match chaos::planted(Bug::LeftReversed) {
            true => self.left.insert(0, call),
            false => self.left.push(call),
        }
    }

    /// The ended activation has left all its calls.
    pub(crate) fn unhold(&mut self) -> Step {
        self.held = false;
        self.settle()
    }

    /// Does it hold no call, and know where the grain is?
    pub(crate) fn is_idle(&self) -> bool {
        self.place().is_some() && self.queue.is_empty() && self.out.is_empty()
    }

    /// Of what it sends now.
    pub(crate) fn generation(&self) -> u8 {
        self.generation
    }

    /// Where the grain is, if that is known.
    pub(crate) fn place(&self) -> Option<Incarnation> {
        match self.state {
            State::At(silo) => Some(silo),
            State::Resolving | State::Returning => None,
        }
    }

    /// Does it wait to be told where the grain is?
    pub(crate) fn is_resolving(&self) -> bool {
        self.state == State::Resolving
    }

    /// The grain is not where it was thought to be, or cannot be reached there.
    pub(crate) fn forget_place(&mut self) {
        if self.is_idle() {
            self.state = State::Resolving;
        }
    }

    /// Is it idle, and was when this was last asked?
    pub(crate) fn is_forgotten(&mut self) -> bool {
        std::mem::replace(&mut self.quiet, true) && self.is_idle()
    }

    /// How many calls wait to leave.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len() + self.back.len() + self.left.len()
    }

    /// Takes a call on.
    pub(crate) fn push(&mut self, call: C) -> Step {
        self.queue.push_back((self.next, call));
        self.next += 1;
        self.quiet = false;
        match self.state {
            State::At(silo) => Step::Send(silo),
            _ => Step::Wait,
        }
    }

    /// The next call to send to the silo the grain is at; it counts as out.
    pub(crate) fn depart(&mut self) -> Option<(u64, &C)> {
        let State::At(silo) = self.state else { return None };
        let (number, call) = self.queue.pop_front()?;
        self.out_at = Some(silo);
        Some((number, self.out.insert(number, call)))
    }

    /// The grain is at this silo.
    pub(crate) fn located(&mut self, silo: Incarnation) -> Step {
        if !self.is_resolving() {
            return Step::Wait;
        }
        self.state = State::At(silo);
        match self.queue.is_empty() {
            true => self.settle(),
            false => Step::Send(silo),
        }
    }

    /// The call was answered, or given up.
    pub(crate) fn answered(&mut self, number: u64) -> (Option<C>, Step) {
        let call = self.out.remove(number);
        (call, self.settle())
    }

    /// The call has come back, not run.
    pub(crate) fn came_back(&mut self, number: u64) -> Step {
        if let Some(call) = self.out.remove(number) {
            self.back.insert(number, call);
            if let State::At(_) = self.state {
                self.state = State::Returning;
            }
        }
        self.settle()
    }

    /// The call that is out, if it is.
    pub(crate) fn get(&self, number: u64) -> Option<&C> {
        self.out.get(number)
    }

    /// The calls that are out, and their numbers.
    pub(crate) fn out(&self) -> impl Iterator<Item = (u64, &C)> {
        self.out.iter()
    }

    /// The silo that all calls are out at, if any is.
    pub(crate) fn out_at(&self) -> Option<Incarnation> {
        self.out_at.filter(|_| !self.out.is_empty())
    }

    /// The next call's number.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Is the grain at this silo, and has every call left for it?
    pub(crate) fn is_empty_at(&self, silo: Incarnation) -> bool {
        self.state == State::At(silo) && self.queue.is_empty()
    }

    /// Takes out every call that waits to leave and for which `ended` says so.
    pub(crate) fn remove_waiting(&mut self, mut ended: impl FnMut(&C) -> bool) -> Vec<C> {
        let mut removed = Vec::new();
        for (number, call) in std::mem::take(&mut self.queue) {
            match ended(&call) {
                true => removed.push(call),
                false => self.queue.push_back((number, call)),
            }
        }
        for (number, call) in std::mem::take(&mut self.back) {
            match ended(&call) {
                true => removed.push(call),
                false => drop(self.back.insert(number, call)),
            }
        }
        for call in std::mem::take(&mut self.left) {
            match ended(&call) {
                true => removed.push(call),
                false => self.left.push(call),
            }
        }
        removed
    }

    /// The grain is not found. If it is still looked for, nothing is out: every call, and the lane is over.
    pub(crate) fn give_up(&mut self) -> Option<Vec<C>> {
        let looked_for = self.is_resolving() && self.out.is_empty() && !self.held;
        looked_for.then(|| self.remove_waiting(|_| true))
    }

    /// Every call it holds, and whether it is out.
    pub(crate) fn into_calls(self) -> impl Iterator<Item = (C, bool)> {
        let out = self.out.into_iter().map(|(_, call)| (call, true));
        let waiting = self.queue.into_iter().map(|(_, call)| call);
        let back = self.back.into_iter().map(|(_, call)| call);
        out.chain(back.chain(self.left).chain(waiting).map(|call| (call, false)))
    }

    /// Looks at what to do next.
    fn settle(&mut self) -> Step {
        if !self.out.is_empty() {
            return Step::Wait;
        }
        match self.state {
            State::At(silo) if !self.queue.is_empty() => Step::Send(silo),
            State::At(_) => Step::Over,
            State::Resolving => Step::Wait,
            State::Returning if self.held => Step::Wait,
            State::Returning => {
                // What came back was made before what the activation left, and that before what waits.
                let left = std::mem::take(&mut self.left);
                let back: Vec<_> =
                    std::mem::take(&mut self.back).into_iter().map(|(_, call)| call).chain(left).collect();
                let waiting: Vec<_> = self.queue.drain(..).map(|(_, call)| call).collect();
                let (back, waiting) =
                    if chaos::planted(Bug::LaneOvertaken) { (waiting, back) } else { (back, waiting) };
                for call in back.into_iter().chain(waiting) {
                    self.queue.push_back((self.next, call));
                    self.next += 1;
                }
                self.state = State::Resolving;
                self.generation = self.generation.wrapping_add(1);
                match self.queue.is_empty() {
                    true => Step::Over,
                    false => Step::Resolve,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Incarnation = Incarnation::from_u128(1);
    const B: Incarnation = Incarnation::from_u128(2);

    fn departed(lane: &mut Lane<u64>) -> Vec<u64> {
        std::iter::from_fn(|| lane.depart().map(|(_, call)| *call)).collect()
    }

    #[test]
    fn calls_wait_for_those_that_came_back() {
        let mut lane = Lane::new(None, 0, 0);
        assert_eq!((lane.push(0), lane.push(1)), (Step::Wait, Step::Wait));
        assert_eq!(lane.located(A), Step::Send(A));
        assert_eq!(departed(&mut lane), [0, 1]);
        assert_eq!(lane.push(2), Step::Send(A));
        assert_eq!(departed(&mut lane), [2]);
        assert_eq!(lane.came_back(2), Step::Wait);
        assert_eq!(lane.push(3), Step::Wait);
        assert_eq!(lane.answered(0), (Some(0), Step::Wait));
        assert_eq!(lane.came_back(1), Step::Resolve);
        assert_eq!(lane.located(B), Step::Send(B));
        assert_eq!(departed(&mut lane), [1, 2, 3]);
    }

    #[test]
    fn a_lane_that_holds_nothing_is_over() {
        let mut lane = Lane::new(Some(A), 0, 0);
        assert_eq!(lane.push(0), Step::Send(A));
        assert_eq!(departed(&mut lane), [0]);
        assert_eq!(lane.answered(0), (Some(0), Step::Over));
    }

    #[test]
    fn calls_that_an_ended_activation_leaves_go_before_later_ones() {
        let mut lane = Lane::new(None, 0, 0);
        lane.hold();
        assert_eq!(lane.push(2), Step::Wait);
        lane.leave(0);
        lane.leave(1);
        assert_eq!((lane.unhold(), lane.located(A)), (Step::Resolve, Step::Send(A)));
        assert_eq!(departed(&mut lane), [0, 1, 2]);
    }

    /// A silo that calls are sent to: what it has received, by number; and does it refuse by now?
    type Silo = (Incarnation, VecDeque<(u64, u64)>, bool);

    /// Against a model: whatever happens, each call is run at most once, in the order of its making.
    #[test]
    fn calls_keep_their_order_whatever_happens() {
        for seed in 0..20_000 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut lane = Lane::new(None, 0, 0);
            let (mut made, mut ran): (u64, Vec<u64>) = (0, Vec::new());
            // What each silo has received and neither run nor refused; a silo refuses everything once it refuses.
            let mut at: Option<Silo> = None;
            let mut step = Step::Wait;
            for _ in 0..60 {
                match rng.u8(..5) {
                    0 | 1 => {
                        step = lane.push(made);
                        made += 1;
                    }
                    2 => {
                        if let Some((_, received, refusing)) = &mut at
                            && let Some((number, call)) = received.pop_front()
                        {
                            step = match refusing {
                                true => lane.came_back(number),
                                false => {
                                    ran.push(call);
                                    lane.answered(number).1
                                }
                            };
                        }
                    }
                    3 => at.iter_mut().for_each(|(_, _, refusing)| *refusing = true),
                    _ => {
                        if at.as_ref().is_none_or(|(_, received, refusing)| *refusing && received.is_empty()) {
                            let silo = Incarnation::from_u128(rng.u128(1..));
                            let located = lane.located(silo);
                            if located != Step::Wait {
                                at = Some((silo, VecDeque::new(), false));
                                step = located;
                            }
                        }
                    }
                }
                if let Step::Send(silo) = step {
                    let Some((now, received, _)) = at.as_mut().filter(|(now, ..)| *now == silo) else {
                        panic!("seed {seed}: sent to {silo}")
                    };
                    assert_eq!(*now, silo);
                    while let Some((number, call)) = lane.depart() {
                        received.push_back((number, *call));
                    }
                }
                if step == Step::Over {
                    lane = Lane::new(at.as_ref().filter(|(_, _, refusing)| !refusing).map(|(silo, ..)| *silo), 0, 0);
                }
                step = Step::Wait;
            }
            assert!(ran.is_sorted_by(|one, next| one < next), "seed {seed}: {ran:?}");
        }
    }
}
