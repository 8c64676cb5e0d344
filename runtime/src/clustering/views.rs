//! The view that a silo has of its cluster, and since when it knows of each death.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gristmill_cluster::{Incarnation, Status, View};
use gristmill_grains::chaos::{self, Bug};
use gristmill_grains::sync::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Views, the latest of which counts. Who waits for the next is woken in turn: `tokio::sync::watch` draws lots, and no
/// simulation could be replayed.
pub(crate) struct Views {
    latest: RwLock<Arc<View>>,
    changed: Notify,
    /// Since when it is known of the dead.
    deaths: Mutex<BTreeMap<Incarnation, Instant>>,
    begun: Instant,
}

impl Views {
    pub(super) fn new(first: View) -> Self {
        let views =
            Self { latest: RwLock::default(), changed: Notify::new(), deaths: Mutex::default(), begun: Instant::now() };
        views.put(first);
        views
    }

    pub(crate) fn latest(&self) -> Arc<View> {
        self.latest.read().clone()
    }

    /// A view as it is now: beats move without a new version. Says whether it is a later one.
    pub(super) fn put(&self, view: View) -> bool {
        let later = {
            let mut latest = self.latest.write();
            let later = view.version > latest.version;
            if view.version >= latest.version || chaos::planted(Bug::RowsGoBack) {
                *latest = Arc::new(view);
            }
            later
        };
        if later {
            self.note_deaths(&self.latest());
            self.changed.notify_waiters();
        }
        later
    }

    fn note_deaths(&self, view: &View) {
        let (now, mut deaths) = (Instant::now(), self.deaths.lock());
        deaths.retain(|silo, _| view.members.contains_key(silo));
        for member in view.members.values().filter(|member| member.status == Status::Dead) {
            deaths.entry(member.incarnation).or_insert(now);
        }
    }

    /// Waits for a later view than this one. Dropped, nothing is lost.
    pub(crate) async fn later_than(&self, seen: &View) {
        let mut changed = std::pin::pin!(self.changed.notified());
        // From here on no change is missed.
        changed.as_mut().enable();
        if self.latest().version <= seen.version {
            changed.await;
        }
    }

    /// Waits until a dead silo has nothing more to say, though it may not know of its death: its lease, which lasts so long,
    /// was renewed before. One that is not known any more died before this silo began.
    pub(super) async fn outlast(&self, silo: Incarnation, lease: Duration) {
        let dead = self.deaths.lock().get(&silo).copied().unwrap_or(self.begun);
        sleep_until(dead + lease).await;
    }
}
