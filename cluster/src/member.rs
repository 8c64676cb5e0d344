//! Who is in the cluster: incarnations, their rows, and the view of all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One run of a silo process. A restart is a new one; drawn from the silo's seeded generator, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(Uuid);

impl Incarnation {
    /// The incarnation of these 128 random bits.
    pub const fn from_u128(bits: u128) -> Self {
        Self(Uuid::from_u128(bits))
    }

    /// The bits.
    pub const fn as_u128(self) -> u128 {
        self.0.as_u128()
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.simple(), f)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Incarnation {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

/// How far a silo has come. Only forwards, never back; `Dead` is for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is reaching the others; it hosts nothing yet.
    Joining,
    /// It hosts grains.
    Active,
    /// It hands its grains over.
    Leaving,
    /// It is out: by its own word, or by the others' votes.
    Dead,
}

/// What a silo says of itself when it joins.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MemberInfo {
    /// Where the others reach it, `host:port`.
    pub address: String,
    /// Its name, for people. Need not be unique.
    pub name: String,
    /// The grain types it hosts.
    pub types: BTreeSet<String>,
    /// What placement may ask for, such as `zone: eu`.
    pub labels: BTreeMap<String, String>,
}

/// The row of one incarnation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Whose.
    pub incarnation: Incarnation,
    /// What it said when it joined.
    pub info: MemberInfo,
    /// How far it has come.
    pub status: Status,
    /// The version of the view that inserted the row; no two rows share one.
    pub join: u64,
    /// Counts up each second while the silo lives. Judged by whether it moves, never by its value.
    pub beat: u64,
    /// With its last beat it said that its worker threads were late: they compute. So others hear nothing of it for a while,
    /// though it lives.
    pub busy: bool,
}

/// All rows at one time. Of two views of one cluster the one with the higher version is the later.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct View {
    /// Counts the changes of the rows, beats not among them.
    pub version: u64,
    /// The rows.
    pub members: BTreeMap<Incarnation, Member>,
}

/// What a view says of an incarnation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It has a row, with this status.
    Member(Status),
    /// It had a row, which was pruned after its death: it is dead.
    Pruned,
    /// It joined after this view: read a later one first.
    Later,
}

impl View {
    /// What is known of `incarnation`, which joined with version `join`.
    pub fn standing(&self, incarnation: Incarnation, join: u64) -> Standing {
        match self.members.get(&incarnation) {
            Some(member) => Standing::Member(member.status),
            None if join <= self.version => Standing::Pruned,
            None => Standing::Later,
        }
    }

    /// Is it known to be dead, for ever?
    pub fn is_dead(&self, incarnation: Incarnation, join: u64) -> bool {
        matches!(self.standing(incarnation, join), Standing::Pruned | Standing::Member(Status::Dead))
    }

    /// The silos that host grains.
    pub fn active(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| member.status == Status::Active)
    }
}
