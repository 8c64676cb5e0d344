//! Deadlocks of calls that began independently, over several silos.
//!
//! A chain of calls that comes back to its own grain is seen where it would have to queue (`graph`): the chain travels with
//! the calls. Two chains that wait for each other on different silos are seen by neither. So a silo chases the edges of calls
//! that have been queued for a second: it asks what the turns that hold the grain wait for, from silo to silo. If that leads
//! back to a turn that waits for the call, and does so again the next time along the same edges, it is a deadlock: nothing of
//! it can move, as each turn in it waits for the next. Of the queued calls of a cycle one fails, the one with the highest
//! number; its own silo sees to that.
//!
//! After Chandy, Misra and Haas, "Distributed Deadlock Detection" (1983); but one silo asks, rather than that probes travel,
//! so that it has the whole chain to show.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use gristmill_cluster::{Answer, Ask, Incarnation, QueuedCall, TurnAt};
use gristmill_grains::turn::ChainNode;
use gristmill_grains::{Cause, ChainLink, Fault};
use tokio::time::{Instant, timeout};

use super::node::Node;
use crate::core::Core;
use crate::graph::{Stuck, WaitId, segment};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);
/// A call that has been queued for less is let be.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long another silo has to answer.
const ANSWER: Duration = Duration::from_millis(500);
/// Grains whose queues are looked into at a time, and questions that are asked for each.
const MAX_GRAINS: usize = 64;
const MAX_QUESTIONS: usize = 256;

/// A queued call, anywhere.
type CallAt = (Incarnation, WaitId);

/// Fails calls of deadlocks, while the silo runs.
pub(crate) async fn run(core: Arc<Core>) {
    let mut suspected = BTreeMap::new();
    loop {
        tokio::time::sleep(LOOK).await;
        suspected = round(&core, suspected).await;
    }
}

/// Looks once. `suspected` and what it gives: the cycles that were seen before and now, by the call to fail.
async fn round(core: &Core, suspected: BTreeMap<WaitId, Vec<CallAt>>) -> BTreeMap<WaitId, Vec<CallAt>> {
    let Some(node) = &core.node else { return BTreeMap::new() };
    let mut seen = BTreeMap::new();
    let Some(then) = Instant::now().checked_sub(PATIENCE) else { return seen };
    for stuck in core.graph.stuck(then).into_iter().take(MAX_GRAINS) {
        let reached = Reached::from(node, &stuck).await;
        for (wait, caller, call) in stuck.calls {
            let Some((chain, mut cycle)) = reached.cycle(node.me(), &caller, &call) else { continue };
            cycle.push((node.me(), wait));
            if cycle.iter().max() != Some(&(node.me(), wait)) {
                continue; // another silo's, or another call, fails
            }
            if suspected.get(&wait) != Some(&cycle) {
                seen.insert(wait, cycle);
                continue;
            }
            let fault = Fault::not_executed(Cause::Deadlock { chain }).of(&call.grain);
            if core.graph.refuse(wait, fault.clone()) {
                core.count_deadlock(&call.grain);
                tracing::warn!(%fault, "calls over several silos waited for each other");
            }
        }
    }
    seen
}

/// The turns that hold a grain, and all that those wait for.
struct Reached {
    /// Each with the turn that led there, and by which call.
    turns: BTreeMap<TurnAt, Option<(TurnAt, CallAt, Vec<ChainLink>)>>,
}

impl Reached {
    async fn from(node: &Node, stuck: &Stuck) -> Self {
        let holders = stuck.holders.iter().map(|turn| TurnAt { silo: node.me(), turn: *turn });
        let mut turns: BTreeMap<_, _> = holders.map(|at| (at, None)).collect();
        let mut next: VecDeque<TurnAt> = turns.keys().copied().collect();
        let mut questions = 0;
        while let Some(turn) = next.pop_front() {
            let (mut silos, mut asked) = (vec![turn.silo], BTreeSet::new());
            while let Some(silo) = silos.pop() {
                if !asked.insert(silo) {
                    continue;
                }
                questions += 1;
                if questions > MAX_QUESTIONS {
                    return Self { turns };
                }
                let answer = match silo == node.me() {
                    true => Some(node.below(turn)),
                    false => timeout(ANSWER, node.ask(silo, Ask::Below { turn })).await.unwrap_or_default(),
                };
                let Some(Answer::Below { queued, onward }) = answer else { continue };
                silos.extend(onward);
                for call in queued {
                    for holder in call.holders {
                        let at = TurnAt { silo, turn: holder };
                        turns.entry(at).or_insert_with(|| {
                            next.push_back(at);
                            Some((turn, (silo, call.number), call.chain.clone()))
                        });
                    }
                }
            }
        }
        Self { turns }
    }

    /// If a turn that waits for the call is among them: the chain, from the turn that holds the call's grain to the call,
    /// and the queued calls on the way.
    fn cycle(&self, me: Incarnation, caller: &ChainNode, call: &ChainLink) -> Option<(Vec<ChainLink>, Vec<CallAt>)> {
        let (mine, end) =
            caller.waiting().map(|node| (node, place_of(me, node))).find(|(_, at)| self.turns.contains_key(at))?;
        let (mut segments, mut calls, mut at) = (vec![segment(caller, mine.turn)], Vec::new(), end);
        while let Some(Some((from, queued, links))) = self.turns.get(&at) {
            segments.push(links.clone());
            calls.push(*queued);
            at = *from;
        }
        let mut chain: Vec<_> = segments.into_iter().rev().flatten().collect();
        chain.push(call.clone());
        Some((chain, calls))
    }
}

/// Where a turn of a chain runs.
fn place_of(me: Incarnation, node: &ChainNode) -> TurnAt {
    match node.origin() {
        Some(origin) => TurnAt { silo: Incarnation::from_u128(origin.process), turn: origin.turn },
        None => TurnAt { silo: me, turn: node.turn },
    }
}

impl Node {
    /// What a turn waits for here.
    pub(super) fn below(&self, turn: TurnAt) -> Answer {
        let Some(core) = self.core() else { return Answer::No };
        let turn = self.number_of(turn);
        let queued = core.graph.below(turn).into_iter().map(|below| QueuedCall {
            number: below.wait,
            chain: below.links,
            holders: below.holders,
        });
        let onward = self.router().silos_below(turn).into_iter().filter(|silo| *silo != self.me());
        Answer::Below { queued: queued.collect(), onward: onward.collect() }
    }
}
