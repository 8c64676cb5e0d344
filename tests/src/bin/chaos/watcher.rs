//! Watches the membership, as nothing is wrong on the watcher's way to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gristmill::cluster::{Incarnation, Membership, RedisCluster, Status};
use gristmill_sim::history::Clock;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::silos::Run;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was seen of an incarnation.
#[derive(Clone, Debug)]
struct Seen {
    name: String,
    status: Status,
    /// When it was not dead yet, for the last time.
    lived: Duration,
}

/// Watches. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Watcher {
    seen: Arc<Mutex<BTreeMap<Incarnation, Seen>>>,
    broken: Arc<Mutex<Vec<String>>>,
    /// The names of those that are active now; none of the others is on its way in or out.
    active: Arc<watch::Sender<Option<Vec<String>>>>,
}

impl Watcher {
    /// Watches from now on.
    pub(crate) fn start(rows: RedisCluster, clock: Clock) -> Self {
        let watcher = Self { seen: Arc::default(), broken: Arc::default(), active: Arc::default() };
        let watching = watcher.clone();
        tokio::runtime::Handle::current().spawn(async move {
            let mut version = 0;
            loop {
                let asked = clock();
                // An error says nothing: Redis is away now and then.
                if let Ok(Ok(snapshot)) = timeout(PATIENCE, rows.read()).await {
                    watching.look(asked, snapshot.view, &mut version);
                }
                sleep(LOOK).await;
            }
        });
        watcher
    }

    fn look(&self, asked: Duration, view: gristmill::cluster::View, version: &mut u64) {
        let mut broken = self.broken.lock();
        if view.version < *version {
            broken.push(format!("I6: the view went back from {version} to {} at {asked:?}", view.version));
        }
        *version = view.version;
        let mut seen = self.seen.lock();
        for (incarnation, member) in &view.members {
            let name = || member.info.name.clone();
            let known =
                seen.entry(*incarnation).or_insert_with(|| Seen { name: name(), status: member.status, lived: asked });
            if member.status < known.status {
                broken.push(format!("I6: {} was {:?} and is {:?} at {asked:?}", name(), known.status, member.status));
            }
            known.status = member.status;
            if member.status != Status::Dead {
                known.lived = asked;
            }
        }
        let living = || view.members.values().filter(|member| member.status != Status::Dead);
        let settled = living().all(|member| member.status == Status::Active);
        let names = settled.then(|| living().map(|member| member.info.name.clone()).collect());
        self.active.send_replace(names);
    }

    /// The names of the active silos, if nobody else is there; told at every look.
    pub(crate) fn active(&self) -> watch::Receiver<Option<Vec<String>>> {
        self.active.subscribe()
    }

    /// What cannot be.
    pub(crate) fn broken(&self) -> Vec<String> {
        std::mem::take(&mut self.broken.lock())
    }

    /// When this process may have answered though the others take it for dead.
    pub(crate) fn zombie(&self, run: &Run, now: Duration) -> Vec<(Duration, Duration)> {
        let until = run.ended.map_or(now, |(at, _)| at);
        let dead = self.seen.lock().values().find(|seen| seen.name == run.name).map(|seen| seen.lived);
        let mut windows: Vec<_> = dead.filter(|from| *from < until).map(|from| (from, until)).into_iter().collect();
        if run.ended.is_none() && self.lives(&run.name) {
            return Vec::new();
        }
        for (stopped, goes_on) in &run.stopped {
            let parts =
                |(from, until): (Duration, Duration)| [(from, until.min(*stopped)), (from.max(*goes_on), until)];
            windows = windows.into_iter().flat_map(parts).filter(|(from, until)| from < until).collect();
        }
        windows
    }

    fn lives(&self, name: &str) -> bool {
        self.seen.lock().values().any(|seen| seen.name == name && seen.status != Status::Dead)
    }
}
