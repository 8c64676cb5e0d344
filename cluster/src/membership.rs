//! The membership port: the rows of all silos, kept where all of them can reach it.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{Incarnation, MemberInfo, Status, View};

/// Votes of a voter that has beaten so often since do not count any more.
pub const VOTE_BEATS: u64 = 10;

/// A silent silo's beat must stand still for so many beats of each voter.
pub const SILENT_BEATS: u64 = 2;

/// Why the membership could not be read or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// It cannot be reached; nothing is known about the outcome.
    #[error("the membership is unavailable: {0}")]
    Unavailable(String),
    /// The cluster was made with another setting.
    #[error("the cluster has {theirs} directory shards, this silo has {ours}; a cluster's number never changes")]
    ShardsDiffer {
        /// The cluster's.
        theirs: u64,
        /// This silo's.
        ours: u64,
    },
}

/// All rows, and who served them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The rows.
    pub view: View,
    /// Names the process that served it: another one may have lost what the first acknowledged.
    pub run: String,
}

/// The answer to a beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Taken; the view has this version now.
    Taken {
        /// The beat's number.
        beat: u64,
        /// The view's version.
        version: u64,
    },
    /// There is no row: the store has lost it.
    Missing,
    /// The row says that the silo is dead.
    Dead,
}

/// What a voter has against a silo.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Evidence {
    /// Its address refuses connections, or answers as another incarnation.
    Refused,
    /// It says nothing, and its beat stands still.
    Silent,
    /// It says nothing, but its beat moves.
    Partition,
}

/// A vote to take a silo out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vote {
    /// Who votes.
    pub voter: Incarnation,
    /// Against whom.
    pub target: Incarnation,
    /// With what evidence.
    pub evidence: Evidence,
    /// How many votes it takes, this one included.
    pub needed: u64,
}

/// The answer to a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voted {
    /// So many votes count now.
    Counted(u64),
    /// The silo is out.
    Killed,
    /// It was out before.
    AlreadyDead,
    /// There is no such row.
    UnknownTarget,
    /// The voter has no row.
    UnknownVoter,
    /// The voter is out itself.
    VoterDead,
}

/// The rows of all silos. Each change is one atomic step with preconditions on rows, and counts up the view's version;
/// `floor` is the highest version that the caller has seen, which the version is always raised above.
#[async_trait]
pub trait Membership: Send + Sync + 'static {
    /// The same rows by a connection of its own, which the runtime drives that this is awaited in. So a silo beats though the
    /// threads of its grains are busy. `None`: nothing needs to be driven.
    ///
    /// # Errors
    /// The store is not reached.
    async fn apart(&self) -> Result<Option<Arc<dyn Membership>>, MembershipError> {
        Ok(None)
    }

    /// All rows.
    async fn read(&self) -> Result<Snapshot, MembershipError>;

    /// Inserts a row in state `Joining`; gives its `join`, the version it made. `supersedes`: an incarnation at the same
    /// address that is over. Done again, it gives the same answer.
    async fn join(
        &self,
        silo: Incarnation,
        info: &MemberInfo,
        supersedes: Option<Incarnation>,
        shards: u64,
        floor: u64,
    ) -> Result<u64, MembershipError>;

    /// Counts a silo's beat up, and notes whether it is [busy](crate::Member::busy).
    async fn beat(&self, silo: Incarnation, busy: bool) -> Result<Beat, MembershipError>;

    /// Moves a silo's status forward, never back. Without a row, nothing.
    async fn advance(&self, silo: Incarnation, to: Status, floor: u64) -> Result<(), MembershipError>;

    /// Votes; takes the target out when enough votes count.
    async fn suspect(&self, vote: Vote, floor: u64) -> Result<Voted, MembershipError>;

    /// Writes back rows that the store has lost, and statuses that it has fallen behind of.
    async fn restore(&self, view: &View) -> Result<(), MembershipError>;

    /// Removes the row of a dead silo.
    async fn prune(&self, silo: Incarnation, floor: u64) -> Result<(), MembershipError>;
}
