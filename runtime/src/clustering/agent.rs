//! The silo's agent in the membership: joins, beats, reads views, judges the others, leaves.
//!
//! It runs on a thread of its own with the transport, so that grains that compute do not make the silo look dead.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gristmill_cluster::membership::{Beat, Evidence, Membership, MembershipError, Vote, Voted};
use gristmill_cluster::{Incarnation, Member, MemberInfo, Status, View, hash};
use gristmill_grains::chaos::{self, Bug};
use gristmill_grains::sync::Mutex;
use tokio::time::Instant;

use super::lateness::Lateness;
use super::network::NetWires;
use super::node::Node;
use super::options::ClusterOptions;
use crate::core::Core;

/// When an agent does what. All follow from the beat and the silence.
struct Pace {
    /// Between two beats.
    beat: Duration,
    /// Between two looks at the others.
    look: Duration,
    /// Between two probes of a neighbour.
    probe: Duration,
    /// A silo that beats has done so within this time.
    beating: Duration,
    /// A neighbour that is probed and says nothing for so long is suspected.
    silence: Duration,
    /// One that says nothing, but beats, for so long is cut off from here.
    cut_off: Duration,
    /// A silo whose workers are so late says so with its beats.
    busy: Duration,
    /// A gap in this silo's own beats after which it judges nobody by what it saw before.
    gap: Duration,
}

impl Pace {
    fn new(beat: Duration, silence: Duration) -> Self {
        let (look, probe, beating, gap) = (beat / 4, beat / 2, beat * 3, beat * 5 / 2);
        Self { beat, look, probe, beating, silence, cut_off: silence + beat * 2, busy: beat, gap }
    }
}

/// Between two attempts to reach the store.
const RETRY: Duration = Duration::from_millis(250);
/// So many silos probe each.
const NEIGHBOURS: usize = 3;
/// How long the rows of dead silos are kept.
const PRUNE: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a joining silo waits to reach the others.
const REACH: Duration = Duration::from_secs(10);

/// What this silo has seen of another one.
struct Seen {
    beat: u64,
    /// When the beat last moved, or it was first seen.
    moved: Instant,
    /// Since when it is watched without a gap.
    since: Instant,
    dead_since: Option<Instant>,
    voted: Option<Instant>,
}

/// The agent of one silo.
pub(crate) struct Agent {
    me: Incarnation,
    info: MemberInfo,
    rows: Arc<dyn Membership>,
    wires: Arc<NetWires>,
    node: Arc<Node>,
    core: std::sync::OnceLock<std::sync::Weak<Core>>,
    exit_when_dead: bool,
    pace: Pace,
    /// Of the workers, which hear the others.
    lateness: Arc<Lateness>,
    /// The process that served the rows last.
    store: Mutex<Option<String>>,
    /// Silos that are dead since the last look.
    buried: Mutex<Vec<Incarnation>>,
    ended: AtomicBool,
}

/// Why a silo could not join.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    #[error(transparent)]
    Rows(#[from] MembershipError),
    #[error("silo {other} is alive at the address {address}; give each silo an address of its own")]
    AddressTaken { address: String, other: Incarnation },
}

/// Inserts the silo's row; gives the version that made it, and a view with the row in it.
pub(crate) async fn join(
    rows: &dyn Membership,
    me: Incarnation,
    info: &MemberInfo,
    shards: u64,
    beat: Duration,
    patience: Duration,
) -> Result<(u64, View), JoinError> {
    let deadline = Instant::now() + patience;
    let mut supersedes = None;
    let first = retried(deadline, || rows.read()).await?.view;
    let same = |view: &View| {
        let mut same = view.members.values().filter(|other| other.info.address == info.address);
        same.find(|other| other.status != Status::Dead).cloned()
    };
    if let Some(old) = same(&first) {
        // Over, or alive? Its beat tells.
        let until = Instant::now() + beat * 3;
        while Instant::now() < until {
            tokio::time::sleep(beat / 4).await;
            let now = retried(deadline.max(until), || rows.read()).await?.view;
            match now.members.get(&old.incarnation) {
                Some(member) if member.status == Status::Dead => break,
                Some(member) if member.beat != old.beat => {
                    let (address, other) = (info.address.clone(), old.incarnation);
                    return Err(JoinError::AddressTaken { address, other });
                }
                Some(_) => {}
                None => break,
            }
        }
        supersedes = Some(old.incarnation);
    }
    let join = retried(deadline, || rows.join(me, info, supersedes, shards, first.version)).await?;
    let view = retried(deadline, || rows.read()).await?.view;
    Ok((join, view))
}

