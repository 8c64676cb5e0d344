//! Who waits for whom: deadlock is found when a call would have to queue.
//!
//! Nodes are turns. A turn waits for the calls it awaits; a call that is queued waits for the turns that hold its grain
//! now. The graph keeps only the queued calls, each with its chain of waiting turns; the holders are read from the
//! activations when searching. One lock, taken only when a call must queue: so the newest call of a cycle sees all of
//! it, and is the only victim.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use gristmill_grains::sync::{Mutex, MutexGuard};
use gristmill_grains::turn::{ChainNode, TurnId};
use gristmill_grains::{ChainLink, Fault};
use tokio::time::Instant;

/// Queued calls that a search follows one after the other, at most.
const MAX_HOPS: usize = 500;

/// Names a queued call in the graph.
pub(crate) type WaitId = u64;

/// What a queued call waits for.
pub(crate) trait Held: Send + Sync {
    /// The turns that hold the grain now.
    fn holders(&self) -> Vec<TurnId>;
}

/// A call in a mailbox, while somebody may still wait for it.
pub(crate) trait Queued: Send + Sync {
    /// Has it neither begun nor been given up?
    fn is_queued(&self) -> bool;
    /// Ends it with this failure if it has not; says whether it did.
    fn refuse(&self, fault: Fault) -> bool;
}

struct Wait {
    caller: Arc<ChainNode>,
    call: ChainLink,
    target: Weak<dyn Held>,
    queued: Weak<dyn Queued>,
    since: Instant,
}

/// Calls that have been queued for the same activation for long.
pub(crate) struct Stuck {
    /// The turns that hold it.
    pub(crate) holders: Vec<TurnId>,
    /// The calls: their number, who makes each, and what it is.
    pub(crate) calls: Vec<(WaitId, Arc<ChainNode>, ChainLink)>,
}

/// A queued call that a turn waits for.
pub(crate) struct Below {
    pub(crate) wait: WaitId,
    /// From that turn down to the one that made the call.
    pub(crate) links: Vec<ChainLink>,
    /// The turns that hold its grain.
    pub(crate) holders: Vec<TurnId>,
}

impl Wait {
    fn is_live(&self) -> bool {
        self.queued.upgrade().is_some_and(|queued| queued.is_queued())
    }
}

/// The graph of one silo.
#[derive(Default)]
pub(crate) struct WaitGraph(Mutex<Waits>);

/// The graph, locked: hold it from before a call is queued until its cycle was searched for.
#[derive(Default)]
pub(crate) struct Waits {
    next: WaitId,
    calls: BTreeMap<WaitId, Wait>,
    by_turn: BTreeMap<TurnId, BTreeSet<WaitId>>,
}

impl WaitGraph {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Waits> {
        self.0.lock()
    }

    /// The call began, or was given up.
    pub(crate) fn remove(&self, id: WaitId) {
        self.0.lock().remove(id);
    }

    /// Calls that have been queued since before `then`, by what they wait for.
    pub(crate) fn stuck(&self, then: Instant) -> Vec<Stuck> {
        let waits = self.0.lock();
        let mut stuck: Vec<(Weak<dyn Held>, Stuck)> = Vec::new();
        for (id, wait) in waits.calls.iter().filter(|(_, wait)| wait.since < then && wait.is_live()) {
            let call = (*id, wait.caller.clone(), wait.call.clone());
            match stuck.iter_mut().find(|(target, _)| target.ptr_eq(&wait.target)) {
                Some((_, stuck)) => stuck.calls.push(call),
                None => {
                    let holders = wait.target.upgrade().map(|held| held.holders()).unwrap_or_default();
                    stuck.push((wait.target.clone(), Stuck { holders, calls: vec![call] }));
                }
            }
        }
        stuck.into_iter().map(|(_, stuck)| stuck).collect()
    }

    /// The queued calls that a turn waits for, by itself or through turns that it awaits.
    pub(crate) fn below(&self, turn: TurnId) -> Vec<Below> {
        let waits = self.0.lock();
        let calls = waits.by_turn.get(&turn).into_iter().flatten();
        let below = calls.filter_map(|id| {
            let wait = waits.calls.get(id)?;
            let waited_for = wait.is_live() && wait.caller.waiting().any(|node| node.turn == turn);
            let holders = wait.target.upgrade().filter(|_| waited_for)?.holders();
            Some(Below { wait: *id, links: segment(&wait.caller, turn), holders })
        });
        below.collect()
    }

