//! The membership: all rows of a cluster in one slot.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use redis::{Script, ScriptInvocation, Value};

use gristmill_grains::chaos::{self, Bug};

use super::{ADVANCE, ADVANCE_ANY, BEAT, JOIN, PRUNE, READ, RESTORE, RedisCluster, SUSPECT, Urls, text, texts};
use crate::membership::{Beat, Evidence, Membership, MembershipError, SILENT_BEATS, Snapshot, VOTE_BEATS, Vote, Voted};
use crate::{Incarnation, Member, MemberInfo, Status, View};

impl RedisCluster {
    fn membership_call<'a>(&self, script: &'a Script) -> ScriptInvocation<'a> {
        let mut invocation = script.prepare_invoke();
        for key in ["rows", "beats", "version", "votes", "settings"] {
            invocation.key(format!("{{{}}}:{key}", self.options.cluster));
        }
        invocation
    }

    async fn membership_answer(&self, invocation: &ScriptInvocation<'_>) -> Result<Vec<String>, MembershipError> {
        let answer = self.invoke(invocation).await.map_err(MembershipError::Unavailable)?;
        texts(answer).ok_or_else(|| self.odd("an answer of another kind"))
    }

    fn odd(&self, what: &str) -> MembershipError {
        MembershipError::Unavailable(format!("{}: {what}; does somebody else write there?", self.place))
    }
}

fn digit(status: Status) -> &'static str {
    match status {
        Status::Joining => "0",
        Status::Active => "1",
        Status::Leaving => "2",
        Status::Dead => "3",
    }
}

fn status(digit: &str) -> Option<Status> {
    [Status::Joining, Status::Active, Status::Leaving, Status::Dead].into_iter().find(|of| self::digit(*of) == digit)
}

fn info_text(info: &MemberInfo) -> String {
    // Of texts and maps of texts: it cannot fail.
    serde_json::to_string(info).unwrap_or_default()
}