async fn retried<T, F>(deadline: Instant, step: impl Fn() -> F) -> Result<T, MembershipError>
where
    F: Future<Output = Result<T, MembershipError>>,
{
    loop {
        match step().await {
            Err(MembershipError::Unavailable(_)) if Instant::now() < deadline => tokio::time::sleep(RETRY).await,
            answer => return answer,
        }
    }
}

impl Agent {
    pub(crate) fn new(
        me: Incarnation,
        info: MemberInfo,
        rows: Arc<dyn Membership>,
        wires: Arc<NetWires>,
        node: Arc<Node>,
        options: &ClusterOptions,
    ) -> Arc<Self> {
        let core = std::sync::OnceLock::new();
        let (store, buried, ended) = (Mutex::default(), Mutex::default(), AtomicBool::new(false));
        let (pace, exit_when_dead) = (Pace::new(options.beat, options.silence), options.exit_when_dead);
        let lateness = Arc::new(Lateness::new(pace.look, pace.cut_off));
        Arc::new(Self { me, info, rows, wires, node, core, exit_when_dead, pace, lateness, store, buried, ended })
    }

    pub(crate) fn attach(&self, core: &Arc<Core>) {
        let me = Arc::downgrade(core);
        if self.core.set(me.clone()).is_ok() {
            let lateness = self.lateness.clone();
            core.spawn_task(async move { lateness.measure(me).await });
        }
    }

    /// Reaches every silo that beats, then hosts grains.
    pub(crate) async fn activate(&self) -> Result<(), MembershipError> {
        let deadline = Instant::now() + REACH;
        let begun = self.node.view();
        loop {
            self.look().await;
            let view = self.node.view();
            let unreached = view.members.values().find(|member| {
                let beats = begun.members.get(&member.incarnation).is_none_or(|before| before.beat != member.beat);
                let counts = matches!(member.status, Status::Active | Status::Leaving) && beats;
                self.wires.probe(&view, member.incarnation);
                member.incarnation != self.me && counts && !self.wires.is_reached(member.incarnation)
            });
            // One that beats shows it within a second or so.
            let looked = Instant::now() + REACH > deadline + self.pace.beat + self.pace.look || view.members.len() == 1;
            match unreached {
                None if looked => break,
                Some(other) if Instant::now() >= deadline => {
                    let (silo, address, own) = (other.incarnation, &other.info.address, &self.info.address);
                    let why = format!(
                        "no connections both ways with silo {silo} at {address}, which is alive; do the others reach this \
                         one at {own}?"
                    );
                    return Err(MembershipError::Unavailable(why));
                }
                _ => {}
            }
            tokio::time::sleep(self.pace.look).await;
        }
        self.advance(Status::Active).await
    }

    /// Hands over: no more grains come here.
    pub(crate) async fn leave(&self) {
        if let Err(error) = self.advance(Status::Leaving).await {
            tracing::warn!(%error, "the others do not know that this silo leaves");
        }
    }

    /// Is out.
    pub(crate) async fn end(&self) {
        self.ended.store(true, Ordering::Release);
        if let Err(error) = self.advance(Status::Dead).await {
            tracing::warn!(%error, "the others find out by themselves that this silo has left");
        }
        self.wires.stop().await;
    }

