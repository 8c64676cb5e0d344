//! The links of a network, and what it remembers of peers without one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tokio::time::Instant;

use super::error::LinkError;
use super::link::Link;
use super::options::Limits;
use crate::Incarnation;

/// How many dead incarnations a network remembers by itself; the receiver's `admit` knows them all.
const MAX_DEAD: usize = 4096;

/// Whom a dialed link is for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Silo(Incarnation),
    Anyone(String),
}

pub(crate) struct Backoff {
    pub(crate) failures: u32,
    pub(crate) until: Instant,
    pub(crate) last: LinkError,
}

#[derive(Default)]
pub(crate) struct Links {
    pub(crate) all: BTreeMap<u64, Arc<Link>>,
    pub(crate) dialed: BTreeMap<Target, Arc<Link>>,
    pub(crate) backoff: BTreeMap<Target, Backoff>,
    pub(crate) dead: BTreeSet<Incarnation>,
    pub(crate) dead_order: VecDeque<Incarnation>,
    pub(crate) accepted: usize,
    pub(crate) next_id: u64,
    pub(crate) stopping: bool,
}

impl Links {
    pub(crate) fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(crate) fn note_failure(&mut self, target: Target, why: &LinkError, limits: &Limits) {
        let now = Instant::now();
        let failures = self.backoff.get(&target).map_or(0, |backoff| backoff.failures);
        // Who is not asked for any more is forgotten.
        let forgotten = limits.max_backoff * 2;
        self.backoff.retain(|_, backoff| backoff.until + forgotten > now);
        let pause = limits.backoff.saturating_mul(1 << failures.min(16)).min(limits.max_backoff);
        let until = now + pause;
        self.backoff.insert(target, Backoff { failures: failures.saturating_add(1), until, last: why.clone() });
    }

    /// The incarnation is dead, for ever.
    pub(crate) fn note_death(&mut self, dead: Incarnation) {
        if self.dead.insert(dead) {
            self.dead_order.push_back(dead);
            if self.dead_order.len() > MAX_DEAD
                && let Some(oldest) = self.dead_order.pop_front()
            {
                self.dead.remove(&oldest);
            }
        }
        self.backoff.remove(&Target::Silo(dead));
    }
}
