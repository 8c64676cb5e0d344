//! A world in memory, with silos that come and go.

use std::sync::Arc;
use std::time::Duration;

use arena::audit::Audit;
use arena::checks::{self, Checks};
use arena::grains::lobby::{LOBBY, LobbyRef};
use arena::grains::player::PlayerRef;
use arena::grains::profile::Activity;
use arena::grains::settings::Settings;
use arena::rules::PlayerId;
use arena::{host, play};
use gristmill::Silo;
use gristmill::storage::MemoryStorage;
use gristmill::storage::memory::Faults;

/// A storage, and the silo that runs on it now.
pub(crate) struct World {
    storage: MemoryStorage,
    pub(crate) settings: Arc<Settings>,
    pub(crate) silo: Silo,
}

impl World {
    /// A world of these players.
    pub(crate) async fn new(settings: Settings, players: &[PlayerId]) -> Self {
        let (storage, settings) = (MemoryStorage::new(), Arc::new(settings));
        let silo = host::start(Arc::new(storage.clone()), settings.clone()).await.unwrap();
        silo.grain::<LobbyRef>(LOBBY).welcome(players.to_vec()).await.unwrap();
        Self { storage, settings, silo }
    }

    /// Ends the silo, in order or as a crash does, and starts another.
    pub(crate) async fn restart(&mut self, in_order: bool) {
        if in_order {
            assert_eq!(self.silo.stop().await.dropped, 0);
        }
        // Otherwise the old one is dropped while the new one takes over.
        self.silo = host::start(Arc::new(self.storage.clone()), self.settings.clone()).await.unwrap();
    }

    pub(crate) fn faults(&self) -> Faults {
        self.storage.faults()
    }

    pub(crate) fn player(&self, id: &PlayerId) -> PlayerRef {
        self.silo.grain(id.clone())
    }

    /// Lets those who still wait after a while have their way out.
    pub(crate) async fn leave_queues(&self, players: &[PlayerId]) {
        tokio::time::sleep(2 * self.settings.patience).await;
        for player in players.iter().map(|id| self.player(id)) {
            if matches!(player.get_state().await.unwrap().profile.activity, Activity::Searching { .. }) {
                player.leave().await.unwrap();
            }
        }
    }

    /// Waits until every match is settled and nobody waits for one, as the program does.
    pub(crate) async fn quiet(&self) {
        let quiet = async {
            while play::quiet_now(&self.silo, &self.silo.grain(LOBBY)).await.unwrap().is_none() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), quiet).await.expect("the world does not come to rest");
    }

    /// Checks the world as it says it is, and as a later silo finds it.
    pub(crate) async fn check(&mut self) -> Checks {
        self.quiet().await;
        let reported = Audit::take(&self.silo).await.unwrap();
        let mut checks = checks::check(&reported);
        self.restart(true).await;
        checks::compare(&reported, &Audit::take(&self.silo).await.unwrap(), &mut checks);
        checks
    }
}

pub(crate) fn names(many: usize) -> Vec<PlayerId> {
    (0..many).map(|n| format!("p{n:02}").into()).collect()
}

pub(crate) fn assert_ok(checks: &Checks) {
    assert!(checks.ok(), "{:#?}", checks.0);
}