fn pairs(value: Value) -> Option<Vec<(String, String)>> {
    let flat = match value {
        Value::Map(pairs) => pairs.into_iter().flat_map(|(key, value)| [key, value]).collect(),
        Value::Array(values) => values,
        _ => return None,
    };
    let texts: Vec<_> = flat.into_iter().map(text).collect::<Option<_>>()?;
    Some(texts.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
}

fn snapshot(value: Value) -> Option<Snapshot> {
    let Value::Array(parts) = value else { return None };
    let [version, run, rows, beats] = <[Value; 4]>::try_from(parts).ok()?;
    let beats: BTreeMap<_, _> = pairs(beats)?.into_iter().collect();
    let mut view = View { version: text(version)?.parse().ok()?, members: BTreeMap::new() };
    for (silo, row) in pairs(rows)? {
        let incarnation: Incarnation = silo.parse().ok()?;
        let mut parts = row.splitn(3, '|');
        let member = Member {
            incarnation,
            status: status(parts.next()?)?,
            join: parts.next()?.parse().ok()?,
            info: serde_json::from_str(parts.next()?).ok()?,
            beat: beats.get(&silo).map_or(Some(0), |beat| beat.parse().ok())?,
            busy: beats.contains_key(&format!("{silo}:busy")),
        };
        view.members.insert(incarnation, member);
    }
    Some(Snapshot { view, run: text(run)? })
}

#[async_trait]
impl Membership for RedisCluster {
    async fn apart(&self) -> Result<Option<Arc<dyn Membership>>, MembershipError> {
        let options = (*self.options).clone();
        let apart = match &*self.urls {
            Urls::Server(url) => Self::connect_with(url, options).await?,
            Urls::Cluster(urls) => Self::connect_cluster(urls, options).await?,
            #[cfg(feature = "model")]
            Urls::Wire(wire) => Self::connect_wired(wire.clone(), options).await?,
        };
        Ok(Some(Arc::new(apart)))
    }

    async fn read(&self) -> Result<Snapshot, MembershipError> {
        let answer = self.invoke(&self.membership_call(&READ)).await.map_err(MembershipError::Unavailable)?;
        snapshot(answer).ok_or_else(|| self.odd("rows that are not this version's"))
    }

    async fn join(
        &self,
        silo: Incarnation,
        info: &MemberInfo,
        supersedes: Option<Incarnation>,
        shards: u64,
        floor: u64,
    ) -> Result<u64, MembershipError> {
        let mut call = self.membership_call(&JOIN);
        let supersedes = supersedes.map(|old| old.to_string()).unwrap_or_default();
        call.arg(silo.to_string()).arg(info_text(info)).arg(supersedes).arg(shards).arg(floor);
        let answer = self.membership_answer(&call).await?;
        let number = answer.get(1).and_then(|number| number.parse().ok());
        match (answer.first().map(String::as_str), number) {
            (Some("joined"), Some(join)) => Ok(join),
            (Some("shards"), Some(theirs)) => Err(MembershipError::ShardsDiffer { theirs, ours: shards }),
            _ => Err(self.odd("an unknown answer")),
        }
    }

    async fn beat(&self, silo: Incarnation, busy: bool) -> Result<Beat, MembershipError> {
        let mut call = self.membership_call(&BEAT);
        call.arg(silo.to_string()).arg(u8::from(busy));
        let answer = self.membership_answer(&call).await?;
        let number = |place: usize| answer.get(place).and_then(|number: &String| number.parse().ok());
        match (answer.first().map(String::as_str), number(1), number(2)) {
            (Some("taken"), Some(beat), Some(version)) => Ok(Beat::Taken { beat, version }),
            (Some("missing"), ..) => Ok(Beat::Missing),
            (Some("dead"), ..) => Ok(Beat::Dead),
            _ => Err(self.odd("an unknown answer")),
        }
    }

    async fn advance(&self, silo: Incarnation, to: Status, floor: u64) -> Result<(), MembershipError> {
        let mut call = self.membership_call(if chaos::planted(Bug::DeadRejoins) { &ADVANCE_ANY } else { &ADVANCE });
        call.arg(silo.to_string()).arg(digit(to)).arg(floor);
        self.membership_answer(&call).await.map(drop)
    }

    async fn suspect(&self, vote: Vote, floor: u64) -> Result<Voted, MembershipError> {
        let mut call = self.membership_call(&SUSPECT);
        let evidence = match vote.evidence {
            Evidence::Refused => 0,
            Evidence::Silent => 1,
            Evidence::Partition => 2,
        };
        call.arg(vote.voter.to_string()).arg(vote.target.to_string()).arg(evidence).arg(vote.needed).arg(floor);
        call.arg(VOTE_BEATS).arg(SILENT_BEATS);
        let answer = self.membership_answer(&call).await?;
        let number = answer.get(1).and_then(|number| number.parse().ok());
        match (answer.first().map(String::as_str), number) {
            (Some("counted"), Some(votes)) => Ok(Voted::Counted(votes)),
            (Some("killed"), _) => Ok(Voted::Killed),
            (Some("already dead"), _) => Ok(Voted::AlreadyDead),
            (Some("unknown target"), _) => Ok(Voted::UnknownTarget),
            (Some("unknown voter"), _) => Ok(Voted::UnknownVoter),
            (Some("voter dead"), _) => Ok(Voted::VoterDead),
            _ => Err(self.odd("an unknown answer")),
        }
    }

    async fn restore(&self, view: &View) -> Result<(), MembershipError> {
        let mut call = self.membership_call(&RESTORE);
        call.arg(view.version);
        for member in view.members.values() {
            call.arg(member.incarnation.to_string()).arg(digit(member.status));
            call.arg(member.join).arg(info_text(&member.info));
        }
        self.membership_answer(&call).await.map(drop)
    }

    async fn prune(&self, silo: Incarnation, floor: u64) -> Result<(), MembershipError> {
        let mut call = self.membership_call(&PRUNE);
        call.arg(silo.to_string()).arg(floor);
        self.membership_answer(&call).await.map(drop)
    }
}