    /// Ends a queued call with this failure, unless it has begun; says whether it did.
    pub(crate) fn refuse(&self, id: WaitId, fault: Fault) -> bool {
        let queued = self.0.lock().calls.get(&id).and_then(|wait| wait.queued.upgrade());
        queued.is_some_and(|queued| queued.refuse(fault))
    }

    /// Forgets calls that were given up.
    pub(crate) fn purge(&self) {
        let mut waits = self.0.lock();
        let dead: Vec<_> = waits.calls.iter().filter(|(_, wait)| !wait.is_live()).map(|(id, _)| *id).collect();
        for id in dead {
            waits.remove(id);
        }
    }
}

impl Waits {
    /// A number for a call about to be queued.
    pub(crate) fn reserve(&mut self) -> WaitId {
        self.next += 1;
        self.next
    }

    /// The queued call goes on waiting at another activation of its grain.
    pub(crate) fn retarget(&mut self, id: WaitId, target: Weak<dyn Held>) {
        if let Some(wait) = self.calls.get_mut(&id) {
            wait.target = target;
        }
    }

    /// A call was queued.
    pub(crate) fn insert(
        &mut self,
        id: WaitId,
        caller: Arc<ChainNode>,
        call: ChainLink,
        target: Weak<dyn Held>,
        queued: Weak<dyn Queued>,
    ) {
        for node in caller.waiting() {
            self.by_turn.entry(node.turn).or_default().insert(id);
        }
        self.calls.insert(id, Wait { caller, call, target, queued, since: Instant::now() });
    }

    pub(crate) fn remove(&mut self, id: WaitId) {
        let Some(wait) = self.calls.remove(&id) else { return };
        // Every ancestor, also those beyond a call that was given up since.
        let mut node = Some(&wait.caller);
        while let Some(at) = node {
            if let Some(ids) = self.by_turn.get_mut(&at.turn) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.by_turn.remove(&at.turn);
                }
            }
            node = at.parent.as_ref();
        }
    }

    /// The chain of the cycle that this queued call closes, from the turn that holds its grain to the call itself.
    pub(crate) fn cycle(&self, id: WaitId) -> Option<Vec<ChainLink>> {
        let start = self.calls.get(&id)?;
        let mine: BTreeSet<TurnId> = start.caller.waiting().map(|node| node.turn).collect();
        let mut seen = BTreeSet::new();
        let mut path = Vec::new();
        let holder = self.search(start, &mine, &mut seen, &mut path, 0)?;
        // The path was gathered from the end: the links before the last segment lead to the turn that is ours.
        path.reverse();
        path.extend(segment(&start.caller, holder));
        path.push(start.call.clone());
        Some(path)
    }

    /// Follows a queued call to a turn of `mine`; gathers the links of the calls between, last first.
    fn search(
        &self,
        wait: &Wait,
        mine: &BTreeSet<TurnId>,
        seen: &mut BTreeSet<TurnId>,
        path: &mut Vec<ChainLink>,
        depth: usize,
    ) -> Option<TurnId> {
        // Convoys may be longer than the stack is deep; a cycle of that length ends by its deadlines.
        if depth > MAX_HOPS {
            return None;
        }
        let holders = wait.target.upgrade()?.holders();
        if let Some(&holder) = holders.iter().find(|holder| mine.contains(holder)) {
            return Some(holder);
        }
        for holder in holders {
            if !seen.insert(holder) {
                continue;
            }
            for next in self.by_turn.get(&holder).into_iter().flatten() {
                let Some(next) = self.calls.get(next) else { continue };
                let still = next.is_live() && next.caller.waiting().any(|node| node.turn == holder);
                if still && let Some(found) = self.search(next, mine, seen, path, depth + 1) {
                    path.extend(segment(&next.caller, holder).into_iter().rev());
                    return Some(found);
                }
            }
        }
        None
    }
}

/// The links from the turn `holder` down to the turn that made the call.
pub(crate) fn segment(caller: &ChainNode, holder: TurnId) -> Vec<ChainLink> {
    let mut links = Vec::new();
    for node in caller.waiting() {
        links.push(node.link());
        if node.turn == holder {
            break;
        }
    }
    links.reverse();
    links
}
