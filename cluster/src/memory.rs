//! The directory and the membership of silos that share one process: for tests and simulation.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use gristmill_grains::{ActivationId, GrainId};
use parking_lot::Mutex;

use crate::membership::{Beat, Evidence, Membership, MembershipError, SILENT_BEATS, Snapshot, VOTE_BEATS, Vote, Voted};
use crate::{Claim, Directory, DirectoryError, Incarnation, Location, Member, MemberInfo, Status, View};

/// A directory in memory; clones are the same one. What the adapter of a real server does must not be told from it.
#[derive(Clone, Default)]
pub struct MemoryDirectory(Arc<Mutex<Rows>>);

#[derive(Default)]
struct Rows {
    rows: BTreeMap<GrainId, Location>,
    epoch: u64,
    unavailable: bool,
}

impl Rows {
    fn next(&mut self, floor: u64) -> u64 {
        self.epoch = self.epoch.max(floor) + 1;
        self.epoch
    }
}

impl MemoryDirectory {
    /// From now on it answers, or does not.
    pub fn set_available(&self, available: bool) {
        self.0.lock().unavailable = !available;
    }

    /// Loses everything, its counter included.
    pub fn lose(&self) {
        let mut rows = self.0.lock();
        rows.rows.clear();
        rows.epoch = 0;
    }

    /// How many grains have an owner.
    pub fn len(&self) -> usize {
        self.0.lock().rows.len()
    }

    /// Has no grain one?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn with<T>(&self, f: impl FnOnce(&mut Rows) -> T) -> Result<T, DirectoryError> {
        let mut rows = self.0.lock();
        match rows.unavailable {
            true => Err(DirectoryError::Unavailable("told to be".to_owned())),
            false => Ok(f(&mut rows)),
        }
    }
}

#[async_trait]
impl Directory for MemoryDirectory {
    async fn lookup(&self, grain: &GrainId) -> Result<Option<Location>, DirectoryError> {
        self.with(|rows| rows.rows.get(grain).copied())
    }

    async fn claim(&self, grain: &GrainId, claim: Claim) -> Result<Result<Location, Location>, DirectoryError> {
        self.with(|rows| match rows.rows.get(grain) {
            Some(row) if row.activation == claim.activation => Ok(*row),
            Some(row) if claim.expect != Some(*row) => Err(*row),
            _ => {
                let Claim { owner, join, activation, floor, .. } = claim;
                let epoch = rows.next(floor);
                let row = Location { owner, join, activation, epoch };
                rows.rows.insert(grain.clone(), row);
                Ok(row)
            }
        })
    }

    async fn raise(
        &self,
        grain: &GrainId,
        activation: ActivationId,
        floor: u64,
    ) -> Result<Result<Location, Option<Location>>, DirectoryError> {
        self.with(|rows| {
            let Some(mut row) = rows.rows.get(grain).copied().filter(|row| row.activation == activation) else {
                return Err(rows.rows.get(grain).copied());
            };
            row.epoch = rows.next(floor);
            rows.rows.insert(grain.clone(), row);
            Ok(row)
        })
    }

    async fn release(&self, grain: &GrainId, activation: ActivationId) -> Result<(), DirectoryError> {
        self.with(|rows| {
            if rows.rows.get(grain).is_some_and(|row| row.activation == activation) {
                rows.rows.remove(grain);
            }
        })
    }

    async fn reassert(&self, asserted: &[(GrainId, Location)]) -> Result<Vec<Location>, DirectoryError> {
        self.with(|rows| {
            let assert = |(grain, row): &(GrainId, Location)| {
                rows.epoch = rows.epoch.max(row.epoch);
                *rows.rows.entry(grain.clone()).or_insert(*row)
            };
            asserted.iter().map(assert).collect()
        })
    }
}

/// The membership in memory; clones are the same one. What the adapter of a real server does must not be told from it.
#[derive(Clone, Default)]
pub struct MemoryMembership(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    view: View,
    shards: Option<u64>,
    /// By target and voter.
    votes: BTreeMap<(Incarnation, Incarnation), Cast>,
    unavailable: bool,
}

/// A vote that was cast.
struct Cast {
    evidence: Evidence,
    /// The voter's beat when it first said so, and last.
    first: u64,
    last: u64,
    /// The target's beat then.
    target: u64,
}

impl Table {
    fn change(&mut self, floor: u64) -> u64 {
        self.view.version = self.view.version.max(floor) + 1;
        self.view.version
    }

    fn advance(&mut self, silo: Incarnation, to: Status, floor: u64) {
        if let Some(member) = self.view.members.get_mut(&silo).filter(|member| member.status < to) {
            member.status = to;
            self.change(floor);
        }
        if to == Status::Dead {
            self.votes.retain(|(target, _), _| *target != silo);
        }
    }

    fn beat_of(&self, silo: Incarnation) -> Option<u64> {
        self.view.members.get(&silo).filter(|member| member.status != Status::Dead).map(|member| member.beat)
    }