    /// Is out, without a word.
    pub(crate) fn cut(&self) {
        self.ended.store(true, Ordering::Release);
        self.wires.cut();
    }

    async fn advance(&self, to: Status) -> Result<(), MembershipError> {
        let deadline = Instant::now() + self.pace.beat * 5;
        loop {
            retried(deadline, || self.rows.advance(self.me, to, self.node.view().version)).await?;
            self.look().await;
            // A store that lost the row says done; then it is written back, and advances again.
            let view = self.node.view();
            let done = view.members.get(&self.me).is_some_and(|own| own.status >= to);
            if done || Instant::now() >= deadline {
                break;
            }
            tokio::time::sleep(self.pace.look).await;
        }
        self.wires.hint(&self.node.view(), self.me);
        Ok(())
    }

    /// Runs until the silo ends.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut seen: BTreeMap<Incarnation, Seen> = BTreeMap::new();
        let (mut beaten, mut probed, mut acknowledged) = (None::<Instant>, None::<Instant>, Instant::now());
        while !self.ended.load(Ordering::Acquire) {
            let now = Instant::now();
            let due = beaten.is_none_or(|beaten| now - beaten >= self.pace.beat);
            if due {
                beaten = Some(now);
                if self.beat(now).await {
                    if Instant::now() - acknowledged > self.pace.gap {
                        seen.clear(); // what stood still meanwhile may have been the store
                    }
                    acknowledged = Instant::now();
                }
            }
            self.look().await;
            let view = self.node.view();
            self.watch(&view, &mut seen);
            let now = Instant::now();
            let neighbours = self.neighbours(&view);
            if probed.is_none_or(|probed| now - probed >= self.pace.probe) {
                probed = Some(now);
                // Who joins waits until everybody has reached it.
                let joining = view.members.values().filter(|member| member.status == Status::Joining);
                let probed = neighbours.iter().copied().chain(joining.map(|member| member.incarnation));
                probed.filter(|silo| *silo != self.me).for_each(|silo| self.wires.probe(&view, silo));
            }
            if now - acknowledged < self.pace.gap {
                self.judge(&view, &neighbours, &mut seen).await;
            }
            self.prune(&view, &seen).await;
            drop(tokio::time::timeout(self.pace.look, self.wires.news.notified()).await);
        }
    }

    /// Beats; says whether that was acknowledged.
    async fn beat(&self, sent: Instant) -> bool {
        let busy = self.lateness.now() >= self.pace.busy;
        match self.rows.beat(self.me, busy).await {
            Ok(Beat::Taken { .. }) => {
                self.wires.renew(sent);
                true
            }
            Ok(Beat::Missing) => {
                tracing::error!("the store has lost this silo's row; writing it back");
                self.restore(&self.node.view()).await; // again with the next beat
                true
            }
            Ok(Beat::Dead) => {
                if chaos::planted(Bug::DeadRejoins) {
                    drop(self.rows.advance(self.me, Status::Active, 0).await);
                }
                self.die();
                false
            }
            Err(error) => {
                tracing::warn!(%error, "a beat was not acknowledged");
                false
            }
        }
    }

    /// The others have this silo's grains: it must do no more.
    fn die(&self) {
        if chaos::planted(Bug::DeathIgnored) || chaos::planted(Bug::DeadRejoins) {
            return;
        }
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        let reason =
            "the other silos declared this one dead (it was paused, or cut off from them), and have its grains";
        tracing::error!(silo = %self.me, "{reason}; it ends now");
        if self.exit_when_dead {
            // Not an orderly end: whatever would be said now may contradict the successors.
            eprintln!("gristmill: {reason}; silo {} ends now", self.me);
            std::process::exit(EXIT_DEAD);
        }
        if let Some(core) = self.core.get().and_then(std::sync::Weak::upgrade) {
            core.evicted(reason);
        }
    }

    /// Reads the rows.
    async fn look(&self) {
        // As known before the rows were asked: another look may bring a later view meanwhile.
        let known = self.node.view();
        if chaos::point("the rows are not read this time") {
            return;
        }
        let snapshot = match self.rows.read().await {
            Ok(snapshot) => snapshot,
            Err(error) => return tracing::warn!(%error, "the rows cannot be read"),
        };
        let run = Some(snapshot.run.clone()).filter(|run| !run.is_empty());
        let before = std::mem::replace(&mut *self.store.lock(), run.clone());
        if before.is_some() && run.is_some() && before != run {
            tracing::warn!("another process serves the membership: rows may be gone");
            self.node.store_changed.notify_one();
        }
        // Rows only go forward, and only dead ones go: whatever else is seen, the store has lost something.
        let lost = known.members.values().any(|member| match snapshot.view.members.get(&member.incarnation) {
            Some(now) => now.status < member.status,
            None => member.status != Status::Dead,
        });
        if (snapshot.view.version < known.version || lost) && !chaos::planted(Bug::RowsGoBack) {
            chaos::reach("rows of the membership were written back");
            tracing::error!("the store of the membership went back; writing back what it lost");
            self.restore(&known).await; // or with the next look
            return;
        }
        if snapshot.view.members.get(&self.me).is_some_and(|own| own.status == Status::Dead) {
            self.die();
        }
        let dead =
            |view: &View, silo: &Incarnation| view.members.get(silo).is_none_or(|member| member.status == Status::Dead);
        let died: Vec<_> =
            known.members.keys().filter(|silo| !dead(&known, silo) && dead(&snapshot.view, silo)).copied().collect();
        self.node.set_view(snapshot.view);
        for silo in std::mem::take(&mut *self.buried.lock()) {
            // Its links have told by now what never left; the rest is lost.
            self.node.lost(silo, &[], "it is out of the cluster");
            self.node.caller_gone(silo);
        }
        for silo in died.into_iter().filter(|silo| *silo != self.me) {
            match known.members.get(&silo).map(|member| member.status) {
                Some(Status::Leaving) => tracing::info!(%silo, "a silo has left the cluster"),
                _ => tracing::warn!(%silo, "a silo is out of the cluster"),
            }
            self.wires.close(silo);
            self.buried.lock().push(silo);
        }
    }

    /// Writes back what is known, this silo's own row among it.
    async fn restore(&self, known: &View) {
        let mut view = known.clone();
        let own = Member {
            incarnation: self.me,
            info: self.info.clone(),
            status: Status::Active,
            join: self.node.join(),
            beat: 0,
            busy: false,
        };
        view.members.entry(self.me).or_insert(own);
        if let Err(error) = self.rows.restore(&view).await {
            tracing::warn!(%error, "the rows that the store lost cannot be written back yet");
        }
    }

    /// Notes whose beats move.
    fn watch(&self, view: &View, seen: &mut BTreeMap<Incarnation, Seen>) {
        let now = Instant::now();
        seen.retain(|silo, _| view.members.contains_key(silo));
        for member in view.members.values() {
            let new = Seen { beat: member.beat, moved: now, since: now, dead_since: None, voted: None };
            let of = seen.entry(member.incarnation).or_insert(new);
            if of.beat != member.beat {
                (of.beat, of.moved) = (member.beat, now);
            }
            if member.status == Status::Dead {
                of.dead_since.get_or_insert(now);
            }
        }
    }

    /// The silos that this one probes: each is probed by the few that a hash of it and them names, so that none is
    /// without.
    fn neighbours(&self, view: &View) -> Vec<Incarnation> {
        let alive = view.members.values().filter(|member| member.status != Status::Dead);
        let alive: Vec<_> = alive.map(|member| member.incarnation).collect();
        let is_mine = |target: Incarnation| {
            let rank = |silo: Incarnation| (hash::of_turn(target, silo.as_u128() as u64), silo);
            let mine = rank(self.me);
            let others = alive.iter().filter(|silo| **silo != target && **silo != self.me);
            others.filter(|silo| rank(**silo) < mine).count() < NEIGHBOURS
        };
        alive.iter().copied().filter(|silo| *silo != self.me && is_mine(*silo)).collect()
    }

    /// Votes against who seems to be gone.
    async fn judge(&self, view: &View, neighbours: &[Incarnation], seen: &mut BTreeMap<Incarnation, Seen>) {
        let now = Instant::now();
        let beating = |seen: &BTreeMap<Incarnation, Seen>, target: Incarnation| {
            let others = view.members.values().filter(|member| member.status != Status::Dead);
            let beats = |silo: Incarnation| seen.get(&silo).is_some_and(|of| now - of.moved < self.pace.beating);
            let others = others.map(|member| member.incarnation).filter(|silo| *silo != target && *silo != self.me);
            1 + others.filter(|silo| beats(*silo)).count() as u64
        };
        let refused = self.wires.refused();
        let is_busy = |silo: Incarnation| view.members.get(&silo).is_some_and(|member| member.busy);
        // What was sent may lie there unread for so long.
        let late = self.lateness.now();
        let suspects = neighbours
            .iter()
            .chain(&refused)
            .copied()
            .filter(|silo| view.members.get(silo).is_some_and(|member| member.status != Status::Dead));
        let mut suspects: Vec<_> = suspects.collect();
        suspects.sort_unstable();
        suspects.dedup();
        for target in suspects {
            let voters = beating(seen, target);
            let Some(of) = seen.get_mut(&target) else { continue };
            let heard = self.wires.last_heard(target).map_or(of.since, |heard| heard.max(of.since));
            let silent = now.saturating_duration_since(heard + late);
            let still = now - of.moved;
            let (evidence, needed) = if refused.contains(&target) {
                (Evidence::Refused, voters.min(2))
            } else if silent >= self.pace.silence && still >= self.pace.silence {
                (Evidence::Silent, voters.min(2))
            } else if silent >= self.pace.cut_off && !is_busy(target) {
                // Of two that are cut off from each other, the younger gives the elder a chance to be first.
                let elder = view.members.get(&target).is_some_and(|member| member.join < self.node.join());
                if voters == 1 && elder && silent < self.pace.cut_off + self.pace.beat * 2 {
                    continue;
                }
                (Evidence::Partition, voters / 2 + 1)
            } else {
                continue;
            };
            let again = if evidence == Evidence::Refused { self.pace.look } else { self.pace.beat };
            if of.voted.is_some_and(|voted| now - voted < again) {
                continue;
            }
            of.voted = Some(now);
            let vote = Vote { voter: self.me, target, evidence, needed };
            match self.rows.suspect(vote, view.version).await {
                Ok(Voted::Killed) => {
                    tracing::warn!(silo = %target, ?evidence, "a silo was voted out");
                    self.look().await;
                    self.wires.hint(&self.node.view(), self.me);
                }
                Ok(Voted::VoterDead) => self.die(),
                Ok(answer) => tracing::info!(silo = %target, ?evidence, ?answer, "voted against a silo"),
                Err(error) => tracing::warn!(%error, "a vote was not acknowledged"),
            }
        }
    }

    /// Removes the rows of silos that are dead for long.
    async fn prune(&self, view: &View, seen: &BTreeMap<Incarnation, Seen>) {
        let now = Instant::now();
        let old = seen.iter().find(|(_, of)| of.dead_since.is_some_and(|since| now - since >= PRUNE));
        if let Some((silo, _)) = old {
            drop(self.rows.prune(*silo, view.version).await); // or with the next look
        }
    }
}

/// What the process of a silo ends with that was declared dead.
const EXIT_DEAD: i32 = 70;
