//! Watches what the silos believe of each other (invariant I6).

use std::collections::BTreeMap;

use gristmill_cluster::{Incarnation, Status, View};
use gristmill_grains::chaos;

/// What was seen of the views.
#[derive(Debug, Default)]
pub(super) struct Views {
    /// By version: who is what in it.
    known: BTreeMap<u64, BTreeMap<Incarnation, Status>>,
    /// By silo: the version that it saw last.
    last: BTreeMap<Incarnation, u64>,
    /// As seen last, by anybody.
    statuses: BTreeMap<Incarnation, Status>,
    /// Incarnations that were dead in some view.
    dead: BTreeMap<Incarnation, u64>,
    pub(super) broken: Vec<String>,
    /// The store has lost rows: versions may be given twice.
    pub(super) lost: bool,
}

impl Views {
    /// Was it dead in some view?
    pub(super) fn is_dead(&self, silo: Incarnation) -> bool {
        self.dead.contains_key(&silo)
    }

    /// A silo has this view now.
    pub(super) fn see(&mut self, silo: Incarnation, view: &View) {
        let last = self.last.insert(silo, view.version);
        if last == Some(view.version) {
            return;
        }
        if let Some(last) = last.filter(|last| *last > view.version) {
            self.broken.push(format!("I6: silo {silo} went from view {last} back to {}", view.version));
        }
        let members: BTreeMap<_, _> = view.members.values().map(|member| (member.incarnation, member.status)).collect();
        for (member, status) in &members {
            let before = self.statuses.insert(*member, *status);
            if before != Some(*status) {
                chaos::reach(transition(before, *status));
            }
            match status {
                Status::Dead => {
                    self.dead.entry(*member).or_insert(view.version);
                }
                alive => {
                    if let Some(died) = self.dead.get(member).filter(|died| **died < view.version) {
                        let version = view.version;
                        self.broken.push(format!(
                            "I6: silo {member} was dead in view {died} and is {alive:?} in view {version}"
                        ));
                    }
                }
            }
        }
        let known = self.known.entry(view.version).or_insert_with(|| members.clone());
        if *known != members && !self.lost {
            self.broken.push(format!("I6: two views of version {}: {known:?} and {members:?}", view.version));
        }
    }
}

fn transition(before: Option<Status>, now: Status) -> &'static str {
    match (before, now) {
        (None, Status::Joining) => "member: joins",
        (None, Status::Active) => "member: first seen active",
        (None, Status::Leaving) => "member: first seen leaving",
        (None, Status::Dead) => "member: first seen dead",
        (Some(Status::Joining), Status::Active) => "member: joining to active",
        (Some(Status::Joining), Status::Leaving) => "member: joining to leaving",
        (Some(Status::Joining), Status::Dead) => "member: joining to dead",
        (Some(Status::Active), Status::Leaving) => "member: active to leaving",
        (Some(Status::Active), Status::Dead) => "member: active to dead",
        (Some(Status::Leaving), Status::Dead) => "member: leaving to dead",
        _ => "member: seen by one silo later than by another",
    }
}