    /// How many votes count.
    fn count(&mut self, vote: Vote, target_beat: u64) -> u64 {
        let view = &self.view;
        self.votes.retain(|(target, voter), cast| {
            let beat = view.members.get(voter).filter(|member| member.status != Status::Dead).map(|member| member.beat);
            *target != vote.target || beat.is_some_and(|beat| beat.saturating_sub(cast.last) <= VOTE_BEATS)
        });
        let counts = |cast: &Cast| match cast.evidence {
            Evidence::Refused => true,
            Evidence::Silent => cast.target == target_beat && cast.last - cast.first >= SILENT_BEATS,
            Evidence::Partition => vote.evidence == Evidence::Partition,
        };
        self.votes.iter().filter(|((target, _), cast)| *target == vote.target && counts(cast)).count() as u64
    }
}

impl MemoryMembership {
    /// From now on it answers, or does not.
    pub fn set_available(&self, available: bool) {
        self.0.lock().unavailable = !available;
    }

    /// Loses everything.
    pub fn lose(&self) {
        *self.0.lock() = Table::default();
    }

    fn with<T>(&self, f: impl FnOnce(&mut Table) -> T) -> Result<T, MembershipError> {
        let mut table = self.0.lock();
        match table.unavailable {
            true => Err(MembershipError::Unavailable("told to be".to_owned())),
            false => Ok(f(&mut table)),
        }
    }
}

#[async_trait]
impl Membership for MemoryMembership {
    async fn read(&self) -> Result<Snapshot, MembershipError> {
        self.with(|table| Snapshot { view: table.view.clone(), run: "memory".to_owned() })
    }

    async fn join(
        &self,
        silo: Incarnation,
        info: &MemberInfo,
        supersedes: Option<Incarnation>,
        shards: u64,
        floor: u64,
    ) -> Result<u64, MembershipError> {
        self.with(|table| {
            let theirs = *table.shards.get_or_insert(shards);
            if theirs != shards {
                return Err(MembershipError::ShardsDiffer { theirs, ours: shards });
            }
            if let Some(member) = table.view.members.get(&silo) {
                return Ok(member.join);
            }
            supersedes.into_iter().for_each(|old| table.advance(old, Status::Dead, floor));
            let join = table.change(floor);
            let member =
                Member { incarnation: silo, info: info.clone(), status: Status::Joining, join, beat: 0, busy: false };
            table.view.members.insert(silo, member);
            Ok(join)
        })?
    }

    async fn beat(&self, silo: Incarnation, busy: bool) -> Result<Beat, MembershipError> {
        self.with(|table| {
            let version = table.view.version;
            match table.view.members.get_mut(&silo) {
                None => Beat::Missing,
                Some(member) if member.status == Status::Dead => Beat::Dead,
                Some(member) => {
                    member.beat += 1;
                    member.busy = busy;
                    Beat::Taken { beat: member.beat, version }
                }
            }
        })
    }

    async fn advance(&self, silo: Incarnation, to: Status, floor: u64) -> Result<(), MembershipError> {
        self.with(|table| table.advance(silo, to, floor))
    }

    async fn suspect(&self, vote: Vote, floor: u64) -> Result<Voted, MembershipError> {
        self.with(|table| {
            if !table.view.members.contains_key(&vote.voter) {
                return Voted::UnknownVoter;
            }
            let Some(beat) = table.beat_of(vote.voter) else { return Voted::VoterDead };
            if !table.view.members.contains_key(&vote.target) {
                return Voted::UnknownTarget;
            }
            let Some(target) = table.beat_of(vote.target) else { return Voted::AlreadyDead };
            let evidence = vote.evidence;
            let cast = table.votes.entry((vote.target, vote.voter));
            let cast = cast.or_insert(Cast { evidence, first: beat, last: beat, target });
            if cast.evidence != evidence || cast.target != target {
                *cast = Cast { evidence, first: beat, last: beat, target };
            }
            cast.last = beat;
            let counted = table.count(vote, target);
            if counted < vote.needed {
                return Voted::Counted(counted);
            }
            table.advance(vote.target, Status::Dead, floor);
            Voted::Killed
        })
    }

    async fn restore(&self, view: &View) -> Result<(), MembershipError> {
        self.with(|table| {
            let mut changed = table.view.version < view.version;
            for member in view.members.values() {
                match table.view.members.get_mut(&member.incarnation) {
                    None => {
                        table
                            .view
                            .members
                            .insert(member.incarnation, Member { beat: 0, busy: false, ..member.clone() });
                        changed = true;
                    }
                    Some(known) if known.status < member.status => {
                        known.status = member.status;
                        changed = true;
                    }
                    Some(_) => {}
                }
            }
            if changed {
                table.change(view.version);
            }
        })
    }

    async fn prune(&self, silo: Incarnation, floor: u64) -> Result<(), MembershipError> {
        self.with(|table| {
            if table.view.members.get(&silo).is_some_and(|member| member.status == Status::Dead) {
                table.view.members.remove(&silo);
                table.change(floor);
            }
        })
    }
}
